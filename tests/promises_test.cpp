// SPDX-License-Identifier: Apache-2.0
/// \file
/// The promises of the library, P1 to P8, one suite each. What they mean in detail is tested beside
/// the code (src/server), over random runs in chaos_model_test, and on real threads in
/// real_chaos_test.
#include <algorithm>
#include <chrono>
#include <functional>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include <peeper/peeper.hpp>
#include <peeper/sim.hpp>

#include "support/at_fault_point.hpp"
#include "support/counter.hpp"
#include "support/sim_test.hpp"

namespace peeper::test {
namespace {

using namespace std::chrono_literals;

// --- ways to hurt a server, at a named point
// ------------------------------------------------------

struct way {
  std::string name;
  std::function<void(const detail::branch&)> hurt;
};
void kill_role(const detail::branch& b, process_role role) { kill(b.make_pid(role)); }

const std::vector<way>& ways() {
  static const std::vector<way> all{
      {"worker", [](const auto& b) { kill_role(b, process_role::worker); }},
      {"keeper", [](const auto& b) { kill_role(b, process_role::keeper); }},
      {"worker, then keeper",
       [](const auto& b) {
         kill_role(b, process_role::worker);
         kill_role(b, process_role::keeper);
       }},
      {"keeper, then worker",
       [](const auto& b) {
         kill_role(b, process_role::keeper);
         kill_role(b, process_role::worker);
       }},
      {"supervisor", [](const auto& b) { kill_role(b, process_role::supervisor); }},
      {"all three",
       [](const auto& b) {
         kill_role(b, process_role::supervisor);
         kill_role(b, process_role::keeper);
         kill_role(b, process_role::worker);
       }},
      {"exception", [](const auto&) { throw std::runtime_error{"unlucky"}; }},
  };
  return all;
}

/// Calls, casts and edits a counter, with crashes of its own in between, and knows at each moment
/// what must be in it. REQUIRES: nothing times out.
void use_a_counter(simulation& sim, const ref<counter>& c) {
  int expected = 0;
  for (int i = 1; i <= 6; ++i) {
    const auto told = c.call(add_and_get{i});
    if (told) {
      expected += i;
      ASSERT_EQ(*told, expected) << "P1, P2";
    } else {
      ASSERT_EQ(told.error().code(), call_errc::crashed);
    }
    const auto edited = edit(c, [i](int& n) { n += 100 * i; });
    if (edited) expected += 100 * i;
    ASSERT_EQ(outcome(c.call(crash_call{})), "crashed");
    sim.run();
    // Nothing but this may lose the answer to a question: then it is asked again.
    auto now = c.call(get{});
    while (!now) now = c.call(get{});
    ASSERT_EQ(*now, expected) << "P1: lost, or P2: not undone";
  }
}

void die_everywhere_in_every_way(simulation& sim, runtime& rt) {
  std::set<std::string, std::less<>> hit;
  for (const auto& point : detail::library_fault_points) {
    for (const way& w : ways()) {
      if (w.name == "exception" && !point.may_throw) continue;
      for (const unsigned nth : {1U, 2U, 3U, 5U, 8U}) {
        SCOPED_TRACE(std::string{point.name} + " number " + std::to_string(nth) + ": " + w.name);
        const auto c = start<counter>(rt).value();
        const at_fault_point fault{point.name, nth, w.hurt};
        use_a_counter(sim, c);
        if (testing::Test::HasFailure()) return;
        if (fault.done()) hit.emplace(point.name);
        ASSERT_TRUE(c.alive());
        std::ignore = stop(c);
      }
    }
  }
  std::set<std::string, std::less<>> all;
  for (const auto& point : detail::library_fault_points) all.emplace(point.name);
  EXPECT_EQ(hit, all) << "a point was never reached: nothing is known about it";
  EXPECT_EQ(sim.reached(), all) << "a point of the library is not in its list";
}

TEST(P1_committed_before_replied, HoldsAtEveryFaultPointForEveryWayToDie) {
  under_seeds(&die_everywhere_in_every_way, 3);
}

TEST(P1_committed_before_replied, HoldsForRandomCrashesUnderHundredsOfSeeds) {
  under_seeds(
      [](simulation& sim, runtime& rt) {
        const auto c = start<counter>(rt).value();
        const auto first = c.call(add_and_get{0});
        ASSERT_TRUE(first.has_value());
        sim.crash_randomly(0.15);
        use_a_counter(sim, c);
        sim.crash_randomly(0);
      },
      400);
}

PEEPER_SIM_TEST(P1_committed_before_replied, WhoHoldsAReplyHoldsItWhenAllThreeDieInAnyOrder) {
  const auto c = start<counter>(rt).value();
  int expected = 0;
  for (int round = 0; round < 10; ++round) {
    EXPECT_EQ(c.call(add_and_get{1}), ++expected);
    std::vector<pid> three{worker_of(c), keeper_of(c), supervisor_of(c)};
    while (!three.empty()) {
      const auto next = three.begin() + static_cast<std::ptrdiff_t>(sim.choose(three.size()));
      kill(*next);
      three.erase(next);
      if (sim.choose(2) == 0) sim.run();
    }
    EXPECT_EQ(c.call(get{}), expected);
  }
}

// --- P2
// -------------------------------------------------------------------------------------------

struct note {
  int number = 0;
};
struct sync {
  using reply = int;
};
struct notebook {
  using state = std::vector<int>;
  void handle_cast(const note& m, state& s) { s.push_back(m.number); }
  int handle_call(sync, state& s) {
    s.push_back(100);
    return static_cast<int>(s.size());
  }
};
std::vector<int> notes_in(const ref<notebook>& n) {
  return inspect(n, [](const notebook::state& s) { return s; }).value();
}
struct talk_and_crash {
  ref<notebook> called;
  ref<notebook> not_called;
  bool crash = true;
};
struct talk_slowly_and_crash : talk_and_crash {};
struct talker {
  using state = int;
  void handle_cast(const talk_and_crash& m, state& n) {
    ++n;
    m.called.cast(note{1});
    m.not_called.cast(note{1});
    m.called.cast(note{2});
    EXPECT_EQ(m.called.call(sync{}), 3);
    m.called.cast(note{3});
    if (m.crash) throw std::runtime_error{"unlucky"};
  }
  task<void> handle_cast(const talk_slowly_and_crash& m, state& n) {
    ++n;
    m.called.cast(note{1});
    m.not_called.cast(note{1});
    m.called.cast(note{2});
    const auto size = co_await m.called.ask(sync{});
    EXPECT_EQ(size, 3);
    m.called.cast(note{3});
    if (m.crash) throw std::runtime_error{"unlucky"};
  }
};

PEEPER_SIM_TEST(P2_all_or_nothing, ButAnAwaitedCallHasLeftAndTheCastsBeforeItToThatServer) {
  const auto c = start<talker>(rt).value();
  const auto called = start<notebook>(rt).value();
  const auto not_called = start<notebook>(rt).value();
  c.cast(talk_and_crash{called, not_called});
  sim.run();
  EXPECT_EQ(notes_in(called), (std::vector<int>{1, 2, 100})) << "in order, and nothing after it";
  EXPECT_EQ(notes_in(not_called), (std::vector<int>{})) << "no call to that one";
  EXPECT_EQ(inspect(c, [](int n) { return n; }), 0);
}

PEEPER_SIM_TEST(P2_all_or_nothing, TheSameForACallThatACoroutineAwaits) {
  const auto c = start<talker>(rt).value();
  const auto called = start<notebook>(rt).value();
  const auto not_called = start<notebook>(rt).value();
  c.cast(talk_slowly_and_crash{{called, not_called}});
  sim.run();
  EXPECT_EQ(notes_in(called), (std::vector<int>{1, 2, 100}));
  EXPECT_EQ(notes_in(not_called), (std::vector<int>{}));
  EXPECT_EQ(inspect(c, [](int n) { return n; }), 0);
}

struct talk_and_wait {
  using reply = int;
  ref<notebook> told;
  ref<counter> slow;
};
struct slow_talker {
  using state = int;
  int handle_call(const talk_and_wait& m, state& n) {
    m.told.cast(note{1});
    n = m.slow.call(get{}, infinity).value();
    return n;
  }
};

PEEPER_SIM_TEST(P2_all_or_nothing, WhatACallbackSendsLeavesNotBeforeItsCommit) {
  const auto c = start<slow_talker>(rt).value();
  const auto told = start<notebook>(rt).value();
  const auto slow = start<counter>(rt, {.state = 5}).value();
  ASSERT_TRUE(suspend(slow).has_value());
  auto answer = c.ask(talk_and_wait{told, slow}, infinity);
  sim.run();
  EXPECT_EQ(notes_in(told), (std::vector<int>{})) << "the callback has not committed yet";
  ASSERT_TRUE(resume(slow).has_value());
  EXPECT_EQ(answer.get(), 5);
  EXPECT_EQ(notes_in(told), (std::vector<int>{1}));
}

PEEPER_SIM_TEST(P2_all_or_nothing, AllOfItIfItDoesNotCrash) {
  const auto c = start<talker>(rt).value();
  const auto called = start<notebook>(rt).value();
  const auto not_called = start<notebook>(rt).value();
  c.cast(talk_and_crash{called, not_called, false});
  sim.run();
  EXPECT_EQ(notes_in(called), (std::vector<int>{1, 2, 100, 3}));
  EXPECT_EQ(notes_in(not_called), (std::vector<int>{1}));
}

// --- P3
// -------------------------------------------------------------------------------------------

PEEPER_SIM_TEST(P3_only_the_poison_goes, TheMessagesBehindItStayInOrderAndItsCallerIsToldAtOnce) {
  const auto c = start<counter>(rt, {.state = 1}).value();
  ASSERT_TRUE(suspend(c).has_value());
  auto before = c.ask(add_and_get{1});
  auto poison = c.ask(crash_call{});
  c.cast(crash{});
  auto behind = c.ask(add_and_get{1});
  c.cast(add{10});
  auto last = c.ask(add_and_get{1});
  ASSERT_TRUE(resume(c).has_value());
  const auto told = poison.get();
  ASSERT_FALSE(told.has_value());
  EXPECT_EQ(told.error().code(), call_errc::crashed);
  EXPECT_EQ(told.error().reason().detail(), "unlucky");
  EXPECT_EQ(before.get(), 2);
  EXPECT_EQ(behind.get(), 3);
  EXPECT_EQ(last.get(), 14);
  EXPECT_EQ(list_poison(c).value().size(), 2U);
  EXPECT_EQ(sim.now(), time_point{}) << "nobody had to wait";
}

// --- P4
// -------------------------------------------------------------------------------------------

struct watch {
  ref<counter> server;
  pid worker;
};
struct watcher {
  using state = std::vector<pid>;
  void handle_cast(const watch& m) {
    monitor(m.server);
    monitor(m.worker);
  }
  void handle_info(const down& d, state& s) { s.push_back(d.process); }
};

PEEPER_SIM_TEST(P4_references_last, ARefANameAndAMonitorSurviveEveryRestartTheWorkersOwnDoesNot) {
  const auto c = start<counter>(rt, {.name = "counter"}).value();
  const auto w = start<watcher>(rt).value();
  const pid server = c.pid();
  const pid worker = worker_of(c);
  w.cast(watch{c, worker});
  sim.run();
  for (int i = 0; i < 20; ++i) {
    switch (sim.choose(4)) {
      case 0: kill(worker_of(c)); break;
      case 1: kill(keeper_of(c)); break;
      case 2: kill(supervisor_of(c)); break;
      default: c.cast(crash{});
    }
    sim.run();
    EXPECT_EQ(c.call(get{}), 0);
    EXPECT_EQ(c.pid(), server);
    EXPECT_EQ(whereis<counter>(rt, "counter").value(), c);
  }
  kill(worker_of(c));
  sim.run();
  const auto seen = [&] { return inspect(w, [](const watcher::state& s) { return s; }).value(); };
  EXPECT_EQ(seen(), (std::vector<pid>{worker})) << "the worker's end, and only that";
  std::ignore = stop(c);
  sim.run();
  EXPECT_EQ(seen(), (std::vector<pid>{worker, server}));
}

// --- P5 (on real threads: src/server/kill_test.cpp)
// -----------------------------------------------

PEEPER_SIM_TEST(P5_one_writer, AWorkerThatWasKilledInItsCallbackCommitsNothing) {
  const auto c = start<counter>(rt).value();
  for (int i = 0; i < 5; ++i) {
    sim.kill_at("callback.done");
    const auto told = c.call(add_and_get{1});
    ASSERT_FALSE(told.has_value()) << "a fenced worker has committed";
    EXPECT_EQ(told.error().reason().kind(), exit_kind::killed);
    EXPECT_EQ(c.call(get{}), 0);
  }
}

PEEPER_SIM_TEST(P5_one_writer, AnEditOfAWorkerThatWasKilledCommitsNothing) {
  const auto c = start<counter>(rt).value();
  sim.kill_at("edit.done");
  const auto told = edit(c, [](int& n) { n = 5; });
  ASSERT_FALSE(told.has_value());
  EXPECT_EQ(told.error().reason().kind(), exit_kind::killed);
  EXPECT_EQ(c.call(get{}), 0);
}

// --- P6
// -------------------------------------------------------------------------------------------

struct numbered {
  int sender = 0;
  int number = 0;
};
struct numbered_call {
  using reply = int;
  int sender = 0;
  int number = 0;
};
struct listener {
  using state = std::vector<std::pair<int, int>>;
  void handle_cast(const numbered& m, state& s) { s.emplace_back(m.sender, m.number); }
  void handle_info(const numbered& m, state& s) { s.emplace_back(m.sender, m.number); }
  int handle_call(const numbered_call& m, state& s) {
    s.emplace_back(m.sender, m.number);
    return 0;
  }
};
/// Sends numbered messages in all ways there are.
void send_all_ways(const ref<listener>& to, int sender, int first,
                   const std::function<std::uint64_t(std::uint64_t)>& choose) {
  std::vector<pending<int>> asked;
  for (int n = first; n < first + 20; ++n) {
    switch (choose(5)) {
      case 0: to.cast(numbered{sender, n}); break;
      case 1: to.send(numbered{sender, n}); break;
      case 2: std::ignore = to.call(numbered_call{sender, n}); break;
      case 3: asked.push_back(to.ask(numbered_call{sender, n}, infinity)); break;
      default: std::ignore = to.try_cast(numbered{sender, n});
    }
  }
}
struct send_them {
  ref<listener> to;
  int sender = 0;
  int first = 0;
  simulation* sim = nullptr;
};
struct sender {
  struct state {};
  void handle_cast(const send_them& m) {
    send_all_ways(m.to, m.sender, m.first,
                  [&m](std::uint64_t bound) { return m.sim->choose(bound); });
  }
};

TEST(P6_order, OfOneSendersMessagesIsKeptInEveryWayToSendThroughEveryCrash) {
  under_seeds(
      [](simulation& sim, runtime& rt) {
        const auto to =
            start<listener>(rt, {.on_crash = on_crash::retry(1000),
                                 .backoff = {.min = sim.choose(2) == 0 ? 1ms : 0ms, .max = 3ms},
                                 .run_on_caller = sim.choose(2) == 0})
                .value();
        const auto s = start<sender>(rt).value();
        sim.crash_randomly(0.05);
        {
          std::vector<std::unique_ptr<environment::thread>> threads;
          for (int t = 0; t < 2; ++t) {
            threads.push_back(sim.thread([&sim, &to, t] {
              send_all_ways(to, t, 0, [&sim](std::uint64_t bound) { return sim.choose(bound); });
            }));
          }
          sim.crash_randomly(0.02);
          s.cast(send_them{to, 2, 0, &sim});
          s.cast(send_them{to, 2, 20, &sim});
        }
        sim.advance(1s);
        sim.crash_randomly(0);
        sim.advance(1s);
        std::vector<int> last{-1, -1, -1};
        std::vector<int> count{0, 0, 0};
        const auto all = inspect(to, [](const listener::state& x) { return x; }).value();
        for (const auto& [who, n] : all) {
          ASSERT_LT(last.at(static_cast<std::size_t>(who)), n) << "sender " << who;
          last.at(static_cast<std::size_t>(who)) = n;
          ++count.at(static_cast<std::size_t>(who));
        }
        EXPECT_EQ(count[0], 20);
        EXPECT_EQ(count[1], 20);
      },
      200);
}

PEEPER_SIM_TEST(P6_order, CommitsAreTracedInTheOrderInWhichTheyHappenEachOnce) {
  struct book {
    using state = int;
    int handle_call(add_and_get m, state& n) { return n += m.by; }
  };
  const auto c = start<book>(rt).value();
  std::vector<std::string> events;
  ASSERT_TRUE(trace(c, [&](const trace_event& e) {
                events.push_back(e.point == trace_point::begin    ? "begin"
                                 : e.point == trace_point::commit ? "commit"
                                                                  : "rollback");
              }).has_value());
  EXPECT_EQ(c.call(add_and_get{1}), 1);
  sim.crash_at("callback.done");
  EXPECT_FALSE(c.call(add_and_get{1}).has_value());
  EXPECT_EQ(c.call(add_and_get{1}), 2);
  EXPECT_EQ(events, (std::vector<std::string>{"begin", "commit", "begin", "rollback", "begin",
                                              "commit", "begin", "commit"}))
      << "call; crash; init of the next worker; call";
}

// --- P7 (the algorithm: src/server/restart_window_test.cpp, restart_test.cpp)
// ---------------------

PEEPER_SIM_TEST(P7_restart_intensity, AThousandInTenSecondsAreBorneOneMoreEndsTheServer) {
  const auto c = start<counter>(rt).value();
  for (int i = 0; i < 1000; ++i) c.cast(crash{});
  EXPECT_EQ(c.call(get{}), 0) << "Peeper's default: 1000 in 10 s";
  c.cast(crash{});
  sim.run();
  EXPECT_FALSE(c.alive());
  EXPECT_EQ(outcome(c.call(get{})), "noproc");
}

PEEPER_SIM_TEST(P7_restart_intensity, CrashesFartherApartThanThePeriodGoOnForEver) {
  const auto c = start<counter>(rt, {.max_restarts = 1, .max_seconds = 5s}).value();
  for (int i = 0; i < 50; ++i) {
    c.cast(crash{});
    sim.advance(5s + 1ms);
    ASSERT_TRUE(c.alive());
  }
  c.cast(crash{});
  c.cast(crash{});
  sim.run();
  EXPECT_FALSE(c.alive());
}

// --- P8
// -------------------------------------------------------------------------------------------

struct forget_me {
  using reply = int;
};
struct call_me_back {
  using reply = std::string;
  bool itself = false;
};
struct two_ways {
  using state = int;
  int handle_call(get, const state& n) { return n; }
  void handle_call(forget_me, const from<int>&, state&) {}
  std::string handle_call(const call_me_back& m, state&) {
    if (m.itself) return outcome(self<two_ways>().call(get{}));
    const auto told = other_.call(call_me_back{});
    return told ? *told : std::string{told.error().path()};
  }
  void handle_cast(const ref<two_ways>& other) { other_ = other; }
  int handle_call(const crash_call&, state&) { throw std::runtime_error{"unlucky"}; }
  ref<two_ways> other_;
};

PEEPER_SIM_TEST(P8_fail_loudly_and_typed, EveryOutcomeOfACallHasItsOwnCode) {
  const auto c = start<two_ways>(rt, {.name = "two ways"}).value();
  EXPECT_EQ(outcome(c.call(get{})), "ok");
  EXPECT_EQ(outcome(ref<two_ways>{}.call(get{})), "noproc");
  EXPECT_EQ(outcome(c.call(crash_call{})), "crashed");
  EXPECT_EQ(outcome(c.call(forget_me{})), "not_answered");
  EXPECT_EQ(c.call(call_me_back{true}), "calling_self");
  const auto mismatch = whereis<counter>(rt, "two ways");
  ASSERT_FALSE(mismatch.has_value());
  EXPECT_EQ(mismatch.error().code(), call_errc::name_mismatch);

  ASSERT_TRUE(suspend(c).has_value());
  EXPECT_EQ(outcome(c.call(get{}, 1s)), "timed_out");
  auto late = c.ask(get{}, 1s);
  auto waiting = c.ask(get{}, infinity);
  sim.advance(2s);
  ASSERT_TRUE(resume(c).has_value());
  sim.run();
  EXPECT_EQ(outcome(late.get()), "expired");
  EXPECT_EQ(outcome(waiting.get()), "ok");
  ASSERT_TRUE(suspend(c).has_value());
  auto stopped = c.ask(get{}, infinity);
  EXPECT_TRUE(stop(c, exit_reason::stopped("done")).has_value());
  const auto told = stopped.get();
  EXPECT_EQ(outcome(told), "stopped");
  EXPECT_EQ(told.error().reason().detail(), "done");
  EXPECT_EQ(outcome(c.call(get{})), "noproc");

  const auto full = start<two_ways>(rt, {.mailbox = {.max_length = 1}}).value();
  ASSERT_TRUE(suspend(full).has_value());
  auto first = full.ask(get{}, infinity);
  EXPECT_EQ(outcome(full.call(get{})), "mailbox_full");
  std::ignore = stop(full);
}

PEEPER_SIM_TEST(P8_fail_loudly_and_typed, ACallInACircleIsAnErrorWithThePathNotATimeOut) {
  const auto a = start<two_ways>(rt, {.name = "a"}).value();
  const auto b = start<two_ways>(rt, {.name = "b"}).value();
  a.cast(b);
  b.cast(a);
  EXPECT_EQ(a.call(call_me_back{}), "b -> a -> b");
  EXPECT_EQ(sim.now(), time_point{}) << "nobody waited";
}

TEST(P8_fail_loudly_and_typed, AnErrorSaysIfSendingAgainCouldDoItTwice) {
  for (const call_errc unknown : {call_errc::timed_out}) {
    EXPECT_FALSE(call_error{unknown}.not_delivered());
  }
  for (const call_errc safe :
       {call_errc::noproc, call_errc::mailbox_full, call_errc::calling_self, call_errc::cycle,
        call_errc::expired, call_errc::stopped, call_errc::name_mismatch}) {
    EXPECT_TRUE(call_error{safe}.not_delivered()) << to_string(safe);
  }
}

}  // namespace
}  // namespace peeper::test
