// SPDX-License-Identifier: Apache-2.0
//
// Timers: started and taken back, started and fired.
#include <thread>
#include <vector>

#include "servers.hpp"

namespace {

using namespace std::chrono_literals;
using bench::report;

struct tick {};
struct ticked {
  using state = std::int64_t;
  void handle_info(tick /*m*/, state& n) { ++n; }
  std::int64_t handle_call(bench::get /*m*/, const state& n) { return n; }
};

void start_and_cancel(report& r) {
  peeper::runtime rt;
  const auto c = bench::started<ticked>(rt);
  const std::size_t n = bench::scaled(100'000);
  std::vector<peeper::timer_id> ids(n);
  auto begin = bench::clock::now();
  for (auto& id : ids) id = peeper::send_after(c, 1h, tick{});
  const double start = bench::ns_since(begin) / static_cast<double>(n);
  std::size_t cancelled = 0;
  begin = bench::clock::now();
  for (const auto id : ids) cancelled += peeper::cancel_timer(c, id) ? 1 : 0;
  const double cancel = bench::ns_since(begin) / static_cast<double>(n);
  bench::require(cancelled == n && bench::answer(c, bench::get{}) == 0, "all were pending");
  r.row("start", "ns", start);
  r.row("cancel", "ns", cancel);
}

void start_and_fire(report& r) {
  peeper::runtime rt;
  const auto c = bench::started<ticked>(rt);
  const std::size_t n = bench::scaled(100'000);
  const auto begin = bench::clock::now();
  for (std::size_t i = 0; i < n; ++i) std::ignore = peeper::send_after(c, 0ms, tick{});
  while (bench::answer(c, bench::get{}) < static_cast<std::int64_t>(n)) std::this_thread::yield();
  const double ns = bench::ns_since(begin) / static_cast<double>(n);
  bench::require(bench::answer(c, bench::get{}) == static_cast<std::int64_t>(n),
                 "each timer fires once");
  r.row("ns", ns);
}

[[maybe_unused]] const bool added[] = {
    bench::add("timer/100,000 started and cancelled", start_and_cancel),
    bench::add("timer/100,000 started and fired at once", start_and_fire),
};

}  // namespace
