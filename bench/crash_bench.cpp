// SPDX-License-Identifier: Apache-2.0
//
// From a crash to the next answer, which must be the last committed state.
#include "servers.hpp"
#include "workload.hpp"

namespace {

using bench::committed;
using bench::report;

void exception_to_answer(report& r) {
  peeper::runtime rt;
  const auto c =
      bench::started<bench::counter>(rt, {.state = committed, .max_restarts = 1U << 30U});
  const std::size_t crashes = bench::crashes(
      r, 20'000,
      [&] {
        const auto failed = c.call(bench::fail{});
        bench::require(!failed && failed.error().code() == peeper::call_errc::crashed,
                       "the caller learns of the crash");
        return bench::answer(c, bench::get{});
      },
      bench::at_most(4000));
  const auto counted = peeper::statistics_of(c);
  bench::require(counted.has_value() && counted->crashes == crashes, "every crash happened");
}

void kill_to_answer(report& r) {
  peeper::runtime rt;
  const auto c =
      bench::started<bench::counter>(rt, {.state = committed, .max_restarts = 1U << 30U});
  const std::size_t kills = bench::crashes(r, 5'000, [&] {
    bench::require(peeper::kill(peeper::worker_of(c)), "the worker is killed");
    return bench::answer(c, bench::get{});
  });
  const auto counted = peeper::statistics_of(c);
  bench::require(counted.has_value() && counted->crashes == kills, "every kill happened");
}

[[maybe_unused]] const bool added[] = {
    bench::add("crash/exception to next answer", exception_to_answer),
    bench::add("crash/kill to next answer", kill_to_answer),
};

}  // namespace
