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
#include <map>
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

#include "chaos.hpp"
#include "kv_server.hpp"
#include "redis_benchmark.hpp"
#include "tcp_client.hpp"
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
  unsigned clients = 4;
  std::uint64_t benchmark_requests = 20'000;
  std::uint64_t pause_us = 5000;
  std::uint64_t seed = 0;
};

/// The first thing that went wrong in any thread; later ones are its consequences.
class first_failure {
 public:
  void set(std::string text) {
    const std::lock_guard lock(mutex_);
    if (text_.empty()) text_ = std::move(text);
  }
  [[nodiscard]] std::string get() const {
    const std::lock_guard lock(mutex_);
    return text_;
  }

 private:
  mutable std::mutex mutex_;
  std::string text_;  // guarded by mutex_
};

/// One verifying client: its own connection, thread and keys.
class verifying_client {
 public:
  verifying_client(std::uint16_t port, unsigned index, std::uint64_t seed, first_failure& failure)
      : verifier_({.prefix = fmt::format("verify:{}:", index),
                   .seed = seed + index,
                   .crashes_per_10000 = 5}),
        random_(seed + index),
        port_(port),
        failure_(failure) {}

  void start() {
    thread_ = std::thread([this] {
      run();
      finished_ = true;
    });
  }
  void stop_writing() { stopping_ = true; }
  [[nodiscard]] bool finished() const { return finished_; }
  void join() {
    if (thread_.joinable()) thread_.join();
  }
  /// REQUIRES: join() was called; call it again afterwards.
  void start_read_back() {
    thread_ = std::thread([this] { guarded([this] { verifier_.read_back(transport()); }); });
  }

  // ORDER: relaxed; counts for the live line. The final ones are read after join().
  [[nodiscard]] std::uint64_t acknowledged() const {
    return acknowledged_.load(std::memory_order_relaxed);
  }
  [[nodiscard]] std::uint64_t crashed() const { return crashed_.load(std::memory_order_relaxed); }
  /// REQUIRES: join() was called.
  [[nodiscard]] const findings& found() const { return verifier_.found(); }

 private:
  void run() {
    guarded([this] {
      while (!stopping_) {
        // From one command a time to deep pipelines, as clients are.
        verifier_.write(1 + random_() % 64, transport());
        acknowledged_.store(found().acknowledged, std::memory_order_relaxed);
        crashed_.store(found().crashed, std::memory_order_relaxed);
      }
    });
  }

  template <typename Fn>
  void guarded(Fn fn) {
    try {
      if (!client_) client_ = std::make_unique<tcp_client>(port_);
      fn();
    } catch (const std::exception& error) {
      failure_.set(fmt::format("a verifying client failed: {}", error.what()));
    }
  }

  verifier::transport transport() {
    return [this](std::span<const words> commands) { return client_->pipeline(commands); };
  }

  verifier verifier_;
  std::mt19937_64 random_;
  std::uint16_t port_;
  first_failure& failure_;
  std::unique_ptr<tcp_client> client_;
  std::atomic<bool> stopping_{false};
  std::atomic<bool> finished_{false};
  std::atomic<std::uint64_t> acknowledged_{0};
  std::atomic<std::uint64_t> crashed_{0};
  std::thread thread_;
};

/// Runs redis-benchmark, round after round, and knows what its acknowledged writes add up to: it
/// ends with an error at the first error reply, so what it reports was all acknowledged.
class benchmark_loop {
 public:
  benchmark_loop(std::uint16_t port, std::uint64_t requests, first_failure& failure)
      : port_(port), requests_(requests), failure_(failure) {}

  void start() {
    thread_ = std::thread([this] {
      run();
      finished_ = true;
    });
  }
  /// After the round under way.
  void stop() { stopping_ = true; }
  /// In the middle of it.
  void break_off() {
    interrupted_ = true;
    stop();
    ender_.end();
  }
  [[nodiscard]] bool finished() const { return finished_; }
  void join() {
    if (thread_.joinable()) thread_.join();
  }

  /// Compares its counter and its list with what was acknowledged. REQUIRES: join() was called.
  void check(findings& found) const {
    if (broken_off_) return;  // what its last round wrote is not known
    tcp_client client(port_);
    compare(client.command({"GET", "counter:__rand_int__"}), increments_, "INCR", found);
    compare(client.command({"LLEN", "mylist"}), list_length_, "LPUSH/RPUSH/LPOP/RPOP", found);
  }

  [[nodiscard]] std::uint64_t acknowledged() const {
    return acknowledged_.load(std::memory_order_relaxed);
  }
  /// REQUIRES: join() was called.
  [[nodiscard]] const std::map<std::string, double>& best_rates() const { return best_rates_; }
  [[nodiscard]] unsigned rounds() const { return rounds_; }

 private:
  void run() {
    while (!stopping_ && failure_.get().empty()) {
      // Without pipelining a round takes many times longer: fewer requests, then.
      const bool pipelined = rounds_ % 2 == 0;
      const unsigned pipeline = pipelined ? 16 : 1;
      const std::uint64_t requests = pipelined ? requests_ : requests_ / 5;
      // The same key every time: its final value is known exactly. The first round leaves elements
      // in the list, so that one lost later is missed at the end.
      std::vector<std::string> same_key = {"incr", "lpush", "rpush", "lpop"};
      if (rounds_ > 0) same_key.emplace_back("rpop");
      if (!run_round(same_key, requests, pipeline, 0)) return;
      increments_ += requests;
      if (rounds_ == 0) list_length_ += requests;
      constexpr std::uint64_t random_keys = 100'000;
      if (!run_round({"set", "get", "sadd", "hset", "spop", "zadd", "zpopmin", "mset"}, requests,
                     pipeline, random_keys)) {
        return;
      }
      ++rounds_;
    }
  }

  bool run_round(const std::vector<std::string>& tests, std::uint64_t requests, unsigned pipeline,
                 std::uint64_t keys) {
    const auto lines = run_redis_benchmark({.port = port_,
                                            .tests = tests,
                                            .requests = requests,
                                            .clients = 20,
                                            .pipeline = pipeline,
                                            .random_keys = keys},
                                           &ender_);
    if (!lines) {
      broken_off_ = true;
      if (!interrupted_) failure_.set(lines.error());
      return false;
    }
    for (const benchmark_line& line : *lines) {
      double& best = best_rates_[line.test];
      best = std::max(best, line.requests_per_second);
    }
    const auto reads = std::ranges::count(tests, "get");
    const std::uint64_t writes = tests.size() - static_cast<std::uint64_t>(reads);
    acknowledged_.fetch_add(writes * requests, std::memory_order_relaxed);
    return true;
  }

  static void compare(const reply& answer, std::uint64_t wanted, std::string_view what,
                      findings& found) {
    const std::int64_t there = answer.type == reply::kind::integer
                                   ? answer.number
                                   : parse_integer(answer.text).value_or(0);
    const std::int64_t difference = there - static_cast<std::int64_t>(wanted);
    if (difference == 0) return;
    (difference < 0 ? found.lost : found.duplicated) +=
        static_cast<std::uint64_t>(std::abs(difference));
    found.note(
        fmt::format("redis-benchmark's {}: {} is there, {} was acknowledged", what, there, wanted));
  }

  std::uint16_t port_;
  std::uint64_t requests_;
  first_failure& failure_;
  std::atomic<bool> stopping_{false};
  std::atomic<bool> interrupted_{false};
  std::atomic<bool> finished_{false};
  std::atomic<std::uint64_t> acknowledged_{0};
  child_ender ender_;
  std::thread thread_;

  // owned by the thread until join()
  std::uint64_t increments_ = 0;
  std::uint64_t list_length_ = 0;
  unsigned rounds_ = 0;
  bool broken_off_ = false;
  std::map<std::string, double> best_rates_;
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
  explicit demo(const demo_options& wanted)
      : options_(wanted), terminal_(isatty(STDOUT_FILENO) == 1) {}
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
  [[nodiscard]] bool everybody_finished() const;
  [[nodiscard]] std::uint64_t acknowledged() const;
  [[nodiscard]] std::uint64_t crashes() const;
  [[nodiscard]] std::uint64_t client_crashes() const;
  [[nodiscard]] bool targets_reached() const {
    return acknowledged() >= options_.writes && crashes() >= options_.crashes;
  }

  demo_options options_;
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
  if (const auto found = find_redis_benchmark(); !found) {
    fmt::print(stderr, "kv_demo: {}\n", found.error());
    return 2;
  }
  auto data = peeper::start<kv_server>(runtime_, server_options(), statistics_);
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
      "kv_demo: a Redis-protocol server on 127.0.0.1:{}, under redis-benchmark and {} verifying "
      "clients, is crashed again and again for {} s (seed {}); then every acknowledged write is "
      "looked for.\n",
      server_->port(), options_.clients, options_.seconds, options_.seed);
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
                            .seed = options_.seed});
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

std::uint64_t demo::crashes() const {
  std::uint64_t sum = client_crashes();
  for (const std::uint64_t of_kind : chaos_->crashes()) sum += of_kind;
  return sum;
}

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
  const std::chrono::duration<double> reading = steady_clock::now() - reading_since;
  const auto recoveries = chaos_->recoveries_us();
  const std::uint64_t requests = statistics_->commands.load(std::memory_order_relaxed);
  const auto row = [](std::string_view name, const std::string& value) {
    fmt::print("  {:<44}{:>14}\n", name, value);
  };
  fmt::print("\n");
  row("requests answered", grouped(requests));
  row("writes acknowledged", grouped(acknowledged()));
  row("  of them to verifying clients", grouped(found.acknowledged));
  row(fmt::format("  of them to redis-benchmark ({} rounds)", benchmark_->rounds()),
      grouped(benchmark_->acknowledged()));
  row("crashes", grouped(crashes()));
  row("  exceptions in clients' commands, half-way", grouped(client_crashes()));
  for (std::size_t i = 0; i < crash_kinds; ++i) {
    row(fmt::format("  {}", to_string(static_cast<crash_kind>(i))), grouped(chaos_->crashes()[i]));
  }
  if (const auto counted = peeper::statistics_of(data_)) {
    row("  crashes of the worker, as the runtime counts", grouped(counted->crashes));
  }
  row("runs rolled back and sent again",
      grouped(statistics_->batches_retried.load(std::memory_order_relaxed)));
  row("writes lost", grouped(found.lost));
  row("writes duplicated, or not rolled back", grouped(found.duplicated));
  row("replies that contradict earlier ones", grouped(found.wrong_replies));
  row("everything read back and compared in", fmt::format("{:.1f} s", reading.count()));
  row("crash to next answer, median", fmt::format("{} us", percentile(recoveries, 0.5)));
  row("crash to next answer, 99 of 100", fmt::format("{} us", percentile(recoveries, 0.99)));
  row("crash to next answer, longest", fmt::format("{} us", percentile(recoveries, 1.0)));
  const auto answers = chaos_->answers_us();
  row("an answer without a crash, median", fmt::format("{} us", percentile(answers, 0.5)));
  row("an answer without a crash, 99 of 100", fmt::format("{} us", percentile(answers, 0.99)));
  fmt::print("\n  redis-benchmark's best round, requests/s, while crashing:\n");
  for (const auto& [test, rate] : benchmark_->best_rates()) {
    row("    " + test, grouped(static_cast<std::uint64_t>(rate)));
  }
  fmt::print("\n");
  for (const std::string& example : found.examples) fmt::print("  WRONG: {}\n", example);
  if (!failure_.get().empty()) fmt::print("  FAILED: {}\n", failure_.get());
  if (failure_.get().empty() && !targets_reached() && signal_ == 0) {
    fmt::print("  FAILED: not {} acknowledged writes and {} crashes within {} s\n",
               grouped(options_.writes), grouped(options_.crashes), options_.seconds_max);
  }
  fmt::print(
      "demo: requests={} acknowledged={} crashes={} lost={} duplicated={} recovery_p50_us={} "
      "recovery_p99_us={}\n",
      requests, acknowledged(), crashes(), found.lost, found.duplicated,
      percentile(recoveries, 0.5), percentile(recoveries, 0.99));
  std::fflush(stdout);
  if (!failure_.get().empty() || !found.clean()) return 1;
  if (signal_ != 0) return 128 + signal_;  // as a shell tells of it
  return targets_reached() ? 0 : 1;
}

}  // namespace
}  // namespace kv

int main(int argc, char** argv) {
  try {
    CLI::App app{
        "kv_demo: crashes a kv server under load, and checks that no acknowledged write is lost"};
    kv::demo_options wanted;
    wanted.seed = std::random_device{}();
    app.add_option("--seconds", wanted.seconds, "how long at least")->capture_default_str();
    app.add_option("--seconds-max", wanted.seconds_max, "give up after")->capture_default_str();
    app.add_option("--writes", wanted.writes, "acknowledged writes at least")
        ->capture_default_str();
    app.add_option("--crashes", wanted.crashes, "crashes at least")->capture_default_str();
    app.add_option("--clients", wanted.clients, "verifying clients")->capture_default_str();
    app.add_option("--benchmark-requests", wanted.benchmark_requests,
                   "requests of each redis-benchmark test; a multiple of 16")
        ->capture_default_str();
    app.add_option("--pause-us", wanted.pause_us, "between a recovery and the next crash")
        ->capture_default_str();
    app.add_option("--seed", wanted.seed, "of what is random");
    CLI11_PARSE(app, argc, argv);
    // Crashes are what this is about: a thousand warnings that there was one tell nothing more.
    spdlog::set_level(spdlog::level::err);
    const sigset_t signals = kv::ending_signals();  // before there are other threads
    pthread_sigmask(SIG_BLOCK, &signals, nullptr);
    return kv::demo(wanted).run();
  } catch (const std::exception& error) {
    fmt::print(stderr, "kv_demo: {}\n", error.what());
    return 2;
  }
}
