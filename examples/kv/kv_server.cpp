// SPDX-License-Identifier: Apache-2.0
#include "kv_server.hpp"

#include <chrono>

#include <peeper/os_process.hpp>

#include "commands.hpp"
#include "deaths.hpp"

namespace kv {
namespace {

/// Ends a run early: a thousand pipelined reads of large values must not become one reply of
/// gigabytes. The connection asks for the rest when its client has taken this part.
constexpr std::size_t replies_bytes_max = 1 << 20;

template <typename Run>
outcome run_commands(const command_run& message, Run run_one) {
  static const server_figures none;
  const packed_commands commands(message.commands, message.count);
  outcome result;
  reply_writer reply(result.replies);
  while (result.done < message.count && result.replies.size() < replies_bytes_max) {
    run_one(invocation{commands[result.done], message.now_ms, message.value_bytes_max,
                       message.figures ? *message.figures : none, reply});
    ++result.done;
  }
  return result;
}

}  // namespace

outcome kv_server::handle_call(const execute& message, store& data) {
  return run_commands(message.run, [&](const invocation& call) { run(data, call); });
}

outcome kv_server::handle_call(const query& message, const store& data) {
  return run_commands(message.run, [&](const invocation& call) { run_read(data, call); });
}

void kv_server::handle_cast(const expire_tick& message, store& data) {
  // Bounded, so that a million keys that expire at once do not keep clients waiting.
  constexpr std::size_t keys_max = 1000;
  expire(data, message.now_ms, keys_max);
}

std::string_view to_string(isolation where) {
  return where == isolation::os_process ? "os-process" : "in-program";
}

peeper::options<kv_server> server_options(isolation where) {
  peeper::options<kv_server> options{
      .name = "kv",
      // Whoever can send CRASH could else end the server for good: 1000 times in 10 s is the
      // default.
      .max_restarts = 1'000'000,
      .max_seconds = std::chrono::seconds(10),
      // A crashed run is sent again by its connection. Replaying it from a list of poison messages
      // as well would do it twice.
      .keep_poison = 0,
  };
  if (where == isolation::os_process) {
    options.isolation = peeper::os_process({
        .follower = peeper::followers::two,  // kills come close together
        .callback_limit = std::chrono::seconds(2),
        .limits = {.memory_bytes = memory_can_be_limited ? std::uint64_t{4} << 30U : 0},
    });
  }
  return options;
}

}  // namespace kv
