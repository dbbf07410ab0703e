// SPDX-License-Identifier: Apache-2.0
//
// Runs the benchmarks, prints a table of medians and writes it as JSON.
//
//   peeper_bench                                    all, five repetitions, mixed
//   peeper_bench --short                            each once, hardly any work: is it broken?
//   peeper_bench --json=build/bench.json            where to write (default: bench.json)
//   peeper_bench --benchmark_filter=call            and all other flags of Google Benchmark
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <benchmark/benchmark.h>
#include <fmt/format.h>
#include <spdlog/sinks/null_sink.h>
#include <spdlog/spdlog.h>

#include "bench.hpp"

namespace bench {
namespace {

bool is_short = false;

struct result {
  std::string name;
  std::string unit;
  target goal;
  std::vector<double> values;  // one a repetition

  [[nodiscard]] double median() const {
    std::vector<double> copy = values;
    return percentile(copy, 0.5);
  }
  [[nodiscard]] bool has_target() const noexcept { return goal.most || goal.least; }
  [[nodiscard]] bool met() const {
    return (!goal.most || median() <= *goal.most) && (!goal.least || median() >= *goal.least);
  }
};

/// In the order in which the benchmarks are registered, which is not that in which they run.
class result_table {
 public:
  void add(const std::string& name, std::string_view unit, double value, target goal) {
    auto [at, fresh] = index_.try_emplace(name, rows_.size());
    if (fresh)
      rows_.push_back({.name = name, .unit = std::string{unit}, .goal = goal, .values = {}});
    rows_[at->second].values.push_back(value);
  }
  [[nodiscard]] std::vector<result> sorted() const {
    std::vector<result> rows = rows_;
    std::ranges::sort(rows, {}, &result::name);
    return rows;
  }

 private:
  std::map<std::string, std::size_t, std::less<>> index_;
  std::vector<result> rows_;
};

result_table& results() {
  static result_table table;
  return table;
}

std::string goal_text(const result& r) {
  if (!r.has_target()) return "";
  return r.goal.most ? fmt::format("<= {:g}", *r.goal.most) : fmt::format(">= {:g}", *r.goal.least);
}

std::string met_text(const result& r) {
  if (!r.has_target()) return "";
  return r.met() ? "met" : "not met";
}

void print_table(const std::vector<result>& rows) {
  std::size_t width = 10;
  for (const result& r : rows) width = std::max(width, r.name.size());
  fmt::print("\n{:<{}}  {:>11} {:<6} {:>23}  {:>9} {}\n", "benchmark", width, "median", "unit",
             "lowest .. highest", "target", "");
  for (const result& r : rows) {
    const auto [low, high] = std::ranges::minmax(r.values);
    fmt::print("{:<{}}  {:>11.5g} {:<6} {:>10.5g} .. {:>9.5g}  {:>9} {}\n", r.name, width,
               r.median(), r.unit, low, high, goal_text(r), met_text(r));
  }
}

std::string json_text(std::string_view text) {
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') quoted += '\\';
    quoted += c;
  }
  return quoted + '"';
}

/// An array, one object a row. Peers are not measured yet.
bool write_json(const std::vector<result>& rows, const std::string& path) {
  std::ofstream out{path};
  out << "[\n";
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const result& r = rows[i];
    out << fmt::format(
        R"(  {{"name": {}, "unit": {}, "ours": {:.6g}, "peers": {{}}, "ratio_to_best_peer": null, )"
        R"("target": {}, "met": {}}}{})",
        json_text(r.name), json_text(r.unit), r.median(),
        r.has_target() ? json_text(goal_text(r)) : "null",
        r.has_target() ? (r.met() ? "true" : "false") : "null", i + 1 < rows.size() ? ",\n" : "\n");
  }
  out << "]\n";
  return out.good();
}

/// Gathers what Google Benchmark has timed itself; says what is being run.
class gathering_reporter final : public benchmark::BenchmarkReporter {
 public:
  bool ReportContext(const Context& /*context*/) override { return true; }
  void ReportRuns(const std::vector<Run>& runs) override {
    for (const Run& run : runs) {
      if (run.run_type != Run::RT_Iteration) continue;
      require(!run.error_occurred, run.error_message);
      std::fputc('.', stderr);
      const std::string name =
          run.run_name.function_name + (run.run_name.args.empty() ? "" : "/" + run.run_name.args);
      // What add() has registered has reported its rows itself.
      if (run.iterations == 1 && run.time_unit == benchmark::kSecond) continue;
      const double ns = run.real_accumulated_time * 1e9 /
                        static_cast<double>(std::max<benchmark::IterationCount>(run.iterations, 1));
      results().add(name, "ns", ns, {});
    }
  }
};

}  // namespace

std::size_t scaled(std::size_t n) noexcept {
  return is_short ? std::max<std::size_t>(1, n / 500) : n;
}

void require(bool done, std::string_view what) {
  if (done) return;
  fmt::print(stderr, "\npeeper_bench: broken benchmark: it does not hold that {}\n", what);
  std::_Exit(1);
}

void report::row(std::string_view unit, double value, target t) const {
  results().add(name_, unit, value, t);
}
void report::row(std::string_view detail, std::string_view unit, double value, target t) const {
  results().add(fmt::format("{}, {}", name_, detail), unit, value, t);
}

bool add(const char* name, void (*run)(report&)) {
  benchmark::RegisterBenchmark(name,
                               [name, run](benchmark::State& state) {
                                 for (auto _ : state) {
                                   report r{name};
                                   run(r);
                                 }
                               })
      ->Iterations(1)
      ->Unit(benchmark::kSecond);
  return true;
}

}  // namespace bench

int main(int argc, char** argv) {
  std::string json = "bench.json";
  std::vector<std::string> given{argv[0]};
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument == "--short") {
      bench::is_short = true;
    } else if (argument.starts_with("--json=")) {
      json = argument.substr(7);
    } else {
      given.push_back(argument);
    }
  }
  // First ours, so that what was given wins.
  std::vector<std::string> arguments{given.front()};
  if (bench::is_short) {
    arguments.insert(arguments.end(), {"--benchmark_min_time=0.0001"});
  } else {
    arguments.insert(arguments.end(), {"--benchmark_repetitions=5", "--benchmark_min_time=0.02",
                                       "--benchmark_enable_random_interleaving=true"});
  }
  arguments.insert(arguments.end(), given.begin() + 1, given.end());
  std::vector<char*> pointers;
  for (std::string& a : arguments) pointers.push_back(a.data());
  int count = static_cast<int>(pointers.size());
  benchmark::Initialize(&count, pointers.data());
  if (benchmark::ReportUnrecognizedArguments(count, pointers.data())) return 2;

  // Crashes are logged as in a program with a logger, but not to the terminal.
  spdlog::register_logger(
      std::make_shared<spdlog::logger>("peeper", std::make_shared<spdlog::sinks::null_sink_mt>()));

  bench::gathering_reporter reporter;
  const std::size_t run = benchmark::RunSpecifiedBenchmarks(&reporter);
  const auto rows = bench::results().sorted();
  if (run == 0 || rows.empty()) {
    std::fputs("peeper_bench: no benchmark ran\n", stderr);
    return 1;
  }
  bench::print_table(rows);
  if (!bench::write_json(rows, json)) {
    fmt::print(stderr, "peeper_bench: cannot write {}\n", json);
    return 1;
  }
  fmt::print("\n{} rows written to {}\n", rows.size(), json);
  return 0;
}
