// SPDX-License-Identifier: Apache-2.0
//
// Round trips: from foreign threads and between servers, to idle and to busy ones. The default
// deadline of 5 s is armed everywhere, the state is kept everywhere.
#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "servers.hpp"
#include "workload.hpp"

namespace {

using namespace std::chrono_literals;
using bench::report;

void foreign_to_idle(report& r) {
  peeper::runtime rt;
  const auto c = bench::started<bench::counter>(rt);
  bench::foreign_calls(
      r, 500'000, [&] { return bench::answer(c, bench::add_and_get{}); }, bench::at_most(500));
}

/// Without the clock readings of the row above.
void foreign_mean(report& r) {
  peeper::runtime rt;
  const auto c = bench::started<bench::counter>(rt);
  std::int64_t expected = 0;
  r.row("ns", bench::ns_each(bench::scaled(500'000), [&] {
          bench::require(bench::answer(c, bench::add_and_get{}) == ++expected,
                         "calls are handled once");
        }));
}

void foreign_read(report& r) {
  peeper::runtime rt;
  const auto c = bench::started<bench::counter>(rt, {.state = 7});
  r.row("ns", bench::ns_each(bench::scaled(500'000), [&] {
          bench::require(bench::answer(c, bench::get{}) == 7, "the state is read");
        }));
}

void foreign_after_pause(report& r) {
  peeper::runtime rt;
  const auto c = bench::started<bench::counter>(rt);
  bench::foreign_calls_after_pause(
      r, [&] { return bench::answer(c, bench::add_and_get{}); }, bench::at_most(1000));
}

/// Where callers must not run callbacks: to a pool thread and back.
void foreign_through_pool(report& r) {
  peeper::runtime rt;
  const auto c = bench::started<bench::counter>(rt, {.run_on_caller = false});
  bench::foreign_calls(r, 20'000, [&] { return bench::answer(c, bench::add_and_get{}); });
}

void foreign_to_busy(report& r) {
  peeper::runtime rt;
  const auto c = bench::started<bench::counter>(rt);
  bench::foreign_calls_to_busy(
      r, [&] { return [&] { return bench::answer(c, bench::add_and_get{}); }; });
}

/// Calls `target` from inside a callback; `done` is answered when it is over.
struct drive {
  std::size_t calls;
};
struct caller {
  struct state {
    std::int64_t handled = 0;
  };
  explicit caller(peeper::ref<bench::counter> target) : target_{std::move(target)} {}
  void handle_cast(const drive& m, state& s) {
    for (std::size_t i = 0; i < m.calls; ++i) {
      std::ignore = bench::answer(target_, bench::add_and_get{});
      ++s.handled;
    }
  }
  std::int64_t handle_call(bench::get /*m*/, const state& s) { return s.handled; }

 private:
  peeper::ref<bench::counter> target_;
};

void server_to_server(report& r, unsigned threads) {
  peeper::runtime rt{{.threads = threads}};
  const auto target = bench::started<bench::counter>(rt);
  auto driver = peeper::start<caller>(rt, {}, target);
  bench::require(driver.has_value(), "the driver started");
  const std::size_t n = bench::scaled(500'000);
  const auto begin = bench::clock::now();
  driver->cast(drive{n});  // a cast: it runs on a pool thread
  const auto handled = driver->call(bench::get{}, 60s);
  const double ns = bench::ns_since(begin) / static_cast<double>(n);
  bench::require(handled == static_cast<std::int64_t>(n) &&
                     bench::answer(target, bench::get{}) == static_cast<std::int64_t>(n),
                 "calls are handled once");
  r.row("M/s", bench::millions_a_second(ns),
        bench::times_best_peer(3, threads == 1 ? std::optional{10.0} : std::nullopt));
}
void server_to_server_1(report& r) { server_to_server(r, 1); }
void server_to_server_2(report& r) { server_to_server(r, 2); }

/// 64 requests under way at a time.
void ask_window(report& r) {
  peeper::runtime rt;
  const auto c = bench::started<bench::counter>(rt);
  constexpr std::size_t window = 64;
  std::vector<peeper::pending<std::int64_t>> asked;
  std::int64_t expected = 0;
  const std::size_t rounds = bench::scaled(5'000);
  const double ns = bench::ns_each(rounds, [&] {
    for (std::size_t i = 0; i < window; ++i) asked.push_back(c.ask(bench::add_and_get{}));
    for (auto& p : asked) {
      bench::require(p.get() == ++expected, "answers come in order");
    }
    asked.clear();
  });
  r.row("ns", ns / static_cast<double>(window));
}

struct drive_awaiting {
  using reply = std::int64_t;
  std::size_t calls;
};
/// A coroutine handler: it waits without a thread.
struct awaiting_caller {
  struct state {
    std::int64_t handled = 0;
  };
  explicit awaiting_caller(peeper::ref<bench::counter> target) : target_{std::move(target)} {}
  peeper::task<std::int64_t> handle_call(drive_awaiting m, state& s) {
    for (std::size_t i = 0; i < m.calls; ++i) {
      const auto reply = co_await target_.ask(bench::add_and_get{});
      bench::require(reply.has_value(), "the call was answered");
      s.handled += 1;
    }
    co_return s.handled;
  }

 private:
  peeper::ref<bench::counter> target_;
};

void coroutine_calls(report& r) {
  peeper::runtime rt{{.threads = 1}};
  const auto target = bench::started<bench::counter>(rt);
  auto driver = peeper::start<awaiting_caller>(rt, {}, target);
  bench::require(driver.has_value(), "the driver started");
  const std::size_t n = bench::scaled(100'000);
  const auto begin = bench::clock::now();
  const auto handled = driver->call(drive_awaiting{n}, 60s);
  const double ns = bench::ns_since(begin) / static_cast<double>(n);
  bench::require(handled == static_cast<std::int64_t>(n), "every call was awaited");
  bench::require(bench::answer(target, bench::get{}) == static_cast<std::int64_t>(n),
                 "calls are handled once");
  r.row("ns", ns);
}

struct start_coroutine {
  using reply = std::int64_t;
};
struct coroutine_server {
  using state = std::int64_t;
  peeper::task<std::int64_t> handle_call(start_coroutine /*m*/, state& n) { co_return ++n; }
};
/// A coroutine handler that never waits: what being one costs.
void coroutine_handler(report& r) {
  peeper::runtime rt;
  const auto c = bench::started<coroutine_server>(rt);
  std::int64_t expected = 0;
  r.row("ns", bench::ns_each(bench::scaled(100'000), [&] {
          bench::require(bench::answer(c, start_coroutine{}) == ++expected,
                         "calls are handled once");
        }));
}

[[maybe_unused]] const bool added[] = {
    bench::add("call/foreign thread to idle server", foreign_to_idle),
    bench::add("call/foreign thread to idle server, mean", foreign_mean),
    bench::add("call/foreign thread to idle server, const handler", foreign_read),
    bench::add("call/foreign thread to idle server after 20 ms", foreign_after_pause),
    bench::add("call/foreign thread through the pool", foreign_through_pool),
    bench::add("call/foreign thread to busy server", foreign_to_busy),
    bench::add("call/server to server, 1 thread", server_to_server_1),
    bench::add("call/server to server, 2 threads", server_to_server_2),
    bench::add("call/ask, 64 under way", ask_window),
    bench::add("call/awaited in a coroutine, 1 thread", coroutine_calls),
    bench::add("call/coroutine handler that does not wait", coroutine_handler),
};

}  // namespace
