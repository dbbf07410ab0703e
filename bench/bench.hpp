// SPDX-License-Identifier: Apache-2.0
/// \file
/// The frame of the benchmarks. A benchmark is a function that does its work once, checks that the
/// work was done, and reports rows; the frame repeats it and takes medians. What fits Google
/// Benchmark's own loop (`for (auto _ : state)`) is registered with BENCHMARK() as usual and makes
/// a row of its time per iteration.
///
///     void calls(bench::report& r) {
///       const double ns = bench::ns_each(n, [&] { total += c.call(add{}).value(); });
///       bench::require(total == expected, "every call was handled");
///       r.row("ns", ns, bench::at_most(500));
///     }
///     const bool added = bench::add("call/foreign to idle", calls);
///
/// A peer does the same work with the same checks, under the same name. Each repetition runs ours
/// and all peers, one after the other, and begins with another of them each time:
///
///     const bool peer = bench::add_peer("call/foreign to idle", "CAF", calls_of_caf);
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace bench {

/// `n`, or a small part of it where only the benchmark itself is tested (--short).
[[nodiscard]] std::size_t scaled(std::size_t n) noexcept;
[[nodiscard]] bool short_run() noexcept;

/// A benchmark that skipped work is broken: says so and ends the program with an error.
void require(bool done, std::string_view what);

/// The figure to reach.
struct target {
  std::optional<double> most;
  std::optional<double> least;
  /// So many times as good as the best peer. Cannot be judged without peers.
  std::optional<double> times_best;
  /// Hoped for, not asked for.
  std::optional<double> aim;
};
[[nodiscard]] constexpr target at_most(double limit) noexcept {
  return {.most = limit, .least = {}, .times_best = {}, .aim = {}};
}
[[nodiscard]] constexpr target at_least(double limit) noexcept {
  return {.most = {}, .least = limit, .times_best = {}, .aim = {}};
}
[[nodiscard]] constexpr target times_best_peer(double times,
                                               std::optional<double> aim = {}) noexcept {
  return {.most = {}, .least = {}, .times_best = times, .aim = aim};
}
[[nodiscard]] constexpr target no_slower_than_best_peer() noexcept { return times_best_peer(1); }

/// One run of one benchmark, by us or by a peer.
class report {
 public:
  /// `who`: empty for ours.
  explicit report(std::string name, std::string who = {})
      : name_{std::move(name)}, who_{std::move(who)} {}
  /// The benchmark's one figure. Units of rates end in "/s" and are better when higher, except
  /// "wakes/s"; all others are costs. Of a peer's row the target is ignored.
  void row(std::string_view unit, double value, const target& t = {}) const;
  /// One of several: "name, detail".
  void row(std::string_view detail, std::string_view unit, double value,
           const target& t = {}) const;
  /// One of the curve "name, detail" at `x`: a row "name, detail, x", which the plots draw.
  void point(std::string_view detail, double x, std::string_view unit, double value) const;

 private:
  std::string name_;
  std::string who_;
};

using run_function = void (*)(report&);

/// RETURNS: true, for a namespace-scope constant that registers it. `repetitions`: 0 = as all.
bool add(const char* name, run_function run, int repetitions = 0);
/// `run` null: this peer is not on this machine, and its cells say "left out".
bool add_peer(const char* name, const char* who, run_function run);
/// Why a peer is left out, and its version when it is not; for the table's foot.
bool describe_peer(const char* who, std::string (*what)(), bool present);

using clock = std::chrono::steady_clock;

[[nodiscard]] inline double ns_since(clock::time_point begin) noexcept {
  return static_cast<double>(
      std::chrono::duration_cast<std::chrono::nanoseconds>(clock::now() - begin).count());
}
/// For stamps inside messages.
[[nodiscard]] inline std::int64_t ns_now() noexcept {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(clock::now().time_since_epoch())
      .count();
}

/// The mean time of `n` runs of `step`.
template <class Step>
[[nodiscard]] double ns_each(std::size_t n, Step&& step) {
  const auto begin = clock::now();
  for (std::size_t i = 0; i < n; ++i) step();
  return ns_since(begin) / static_cast<double>(n);
}

/// The times of `n` runs of `step`, one by one; of fewer, but at least 50, when half a second is
/// over. Each includes one reading of the clock.
template <class Step>
[[nodiscard]] std::vector<double> ns_one_by_one(std::size_t n, Step&& step) {
  constexpr double budget_ns = 5e8;
  std::vector<double> times;
  times.reserve(n);
  double spent = 0;
  for (std::size_t i = 0; i < n && (spent < budget_ns || i < 50); ++i) {
    const auto begin = clock::now();
    step();
    times.push_back(ns_since(begin));
    spent += times.back();
  }
  return times;
}

/// `part` of 0.5 is the median. Reorders `values`. REQUIRES: not empty.
[[nodiscard]] inline double percentile(std::vector<double>& values, double part) {
  const auto last = static_cast<double>(values.size() - 1);
  const auto at = values.begin() + static_cast<std::ptrdiff_t>(last * part + 0.5);
  std::ranges::nth_element(values, at);
  return *at;
}

/// Millions a second, from the time of one.
[[nodiscard]] inline double millions_a_second(double ns) noexcept { return 1000.0 / ns; }

}  // namespace bench
