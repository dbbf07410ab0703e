// SPDX-License-Identifier: Apache-2.0
/// The peeper server that holds the data: a store as kept state, and messages that run commands.
///
///     auto data = peeper::start<kv::kv_server>(runtime, kv::server_options()).value();
///     auto outcome = data.call(kv::execute{...});
///
/// Its callbacks run in the program, or, with server_options(kv::isolation::os_process), in an OS
/// process of their own: messages and replies are values that can cross.
///
/// What one client pipelined travels as one message, and is one callback, one commit. If it
/// crashes, all of it is rolled back (P2), and whoever sent it may send its commands again one by
/// one: none has happened, so none can happen twice (see connection.hpp).
///
/// THREADS: as any peeper server; one callback at a time.
/// CRASH: a callback leaves the store as it was before the message, however many commands had run;
/// where it is isolated, in whatever way its OS process dies.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <peeper/peeper.hpp>

#include "resp.hpp"
#include "statistics.hpp"
#include "store.hpp"

namespace kv {

/// What came of the commands first..first+done.
struct outcome {
  std::string replies;     ///< RESP2, in order
  std::uint32_t done = 0;  ///< less than asked for if the replies got large: ask for the rest
};

/// A run of commands of one connection.
struct command_run {
  std::vector<std::byte> commands;  ///< as request_batch::pack() writes them
  std::uint32_t count = 0;
  std::int64_t now_ms = 0;  ///< since the epoch
  std::uint64_t value_bytes_max = 0;
  std::optional<server_figures> figures;  ///< if one of them command::tells_of_server
};

struct execute {
  using reply = outcome;
  command_run run;
};

/// The same for commands that only read. REQUIRES: reads_only() of each.
struct query {
  using reply = outcome;
  command_run run;
};

/// Removes keys whose time is over.
struct expire_tick {
  std::int64_t now_ms = 0;
};

class kv_server {
 public:
  using state = store;
  static constexpr bool isolatable = true;

  static outcome handle_call(const execute& message, store& data);
  static outcome handle_call(const query& message, const store& data);
  static void handle_cast(const expire_tick& message, store& data);
};

/// Where the callbacks run.
enum class isolation : std::uint8_t {
  in_program,
  os_process,  ///< REQUIRES: a peeper::zygote
};
[[nodiscard]] std::string_view to_string(isolation where);

/// How a kv server is started: it may crash as often as its clients manage to make it. Where it is
/// isolated, a callback that takes 2 s has hung, and 4 GB of memory are a leak.
[[nodiscard]] peeper::options<kv_server> server_options(isolation where = isolation::in_program);

}  // namespace kv
