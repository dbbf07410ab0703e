// SPDX-License-Identifier: Apache-2.0
//
// From a crash to the next answer, which must be the last committed state.
#include <vector>

#include "servers.hpp"

namespace {

using bench::report;

constexpr std::int64_t committed = 42;

void exception_to_answer(report& r) {
  peeper::runtime rt;
  const auto c =
      bench::started<bench::counter>(rt, {.state = committed, .max_restarts = 1U << 30U});
  const std::size_t n = bench::scaled(20'000);
  auto times = bench::ns_one_by_one(n, [&] {
    const auto failed = c.call(bench::fail{});
    bench::require(!failed && failed.error().code() == peeper::call_errc::crashed,
                   "the caller learns of the crash");
    bench::require(bench::answer(c, bench::get{}) == committed, "the state is rolled back");
  });
  const auto counted = peeper::statistics_of(c);
  bench::require(counted.has_value() && counted->crashes == n, "every crash happened");
  r.row("p50", "ns", bench::percentile(times, 0.5), bench::at_most(4000));
  r.row("p99", "ns", bench::percentile(times, 0.99));
}

void kill_to_answer(report& r) {
  peeper::runtime rt;
  const auto c =
      bench::started<bench::counter>(rt, {.state = committed, .max_restarts = 1U << 30U});
  const std::size_t n = bench::scaled(5'000);
  auto times = bench::ns_one_by_one(n, [&] {
    bench::require(peeper::kill(peeper::worker_of(c)), "the worker is killed");
    bench::require(bench::answer(c, bench::get{}) == committed, "the state is kept");
  });
  const auto counted = peeper::statistics_of(c);
  bench::require(counted.has_value() && counted->crashes == n, "every kill happened");
  r.row("p50", "ns", bench::percentile(times, 0.5));
  r.row("p99", "ns", bench::percentile(times, 0.99));
}

[[maybe_unused]] const bool added[] = {
    bench::add("crash/exception to next answer", exception_to_answer),
    bench::add("crash/kill to next answer", kill_to_answer),
};

}  // namespace
