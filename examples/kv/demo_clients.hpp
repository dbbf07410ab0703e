// SPDX-License-Identifier: Apache-2.0
/// The clients of kv_demo: verifiers with a connection and a thread each, and redis-benchmark again
/// and again.
///
/// THREADS: start(), stop...() and join() by one; the counts of what was acknowledged by any.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "redis_benchmark.hpp"
#include "tcp_client.hpp"
#include "verifier.hpp"

namespace kv {

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

}  // namespace kv
