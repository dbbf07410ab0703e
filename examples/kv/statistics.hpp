// SPDX-License-Identifier: Apache-2.0
/// What INFO and CONFIG GET tell of the TCP side of the server: as it counts, and as a value that
/// goes with a message.
///
/// THREADS: the atomics by any thread, each for itself; the rest is constant after start.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>

#include "resp.hpp"

namespace kv {

struct server_statistics {
  // constant after start
  std::string bind = "127.0.0.1";
  std::uint16_t port = 0;
  std::size_t clients_max = 10000;
  resp_limits limits;
  std::chrono::steady_clock::time_point started = std::chrono::steady_clock::now();

  // ORDER: relaxed throughout; each is a count for people to read, and orders nothing.
  std::atomic<std::uint64_t> connections_now{0};
  std::atomic<std::uint64_t> connections_total{0};
  std::atomic<std::uint64_t> connections_rejected{0};
  std::atomic<std::uint64_t> commands{0};
  std::atomic<std::uint64_t> bytes_in{0};
  std::atomic<std::uint64_t> bytes_out{0};
  std::atomic<std::uint64_t> protocol_errors{0};
  std::atomic<std::uint64_t> crashes_answered{0};  ///< commands answered with -CRASH
  std::atomic<std::uint64_t> batches_retried{0};   ///< rolled back with their worker, sent again
};

/// The same at one moment.
struct server_figures {
  std::int64_t process_id = 0;  ///< of the program
  std::string bind;
  std::uint16_t port = 0;
  std::uint64_t clients_max = 0;
  std::uint64_t bulk_bytes_max = 0;
  std::int64_t uptime_s = 0;
  std::uint64_t connections_now = 0;
  std::uint64_t connections_total = 0;
  std::uint64_t connections_rejected = 0;
  std::uint64_t commands = 0;
  std::uint64_t bytes_in = 0;
  std::uint64_t bytes_out = 0;
  std::uint64_t protocol_errors = 0;
  std::uint64_t crashes_answered = 0;
  std::uint64_t batches_retried = 0;
};
[[nodiscard]] server_figures figures_of(const server_statistics& statistics);

/// Adds to a count that others only read now and then.
inline void count(std::atomic<std::uint64_t>& counter, std::uint64_t by = 1) {
  counter.fetch_add(by, std::memory_order_relaxed);
}

}  // namespace kv
