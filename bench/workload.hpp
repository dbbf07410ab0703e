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

/// The time of one, from the first cast to the last one's callback. `cast()` adds one; the server
/// passes `line`.
template <class Cast>
double ns_of_casts(finish_line& line, std::size_t senders, std::size_t each, Cast cast) {
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
  return ns;
}

inline void report_casts(report& r, double ns_each_cast) {
  r.row("M/s", millions_a_second(ns_each_cast), times_best_peer(2, 25));
}

/// `casts(senders, each)` does them and gives the time of one.
template <class Casts>
void producers_curve(report& r, Casts casts) {
  for (std::size_t senders = 1; senders <= 64; senders *= 2) {
    const double ns = casts(senders, scaled(200'000) / senders + 1);
    r.point("casts", static_cast<double>(senders), "M/s", millions_a_second(ns));
  }
}

struct spawn_figures {
  double ns;
  double bytes;
  double answer_ns;
};

/// Each of `n`. `spawn(i)` starts server i with state i; `ask(i)` gives it back.
template <class Spawn, class Ask>
spawn_figures figures_of_spawning(std::size_t n, Spawn spawn, Ask ask) {
  const auto count = static_cast<double>(n);
  // Memory that earlier benchmarks have given back must not hide what this one takes.
  malloc_trim(0);
  const double before = resident_bytes();
  auto begin = clock::now();
  for (std::size_t i = 0; i < n; ++i) spawn(i);
  spawn_figures f{.ns = ns_since(begin) / count, .bytes = 0, .answer_ns = 0};
  f.bytes = (resident_bytes() - before) / count;
  begin = clock::now();
  for (std::size_t i = 0; i < n; ++i) {
    require(ask(i) == static_cast<std::int64_t>(i), "each server has its own state");
  }
  f.answer_ns = ns_since(begin) / count;
  return f;
}

inline void report_spawning(report& r, const spawn_figures& f) {
  r.row("time of each", "ns", f.ns, at_most(400));
  r.row("memory of each", "bytes", f.bytes, at_most(500));
  r.row("first answer of each", "ns", f.answer_ns);
}

/// What lasts too short to be measured once is measured some times.
[[nodiscard]] inline int turns_for(std::size_t n) { return n <= 1'000 && !short_run() ? 9 : 1; }

/// `spawned(n)` gives the figures of n servers.
template <class Spawned>
void spawn_curve(report& r, std::size_t most, Spawned spawned) {
  for (std::size_t n = 1; n <= scaled(most); n *= 10) {
    std::vector<double> ns;
    std::vector<double> answers;
    double bytes = 0;
    for (int turn = 0; turn < turns_for(n); ++turn) {
      const spawn_figures f = spawned(n);
      ns.push_back(f.ns);
      answers.push_back(f.answer_ns);
      bytes = f.bytes;
    }
    const auto x = static_cast<double>(n);
    r.point("time of each", x, "ns", percentile(ns, 0.5));
    r.point("first answer of each", x, "ns", percentile(answers, 0.5));
    // Memory is counted in pages.
    if (n >= 10'000) r.point("memory of each", x, "bytes", bytes);
  }
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
  // No time at all: reading the clocks takes some itself, which may make it negative.
  const double us = (cpu_ns_of_other_threads() - cpu) / 1000 / seconds;
  r.row("CPU time", "us/second", std::max(us, 0.0), at_most(1));
}

struct burst_figures {
  double peak_bytes;     ///< while all wait
  double after_bytes;    ///< when all are handled
  double ns_of_each;     ///< to handle
  double ns_of_sending;  ///< to queue
};

/// `hold()` makes the server wait until `let_go`; `cast()` adds one; the server passes `line`.
template <class Hold, class Cast, class LetGo>
burst_figures figures_of_burst(finish_line& line, std::size_t n, Hold hold, Cast cast,
                               LetGo let_go) {
  malloc_trim(0);
  burst_figures f{};
  const double before = resident_bytes();
  hold();
  auto begin = clock::now();
  for (std::size_t i = 0; i < n; ++i) cast();
  f.ns_of_sending = ns_since(begin) / static_cast<double>(n);
  f.peak_bytes = resident_bytes() - before;
  begin = clock::now();
  let_go();
  line.wait();
  f.ns_of_each = ns_since(begin) / static_cast<double>(n);
  std::this_thread::sleep_for(n < 10'000 ? 1ms : 100ms);  // what gives memory back later may do so
  f.after_bytes = resident_bytes() - before;
  return f;
}

inline void report_burst(report& r, const burst_figures& f) {
  constexpr double mb = 1e6;
  r.row("while they wait", "MB", f.peak_bytes / mb);
  r.row("when all are handled", "MB", f.after_bytes / mb);
}

/// `burst_of(n)` gives the figures of n messages.
template <class BurstOf>
void burst_curve(report& r, BurstOf burst_of) {
  for (std::size_t n = 1; n <= scaled(1'000'000); n *= 10) {
    std::vector<double> handling;
    std::vector<double> sending;
    burst_figures f{};
    for (int turn = 0; turn < turns_for(n); ++turn) {
      f = burst_of(n);
      handling.push_back(f.ns_of_each);
      sending.push_back(f.ns_of_sending);
    }
    const auto x = static_cast<double>(n);
    r.point("time to handle each", x, "ns", percentile(handling, 0.5));
    r.point("time to queue each", x, "ns", percentile(sending, 0.5));
    if (n < 10'000) continue;
    r.point("memory while they wait", x, "MB", f.peak_bytes / 1e6);
    r.point("memory when all are handled", x, "MB", f.after_bytes / 1e6);
  }
}

}  // namespace bench
