// SPDX-License-Identifier: Apache-2.0
#include "statistics.hpp"

#include <unistd.h>

namespace kv {

server_figures figures_of(const server_statistics& statistics) {
  const auto read = [](const std::atomic<std::uint64_t>& value) {
    return value.load(std::memory_order_relaxed);
  };
  const auto uptime = std::chrono::duration_cast<std::chrono::seconds>(
      std::chrono::steady_clock::now() - statistics.started);
  return {
      .process_id = getpid(),
      .bind = statistics.bind,
      .port = statistics.port,
      .clients_max = statistics.clients_max,
      .bulk_bytes_max = statistics.limits.bulk_bytes_max,
      .uptime_s = uptime.count(),
      .connections_now = read(statistics.connections_now),
      .connections_total = read(statistics.connections_total),
      .connections_rejected = read(statistics.connections_rejected),
      .commands = read(statistics.commands),
      .bytes_in = read(statistics.bytes_in),
      .bytes_out = read(statistics.bytes_out),
      .protocol_errors = read(statistics.protocol_errors),
      .crashes_answered = read(statistics.crashes_answered),
      .batches_retried = read(statistics.batches_retried),
  };
}

}  // namespace kv
