// SPDX-License-Identifier: Apache-2.0
/// \file
/// kill: the worker, the keeper, both in either order, the supervisor, the server; at every moment
/// a worker can be in: idle, in a callback, waiting in a coroutine or in a call, restarting.
#include <array>
#include <latch>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include <peeper/kept.hpp>
#include <peeper/peeper.hpp>
#include <peeper/sim.hpp>

#include "support/counter.hpp"
#include "support/sim_test.hpp"

namespace peeper::test {
namespace {

using namespace std::chrono_literals;

// --- who watches
struct watch {
  pid whom;
};
struct watch_server {
  ref<counter> whom;
};
struct watcher {
  using state = std::vector<down>;
  void handle_cast(const watch& m) { monitor(m.whom); }
  void handle_cast(const watch_server& m) { monitor(m.whom); }
  void handle_info(const down& d, state& s) { s.push_back(d); }
};
std::vector<down> seen_by(const ref<watcher>& w) {
  return inspect(w, [](const std::vector<down>& s) { return s; }).value();
}

// --- who can be killed in the middle of something
struct wait_here {
  using reply = int;
  std::latch* entered = nullptr;
  std::latch* may_go_on = nullptr;
};
struct ask_slowly {
  using reply = int;
  ref<counter> whom;
  int add_before = 0;
  int add_after = 0;
};
struct call_slowly {
  using reply = int;
  ref<counter> whom;
};
struct chain {
  int by = 0;
};
struct busy {
  using state = int;
  int handle_call(get, const state& n) { return n; }
  void handle_cast(const add& m, state& n) { n += m.by; }
  int handle_call(const wait_here& m, state& n) {
    n += 1000;
    m.entered->count_down();
    m.may_go_on->wait();
    return n;
  }
  task<int> handle_call(const ask_slowly& m, state& n) {
    n += m.add_before;
    const auto got = co_await m.whom.ask(get{}, 1h);
    n += m.add_after + got.value_or(0);
    co_return n;
  }
  int handle_call(const call_slowly& m, state& n) {
    n += 1000;
    return n += m.whom.call(get{}, 1h).value_or(0);
  }
  auto handle_cast(const chain& m, state& n) {
    n += 1;
    return noreply(continue_with(add{m.by}));
  }
  void handle_continue(const add& m, state& n) { n += m.by; }
};

PEEPER_SIM_TEST(killing, ThreeProcessesMakeAServerEachWithAPidOfItsOwn) {
  const auto c = start<counter>(rt).value();
  const pid supervisor = supervisor_of(c);
  const pid keeper = keeper_of(c);
  const pid worker = worker_of(c);
  EXPECT_NE(supervisor, keeper);
  EXPECT_NE(keeper, worker);
  EXPECT_NE(worker, supervisor);
  EXPECT_NE(c.pid(), supervisor);
  for (const pid p : {supervisor, keeper, worker, c.pid()}) EXPECT_TRUE(alive(p));
  EXPECT_EQ(worker.role(), process_role::worker);
  EXPECT_EQ(keeper.role(), process_role::keeper);
}

PEEPER_SIM_TEST(killing, TheWorkerLeavesTheStateAndTheServersPid_P1_P4) {
  const auto c = start<counter>(rt, {.state = 41}).value();
  EXPECT_EQ(c.call(add_and_get{1}), 42);
  const pid server = c.pid();
  const pid keeper = keeper_of(c);
  const pid worker = worker_of(c);
  EXPECT_TRUE(kill(worker));
  EXPECT_FALSE(kill(worker)) << "dead is dead";
  EXPECT_FALSE(alive(worker));
  EXPECT_EQ(c.call(get{}), 42);
  EXPECT_NE(worker_of(c), worker);
  EXPECT_EQ(keeper_of(c), keeper);
  EXPECT_EQ(c.pid(), server);
  EXPECT_EQ(statistics_of(c).value().restarts, 1U);
}

PEEPER_SIM_TEST(killing, TheKeeperLeavesTheStateAndTheWorker_P1) {
  const auto c = start<counter>(rt).value();
  EXPECT_EQ(c.call(add_and_get{5}), 5);
  const pid keeper = keeper_of(c);
  const pid worker = worker_of(c);
  EXPECT_TRUE(kill(keeper));
  EXPECT_FALSE(kill(keeper));
  EXPECT_FALSE(alive(keeper));
  EXPECT_EQ(c.call(get{}), 5);
  EXPECT_EQ(worker_of(c), worker);
  EXPECT_NE(keeper_of(c), keeper);
  EXPECT_TRUE(kill(worker));
  EXPECT_EQ(c.call(get{}), 5);
}

PEEPER_SIM_TEST(killing, BothInEitherOrderLeavesTheState_P1) {
  for (const bool keeper_first : {true, false}) {
    const auto c = start<counter>(rt).value();
    EXPECT_EQ(c.call(add_and_get{5}), 5);
    for (int round = 0; round < 3; ++round) {
      if (keeper_first) kill(keeper_of(c));
      EXPECT_TRUE(kill(worker_of(c)));
      if (!keeper_first) kill(keeper_of(c));
      if (sim.choose(2) == 0) sim.run();
      EXPECT_EQ(c.call(add_and_get{1}), 6 + round);
    }
  }
}

PEEPER_SIM_TEST(killing, TheSupervisorEndsAllThreeAndTheServerGoesOn_P1) {
  const auto c = start<counter>(rt, {.name = "counter"}).value();
  EXPECT_EQ(c.call(add_and_get{5}), 5);
  const pid supervisor = supervisor_of(c);
  const pid keeper = keeper_of(c);
  const pid worker = worker_of(c);
  EXPECT_TRUE(kill(supervisor));
  EXPECT_EQ(c.call(get{}), 5);
  EXPECT_FALSE(kill(supervisor));
  for (const pid p : {supervisor, keeper, worker}) EXPECT_FALSE(alive(p)) << to_string(p);
  EXPECT_TRUE(c.alive());
  EXPECT_EQ(whereis<counter>(rt, "counter").value(), c);
}

PEEPER_SIM_TEST(killing, TheServerEndsItForGood) {
  const auto c = start<counter>(rt, {.name = "counter"}).value();
  EXPECT_TRUE(kill(c.pid()));
  sim.run();
  EXPECT_EQ(outcome(c.call(get{})), "noproc");
  EXPECT_FALSE(c.alive());
  EXPECT_FALSE(kill(c.pid()));
  EXPECT_FALSE(kill(worker_of(c)));
  EXPECT_FALSE(kill(pid{}));
  EXPECT_EQ(rt.server_count(), 0U);
  EXPECT_TRUE(start<counter>(rt, {.name = "counter"}).has_value());
}

PEEPER_SIM_TEST(killing, AMonitorOnTheServerSurvivesOneOnAnIncarnationSeesItDie_P4) {
  const auto c = start<counter>(rt).value();
  const auto w = start<watcher>(rt).value();
  const std::vector<pid> old{worker_of(c), keeper_of(c), supervisor_of(c)};
  w.cast(watch_server{c});
  for (const pid p : old) w.cast(watch{p});
  sim.run();
  kill(old[0]);
  sim.run();
  ASSERT_EQ(seen_by(w).size(), 1U);
  EXPECT_EQ(seen_by(w)[0].process, old[0]);
  EXPECT_EQ(seen_by(w)[0].reason.kind(), exit_kind::killed);
  kill(old[1]);
  sim.run();
  ASSERT_EQ(seen_by(w).size(), 2U);
  EXPECT_EQ(seen_by(w)[1].process, old[1]);
  const pid second_worker = worker_of(c);
  w.cast(watch{second_worker});
  sim.run();
  kill(old[2]);
  sim.run();
  ASSERT_EQ(seen_by(w).size(), 4U) << "the supervisor and the worker that it takes along";
  EXPECT_TRUE(c.alive());
  std::ignore = stop(c, exit_reason::stopped("done"));
  sim.run();
  const auto all = seen_by(w);
  ASSERT_EQ(all.size(), 5U) << "each once";
  EXPECT_EQ(all[4].process, c.pid());
  EXPECT_EQ(all[4].reason.detail(), "done");
}

PEEPER_SIM_TEST(killing, AMonitorOnAWorkerThatIsDeadAlreadyIsToldAtOnce) {
  const auto c = start<counter>(rt).value();
  const auto w = start<watcher>(rt).value();
  const pid old = worker_of(c);
  kill(old);
  w.cast(watch{old});
  sim.run();
  ASSERT_EQ(seen_by(w).size(), 1U);
  EXPECT_EQ(seen_by(w)[0].process, old);
}

PEEPER_SIM_TEST(killing, AMonitorOnAServerThatHasEndedIsToldAtOnce) {
  const auto c = start<counter>(rt).value();
  const auto w = start<watcher>(rt).value();
  std::ignore = stop(c);
  w.cast(watch_server{c});
  w.cast(watch{c.pid()});
  sim.run();
  ASSERT_EQ(seen_by(w).size(), 2U);
  EXPECT_EQ(seen_by(w)[0].reason.kind(), exit_kind::noproc);
}

PEEPER_SIM_TEST(killing, AWorkerThatHasNotStartedYetIsSeenToDieToo_P4) {
  const auto c = start<counter>(rt, {.backoff = {.min = 10ms, .max = 10ms}}).value();
  const auto w = start<watcher>(rt).value();
  c.cast(crash{});
  sim.run();
  const pid next = worker_of(c);
  w.cast(watch{next});
  sim.run();
  EXPECT_TRUE(kill(next));
  sim.advance(1s);
  ASSERT_EQ(seen_by(w).size(), 1U);
  EXPECT_EQ(seen_by(w)[0].process, next);
  EXPECT_EQ(c.call(get{}), 0);
}

PEEPER_SIM_TEST(killing, InMidCallbackUndoesItAndTellsTheCaller_P2_P5) {
  const auto c = start<counter>(rt, {.state = 1}).value();
  sim.kill_at("callback.done");
  const auto told = c.call(add_and_get{1});
  ASSERT_FALSE(told.has_value());
  EXPECT_EQ(told.error().code(), call_errc::crashed);
  EXPECT_EQ(told.error().reason().kind(), exit_kind::killed);
  EXPECT_EQ(c.call(get{}), 1);
  EXPECT_EQ(statistics_of(c).value().crashes, 1U) << "one kill is one crash";
}

PEEPER_SIM_TEST(killing, AfterTheCommitUndoesNothingAndTheReplyArrives_P1) {
  for (const char* point : {"committed", "published"}) {
    const auto c = start<counter>(rt, {.state = 1}).value();
    sim.kill_at(point);
    EXPECT_EQ(c.call(add_and_get{1}), 2) << point;
    EXPECT_EQ(c.call(get{}), 2) << point;
    EXPECT_EQ(statistics_of(c).value().crashes, 1U) << point;
  }
}

PEEPER_SIM_TEST(killing, ACoroutineWhereItWaitsUndoesItsCallbackAtOnce_P2) {
  const auto slow = start<counter>(rt).value();
  ASSERT_TRUE(suspend(slow).has_value());
  const auto c = start<busy>(rt).value();
  auto answer = c.ask(ask_slowly{slow, 1000, 0}, 1h);
  c.cast(add{1});
  sim.run();
  EXPECT_FALSE(answer.done());
  EXPECT_TRUE(kill(worker_of(c)));
  sim.run();
  ASSERT_TRUE(answer.done()) << "nobody waits for the one that will not answer";
  const auto told = answer.get();
  ASSERT_FALSE(told.has_value());
  EXPECT_EQ(told.error().code(), call_errc::crashed);
  EXPECT_EQ(told.error().reason().kind(), exit_kind::killed);
  EXPECT_EQ(c.call(get{}), 1) << "the message behind it has its turn";
  ASSERT_TRUE(resume(slow).has_value());
  sim.run();
  EXPECT_EQ(c.call(get{}), 1) << "the late answer wakes nobody";
}

PEEPER_SIM_TEST(killing, TheKeeperOfACoroutineThatWaitsDoesNotDisturbIt_P1) {
  const auto slow = start<counter>(rt, {.state = 5}).value();
  ASSERT_TRUE(suspend(slow).has_value());
  const auto c = start<busy>(rt).value();
  auto answer = c.ask(ask_slowly{slow, 1, 10}, 1h);
  sim.run();
  EXPECT_TRUE(kill(keeper_of(c)));
  sim.run();
  ASSERT_TRUE(resume(slow).has_value());
  EXPECT_EQ(answer.get(), 16);
}

PEEPER_SIM_TEST(killing, AWorkerThatWaitsInACallFencesItOffWhenItComesBack_P5) {
  const auto slow = start<counter>(rt).value();
  ASSERT_TRUE(suspend(slow).has_value());
  const auto c = start<busy>(rt).value();
  auto answer = c.ask(call_slowly{slow}, 1h);
  sim.run();
  EXPECT_TRUE(kill(worker_of(c)));
  sim.run();
  ASSERT_TRUE(resume(slow).has_value());
  const auto told = answer.get();
  ASSERT_FALSE(told.has_value());
  EXPECT_EQ(told.error().code(), call_errc::crashed);
  EXPECT_EQ(c.call(get{}), 0);
  EXPECT_EQ(statistics_of(c).value().restarts, 1U);
}

/// What the three counts of processes add up to.
std::uint64_t restarts_counted(const statistics& s) {
  return s.crashes + s.keeper_restarts - s.supervisor_restarts;
}

PEEPER_SIM_TEST(killing, IsCountedOnceForEachProcessThatDied_P7) {
  const auto c = start<counter>(rt).value();
  const auto counted = [&] {
    sim.run();
    const statistics s = statistics_of(c).value();
    return std::array{s.crashes, s.restarts, s.keeper_restarts, s.supervisor_restarts};
  };
  using counts = std::array<std::uint64_t, 4>;
  EXPECT_EQ(counted(), (counts{0, 0, 0, 0}));
  EXPECT_TRUE(kill(keeper_of(c)));
  EXPECT_EQ(counted(), (counts{0, 0, 1, 0})) << "the worker has lived on";
  EXPECT_TRUE(kill(worker_of(c)));
  EXPECT_EQ(counted(), (counts{1, 1, 1, 0}));
  EXPECT_TRUE(kill(supervisor_of(c)));
  EXPECT_EQ(counted(), (counts{2, 2, 2, 1})) << "it takes both along";
  c.cast(crash{});
  EXPECT_EQ(counted(), (counts{3, 3, 2, 1}));
  EXPECT_NE(status_of(c).value().to_string().find("restarts 3 (keeper 2, supervisor 1)"),
            std::string::npos);
}

PEEPER_SIM_TEST(killing, OfWhateverProcessIsCountedByTheRestartIntensity_P7) {
  const auto c = start<counter>(rt, {.max_restarts = 12}).value();
  for (unsigned i = 1; i <= 12; ++i) {
    const pid any[] = {worker_of(c), keeper_of(c), supervisor_of(c)};
    EXPECT_TRUE(kill(any[sim.choose(3)]));
    sim.run();
    const statistics s = statistics_of(c).value();
    EXPECT_EQ(restarts_counted(s), i);
    EXPECT_EQ(s.crashes, s.restarts);
  }
  EXPECT_TRUE(c.alive());
  EXPECT_TRUE(kill(keeper_of(c)));
  sim.run();
  EXPECT_FALSE(c.alive());
}

PEEPER_SIM_TEST(killing, OfTheSupervisorDuringABackOffCostsNoWorker) {
  const auto c = start<counter>(rt, {.backoff = {.min = 10ms, .max = 10ms}}).value();
  c.cast(crash{});
  sim.run();
  EXPECT_TRUE(kill(supervisor_of(c)));
  sim.run();
  statistics s = statistics_of(c).value();
  EXPECT_EQ(s.crashes, 1U);
  EXPECT_EQ(s.restarts, 0U) << "it is not there yet";
  EXPECT_EQ(restarts_counted(s), 1U);
  sim.advance(1s);
  s = statistics_of(c).value();
  EXPECT_EQ(s.crashes, 1U);
  EXPECT_EQ(s.restarts, 1U);
}

PEEPER_SIM_TEST(killing, BetweenACallbackAndItsContinuationLosesNeither_P1_P3) {
  const auto c = start<busy>(rt).value();
  sim.kill_at("published");
  c.cast(chain{10});
  EXPECT_EQ(c.call(get{}), 11);
  EXPECT_EQ(statistics_of(c).value().crashes, 1U);
}

PEEPER_SIM_TEST(killing, BetweenTwoContinuationsKeepsTheirOrder_P3) {
  const auto c = start<busy>(rt).value();
  ASSERT_TRUE(suspend(c).has_value());
  c.cast(chain{10});
  c.cast(chain{100});
  sim.kill_at("published", 1);
  ASSERT_TRUE(resume(c).has_value());
  EXPECT_EQ(c.call(get{}), 112);
}

PEEPER_SIM_TEST(killing, WhileSuspendedKeepsItSuspendedAndTheStateWithIt) {
  const auto c = start<counter>(rt, {.state = 3}).value();
  ASSERT_TRUE(suspend(c).has_value());
  c.cast(add{1});
  kill(worker_of(c));
  sim.run();
  EXPECT_EQ(inspect(c, [](int n) { return n; }), 3);
  EXPECT_TRUE(statistics_of(c).value().suspended);
  ASSERT_TRUE(resume(c).has_value());
  EXPECT_EQ(c.call(get{}), 4);
}

PEEPER_SIM_TEST(killing, FromManyClientsAtOnceEndsEachWorkerOnce) {
  const auto c = start<counter>(rt).value();
  int kills = 0;
  int acknowledged = 0;
  {
    std::vector<std::unique_ptr<environment::thread>> clients;
    for (int i = 0; i < 4; ++i) {
      clients.push_back(sim.thread([&] {
        for (int k = 0; k < 5; ++k) {
          if (kill(worker_of(c))) ++kills;
          if (c.call(add_and_get{1})) ++acknowledged;
        }
      }));
    }
  }
  sim.run();
  const auto counted = statistics_of(c).value();
  EXPECT_EQ(counted.crashes, counted.restarts);
  EXPECT_GE(counted.crashes, 1U);
  EXPECT_LE(counted.crashes, static_cast<unsigned>(kills))
      << "a worker that was killed before it had started was none";
  EXPECT_EQ(c.call(get{}), acknowledged);
}

TEST(killing_on_the_real_machine, AWorkerInMidCallbackFencesItOff_P5) {
  runtime rt{{.threads = 2}};
  const auto c = start<busy>(rt, {.state = 1}).value();
  std::latch entered{1};
  std::latch may_go_on{1};
  auto answer = c.ask(wait_here{&entered, &may_go_on}, infinity);
  entered.wait();
  const pid old = worker_of(c);
  EXPECT_TRUE(kill(old));
  EXPECT_FALSE(alive(old));
  may_go_on.count_down();
  const auto told = answer.get();
  ASSERT_FALSE(told.has_value()) << "a fenced worker has answered";
  EXPECT_EQ(told.error().code(), call_errc::crashed);
  EXPECT_EQ(told.error().reason().kind(), exit_kind::killed);
  EXPECT_EQ(c.call(get{}), 1);
  EXPECT_EQ(statistics_of(c).value().crashes, 1U);
}

TEST(killing_on_the_real_machine, AWorkerThatRunsOnItsCallersThreadFencesItOff_P5) {
  runtime rt{{.threads = 2}};
  const auto c = start<busy>(rt, {.state = 1}).value();
  std::latch entered{1};
  std::latch may_go_on{1};
  std::optional<std::expected<int, call_error>> told;
  std::thread client{[&] { told = c.call(wait_here{&entered, &may_go_on}, infinity); }};
  entered.wait();
  EXPECT_TRUE(kill(worker_of(c)));
  may_go_on.count_down();
  client.join();
  ASSERT_FALSE(told->has_value());
  EXPECT_EQ(told->error().reason().kind(), exit_kind::killed);
  EXPECT_EQ(c.call(get{}), 1);
}

TEST(killing_on_the_real_machine, KeeperAndWorkerInMidCallbackLosesOnlyThatCallback_P1_P5) {
  runtime rt{{.threads = 2}};
  for (const bool keeper_first : {true, false}) {
    const auto c = start<busy>(rt, {.state = 1}).value();
    std::latch entered{1};
    std::latch may_go_on{1};
    auto answer = c.ask(wait_here{&entered, &may_go_on}, infinity);
    c.cast(add{1});
    entered.wait();
    if (keeper_first) kill(keeper_of(c));
    EXPECT_TRUE(kill(worker_of(c)));
    if (!keeper_first) kill(keeper_of(c));
    may_go_on.count_down();
    EXPECT_EQ(outcome(answer.get()), "crashed");
    EXPECT_EQ(c.call(get{}), 2);
  }
}

TEST(killing_on_the_real_machine, ALivingWorkerOfTheNextGenerationIsNotHurtByTheOldKill_P5) {
  runtime rt{{.threads = 2}};
  const auto c = start<busy>(rt).value();
  const pid first = worker_of(c);
  EXPECT_TRUE(kill(first));
  c.cast(add{1});
  EXPECT_EQ(c.call(get{}), 1);
  const pid second = worker_of(c);
  EXPECT_FALSE(kill(first));
  EXPECT_EQ(c.call(get{}), 1);
  EXPECT_EQ(worker_of(c), second);
}

}  // namespace
}  // namespace peeper::test
