// SPDX-License-Identifier: Apache-2.0
/// \file
/// P3: a crash consumes the message being handled and no other; what becomes of it is chosen by
/// on_crash: drop, retry(n), stop; and it can be listed, replayed and discarded.
#include <cstdint>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include <peeper/peeper.hpp>
#include <peeper/sim.hpp>

#include "support/sim_test.hpp"

namespace peeper::test {
namespace {

using namespace std::chrono_literals;

/// A message with a number; `bad`: how many times its handling is to crash.
struct item {
  int number = 0;
  int bad = 0;
};
struct item_call {
  using reply = int;
  int number = 0;
  int bad = 0;
};
/// Can only be moved, and its handler takes it out.
struct parcel {
  std::unique_ptr<int> content;
  bool bad = false;
};
/// Can only be moved, but its handler only looks.
struct sealed_parcel {
  std::unique_ptr<int> content;
  bool bad = false;
};
struct start_chain {
  int bad = 0;
};
struct heal {};
struct handled {
  using reply = std::vector<int>;
};

/// What was tried, in order; not part of any state, so crashes do not undo it.
struct attempts {
  std::vector<int> all;
  std::map<int, int> times;
};

/// Notes in its state what it has handled; counts, outside the state, how often it tried.
struct sorter {
  using state = std::vector<int>;
  explicit sorter(std::shared_ptr<attempts> tries) : tries_{std::move(tries)} {}

  void handle_cast(const item& m, state& s) {
    s.push_back(m.number);
    attempt(m.number, m.bad);
  }
  int handle_call(const item_call& m, state& s) {
    s.push_back(m.number);
    attempt(m.number, m.bad);
    return m.number;
  }
  void handle_info(const item& m, state& s) {
    s.push_back(m.number);
    attempt(m.number, m.bad);
  }
  void handle_cast(parcel m, state& s) {
    s.push_back(*m.content);
    if (m.bad) throw std::runtime_error{"opened, and it was bad"};
  }
  void handle_cast(const sealed_parcel& m, state& s) {
    s.push_back(*m.content);
    if (m.bad) throw std::runtime_error{"bad inside"};
  }
  auto handle_cast(const start_chain& m, state&) {
    return noreply(continue_with(item{100, m.bad}));
  }
  void handle_continue(const item& m, state& s) {
    s.push_back(m.number);
    attempt(m.number, m.bad);
  }
  state handle_call(handled, const state& s) { return s; }

 private:
  void attempt(int number, int bad) {
    tries_->all.push_back(number);
    const int times = ++tries_->times[number];
    if (times <= bad) throw std::runtime_error{"crash " + std::to_string(times)};
  }
  std::shared_ptr<attempts> tries_;
};

constexpr int always = 1'000'000;

std::shared_ptr<attempts> no_tries() { return std::make_shared<attempts>(); }
using numbers = std::vector<int>;

std::vector<std::uint64_t> ids_of(const ref<sorter>& c) {
  std::vector<std::uint64_t> ids;
  const auto listed = list_poison(c).value();
  for (const poison_info& p : listed) ids.push_back(p.id);
  return ids;
}

PEEPER_SIM_TEST(a_poison_message, GoesAloneTheOthersStayInOrder_P3) {
  const auto c = start<sorter>(rt, {}, no_tries()).value();
  for (int i = 0; i < 10; ++i) c.cast(item{i, i % 3 == 0 ? always : 0});
  EXPECT_EQ(c.call(handled{}), (numbers{1, 2, 4, 5, 7, 8}));
  EXPECT_EQ(list_poison(c).value().size(), 4U);
}

PEEPER_SIM_TEST(a_poison_message, IsListedWithItsNameItsReasonItsTimeAndItsAttempts) {
  const auto c = start<sorter>(rt, {}, no_tries()).value();
  sim.advance(3s);
  c.cast(item{1, always});
  sim.run();
  sim.advance(1s);
  EXPECT_FALSE(c.call(item_call{2, always}).has_value());
  const auto listed = list_poison(c).value();
  ASSERT_EQ(listed.size(), 2U);
  EXPECT_NE(listed[0].message.find("item"), std::string::npos);
  EXPECT_NE(listed[1].message.find("item_call"), std::string::npos);
  EXPECT_EQ(listed[0].reason, (exit_reason{exit_kind::exception, "crash 1"}));
  EXPECT_EQ(listed[0].when, time_point{3s});
  EXPECT_EQ(listed[1].when, time_point{4s});
  EXPECT_EQ(listed[0].attempts, 1U);
  EXPECT_TRUE(listed[0].replayable);
  EXPECT_LT(listed[0].id, listed[1].id);
}

PEEPER_SIM_TEST(a_poison_message, CanBeReplayedOnceItGoesToTheEndOfTheQueue) {
  const auto c = start<sorter>(rt, {}, no_tries()).value();
  c.cast(item{1, 1});
  c.cast(item{2});
  sim.run();
  const auto ids = ids_of(c);
  ASSERT_EQ(ids.size(), 1U);
  ASSERT_TRUE(suspend(c).has_value());
  c.cast(item{3});
  EXPECT_EQ(replay_poison(c, ids[0]), true);
  c.cast(item{4});
  EXPECT_EQ(replay_poison(c, ids[0]), false) << "it is not in the list any more";
  ASSERT_TRUE(resume(c).has_value());
  EXPECT_EQ(c.call(handled{}), (numbers{2, 3, 1, 4}));
  EXPECT_TRUE(list_poison(c).value().empty());
}

PEEPER_SIM_TEST(a_poison_message, ThatIsReplayedAndCrashesAgainIsSetAsideAgainUnderANewId) {
  const auto c = start<sorter>(rt, {}, no_tries()).value();
  c.cast(item{1, always});
  sim.run();
  const auto first = ids_of(c);
  ASSERT_EQ(first.size(), 1U);
  EXPECT_EQ(replay_poison(c, first[0]), true);
  sim.run();
  const auto second = ids_of(c);
  ASSERT_EQ(second.size(), 1U);
  EXPECT_GT(second[0], first[0]);
}

PEEPER_SIM_TEST(a_poison_message, OfACallReplayedAnswersNobodyButHappens) {
  const auto c = start<sorter>(rt, {}, no_tries()).value();
  const auto told = c.call(item_call{1, 1});
  ASSERT_FALSE(told.has_value());
  EXPECT_EQ(told.error().code(), call_errc::crashed);
  EXPECT_EQ(told.error().reason().detail(), "crash 1");
  EXPECT_EQ(replay_poison(c, ids_of(c).at(0)), true);
  EXPECT_EQ(c.call(handled{}), (numbers{1}));
}

PEEPER_SIM_TEST(a_poison_message, CanBeDiscardedOnce) {
  const auto c = start<sorter>(rt, {}, no_tries()).value();
  c.cast(item{1, always});
  c.cast(item{2, always});
  sim.run();
  const auto ids = ids_of(c);
  ASSERT_EQ(ids.size(), 2U);
  EXPECT_EQ(discard_poison(c, ids[0]), true);
  EXPECT_EQ(discard_poison(c, ids[0]), false);
  EXPECT_EQ(replay_poison(c, ids[0]), false);
  EXPECT_EQ(ids_of(c), (std::vector<std::uint64_t>{ids[1]}));
}

PEEPER_SIM_TEST(a_poison_message, IsKeptUpToALimitTheOldestGoFirst) {
  const auto c = start<sorter>(rt, {.keep_poison = 3}, no_tries()).value();
  for (int i = 0; i < 5; ++i) c.cast(item{i, always});
  sim.run();
  EXPECT_EQ(ids_of(c), (std::vector<std::uint64_t>{3, 4, 5}));
  EXPECT_EQ(statistics_of(c).value().crashes, 5U);
}

PEEPER_SIM_TEST(a_poison_message, IsNotKeptAtAllIfTheLimitIsZero) {
  const auto c = start<sorter>(rt, {.keep_poison = 0}, no_tries()).value();
  c.cast(item{1, always});
  EXPECT_FALSE(c.call(item_call{2, always}).has_value());
  EXPECT_TRUE(list_poison(c).value().empty());
}

PEEPER_SIM_TEST(a_poison_message, ThatItsHandlerMovedFromIsListedButCannotBeReplayed) {
  const auto c = start<sorter>(rt, {}, no_tries()).value();
  c.cast(parcel{std::make_unique<int>(1), true});
  c.cast(parcel{std::make_unique<int>(2), false});
  sim.run();
  const auto listed = list_poison(c).value();
  ASSERT_EQ(listed.size(), 1U);
  EXPECT_FALSE(listed[0].replayable);
  EXPECT_EQ(replay_poison(c, listed[0].id), false);
  EXPECT_EQ(list_poison(c).value().size(), 1U) << "a refused replay changes nothing";
  EXPECT_EQ(discard_poison(c, listed[0].id), true);
  EXPECT_EQ(c.call(handled{}), (numbers{2}));
}

PEEPER_SIM_TEST(a_poison_message, ThatCannotBeCopiedButIsIntactCanBeReplayed) {
  const auto c = start<sorter>(rt, {}, no_tries()).value();
  c.cast(sealed_parcel{std::make_unique<int>(1), true});
  sim.run();
  const auto listed = list_poison(c).value();
  ASSERT_EQ(listed.size(), 1U);
  EXPECT_TRUE(listed[0].replayable);
  EXPECT_EQ(replay_poison(c, listed[0].id), true);
  sim.run();
  EXPECT_EQ(list_poison(c).value().size(), 1U) << "it is as bad as before";
  EXPECT_TRUE(c.call(handled{}).value().empty());
}

PEEPER_SIM_TEST(a_poison_message, OfAServerThatStopsIsGone) {
  const auto c = start<sorter>(rt, {}, no_tries()).value();
  c.cast(item{1, always});
  sim.run();
  EXPECT_TRUE(stop(c).has_value());
  const auto listed = list_poison(c);
  ASSERT_FALSE(listed.has_value());
  EXPECT_EQ(listed.error().code(), call_errc::noproc);
}

PEEPER_SIM_TEST(on_crash_drop, TellsTheCallerOfThePoisonMessageAtOnceWithTheReason_P3) {
  const auto c = start<sorter>(rt, {.backoff = {.min = 1h, .max = 1h}}, no_tries()).value();
  const auto told = c.call(item_call{1, always}, 10s);
  ASSERT_FALSE(told.has_value());
  EXPECT_EQ(told.error().code(), call_errc::crashed);
  EXPECT_EQ(told.error().reason().detail(), "crash 1");
  EXPECT_EQ(sim.now(), time_point{}) << "it did not wait for the restart";
}

PEEPER_SIM_TEST(on_crash_retry, HandlesTheMessageAgainInItsPlaceAndItsCallerGoesOnWaiting) {
  const auto t = no_tries();
  const auto c = start<sorter>(rt, {.on_crash = on_crash::retry(2)}, t).value();
  ASSERT_TRUE(suspend(c).has_value());
  c.cast(item{1});
  auto answer = c.ask(item_call{2, 2});
  c.cast(item{3, 1});
  c.cast(item{4});
  ASSERT_TRUE(resume(c).has_value());
  EXPECT_EQ(c.call(handled{}), (numbers{1, 2, 3, 4}));
  EXPECT_EQ(answer.get(), 2);
  EXPECT_EQ(t->all, (numbers{1, 2, 2, 2, 3, 3, 4}));
  EXPECT_TRUE(list_poison(c).value().empty());
  EXPECT_EQ(statistics_of(c).value().crashes, 3U);
}

PEEPER_SIM_TEST(on_crash_retry, GivesTheMessageUpAfterItsTimesAndSaysHowOftenItTried) {
  const auto t = no_tries();
  const auto c = start<sorter>(rt, {.on_crash = on_crash::retry(3)}, t).value();
  c.cast(item{1});
  const auto told = c.call(item_call{2, always});
  ASSERT_FALSE(told.has_value());
  EXPECT_EQ(told.error().code(), call_errc::crashed);
  EXPECT_EQ(told.error().reason().detail(), "crash 4") << "of the last crash";
  EXPECT_EQ(t->all, (numbers{1, 2, 2, 2, 2}));
  const auto listed = list_poison(c).value();
  ASSERT_EQ(listed.size(), 1U);
  EXPECT_EQ(listed[0].attempts, 4U);
  EXPECT_EQ(c.call(handled{}), (numbers{1}));
}

PEEPER_SIM_TEST(on_crash_retry, CountsForEachMessageByItself) {
  const auto t = no_tries();
  const auto c = start<sorter>(rt, {.on_crash = on_crash::retry(1)}, t).value();
  for (int i = 0; i < 4; ++i) c.send(item{i, 1});
  EXPECT_EQ(c.call(handled{}), (numbers{0, 1, 2, 3}));
  EXPECT_EQ(t->all, (numbers{0, 0, 1, 1, 2, 2, 3, 3}));
}

PEEPER_SIM_TEST(on_crash_retry, DropsAMessageThatItsHandlerMovedFrom) {
  const auto c = start<sorter>(rt, {.on_crash = on_crash::retry(5)}, no_tries()).value();
  c.cast(parcel{std::make_unique<int>(1), true});
  c.cast(item{2});
  EXPECT_EQ(c.call(handled{}), (numbers{2}));
  EXPECT_EQ(list_poison(c).value().at(0).attempts, 1U);
}

PEEPER_SIM_TEST(on_crash_retry, RunsAContinuationAgainBeforeWhatIsQueued) {
  const auto c = start<sorter>(rt, {.on_crash = on_crash::retry(2)}, no_tries()).value();
  ASSERT_TRUE(suspend(c).has_value());
  c.cast(start_chain{2});
  c.cast(item{1});
  ASSERT_TRUE(resume(c).has_value());
  EXPECT_EQ(c.call(handled{}), (numbers{100, 1}));
}

PEEPER_SIM_TEST(on_crash_retry, AppliesToAKillInMidCallbackToo) {
  const auto c = start<sorter>(rt, {.on_crash = on_crash::retry(1)}, no_tries()).value();
  sim.kill_at("callback.done");
  EXPECT_EQ(c.call(item_call{7}), 7);
  EXPECT_EQ(c.call(handled{}), (numbers{7}));
  EXPECT_EQ(statistics_of(c).value().crashes, 1U);
}

PEEPER_SIM_TEST(on_crash_stop, EndsTheServerWithTheCrashsReasonAndFailsWhatWaits) {
  const auto c =
      start<sorter>(rt, {.name = "once", .on_crash = on_crash::stop}, no_tries()).value();
  ASSERT_TRUE(suspend(c).has_value());
  auto good = c.ask(item_call{1});
  auto bad = c.ask(item_call{2, always});
  auto late = c.ask(item_call{3});
  ASSERT_TRUE(resume(c).has_value());
  EXPECT_EQ(good.get(), 1);
  const auto told = bad.get();
  ASSERT_FALSE(told.has_value());
  EXPECT_EQ(told.error().code(), call_errc::crashed);
  const auto waiting = late.get();
  ASSERT_FALSE(waiting.has_value());
  EXPECT_EQ(waiting.error().code(), call_errc::stopped);
  EXPECT_EQ(waiting.error().reason().detail(), "crash 1");
  EXPECT_FALSE(c.alive());
  EXPECT_FALSE(whereis<sorter>(rt, "once").has_value());
  EXPECT_EQ(rt.server_count(), 0U);
}

TEST(a_crash_storm, Of1000InARowLosesNoneOf10000QueuedMessagesAndHandlesEachOnceInOrder_P3) {
  under_seeds(
      [](simulation& sim, runtime& rt) {
        const auto t = no_tries();
        const auto c = start<sorter>(rt, {.max_restarts = 2000, .keep_poison = 2000}, t).value();
        ASSERT_TRUE(suspend(c).has_value());
        numbers expected;
        std::vector<pending<int>> bad;
        std::vector<pending<int>> good;
        for (int i = 0; i < 11'000; ++i) {
          // The crashes come in a row, in the middle of the rest.
          const bool crashes = i >= 5000 && i < 6000;
          if (i % 10 == 0) {
            (crashes ? bad : good).push_back(c.ask(item_call{i, crashes ? always : 0}, 1h));
          } else if (i % 10 == 1) {
            c.send(item{i, crashes ? always : 0});
          } else {
            c.cast(item{i, crashes ? always : 0});
          }
          if (!crashes) expected.push_back(i);
        }
        ASSERT_TRUE(resume(c).has_value());
        sim.run();
        EXPECT_EQ(c.call(handled{}), expected);
        numbers all(11'000);
        for (int i = 0; i < 11'000; ++i) all[static_cast<std::size_t>(i)] = i;
        EXPECT_EQ(t->all, all) << "each was tried once, in order";
        EXPECT_EQ(statistics_of(c).value().crashes, 1000U);
        EXPECT_EQ(list_poison(c).value().size(), 1000U);
        for (auto& p : good) EXPECT_TRUE(p.get().has_value());
        for (auto& p : bad) {
          const auto told = p.get();
          ASSERT_FALSE(told.has_value());
          EXPECT_EQ(told.error().code(), call_errc::crashed);
        }
      },
      3);
}

}  // namespace
}  // namespace peeper::test
