// SPDX-License-Identifier: Apache-2.0
/// \file
/// What is the same for us and for every peer: how much work, with which checks, and how it is
/// measured. Only how a server is written differs.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <semaphore>
#include <thread>
#include <tuple>
#include <vector>

#include <malloc.h>
#include <unistd.h>

#include "bench.hpp"

namespace bench {

using namespace std::chrono_literals;

constexpr std::chrono::seconds call_limit{5};  ///< the deadline of every call
constexpr std::int64_t committed = 42;         ///< the state that a crash must not change
constexpr auto computing = 20ms;               ///< what a caller does after it has sent

/// Tells a waiting thread that a server has counted to `at`, without sending it anything.
struct finish_line {
  std::int64_t at = 0;
  std::binary_semaphore reached{0};
  void passed(std::int64_t n) {
    if (n == at) reached.release();
  }
  void wait() { require(reached.try_acquire_for(60s), "all messages are handled within a minute"); }
};

inline void spin_for(std::chrono::nanoseconds length) {
  const auto end = clock::now() + length;
  while (clock::now() < end) {
  }
}

/// Resident memory of this process.
[[nodiscard]] inline double resident_bytes() {
  std::ifstream statm{"/proc/self/statm"};
  double pages = 0;
  double resident = 0;
  statm >> pages >> resident;
  return resident * static_cast<double>(sysconf(_SC_PAGESIZE));
}

// Each takes the peer's operations as functions; `call` gives the number after adding one.

template <class Call>
void foreign_calls(report& r, std::size_t n, Call call, const target& p50 = {}) {
  std::int64_t expected = 0;
  auto times =
      ns_one_by_one(scaled(n), [&] { require(call() == ++expected, "calls are handled once"); });
  r.row("p50", "ns", percentile(times, 0.5), p50);
  r.row("p99", "ns", percentile(times, 0.99));
}

template <class Call>
void foreign_calls_after_pause(report& r, Call call, const target& p50 = {}) {
  std::vector<double> times;
  std::int64_t expected = 0;
  for (std::size_t i = 0; i < scaled(30) + 1; ++i) {
    std::this_thread::sleep_for(20ms);
    const auto begin = clock::now();
    const std::int64_t got = call();
    times.push_back(ns_since(begin));
    require(got == ++expected, "calls are handled once");
  }
  r.row("p50", "ns", percentile(times, 0.5), p50);
  r.row("p99", "ns", percentile(times, 0.99));
}

/// `make_call()` is run on each client's thread and makes that client's `call`.
template <class MakeCall>
void foreign_calls_to_busy(report& r, MakeCall make_call) {
  std::atomic<bool> enough{false};
  std::int64_t of_the_other = 0;
  std::counting_semaphore<> at_work{0};
  std::thread other{[&] {
    auto call = make_call();
    do {
      std::ignore = call();
      if (of_the_other++ == 0) at_work.release();
    } while (!enough.load(std::memory_order_relaxed));
  }};
  at_work.acquire();
  auto call = make_call();
  std::int64_t last = 0;
  auto times = ns_one_by_one(scaled(100'000), [&] { last = call(); });
  const auto mine = static_cast<std::int64_t>(times.size());
  enough = true;
  other.join();
  require(last >= mine && call() == mine + of_the_other + 1, "calls are handled once");
  r.row("p50", "ns", percentile(times, 0.5), no_slower_than_best_peer());
  r.row("p99", "ns", percentile(times, 0.99), no_slower_than_best_peer());
}

/// `cast()` adds one; the server passes `line`.
template <class Cast>
void casts_from_threads(report& r, finish_line& line, std::size_t senders, std::size_t each,
                        Cast cast) {
  const auto begin = clock::now();
  std::vector<std::thread> threads;
  for (std::size_t s = 0; s < senders; ++s) {
    threads.emplace_back([&] {
      for (std::size_t i = 0; i < each; ++i) cast();
    });
  }
  line.wait();
  const double ns = ns_since(begin) / static_cast<double>(each * senders);
  for (std::thread& t : threads) t.join();
  r.row("M/s", millions_a_second(ns), times_best_peer(2, 25));
}

/// `spawn(i)` starts server i with state i; `ask(i)` gives it back.
template <class Spawn, class Ask>
void spawned(report& r, std::size_t n, Spawn spawn, Ask ask) {
  const auto count = static_cast<double>(n);
  // Memory that earlier benchmarks have given back must not hide what this one takes.
  malloc_trim(0);
  const double before = resident_bytes();
  auto begin = clock::now();
  for (std::size_t i = 0; i < n; ++i) spawn(i);
  const double time = ns_since(begin) / count;
  const double bytes = (resident_bytes() - before) / count;
  begin = clock::now();
  for (std::size_t i = 0; i < n; ++i) {
    require(ask(i) == static_cast<std::int64_t>(i), "each server has its own state");
  }
  r.row("time of each", "ns", time, at_most(400));
  r.row("memory of each", "bytes", bytes, at_most(500));
  r.row("first answer of each", "ns", ns_since(begin) / count);
}

/// `fail_and_ask()` makes a handler throw, sees that it did, and gives the next answer.
template <class FailAndAsk>
std::size_t crashes(report& r, std::size_t n, FailAndAsk fail_and_ask, const target& p50 = {}) {
  auto times = ns_one_by_one(scaled(n), [&] {
    require(fail_and_ask() == committed, "the next answer is that of a sane server");
  });
  r.row("p50", "ns", percentile(times, 0.5), p50);
  r.row("p99", "ns", percentile(times, 0.99));
  return times.size();
}

/// `send()` makes a server ask another, which stores in `waited` how old the stamp was, and then
/// compute for 20 ms; it returns when both are done.
template <class Send>
void picked_up(report& r, std::atomic<std::int64_t>& waited, Send send) {
  std::vector<double> times;
  for (std::size_t i = 0; i < scaled(25) + 2; ++i) {
    waited = -1;
    send();
    require(waited.load() >= 0, "the call was handled");
    times.push_back(static_cast<double>(waited.load()));
    std::this_thread::sleep_for(1ms);
  }
  r.row("p50", "ns", percentile(times, 0.5), at_most(50'000));
}

constexpr std::size_t busy_servers = 100;
constexpr auto busy_callback = 50us;

/// `tell()` sends a stamp to the quiet server, which stores in `waited` how old it was.
template <class Tell>
void quiet_beside_busy(report& r, std::atomic<std::int64_t>& waited, Tell tell) {
  std::vector<double> times;
  const auto end = clock::now() + 1s;
  const std::size_t most = scaled(300) + 1;
  while (times.size() < most && (clock::now() < end || times.empty())) {
    waited = -1;
    tell();
    const auto give_up = clock::now() + 30s;
    while (waited.load() < 0 && clock::now() < give_up) std::this_thread::sleep_for(200us);
    require(waited.load() >= 0, "the quiet server got its message");
    times.push_back(static_cast<double>(waited.load()));
    std::this_thread::sleep_for(500us);
  }
  const double callback = static_cast<double>(std::chrono::nanoseconds{busy_callback}.count());
  r.row("p99", "callbacks", percentile(times, 0.99) / callback, at_most(10));
  r.row("p50", "callbacks", percentile(times, 0.5) / callback);
}

/// Times that the threads of this process (but for the calling one) went to sleep.
[[nodiscard]] std::int64_t sleeps_of_other_threads();
/// The processor time they took.
[[nodiscard]] double cpu_ns_of_other_threads();

/// REQUIRES: everything is started and has answered.
inline void idle_for_a_second(report& r) {
  std::this_thread::sleep_for(200ms);  // whatever spins or winds down may finish
  const auto sleeps = sleeps_of_other_threads();
  const double cpu = cpu_ns_of_other_threads();
  const auto begin = clock::now();
  std::this_thread::sleep_for(short_run() ? 10ms : 1000ms);
  const double seconds = ns_since(begin) / 1e9;
  r.row("wake-ups", "wakes/s", static_cast<double>(sleeps_of_other_threads() - sleeps) / seconds,
        at_most(0));
  // No time at all: reading the clocks takes some itself.
  r.row("CPU time", "us/second", (cpu_ns_of_other_threads() - cpu) / 1000 / seconds, at_most(1));
}

/// `hold()` makes the server wait until `let_go`; `cast()` adds one; the server passes `line`.
template <class Hold, class Cast, class LetGo>
void memory_after_burst(report& r, finish_line& line, std::size_t n, Hold hold, Cast cast,
                        LetGo let_go) {
  constexpr double mb = 1e6;
  malloc_trim(0);
  const double before = resident_bytes();
  hold();
  for (std::size_t i = 0; i < n; ++i) cast();
  const double peak = resident_bytes();
  let_go();
  line.wait();
  std::this_thread::sleep_for(100ms);  // what gives memory back later may do so
  r.row("while they wait", "MB", (peak - before) / mb);
  r.row("when all are handled", "MB", (resident_bytes() - before) / mb);
}

}  // namespace bench
