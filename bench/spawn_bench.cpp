// SPDX-License-Identifier: Apache-2.0
//
// Servers by the hundred thousand: time and memory of each, all three of its processes counted.
#include <cstdio>
#include <fstream>
#include <vector>

#include <malloc.h>
#include <unistd.h>

#include "servers.hpp"

namespace {

using bench::report;

double resident_bytes() {
  std::ifstream statm{"/proc/self/statm"};
  double pages = 0;
  double resident = 0;
  statm >> pages >> resident;
  return resident * static_cast<double>(sysconf(_SC_PAGESIZE));
}

void spawn_100k(report& r) {
  const std::size_t n = bench::scaled(100'000);
  const auto count = static_cast<double>(n);
  peeper::runtime rt;
  std::vector<peeper::ref<bench::counter>> servers;
  servers.reserve(n);
  // Memory that earlier benchmarks have given back must not hide what this one takes.
  malloc_trim(0);
  for (std::size_t i = 0; i < n; ++i) servers.emplace_back();
  const double before = resident_bytes();
  auto begin = bench::clock::now();
  for (std::size_t i = 0; i < n; ++i) {
    servers[i] = bench::started<bench::counter>(rt, {.state = static_cast<std::int64_t>(i)});
  }
  const double spawn = bench::ns_since(begin) / count;
  const double bytes = (resident_bytes() - before) / count;
  begin = bench::clock::now();
  for (std::size_t i = 0; i < n; ++i) {
    bench::require(bench::answer(servers[i], bench::get{}) == static_cast<std::int64_t>(i),
                   "each server has its own state");
  }
  const double answered = bench::ns_since(begin) / count;
  bench::require(rt.server_count() == n, "all servers are there");
  begin = bench::clock::now();
  bench::require(rt.shutdown().has_value(), "all servers ended");
  const double stopped = bench::ns_since(begin) / count;
  bench::require(rt.server_count() == 0, "no server is left");
  r.row("time of each", "ns", spawn, bench::at_most(400));
  r.row("memory of each", "bytes", bytes, bench::at_most(500));
  r.row("first answer of each", "ns", answered);
  r.row("shutdown of each", "ns", stopped);
}

[[maybe_unused]] const bool added = bench::add("spawn/100,000 servers", spawn_100k);

}  // namespace
