// SPDX-License-Identifier: Apache-2.0
//
// Runs the benchmarks, prints a table of medians and writes them in other forms.
//
//   peeper_bench                                    all, five repetitions, mixed
//   peeper_bench --short                            each once, hardly any work: is it broken?
//   peeper_bench --no-peers                         ours only
//   peeper_bench --times                            says what the run spent its time on
//   peeper_bench --json=build/bench.json            where to write (default: bench.json)
//   peeper_bench --markdown=docs/performance.md     its section of figures is written anew, and
//   peeper_bench --plots=docs/images                the plots: both by a complete run only
//   peeper_bench --benchmark_filter=call            and all other flags of Google Benchmark
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <filesystem>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include <benchmark/benchmark.h>
#include <fmt/format.h>
#include <spdlog/sinks/null_sink.h>
#include <spdlog/spdlog.h>

#include <peeper/zygote.hpp>

#include "results.hpp"

namespace bench {
namespace {

bool is_short = false;
bool with_peers = true;
constexpr int default_repetitions = 5;

struct participant {
  std::string who;  // empty: we
  run_function run;
};
struct benchmark_entry {
  std::string name;
  int repetitions = 0;
  std::vector<participant> participants;
  std::size_t first = 0;                  // who begins
  std::map<std::string, double> seconds;  // that each has taken
};

/// In the order of registration. A deque: what is registered is pointed to.
std::deque<benchmark_entry>& entries() {
  static std::deque<benchmark_entry> all;
  return all;
}
benchmark_entry& entry_of(const std::string& name) {
  for (benchmark_entry& e : entries()) {
    if (e.name == name) return e;
  }
  return entries().emplace_back(benchmark_entry{.name = name, .participants = {}, .seconds = {}});
}

/// Where memory is measured, what others have left in this process would be measured too: those run
/// in a process of their own.
bool runs_alone(std::string_view name) {
  return name.starts_with("spawn/") || name.starts_with("memory/") || name.starts_with("growth/") ||
         name.starts_with("sandbox/") || name == "floor/fork of a small program" ||
         name == "supervisor/1,000,000 children";
}

/// The form in which such a process hands its rows over: one value a line, fields between tabs.
void print_rows(const std::vector<row>& rows) {
  const auto number = [](std::optional<double> v) { return v ? fmt::format("{}", *v) : "-"; };
  for (const row& r : rows) {
    const bool ours = r.peers.empty();
    const double value = ours ? r.ours.front() : r.peers.begin()->second.front();
    fmt::print("row\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\n", r.name, r.unit, value,
               number(r.goal.most), number(r.goal.least), number(r.goal.times_best),
               number(r.goal.aim), number(r.x), r.curve);
  }
}

void read_row(const std::string& benchmark, const std::string& line, const std::string& who) {
  std::vector<std::string> fields;
  std::istringstream in{line};
  for (std::string field; std::getline(in, field, '\t');) fields.push_back(field);
  fields.resize(10);
  const auto number = [&](std::size_t i) -> std::optional<double> {
    if (fields[i] == "-") return std::nullopt;
    return std::strtod(fields[i].c_str(), nullptr);
  };
  row& r = results().at(fields[1], fields[2]);
  (who.empty() ? r.ours : r.peers[who]).push_back(number(3).value_or(0));
  if (who.empty()) {
    r.goal = {.most = number(4), .least = number(5), .times_best = number(6), .aim = number(7)};
  }
  r.benchmark = benchmark;
  r.x = number(8);
  r.curve = fields[9];
}

void run_alone(const std::string& name, const std::string& who) {
  static const std::string self = std::filesystem::read_symlink("/proc/self/exe").string();
  const std::string command =
      fmt::format("'{}' --alone='{}' --who='{}' {}", self, name, who, is_short ? "--short" : "");
  std::FILE* pipe = ::popen(command.c_str(), "r");
  require(pipe != nullptr, "a process can be started");
  std::string line;
  for (int c = std::fgetc(pipe); c != EOF; c = std::fgetc(pipe)) {
    if (c != '\n') {
      line += static_cast<char>(c);
      continue;
    }
    if (line.starts_with("row\t")) read_row(name, line, who);
    line.clear();
  }
  require(::pclose(pipe) == 0, fmt::format("{} worked in a process of its own", name));
}

/// One repetition: everybody once. Who begins changes, so that nobody always meets the machine as
/// the same other one has left it.
void repeat(benchmark_entry& e) {
  const std::size_t count = e.participants.size();
  for (std::size_t i = 0; i < count; ++i) {
    const participant& p = e.participants[(e.first + i) % count];
    if (p.run == nullptr || (!p.who.empty() && !with_peers)) continue;
    const auto begin = clock::now();
    if (runs_alone(e.name)) {
      run_alone(e.name, p.who);
    } else {
      report r{e.name, p.who};
      p.run(r);
    }
    e.seconds[p.who] += ns_since(begin) / 1e9;
  }
  e.first = (e.first + 1) % count;
}

/// RETURNS: whether there is such a one.
bool run_one_alone(const std::string& name, const std::string& who) {
  for (const participant& p : entry_of(name).participants) {
    if (p.who != who || p.run == nullptr) continue;
    report r{name, who};
    p.run(r);
    print_rows(results().sorted());
    return true;
  }
  return false;
}

void register_all() {
  for (benchmark_entry& e : entries()) {
    auto* registered = benchmark::RegisterBenchmark(e.name.c_str(),
                                                    [&e](benchmark::State& state) {
                                                      for (auto _ : state) repeat(e);
                                                    })
                           ->Iterations(1)
                           ->Unit(benchmark::kSecond);
    if (e.repetitions != 0 && !is_short) registered->Repetitions(e.repetitions);
  }
}

/// What the run spent its time on.
void print_times() {
  for (const benchmark_entry& e : entries()) {
    for (const auto& [who, seconds] : e.seconds) {
      if (seconds < 0.5) continue;
      fmt::print("{:6.1f} s  {}, {}\n", seconds, e.name, who.empty() ? "ours" : who);
    }
  }
}

/// A peer that is not there is named in each row that it would have had.
void note_left_out(std::vector<row>& rows) {
  for (const benchmark_entry& e : entries()) {
    const bool some_peer_ran = std::ranges::any_of(
        e.participants, [](const participant& p) { return !p.who.empty() && p.run != nullptr; });
    for (const participant& p : e.participants) {
      if (p.run != nullptr) continue;
      for (row& r : rows) {
        // What no peer that is there has, is of ours alone.
        const bool compared = !r.peers.empty() || !some_peer_ran;
        if (r.benchmark == e.name && compared) r.left_out.push_back(p.who);
      }
    }
  }
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
      const std::string name = "kept/" + run.run_name.function_name +
                               (run.run_name.args.empty() ? "" : "/" + run.run_name.args);
      // What add() has registered has reported its rows itself; the others are about kept state.
      if (run.iterations == 1 && run.time_unit == benchmark::kSecond) continue;
      const double ns = run.real_accumulated_time * 1e9 /
                        static_cast<double>(std::max<benchmark::IterationCount>(run.iterations, 1));
      results().at(name, "ns").ours.push_back(ns);
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

bool short_run() noexcept { return is_short; }

namespace {
row& add_value(const std::string& benchmark, const std::string& name, const std::string& who,
               std::string_view unit, double value, const target& t) {
  row& r = results().at(name, unit);
  r.benchmark = benchmark;
  require(r.unit == unit, fmt::format("{} has one unit", name));
  if (who.empty()) {
    r.ours.push_back(value);
    r.goal = t;
  } else {
    r.peers[who].push_back(value);
  }
  return r;
}
}  // namespace

void report::row(std::string_view unit, double value, const target& t) const {
  add_value(name_, name_, who_, unit, value, t);
}
void report::row(std::string_view detail, std::string_view unit, double value,
                 const target& t) const {
  add_value(name_, fmt::format("{}, {}", name_, detail), who_, unit, value, t);
}
void report::point(std::string_view detail, double x, std::string_view unit, double value) const {
  const std::string curve = fmt::format("{}, {}", name_, detail);
  bench::row& r = add_value(name_, fmt::format("{}, {}", curve, x), who_, unit, value, {});
  r.x = x;
  r.curve = curve;
}

bool add(const char* name, run_function run, int repetitions) {
  benchmark_entry& e = entry_of(name);
  e.repetitions = repetitions;
  e.participants.insert(e.participants.begin(), participant{.who = {}, .run = run});
  return true;
}
bool add_peer(const char* name, const char* who, run_function run) {
  entry_of(name).participants.push_back({.who = who, .run = run});
  return true;
}
bool describe_peer(const char* who, std::string (*what)(), bool present) {
  described_peers().push_back({.name = who, .what = what, .present = present});
  return true;
}

}  // namespace bench

int main(int argc, char** argv) {
  const peeper::zygote forks_workers;  // while there is one thread
  std::string json = "bench.json";
  std::string markdown;
  std::string plots;
  std::string alone;
  std::string who;
  bool complete = true;
  bool times = false;
  std::vector<std::string> given{argv[0]};
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    const auto value_of = [&](std::string_view flag) { return argument.substr(flag.size()); };
    if (argument == "--short") {
      bench::is_short = true;
      complete = false;
    } else if (argument.starts_with("--plots=")) {
      plots = value_of("--plots=");
    } else if (argument.starts_with("--alone=")) {
      alone = value_of("--alone=");
    } else if (argument.starts_with("--who=")) {
      who = value_of("--who=");
    } else if (argument == "--times") {
      times = true;
    } else if (argument == "--no-peers") {
      bench::with_peers = false;
      complete = false;
    } else if (argument.starts_with("--json=")) {
      json = value_of("--json=");
    } else if (argument.starts_with("--markdown=")) {
      markdown = value_of("--markdown=");
    } else {
      if (argument.starts_with("--benchmark_filter")) complete = false;
      given.push_back(argument);
    }
  }
  // Crashes are logged as in a program with a logger, but not to the terminal.
  spdlog::register_logger(
      std::make_shared<spdlog::logger>("peeper", std::make_shared<spdlog::sinks::null_sink_mt>()));

  if (!alone.empty()) return bench::run_one_alone(alone, who) ? 0 : 2;

  // First ours, so that what was given wins.
  std::vector<std::string> arguments{given.front()};
  if (bench::is_short) {
    arguments.insert(arguments.end(), {"--benchmark_min_time=0.0001"});
  } else {
    arguments.insert(arguments.end(),
                     {fmt::format("--benchmark_repetitions={}", bench::default_repetitions),
                      "--benchmark_min_time=0.02", "--benchmark_enable_random_interleaving=true"});
  }
  arguments.insert(arguments.end(), given.begin() + 1, given.end());
  std::vector<char*> pointers;
  for (std::string& a : arguments) pointers.push_back(a.data());
  int count = static_cast<int>(pointers.size());
  benchmark::Initialize(&count, pointers.data());
  if (benchmark::ReportUnrecognizedArguments(count, pointers.data())) return 2;
  bench::register_all();

  bench::gathering_reporter reporter;
  const std::size_t run = benchmark::RunSpecifiedBenchmarks(&reporter);
  auto rows = bench::results().sorted();
  if (run == 0 || rows.empty()) {
    std::fputs("peeper_bench: no benchmark ran\n", stderr);
    return 1;
  }
  bench::note_left_out(rows);
  bench::print_table(rows);
  if (times) bench::print_times();
  if (!bench::write_json(rows, json)) {
    fmt::print(stderr, "peeper_bench: cannot write {}\n", json);
    return 1;
  }
  fmt::print("\n{} rows written to {}\n", rows.size(), json);
  if (!plots.empty()) {
    // Of what has not run there is nothing to draw.
    if (!complete) {
      fmt::print("{} stays as it is: this was not a complete run\n", plots);
    } else if (!bench::write_plots(rows, plots)) {
      fmt::print(stderr, "peeper_bench: cannot write the plots to {}\n", plots);
      return 1;
    }
  }
  if (markdown.empty()) return 0;
  if (!complete) {
    fmt::print("{} stays as it is: this was not a complete run\n", markdown);
  } else if (!bench::write_markdown(rows, markdown)) {
    fmt::print(stderr, "peeper_bench: cannot write the figures into {}\n", markdown);
    return 1;
  }
  return 0;
}
