// SPDX-License-Identifier: Apache-2.0
//
// Servers by the hundred thousand: time and memory of each, all three of its processes counted.
#include <vector>

#include "servers.hpp"
#include "workload.hpp"

namespace {

using bench::report;

struct servers {
  explicit servers(std::size_t n) : refs(n) {}
  bench::spawn_figures measure() {
    const auto figures = bench::figures_of_spawning(
        refs.size(),
        [&](std::size_t i) {
          refs[i] = bench::started<bench::counter>(rt, {.state = static_cast<std::int64_t>(i)});
        },
        [&](std::size_t i) { return bench::answer(refs[i], bench::get{}); });
    bench::require(rt.server_count() == refs.size(), "all servers are there");
    return figures;
  }
  peeper::runtime rt;
  std::vector<peeper::ref<bench::counter>> refs;
};

/// RETURNS: the time of each.
double shut_down(servers& all) {
  const auto begin = bench::clock::now();
  bench::require(all.rt.shutdown().has_value(), "all servers ended");
  const double ns = bench::ns_since(begin) / static_cast<double>(all.refs.size());
  bench::require(all.rt.server_count() == 0, "no server is left");
  return ns;
}

void spawn_100k(report& r) {
  servers all{bench::scaled(100'000)};
  bench::report_spawning(r, all.measure());
  r.row("shutdown of each", "ns", shut_down(all));
}

void growing(report& r) {
  bench::spawn_curve(r, 1'000'000, [&](std::size_t n) {
    servers all{n};
    const bench::spawn_figures figures = all.measure();
    const double ns = shut_down(all);
    if (n >= 10'000) r.point("shutdown of each", static_cast<double>(n), "ns", ns);
    return figures;
  });
}

[[maybe_unused]] const bool added[] = {
    bench::add("spawn/100,000 servers", spawn_100k, 3),
    bench::add("growth/servers", growing, 1),
};

}  // namespace
