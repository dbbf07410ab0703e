// SPDX-License-Identifier: Apache-2.0
/// kv_demo: the real server under real clients and real crashes, and an account of what it kept.
/// See README.md. Its last line is for programs.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <peeper/peeper.hpp>
#include <peeper/zygote.hpp>

#include "chaos.hpp"
#include "demo_clients.hpp"
#include "kv_server.hpp"
#include "redis_benchmark.hpp"
#include "tcp_server.hpp"
#include "verifier.hpp"

namespace kv {
namespace {

using std::chrono::steady_clock;

struct demo_options {
  unsigned seconds = 25;
  unsigned seconds_max = 150;
  std::uint64_t writes = 1'000'000;
  std::uint64_t crashes = 1000;
  std::uint64_t deaths = 1000;  ///< of OS processes, where the server is isolated
  unsigned clients = 4;
  std::uint64_t benchmark_requests = 20'000;
  std::uint64_t pause_us = 5000;
  std::uint64_t seed = 0;
};

/// 1234567 -> "1,234,567"
std::string grouped(std::uint64_t value) {
  std::string digits = fmt::format("{}", value);
  for (auto at = static_cast<std::ptrdiff_t>(digits.size()) - 3; at > 0; at -= 3) {
    digits.insert(static_cast<std::size_t>(at), ",");
  }
  return digits;
}

/// The signals that end the demo early; blocked in all threads, so that only watch() takes them.
sigset_t ending_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  return signals;
}

class demo {
 public:
  demo(const demo_options& wanted, isolation where)
      : options_(wanted), where_(where), terminal_(isatty(STDOUT_FILENO) == 1) {}
  demo(const demo&) = delete;
  demo& operator=(const demo&) = delete;
  ~demo() { stop_guard(); }

  int run();

 private:
  void start_all();
  void watch();
  [[nodiscard]] bool signalled_until(steady_clock::time_point when);
  void print_live();
  void stop_all();
  void guard_against_silence();
  void stop_guard();
  int report();
  void print_table(const findings& found, std::chrono::duration<double> reading) const;
  void print_recoveries() const;
  [[nodiscard]] bool everybody_finished() const;
  [[nodiscard]] std::uint64_t acknowledged() const;
  [[nodiscard]] std::uint64_t crashes() const;
  [[nodiscard]] std::uint64_t client_crashes() const;
  [[nodiscard]] bool targets_reached() const {
    return acknowledged() >= options_.writes && crashes() >= options_.crashes &&
           chaos_->deaths() >= deaths_wanted();
  }
  [[nodiscard]] std::uint64_t deaths_wanted() const {
    return where_ == isolation::os_process ? options_.deaths : 0;
  }

  demo_options options_;
  isolation where_;
  bool terminal_;
  peeper::runtime runtime_;
  std::shared_ptr<server_statistics> statistics_ = std::make_shared<server_statistics>();
  peeper::ref<kv_server> data_;
  std::unique_ptr<tcp_server> server_;
  first_failure failure_;
  std::vector<std::unique_ptr<verifying_client>> clients_;
  std::unique_ptr<benchmark_loop> benchmark_;
  std::unique_ptr<chaos> chaos_;
  int signal_ = 0;  ///< that has ended it early
  steady_clock::time_point started_;
  steady_clock::time_point last_live_;
  std::uint64_t last_requests_ = 0;

  std::thread guard_;
  std::mutex guard_mutex_;
  std::condition_variable guard_wake_;
  bool guard_over_ = false;  // guarded by guard_mutex_
};

int demo::run() {
  const sigset_t signals = ending_signals();  // before there are other threads
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  if (const auto found = find_redis_benchmark(); !found) {
    fmt::print(stderr, "kv_demo: {}\n", found.error());
    return 2;
  }
  auto data = peeper::start<kv_server>(runtime_, server_options(where_));
  if (!data) {
    fmt::print(stderr, "kv_demo: the data server did not start: {}\n", data.error().what());
    return 2;
  }
  data_ = *data;
  tcp_server::options listen;
  listen.port = 0;
  auto server = tcp_server::start(data_, statistics_, listen);
  if (!server) {
    fmt::print(stderr, "kv_demo: {}\n", server.error());
    return 2;
  }
  server_ = std::move(*server);
  fmt::print(
      "kv_demo, isolation {}: a Redis-protocol server on 127.0.0.1:{}, under redis-benchmark and "
      "{} verifying clients, is crashed again and again for {} s (seed {}); then every "
      "acknowledged "
      "write is looked for.\n",
      to_string(where_), server_->port(), options_.clients, options_.seconds, options_.seed);
  std::fflush(stdout);
  guard_ = std::thread([this] { guard_against_silence(); });
  start_all();
  watch();
  stop_all();
  const int verdict = report();
  stop_guard();
  return verdict;
}

void demo::start_all() {
  started_ = last_live_ = steady_clock::now();
  for (unsigned i = 0; i < options_.clients; ++i) {
    clients_.push_back(
        std::make_unique<verifying_client>(server_->port(), i, options_.seed, failure_));
    clients_.back()->start();
  }
  benchmark_ =
      std::make_unique<benchmark_loop>(server_->port(), options_.benchmark_requests, failure_);
  benchmark_->start();
  chaos_ = std::make_unique<chaos>(
      data_, chaos::options{.port = server_->port(),
                            .pause = std::chrono::microseconds(options_.pause_us),
                            .seed = options_.seed,
                            .where = where_});
  chaos_->start();
}

/// Shows how it goes, once a second, until everybody has stopped.
void demo::watch() {
  bool stopping = false;
  while (!everybody_finished()) {
    if (signalled_until(last_live_ + std::chrono::seconds(1))) benchmark_->break_off();
    print_live();
    if (const std::string failed = chaos_->failure(); !failed.empty()) {
      failure_.set("the chaos client failed: " + failed);
    }
    const auto elapsed = steady_clock::now() - started_;
    const bool over = (elapsed >= std::chrono::seconds(options_.seconds) && targets_reached()) ||
                      elapsed >= std::chrono::seconds(options_.seconds_max) ||
                      !failure_.get().empty() || signal_ != 0;
    if (over && !stopping) {
      stopping = true;
      benchmark_->stop();
      for (const auto& client : clients_) client->stop_writing();
    }
  }
  if (terminal_) fmt::print("\n");
  // The account that follows may be ended by the next signal as any program is.
  const sigset_t signals = ending_signals();
  pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);
}

/// Sleeps until then, or until a signal asks for the end. RETURNS: true if it did just now.
bool demo::signalled_until(steady_clock::time_point when) {
  const sigset_t signals = ending_signals();
  if (signal_ != 0) {
    std::this_thread::sleep_until(when);
    return false;
  }
  const auto left = std::max(when - steady_clock::now(), steady_clock::duration::zero());
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(left);
  const timespec limit{.tv_sec = seconds.count(), .tv_nsec = (left - seconds).count()};
  const int signal = sigtimedwait(&signals, nullptr, &limit);
  if (signal <= 0) return false;
  signal_ = signal;
  fmt::print("{}ended by signal {}: what was done so far is accounted for.\n",
             terminal_ ? "\n" : "", signal);
  std::fflush(stdout);
  pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);  // a second one ends it at once
  return true;
}

bool demo::everybody_finished() const {
  return benchmark_->finished() &&
         std::ranges::all_of(clients_, [](const auto& client) { return client->finished(); });
}

/// A server that answers nobody any more would leave everybody waiting: say so and end.
void demo::guard_against_silence() {
  constexpr int seconds_max = 30;
  std::uint64_t last = 0;
  int silent_seconds = 0;
  std::unique_lock lock(guard_mutex_);
  while (!guard_wake_.wait_for(lock, std::chrono::seconds(1), [this] { return guard_over_; })) {
    const std::uint64_t now = statistics_->commands.load(std::memory_order_relaxed);
    silent_seconds = now == last ? silent_seconds + 1 : 0;
    last = now;
    if (silent_seconds < seconds_max) continue;
    fmt::print("\n  FAILED: the server has answered nothing for {} s\n", seconds_max);
    std::fflush(stdout);
    std::_Exit(1);
  }
}

void demo::print_live() {
  const auto now = steady_clock::now();
  const std::uint64_t requests = statistics_->commands.load(std::memory_order_relaxed);
  const double seconds = std::chrono::duration<double>(now - last_live_).count();
  const auto recoveries = chaos_->recoveries_us();
  const std::string line = fmt::format(
      "{:4.0f} s  {:>9} requests/s  {:>11} writes acknowledged  {:>7} crashes  recovery p50 {} us, "
      "p99 {} us",
      std::chrono::duration<double>(now - started_).count(),
      grouped(static_cast<std::uint64_t>(static_cast<double>(requests - last_requests_) / seconds)),
      grouped(acknowledged()), grouped(crashes()), percentile(recoveries, 0.5),
      percentile(recoveries, 0.99));
  if (terminal_) {
    fmt::print("\r\x1b[K{}", line);
  } else {
    fmt::print("{}\n", line);
  }
  std::fflush(stdout);
  last_live_ = now;
  last_requests_ = requests;
}

void demo::stop_all() {
  for (const auto& client : clients_) client->join();
  benchmark_->join();
  chaos_->stop();
}

void demo::stop_guard() {
  {
    const std::lock_guard lock(guard_mutex_);
    guard_over_ = true;
  }
  guard_wake_.notify_one();
  if (guard_.joinable()) guard_.join();
}

std::uint64_t demo::acknowledged() const {
  std::uint64_t sum = benchmark_->acknowledged();
  for (const auto& client : clients_) sum += client->acknowledged();
  return sum;
}

std::uint64_t demo::client_crashes() const {
  std::uint64_t sum = 0;
  for (const auto& client : clients_) sum += client->crashed();
  return sum;
}

std::uint64_t demo::crashes() const { return client_crashes() + chaos_->crashes(); }

int demo::report() {
  // After a failure, too: what can still be read tells what became of the data.
  findings found;
  const auto reading_since = steady_clock::now();
  fmt::print("reading everything back and comparing ...\n");
  std::fflush(stdout);
  for (const auto& client : clients_) client->start_read_back();
  for (const auto& client : clients_) {
    client->join();
    found.add(client->found());
  }
  try {
    benchmark_->check(found);
  } catch (const std::exception& error) {
    failure_.set(error.what());
  }
  print_table(found, steady_clock::now() - reading_since);
  for (const std::string& example : found.examples) fmt::print("  WRONG: {}\n", example);
  if (!failure_.get().empty()) fmt::print("  FAILED: {}\n", failure_.get());
  if (failure_.get().empty() && !targets_reached() && signal_ == 0) {
    fmt::print("  FAILED: not {} acknowledged writes, {} crashes and {} deaths within {} s\n",
               grouped(options_.writes), grouped(options_.crashes), grouped(deaths_wanted()),
               options_.seconds_max);
  }
  const auto recoveries = chaos_->recoveries_us();
  fmt::print(
      "demo: requests={} acknowledged={} crashes={} isolation={} os_process_deaths={} lost={} "
      "duplicated={} recovery_p50_us={} recovery_p99_us={}\n",
      statistics_->commands.load(std::memory_order_relaxed), acknowledged(), crashes(),
      to_string(where_), chaos_->deaths(), found.lost, found.duplicated,
      percentile(recoveries, 0.5), percentile(recoveries, 0.99));
  std::fflush(stdout);
  if (!failure_.get().empty() || !found.clean()) return 1;
  if (signal_ != 0) return 128 + signal_;  // as a shell tells of it
  return targets_reached() ? 0 : 1;
}

void print_row(std::string_view name, const std::string& value) {
  fmt::print("  {:<44}{:>14}\n", name, value);
}

void demo::print_table(const findings& found, std::chrono::duration<double> reading) const {
  fmt::print("\n");
  print_row("isolation", std::string(to_string(where_)));
  print_row("requests answered", grouped(statistics_->commands.load(std::memory_order_relaxed)));
  print_row("writes acknowledged", grouped(acknowledged()));
  print_row("  of them to verifying clients", grouped(found.acknowledged));
  print_row(fmt::format("  of them to redis-benchmark ({} rounds)", benchmark_->rounds()),
            grouped(benchmark_->acknowledged()));
  print_row("crashes", grouped(crashes()));
  print_row("  exceptions in clients' commands, half-way", grouped(client_crashes()));
  print_row("  of workers, as the runtime counts",
            grouped(peeper::statistics_of(data_).value_or(peeper::statistics{}).crashes));
  print_row("OS processes seen to be gone", grouped(chaos_->deaths()));
  print_row("runs rolled back and sent again",
            grouped(statistics_->batches_retried.load(std::memory_order_relaxed)));
  print_row("writes lost", grouped(found.lost));
  print_row("writes duplicated, or not rolled back", grouped(found.duplicated));
  print_row("replies that contradict earlier ones", grouped(found.wrong_replies));
  print_row("everything read back and compared in", fmt::format("{:.1f} s", reading.count()));
  print_recoveries();
  fmt::print("\n  redis-benchmark's best round, requests/s, while crashing:\n");
  for (const auto& [test, rate] : benchmark_->best_rates()) {
    print_row("  " + test, grouped(static_cast<std::uint64_t>(rate)));
  }
  fmt::print("\n");
}

void demo::print_recoveries() const {
  fmt::print("\n  {:<44}{:>8}{:>12}{:>12}{:>12}\n", "crash to next answer, us", "crashes", "p50",
             "p99", "longest");
  const auto line = [](std::string_view name, const std::vector<std::uint32_t>& times) {
    fmt::print("  {:<44}{:>8}{:>12}{:>12}{:>12}\n", name, grouped(times.size()),
               grouped(percentile(times, 0.5)), grouped(percentile(times, 0.99)),
               grouped(percentile(times, 1.0)));
  };
  const auto tallies = chaos_->tallies();
  for (std::size_t i = 0; i < crash_kinds; ++i) {
    if (tallies[i].crashes == 0) continue;
    line(to_string(static_cast<crash_kind>(i)), tallies[i].recoveries_us);
  }
  line("all of them", chaos_->recoveries_us());
  line("an answer without a crash", chaos_->answers_us());
}

/// One after the other. RETURNS: the exit code of the first that failed or was ended early.
int run_demos(const demo_options& wanted, const std::vector<isolation>& all) {
  for (const isolation where : all) {
    demo one(wanted, where);
    if (const int code = one.run(); code != 0) return code;
    if (where != all.back()) fmt::print("\n");
  }
  return 0;
}

}  // namespace
}  // namespace kv

int main(int argc, char** argv) {
  try {
    const peeper::zygote forks_workers;  // first thing in main: before there is any thread
    CLI::App app{
        "kv_demo: crashes a kv server under load, and checks that no acknowledged write is lost"};
    kv::demo_options wanted;
    std::string where = "both";
    wanted.seed = std::random_device{}();
    app.add_option("--seconds", wanted.seconds, "how long at least")->capture_default_str();
    app.add_option("--seconds-max", wanted.seconds_max, "give up after")->capture_default_str();
    app.add_option("--writes", wanted.writes, "acknowledged writes at least")
        ->capture_default_str();
    app.add_option("--crashes", wanted.crashes, "crashes at least")->capture_default_str();
    app.add_option("--deaths", wanted.deaths, "deaths of OS processes at least, if isolated")
        ->capture_default_str();
    app.add_option("--isolation", where, "in-program, os-process, or both, one after the other")
        ->check(CLI::IsMember({"in-program", "os-process", "both"}))
        ->capture_default_str();
    app.add_option("--clients", wanted.clients, "verifying clients")->capture_default_str();
    app.add_option("--benchmark-requests", wanted.benchmark_requests,
                   "requests of each redis-benchmark test; a multiple of 16")
        ->capture_default_str();
    app.add_option("--pause-us", wanted.pause_us, "between a recovery and the next crash")
        ->capture_default_str();
    app.add_option("--seed", wanted.seed, "of what is random");
    CLI11_PARSE(app, argc, argv);
    // Crashes are what this is about: a thousand warnings and backtraces tell nothing more.
    spdlog::set_level(spdlog::level::critical);
    std::vector<kv::isolation> all;
    if (where != "os-process") all.push_back(kv::isolation::in_program);
    if (where != "in-program") all.push_back(kv::isolation::os_process);
    return kv::run_demos(wanted, all);
  } catch (const std::exception& error) {
    fmt::print(stderr, "kv_demo: {}\n", error.what());
    return 2;
  }
}
