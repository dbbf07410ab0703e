// SPDX-License-Identifier: Apache-2.0
/// The peeper server that holds the data: a store as kept state, and messages that run commands.
///
///     auto data = peeper::start<kv::kv_server>(runtime, kv::server_options(), statistics).value();
///     auto outcome = data.call(kv::execute{...});
///
/// What one client pipelined travels as one message, and is one callback, one commit. If it
/// crashes, all of it is rolled back (P2), and whoever sent it may send its commands again one by
/// one: none has happened, so none can happen twice (see connection.hpp).
///
/// THREADS: as any peeper server; one callback at a time.
/// CRASH: a callback leaves the store as it was before the message, however many commands had run.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

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
  std::shared_ptr<const request_batch> batch;
  std::uint32_t first = 0;
  std::uint32_t count = 0;
  std::int64_t now_ms = 0;  ///< since the epoch
};

struct execute : command_run {
  using reply = outcome;
};

/// The same for commands that only read. REQUIRES: reads_only() of each.
struct query : command_run {
  using reply = outcome;
};

/// Removes keys whose time is over.
struct expire_tick {
  std::int64_t now_ms = 0;
};

class kv_server {
 public:
  using state = store;

  explicit kv_server(std::shared_ptr<const server_statistics> statistics)
      : statistics_(std::move(statistics)) {}

  outcome handle_call(const execute& message, store& data);
  outcome handle_call(const query& message, const store& data);
  void handle_cast(const expire_tick& message, store& data);

 private:
  std::shared_ptr<const server_statistics> statistics_;
};

/// How a kv server is started: it may crash as often as its clients manage to make it.
[[nodiscard]] peeper::options<kv_server> server_options();

}  // namespace kv
