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
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace bench {

/// `n`, or a small part of it where only the benchmark itself is tested (--short).
[[nodiscard]] std::size_t scaled(std::size_t n) noexcept;

/// A benchmark that skipped work is broken: says so and ends the program with an error.
void require(bool done, std::string_view what);

/// The figure to reach.
struct target {
  std::optional<double> most;
  std::optional<double> least;
};
[[nodiscard]] constexpr target at_most(double limit) noexcept {
  return {.most = limit, .least = {}};
}
[[nodiscard]] constexpr target at_least(double limit) noexcept {
  return {.most = {}, .least = limit};
}

/// One run of one benchmark.
class report {
 public:
  explicit report(std::string name) : name_{std::move(name)} {}
  /// The benchmark's one figure.
  void row(std::string_view unit, double value, target t = {}) const;
  /// One of several: "name, detail".
  void row(std::string_view detail, std::string_view unit, double value, target t = {}) const;

 private:
  std::string name_;
};

/// RETURNS: true, for a namespace-scope constant that registers it.
bool add(const char* name, void (*run)(report&));

using clock = std::chrono::steady_clock;

[[nodiscard]] inline double ns_since(clock::time_point begin) noexcept {
  return static_cast<double>(
      std::chrono::duration_cast<std::chrono::nanoseconds>(clock::now() - begin).count());
}

/// The mean time of `n` runs of `step`.
template <class Step>
[[nodiscard]] double ns_each(std::size_t n, Step&& step) {
  const auto begin = clock::now();
  for (std::size_t i = 0; i < n; ++i) step();
  return ns_since(begin) / static_cast<double>(n);
}

/// The times of `n` runs of `step`, one by one. Each includes one reading of the clock.
template <class Step>
[[nodiscard]] std::vector<double> ns_one_by_one(std::size_t n, Step&& step) {
  std::vector<double> times;
  times.reserve(n);
  for (std::size_t i = 0; i < n; ++i) {
    const auto begin = clock::now();
    step();
    times.push_back(ns_since(begin));
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
