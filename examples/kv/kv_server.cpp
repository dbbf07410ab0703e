// SPDX-License-Identifier: Apache-2.0
#include "kv_server.hpp"

#include <chrono>

#include "commands.hpp"

namespace kv {
namespace {

/// Ends a run early: a thousand pipelined reads of large values must not become one reply of
/// gigabytes. The connection asks for the rest when its client has taken this part.
constexpr std::size_t replies_bytes_max = 1 << 20;

template <typename Run>
outcome run_commands(const command_run& message, const server_statistics& statistics, Run run_one) {
  outcome result;
  reply_writer reply(result.replies);
  while (result.done < message.count && result.replies.size() < replies_bytes_max) {
    run_one(invocation{(*message.batch)[message.first + result.done], message.now_ms, statistics,
                       reply});
    ++result.done;
  }
  return result;
}

}  // namespace

outcome kv_server::handle_call(const execute& message, store& data) {
  return run_commands(message, *statistics_, [&](const invocation& call) { run(data, call); });
}

outcome kv_server::handle_call(const query& message, const store& data) {
  return run_commands(message, *statistics_, [&](const invocation& call) { run_read(data, call); });
}

void kv_server::handle_cast(const expire_tick& message, store& data) {
  // Bounded, so that a million keys that expire at once do not keep clients waiting.
  constexpr std::size_t keys_max = 1000;
  expire(data, message.now_ms, keys_max);
}

peeper::options<kv_server> server_options() {
  return {
      .name = "kv",
      // Whoever can send CRASH could else end the server for good: 1000 times in 10 s is the
      // default.
      .max_restarts = 1'000'000,
      .max_seconds = std::chrono::seconds(10),
      // A crashed run is sent again by its connection. Replaying it from a list of poison messages
      // as well would do it twice.
      .keep_poison = 0,
  };
}

}  // namespace kv
