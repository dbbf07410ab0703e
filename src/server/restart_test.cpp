// SPDX-License-Identifier: Apache-2.0
/// \file
/// What happens between a crash and the next message: terminate, the new worker's init, back-off,
/// restart intensity (P7); and the crash of each of these.
#include <functional>
#include <list>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include <peeper/kept.hpp>
#include <peeper/peeper.hpp>
#include <peeper/sim.hpp>

#include "core/runtime_core.hpp"
#include "support/counter.hpp"
#include "support/sim_test.hpp"

namespace peeper::test {
namespace {

using namespace std::chrono_literals;

/// What the test sees of a server's starts and ends, and how it makes them crash. Outside every
/// state: crashes do not undo it.
struct diary {
  std::vector<std::string> lines;
  std::vector<time_point> starts;
  int init_crashes_left = 0;
  bool terminate_crashes = false;
  environment* env = nullptr;
};
using shared_diary = std::shared_ptr<diary>;
shared_diary new_diary(simulation& sim) {
  auto d = std::make_shared<diary>();
  d->env = &sim.env();
  return d;
}

struct note {
  std::string text;
};
struct listener {
  using state = std::vector<std::string>;
  void handle_cast(const note& m, state& s) { s.push_back(m.text); }
  void handle_info(const down& d, state& s) { s.push_back("down: " + d.reason.to_string()); }
  void handle_cast(const ref<counter>& c) { monitor(c); }
};
std::vector<std::string> heard_by(const ref<listener>& l) {
  return inspect(l, [](const listener::state& s) { return s; }).value();
}

struct tick {};
struct write_diary {};
/// Counts, keeps a diary of its starts, and tells a listener.
struct subject {
  using state = int;
  auto init(shared_diary d, ref<listener> l) {
    diary_ = std::move(d);
    listener_ = l;
    diary_->starts.push_back(diary_->env->now());
    listener_.cast(note{"init"});
    if (diary_->init_crashes_left > 0) {
      --diary_->init_crashes_left;
      throw std::runtime_error{"init crashes"};
    }
    return ok(100, continue_with(write_diary{}));
  }
  void handle_continue(write_diary, const state& n) {
    diary_->lines.push_back("started with " + std::to_string(n));
  }
  void terminate(const exit_reason& reason, const state& n) {
    diary_->lines.push_back("terminated with " + std::to_string(n) + ": " + reason.to_string());
    listener_.cast(note{"terminated"});
    if (diary_->terminate_crashes) throw std::runtime_error{"terminate crashes"};
  }
  int handle_call(get, const state& n) { return n; }
  int handle_call(add_and_get m, state& n) { return n += m.by; }
  void handle_cast(const add& m, state& n) { n += m.by; }
  void handle_cast(const crash&, state& n) {
    n = -1;
    throw std::runtime_error{"unlucky"};
  }
  int handle_call(const crash_call&, state& n) {
    n = -1;
    throw std::runtime_error{"unlucky"};
  }
  void handle_info(tick, state& n) { n += 1000; }

 private:
  shared_diary diary_;
  ref<listener> listener_;
};

using lines = std::vector<std::string>;

PEEPER_SIM_TEST(a_restart, RunsInitAgainDropsItsStateForTheKeptOneAndHonoursItsContinuation) {
  const auto d = new_diary(sim);
  const auto c = start<subject>(rt, {}, d, ref<listener>{}).value();
  EXPECT_EQ(c.call(add_and_get{5}), 105);
  kill(worker_of(c));
  EXPECT_EQ(c.call(get{}), 105);
  EXPECT_EQ(d->lines, (lines{"started with 100", "started with 105"}));
}

PEEPER_SIM_TEST(a_restart, IsPrecededByTerminateWithTheStateFromBeforeTheCallback) {
  const auto d = new_diary(sim);
  const auto c = start<subject>(rt, {}, d, ref<listener>{}).value();
  EXPECT_EQ(c.call(add_and_get{5}), 105);
  c.cast(crash{});
  EXPECT_EQ(c.call(get{}), 105);
  EXPECT_EQ(d->lines, (lines{"started with 100", "terminated with 105: exception: unlucky",
                             "started with 105"}));
}

PEEPER_SIM_TEST(a_restart, AfterAKillHasNoTerminate) {
  const auto d = new_diary(sim);
  const auto c = start<subject>(rt, {}, d, ref<listener>{}).value();
  sim.run();
  kill(worker_of(c));
  sim.run();
  EXPECT_EQ(d->lines, (lines{"started with 100", "started with 100"}));
}

PEEPER_SIM_TEST(a_restart, SurvivesACrashInTerminateAndWhatTerminateSentThenStays) {
  const auto d = new_diary(sim);
  d->terminate_crashes = true;
  const auto l = start<listener>(rt).value();
  const auto c = start<subject>(rt, {}, d, l).value();
  EXPECT_EQ(outcome(c.call(crash_call{})), "crashed");
  EXPECT_EQ(c.call(get{}), 100);
  EXPECT_EQ(statistics_of(c).value().crashes, 1U);
  sim.run();
  EXPECT_EQ(heard_by(l), (lines{"init", "init"})) << "P2: of the crashed terminate nothing leaves";
  d->terminate_crashes = false;
  c.cast(crash{});
  sim.run();
  EXPECT_EQ(heard_by(l), (lines{"init", "init", "terminated", "init"}));
}

PEEPER_SIM_TEST(a_stop, RunsTerminateOnceAndACrashInItChangesNothing) {
  const auto d = new_diary(sim);
  d->terminate_crashes = true;
  const auto c = start<subject>(rt, {}, d, ref<listener>{}).value();
  EXPECT_TRUE(stop(c, exit_reason::stopped("enough")).has_value());
  EXPECT_EQ(d->lines, (lines{"started with 100", "terminated with 100: stopped: enough"}));
  EXPECT_FALSE(c.alive());
  EXPECT_EQ(rt.server_count(), 0U);
}

PEEPER_SIM_TEST(a_crash_in_init, OfTheFirstStartIsAStartErrorAndLeavesNothingBehind) {
  const auto d = new_diary(sim);
  d->init_crashes_left = 1;
  const auto l = start<listener>(rt).value();
  const auto c = start<subject>(rt, {.name = "subject"}, d, l);
  ASSERT_FALSE(c.has_value());
  EXPECT_EQ(c.error().code(), start_errc::init_failed);
  EXPECT_EQ(c.error().reason(), (exit_reason{exit_kind::exception, "init crashes"}));
  EXPECT_NE(c.error().what().find("subject"), std::string::npos);
  sim.run();
  EXPECT_TRUE(heard_by(l).empty()) << "P2: what init sent has not left";
  EXPECT_EQ(rt.server_count(), 1U);
  EXPECT_EQ(rt.core().timers().pending(), 0U);
  EXPECT_EQ(d->lines, lines{}) << "no terminate after a failed init";
  EXPECT_TRUE(start<subject>(rt, {.name = "subject"}, d, l).has_value()) << "the name is free";
}

PEEPER_SIM_TEST(a_crash_in_init, OfARestartCountsAndIsTriedAgainWithTheKeptState_P1_P7) {
  const auto d = new_diary(sim);
  const auto l = start<listener>(rt).value();
  const auto c = start<subject>(rt, {}, d, l).value();
  EXPECT_EQ(c.call(add_and_get{5}), 105);
  d->init_crashes_left = 3;
  kill(worker_of(c));
  EXPECT_EQ(c.call(get{}), 105);
  EXPECT_EQ(statistics_of(c).value().crashes, 4U);
  EXPECT_EQ(statistics_of(c).value().restarts, 4U);
  sim.run();
  EXPECT_EQ(heard_by(l), (lines{"init", "init"})) << "P2: of crashed inits nothing leaves";
}

PEEPER_SIM_TEST(a_crash_in_init, AgainAndAgainEndsTheServerAsPromised_P7) {
  const auto d = new_diary(sim);
  const auto c = start<subject>(rt, {.name = "subject", .max_restarts = 5, .max_seconds = 10s}, d,
                                ref<listener>{})
                     .value();
  sim.run();
  d->init_crashes_left = 1'000'000;
  kill(worker_of(c));
  const auto told = c.call(get{});
  ASSERT_FALSE(told.has_value());
  EXPECT_TRUE(told.error().not_delivered());
  EXPECT_FALSE(c.alive());
  EXPECT_EQ(d->init_crashes_left, 1'000'000 - 5) << "five restarts, and none more";
  EXPECT_FALSE(whereis<subject>(rt, "subject").has_value());
}

PEEPER_SIM_TEST(a_kill_in_init, OfARestartCountsOnceAndIsTriedAgain) {
  const auto c = start<counter>(rt, {.state = 3}).value();
  sim.kill_at("init.done");
  kill(worker_of(c));
  EXPECT_EQ(c.call(get{}), 3);
  EXPECT_EQ(statistics_of(c).value().crashes, 2U);
}

PEEPER_SIM_TEST(a_kill_in_init, UndoesWhatThatInitSent_P2_P5) {
  const auto d = new_diary(sim);
  const auto l = start<listener>(rt).value();
  const auto c = start<subject>(rt, {}, d, l).value();
  sim.kill_at("init.done");
  kill(worker_of(c));
  sim.run();
  EXPECT_EQ(d->starts.size(), 3U) << "the first, the one that was killed, the one after it";
  EXPECT_EQ(heard_by(l), (lines{"init", "init"})) << "the killed one sent nothing";
  EXPECT_EQ(d->lines, (lines{"started with 100", "started with 100"})) << "and continued nothing";
}

/// Its continuation cannot bear the kept state: each new worker crashes before it commits.
struct fragile {
  using state = int;
  auto init() { return ok(0, continue_with(write_diary{})); }
  void handle_continue(write_diary, const state& n) {
    if (n == 13) throw std::runtime_error{"thirteen"};
  }
  int handle_call(add_and_get m, state& n) { return n += m.by; }
};

PEEPER_SIM_TEST(restart_intensity, EndsAServerWhoseKeptStateCrashesEachNewWorker_P7) {
  const auto c = start<fragile>(rt, {.max_restarts = 7}).value();
  EXPECT_EQ(c.call(add_and_get{13}), 13);
  kill(worker_of(c));
  const auto told = c.call(add_and_get{1});
  ASSERT_FALSE(told.has_value());
  EXPECT_FALSE(c.alive());
}

PEEPER_SIM_TEST(restart_intensity, ReachedTellsWhoWaitsAndWhoWatchesWhy_P7) {
  const auto l = start<listener>(rt).value();
  const auto c = start<counter>(rt, {.name = "counter", .max_restarts = 2}).value();
  l.cast(c);
  sim.run();
  ASSERT_TRUE(suspend(c).has_value());
  for (int i = 0; i < 3; ++i) c.cast(crash{});
  auto waiting = c.ask(get{});
  ASSERT_TRUE(resume(c).has_value());
  const auto told = waiting.get();
  ASSERT_FALSE(told.has_value());
  EXPECT_EQ(told.error().code(), call_errc::stopped);
  EXPECT_EQ(told.error().reason().kind(), exit_kind::shutdown);
  EXPECT_NE(told.error().reason().detail().find("unlucky"), std::string::npos)
      << "the last crash is named";
  EXPECT_EQ(outcome(c.call(get{})), "noproc");
  sim.run();
  const auto heard = heard_by(l);
  ASSERT_EQ(heard.size(), 1U);
  EXPECT_EQ(heard[0].substr(0, 14), "down: shutdown");
  EXPECT_EQ(rt.server_count(), 1U);
}

PEEPER_SIM_TEST(restart_intensity, CountsKeeperAndSupervisorToo_P7) {
  const auto c = start<counter>(rt, {.max_restarts = 3}).value();
  kill(keeper_of(c));
  sim.run();
  kill(supervisor_of(c));
  sim.run();
  kill(worker_of(c));
  sim.run();
  EXPECT_TRUE(c.alive());
  kill(keeper_of(c));
  sim.run();
  EXPECT_FALSE(c.alive());
}

PEEPER_SIM_TEST(restart_intensity, OfZeroEndsTheServerAtItsFirstCrash_P7) {
  const auto c = start<counter>(rt, {.max_restarts = 0}).value();
  const auto told = c.call(crash_call{});
  EXPECT_EQ(outcome(told), "crashed") << "the caller of the poison message learns of the crash";
  EXPECT_FALSE(c.alive());
}

TEST(restart_intensity, GivesUpAtTheVeryCrashAtWhichOTPWouldForRandomCrashTimes_P7) {
  under_seeds(
      [](simulation& sim, runtime& rt) {
        const auto most = static_cast<unsigned>(1 + sim.choose(5));
        const duration period = std::chrono::milliseconds{50 + sim.choose(300)};
        const auto c = start<counter>(rt, {.max_restarts = most, .max_seconds = period}).value();
        std::list<time_point> restarts;  // OTP's list, newest first
        for (int i = 0; i < 60; ++i) {
          switch (sim.choose(6)) {
            case 0: break;
            case 1: sim.advance(period); break;
            default: sim.advance(std::chrono::milliseconds{sim.choose(120)});
          }
          if (sim.choose(2) == 0) {
            c.cast(crash{});
          } else {
            kill(worker_of(c));
          }
          sim.run();
          const time_point now = sim.now();
          restarts.push_front(now);
          auto at = restarts.begin();
          while (at != restarts.end() && now <= *at + period) ++at;
          restarts.erase(at, restarts.end());
          const bool goes_on = restarts.size() <= most;
          ASSERT_EQ(c.alive(), goes_on)
              << "crash " << i << " at " << now.time_since_epoch().count();
          if (!goes_on) return;
        }
      },
      100);
}

// --- back-off ------------------------------------------------------------------------------------

PEEPER_SIM_TEST(back_off, DoublesUpToItsMaximumWithJitterOfAtMostHalf_P7) {
  const auto d = new_diary(sim);
  const auto c =
      start<subject>(rt, {.backoff = {.min = 10ms, .max = 100ms}}, d, ref<listener>{}).value();
  duration longest = 10ms;
  for (std::size_t i = 1; i <= 8; ++i) {
    const time_point crashed_at = sim.now();
    kill(worker_of(c));
    sim.run();
    ASSERT_EQ(d->starts.size(), i) << "it starts only after the pause";
    sim.advance(longest + 1ms);
    ASSERT_EQ(d->starts.size(), i + 1);
    const duration pause = d->starts.back() - crashed_at;
    EXPECT_GT(pause, longest / 2);
    EXPECT_LE(pause, longest + 1ms) << "timers have a resolution of a millisecond";
    longest = std::min<duration>(longest * 2, 100ms);
  }
}

TEST(back_off, IsNotTheSameForAllServersThatCrashAtOnce) {
  under_seeds(
      [](simulation& sim, runtime& rt) {
        const auto d = new_diary(sim);
        std::vector<ref<subject>> all;
        for (int i = 0; i < 20; ++i) {
          all.push_back(
              start<subject>(rt, {.backoff = {.min = 1s, .max = 1s}}, d, ref<listener>{}).value());
        }
        sim.run();
        d->starts.clear();
        for (const auto& c : all) kill(worker_of(c));
        sim.advance(2s);
        ASSERT_EQ(d->starts.size(), 20U);
        EXPECT_GT(d->starts.back() - d->starts.front(), 100ms);
      },
      3);
}

PEEPER_SIM_TEST(back_off, IsForgottenAfterAPeriodWithoutACrash) {
  const auto d = new_diary(sim);
  const auto c = start<subject>(rt, {.max_seconds = 10s, .backoff = {.min = 10ms, .max = 10s}}, d,
                                ref<listener>{})
                     .value();
  for (int i = 0; i < 4; ++i) {
    kill(worker_of(c));
    sim.advance(100ms);
  }
  sim.advance(11s);
  const std::size_t before = d->starts.size();
  kill(worker_of(c));
  sim.advance(11ms);
  EXPECT_EQ(d->starts.size(), before + 1) << "the shortest pause again";
}

PEEPER_SIM_TEST(back_off, LetsMessagesWaitAndHandlesThemInOrderAfterIt_P3_P6) {
  const auto c = start<counter>(rt, {.state = 1, .backoff = {.min = 1s, .max = 1s}}).value();
  c.cast(crash{});
  sim.run();
  c.cast(add{1});
  auto first = c.ask(add_and_get{1});
  c.cast(crash{});
  auto second = c.ask(add_and_get{1}, 10s);
  sim.advance(400ms);
  EXPECT_FALSE(first.done());
  EXPECT_EQ(sim.now(), time_point{400ms});
  EXPECT_EQ(first.get(), 3);
  EXPECT_FALSE(second.done()) << "the second crash has its own pause";
  EXPECT_EQ(second.get(), 4);
}

PEEPER_SIM_TEST(back_off, DoesNotHoldUpACallLongerThanItsTimeOut) {
  const auto c = start<counter>(rt, {.backoff = {.min = 10s, .max = 10s}}).value();
  c.cast(crash{});
  const auto told = c.call(add_and_get{1}, 2s);
  EXPECT_EQ(outcome(told), "timed_out");
  EXPECT_EQ(sim.now(), time_point{2s});
  sim.advance(20s);
  EXPECT_EQ(c.call(get{}), 0) << "the deadline has travelled: the request was skipped";
  EXPECT_EQ(statistics_of(c).value().expired, 1U);
}

PEEPER_SIM_TEST(back_off, LetsSystemCallsThrough) {
  const auto c = start<counter>(rt, {.state = 3, .backoff = {.min = 10s, .max = 10s}}).value();
  c.cast(crash{});
  sim.run();
  EXPECT_EQ(statistics_of(c).value().crashes, 1U);
  EXPECT_EQ(list_poison(c).value().size(), 1U);
  EXPECT_EQ(inspect(c, [](int n) { return n; }), 3);
  EXPECT_EQ(sim.now(), time_point{});
  EXPECT_TRUE(stop(c).has_value());
  EXPECT_EQ(sim.now(), time_point{});
  EXPECT_FALSE(c.alive());
  sim.advance(20s);
  EXPECT_EQ(rt.core().timers().pending(), 0U);
}

PEEPER_SIM_TEST(back_off, EndsAtItsTimeAlsoIfKeeperOrSupervisorIsKilledMeanwhile_P1) {
  const auto c = start<counter>(rt, {.state = 3, .backoff = {.min = 1s, .max = 1s}}).value();
  c.cast(crash{});
  sim.run();
  kill(keeper_of(c));
  sim.run();
  kill(supervisor_of(c));
  sim.run();
  kill(worker_of(c));
  sim.advance(1s);
  EXPECT_EQ(c.call(get{}), 3);
  EXPECT_EQ(sim.now(), time_point{1s});
  EXPECT_EQ(statistics_of(c).value().restarts, 1U);
}

PEEPER_SIM_TEST(back_off, OfAServerThatShutsDownIsOver) {
  const auto c = start<counter>(rt, {.backoff = {.min = 1h, .max = 1h}}).value();
  c.cast(crash{});
  sim.run();
  EXPECT_TRUE(rt.shutdown().has_value());
  EXPECT_EQ(sim.now(), time_point{});
}

// --- what lasts ----------------------------------------------------------------------------------

PEEPER_SIM_TEST(timers, OfACommittedCallbackSurviveEveryCrash_P4) {
  const auto d = new_diary(sim);
  const auto c = start<subject>(rt, {}, d, ref<listener>{}).value();
  send_after(c, 500ms, tick{});
  const timer_id every = send_interval(c, 200ms, tick{});
  sim.advance(100ms);
  kill(worker_of(c));
  kill(keeper_of(c));
  sim.advance(100ms);
  c.cast(crash{});
  sim.advance(200ms);
  kill(supervisor_of(c));
  sim.advance(100ms);
  EXPECT_EQ(c.call(get{}), 100 + 3000);
  EXPECT_TRUE(cancel_timer(c, every));
  EXPECT_FALSE(cancel_timer(c, every));
  sim.advance(10s);
  EXPECT_EQ(c.call(get{}), 3100);
}

struct watch_me {
  ref<counter> whom;
};
struct monitor_owner {
  using state = int;
  void handle_cast(const watch_me& m) { watching_ = scoped_monitor{m.whom}; }
  void handle_info(const down&, state& n) { ++n; }
  int handle_call(get, const state& n) { return n; }
  scoped_monitor watching_;
};

PEEPER_SIM_TEST(a_scoped_monitor, EndsWithTheWorkerThatOwnsIt) {
  const auto c = start<monitor_owner>(rt).value();
  const auto other = start<counter>(rt).value();
  c.cast(watch_me{other});
  sim.run();
  kill(worker_of(c));
  sim.run();
  std::ignore = stop(other);
  sim.run();
  EXPECT_EQ(c.call(get{}), 0);
}

PEEPER_SIM_TEST(a_scoped_monitor, TellsWhileItsWorkerLives) {
  const auto c = start<monitor_owner>(rt).value();
  const auto other = start<counter>(rt).value();
  c.cast(watch_me{other});
  sim.run();
  std::ignore = stop(other);
  sim.run();
  EXPECT_EQ(c.call(get{}), 1);
}

// --- messages that crash -------------------------------------------------------------------------

/// Throws from its copy or its move constructor when its fuse has burnt down; counts how many live.
struct fused {
  explicit fused(std::shared_ptr<int> copies, std::shared_ptr<int> moves)
      : copies_left{std::move(copies)}, moves_left{std::move(moves)} {}
  fused(const fused& other) : copies_left{other.copies_left}, moves_left{other.moves_left} {
    if ((*copies_left)-- == 0) throw std::runtime_error{"copy"};
  }
  fused(fused&& other)  // NOLINT(performance-noexcept-move-constructor): that is the point
      : copies_left{other.copies_left}, moves_left{other.moves_left} {
    if ((*moves_left)-- == 0) throw std::runtime_error{"move"};
  }
  fused& operator=(const fused&) = delete;
  fused& operator=(fused&&) = delete;
  ~fused() = default;
  std::shared_ptr<int> copies_left;
  std::shared_ptr<int> moves_left;
};
struct fused_cast {
  fused f;
};
struct fused_call {
  using reply = int;
  fused f;
};
struct taker {
  using state = int;
  void handle_cast(fused_cast m, state& n) { n += m.f.copies_left != nullptr ? 1 : 0; }
  int handle_call(fused_call m, state& n) { return n += m.f.copies_left != nullptr ? 1 : 0; }
  int handle_call(get, const state& n) { return n; }
};
constexpr int never = 1'000'000;

PEEPER_SIM_TEST(a_message, WhoseCopyThrowsInTheServerIsACrashOfItsCallback_P2_P3) {
  const auto c = start<taker>(rt).value();
  const auto copies = std::make_shared<int>(never);
  const auto moves = std::make_shared<int>(never);
  EXPECT_EQ(c.call(fused_call{fused{copies, moves}}), 1);
  *copies = 0;
  const auto told = c.call(fused_call{fused{copies, moves}});
  ASSERT_FALSE(told.has_value());
  EXPECT_EQ(told.error().code(), call_errc::crashed);
  EXPECT_EQ(told.error().reason().detail(), "copy");
  *copies = 0;
  c.cast(fused_cast{fused{copies, moves}});
  EXPECT_EQ(c.call(get{}), 1);
  EXPECT_EQ(list_poison(c).value().size(), 2U);
}

PEEPER_SIM_TEST(a_message, WhoseMoveThrowsOnItsWayIsItsSendersExceptionAndNobodyElses_P8) {
  const auto c = start<taker>(rt).value();
  const auto copies = std::make_shared<int>(never);
  for (int at = 0; at < 6; ++at) {
    const auto moves = std::make_shared<int>(at);
    bool thrown = false;
    try {
      c.cast(fused_cast{fused{copies, moves}});
    } catch (const std::runtime_error& e) {
      thrown = true;
      EXPECT_STREQ(e.what(), "move");
    }
    sim.run();
    if (!thrown) break;
    EXPECT_EQ(c.call(get{}), 0);
    ASSERT_LT(at, 5) << "a message is not moved that often";
  }
  EXPECT_TRUE(c.alive());
}

PEEPER_SIM_TEST(a_replay, OfAMessageWhoseMoveThrowsIsAnErrorAndTheServerLives_P8) {
  const auto c = start<taker>(rt).value();
  const auto copies = std::make_shared<int>(0);
  const auto moves = std::make_shared<int>(never);
  c.cast(fused_cast{fused{copies, moves}});
  sim.run();
  const auto listed = list_poison(c).value();
  ASSERT_EQ(listed.size(), 1U);
  *moves = 0;
  const auto told = replay_poison(c, listed[0].id);
  ASSERT_FALSE(told.has_value());
  EXPECT_EQ(told.error().code(), call_errc::crashed);
  EXPECT_EQ(told.error().reason().detail(), "move");
  EXPECT_EQ(list_poison(c).value().size(), 1U) << "it is still there";
  EXPECT_EQ(replay_poison(c, listed[0].id), true);
  EXPECT_EQ(c.call(get{}), 1);
}

}  // namespace
}  // namespace peeper::test
