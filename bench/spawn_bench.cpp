// SPDX-License-Identifier: Apache-2.0
//
// Servers by the hundred thousand: time and memory of each, all three of its processes counted.
#include <vector>

#include "servers.hpp"
#include "workload.hpp"

namespace {

using bench::report;

void spawn_100k(report& r) {
  const std::size_t n = bench::scaled(100'000);
  peeper::runtime rt;
  std::vector<peeper::ref<bench::counter>> servers;
  servers.reserve(n);
  for (std::size_t i = 0; i < n; ++i) servers.emplace_back();
  bench::spawned(
      r, n,
      [&](std::size_t i) {
        servers[i] = bench::started<bench::counter>(rt, {.state = static_cast<std::int64_t>(i)});
      },
      [&](std::size_t i) { return bench::answer(servers[i], bench::get{}); });
  bench::require(rt.server_count() == n, "all servers are there");
  const auto begin = bench::clock::now();
  bench::require(rt.shutdown().has_value(), "all servers ended");
  const double stopped = bench::ns_since(begin) / static_cast<double>(n);
  bench::require(rt.server_count() == 0, "no server is left");
  r.row("shutdown of each", "ns", stopped);
}

[[maybe_unused]] const bool added = bench::add("spawn/100,000 servers", spawn_100k);

}  // namespace
