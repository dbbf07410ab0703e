// SPDX-License-Identifier: Apache-2.0
/// ask: the answers of many, waited for together, in turn, or not at all.
#include <algorithm>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "support/counter.hpp"
#include "support/log_capture.hpp"
#include "support/sim_test.hpp"

namespace peeper {
namespace {

using namespace std::chrono_literals;
using test::add;
using test::add_and_get;
using test::counter;
using test::crash_call;
using test::get;
using test::outcome;

PEEPER_SIM_TEST(ask, IsSentAtOnceAndAnsweredLater) {
  const auto c = start<counter>(rt).value();
  auto first = c.ask(add_and_get{1});
  auto second = c.ask(add_and_get{2});
  sim.run();
  EXPECT_TRUE(first.done());
  EXPECT_EQ(second.get(), 3);
  EXPECT_EQ(first.get(), 1);
}

PEEPER_SIM_TEST(ask, WhosePendingIsDroppedIsStillHandled) {
  const auto c = start<counter>(rt).value();
  std::ignore = c.ask(add_and_get{5});
  EXPECT_EQ(c.call(get{}), 5);
}

PEEPER_SIM_TEST(ask, CanBeWaitedForInSlices) {
  const auto c = start<counter>(rt, {.state = 2}).value();
  ASSERT_TRUE(suspend(c));
  auto asked = c.ask(get{}, 1h);
  for (int i = 0; i < 5; ++i) {
    const time_point before = sim.now();
    EXPECT_FALSE(asked.wait_for(100ms));
    EXPECT_EQ(sim.now() - before, 100ms);
    EXPECT_FALSE(asked.wait_for(0ms));
    EXPECT_FALSE(asked.wait_for(-1s));
  }
  ASSERT_TRUE(resume(c));
  EXPECT_EQ(asked.wait_for(100ms).value(), 2);
}

PEEPER_SIM_TEST(ask, GivesUpAtItsDeadline) {
  const auto c = start<counter>(rt).value();
  ASSERT_TRUE(suspend(c));
  auto asked = c.ask(add_and_get{}, 2s);
  const time_point before = sim.now();
  EXPECT_EQ(outcome(asked.get()), "timed_out");
  EXPECT_EQ(sim.now() - before, 2s);
  ASSERT_TRUE(resume(c));
  EXPECT_EQ(c.call(get{}), 0);
}

PEEPER_SIM_TEST(ask, OfAStoppedServerIsAnsweredAtOnce) {
  const auto c = start<counter>(rt).value();
  ASSERT_TRUE(stop(c));
  auto asked = c.ask(get{});
  ASSERT_TRUE(asked.done());
  EXPECT_EQ(outcome(asked.get()), "noproc");
}

PEEPER_SIM_TEST(ask, ThatCrashesItsServerSaysSo) {
  const auto c = start<counter>(rt).value();
  auto asked = c.ask(crash_call{});
  auto behind = c.ask(get{});
  const auto r = asked.get();
  EXPECT_EQ(outcome(r), "crashed");
  EXPECT_EQ(r.error().reason().detail(), "unlucky");
  EXPECT_EQ(behind.get(), 0);
}

PEEPER_SIM_TEST(ask, CallsBackOnceWhenAnswered) {
  const auto c = start<counter>(rt, {.state = 9}).value();
  std::vector<std::string> told;
  c.ask(get{}).then([&](const auto& r) { told.push_back(std::to_string(r.value())); });
  c.ask(crash_call{}).then([&](const auto& r) { told.push_back(outcome(r)); });
  sim.run();
  EXPECT_EQ(told, (std::vector<std::string>{"9", "crashed"}));
  auto done = c.ask(get{});
  sim.run();
  std::move(done).then([&](const auto& r) { told.push_back("at once " + outcome(r)); });
  EXPECT_EQ(told.back(), "at once ok");
}

PEEPER_SIM_TEST(ask, SurvivesACallBackThatThrows) {
  const test::log_capture log;
  const auto c = start<counter>(rt).value();
  c.ask(get{}).then([](const auto&) { throw std::runtime_error{"in then"}; });
  EXPECT_EQ(c.call(get{}), 0);
  EXPECT_EQ(log.count("in then"), 1U);
  EXPECT_EQ(statistics_of(c)->crashes, 0U);
}

PEEPER_SIM_TEST(ask, CallsBackWhenTheServerStopsInstead) {
  const auto c = start<counter>(rt).value();
  ASSERT_TRUE(suspend(c));
  std::string told;
  c.ask(get{}, infinity).then([&](const auto& r) { told = outcome(r); });
  ASSERT_TRUE(stop(c));
  EXPECT_EQ(told, "stopped");
}

// --- inside a callback ---------------------------------------------------------------------------

struct sum_of {
  using reply = int;
  std::vector<ref<counter>> of;
};
struct sum_then_crash {
  std::vector<ref<counter>> of;
};
struct ask_and_keep {
  ref<counter> of;
};
struct take_kept {
  using reply = int;
};
struct asker {
  using state = int;
  pending<int> kept;
  int handle_call(const sum_of& m, const state&) {
    std::vector<pending<int>> asked;
    for (const auto& c : m.of) asked.push_back(c.ask(add_and_get{}));
    int sum = 0;
    for (auto& a : asked) sum += a.get().value_or(1000);
    return sum;
  }
  void handle_cast(const sum_then_crash& m, const state&) {
    auto waited_for = m.of[0].ask(add_and_get{});
    m.of[0].cast(add{10});
    std::ignore = m.of[1].ask(add_and_get{});
    EXPECT_TRUE(waited_for.get());
    throw std::runtime_error{"unlucky"};
  }
  void handle_cast(const ask_and_keep& m, const state&) { kept = m.of.ask(add_and_get{}); }
  int handle_call(take_kept, const state&) { return kept.get().value_or(-1); }
};

PEEPER_SIM_TEST(ask, InACallbackAsksManyAtOnce) {
  std::vector<ref<counter>> all;
  for (int i = 0; i < 5; ++i) all.push_back(start<counter>(rt, {.state = i}).value());
  const auto a = start<asker>(rt).value();
  EXPECT_EQ(a.call(sum_of{all}), 15);
  ASSERT_TRUE(stop(all[2]));
  EXPECT_EQ(a.call(sum_of{all}), 16 + 1000);
}

PEEPER_SIM_TEST(ask, InACallbackThatCrashesLeavesOnlyIfItWasWaitedFor) {
  const std::vector<ref<counter>> two{start<counter>(rt).value(), start<counter>(rt).value()};
  const auto a = start<asker>(rt).value();
  a.cast(sum_then_crash{two});
  sim.run();
  EXPECT_EQ(statistics_of(a)->crashes, 1U);
  EXPECT_EQ(two[0].call(get{}), 1);  // not the cast behind it
  EXPECT_EQ(two[1].call(get{}), 0);
}

PEEPER_SIM_TEST(ask, InOneCallbackMayBeWaitedForInTheNext) {
  const auto c = start<counter>(rt).value();
  const auto a = start<asker>(rt).value();
  a.cast(ask_and_keep{c});
  EXPECT_EQ(a.call(take_kept{}), 1);
}

// --- request_set ---------------------------------------------------------------------------------

PEEPER_SIM_TEST(request_set, GivesEachAnswerOnceWithItsLabel) {
  request_set<std::string, int> asked;
  EXPECT_TRUE(asked.empty());
  EXPECT_FALSE(asked.wait_any());
  std::vector<ref<counter>> all;
  for (int i = 0; i < 6; ++i) {
    all.push_back(start<counter>(rt, {.state = i}).value());
    asked.add(std::to_string(i), all.back().ask(get{}));
  }
  std::set<std::string> labels;
  while (auto one = asked.wait_any()) {
    EXPECT_EQ(one->label, std::to_string(one->result.value()));
    labels.insert(one->label);
  }
  EXPECT_EQ(labels.size(), 6U);
  EXPECT_TRUE(asked.empty());
}

PEEPER_SIM_TEST(request_set, GivesErrorsOfServersThatAreNotThere) {
  const auto c = start<counter>(rt).value();
  const auto gone = start<counter>(rt).value();
  ASSERT_TRUE(stop(gone));
  request_set<int, int> asked;
  asked.add(1, ref<counter>{}.ask(get{}));
  asked.add(2, gone.ask(get{}));
  asked.add(3, c.ask(crash_call{}));
  std::vector<std::string> told(4);
  while (auto one = asked.wait_any(1s)) {
    told[static_cast<std::size_t>(one->label)] = outcome(one->result);
  }
  EXPECT_EQ(told, (std::vector<std::string>{"", "noproc", "noproc", "crashed"}));
}

PEEPER_SIM_TEST(request_set, KeepsWhatIsNotAnsweredInTime) {
  const auto quick = start<counter>(rt, {.state = 1}).value();
  const auto slow = start<counter>(rt, {.state = 2}).value();
  ASSERT_TRUE(suspend(slow));
  request_set<int, int> asked;
  asked.add(2, slow.ask(get{}, infinity));
  asked.add(1, quick.ask(get{}));
  EXPECT_EQ(asked.wait_any(1s)->label, 1);
  const time_point before = sim.now();
  EXPECT_FALSE(asked.wait_any(1s));
  EXPECT_EQ(sim.now() - before, 1s);
  EXPECT_FALSE(asked.wait_any(0ms));
  EXPECT_EQ(asked.size(), 1U);
  ASSERT_TRUE(resume(slow));
  EXPECT_EQ(asked.wait_any(1s)->result, 2);
}

struct race {
  using reply = std::string;
  std::vector<ref<counter>> between;
  ref<struct racer> also;
};
struct ask_back {
  using reply = int;
};
struct racer {
  using state = int;
  std::string handle_call(const race& m, const state&) {
    request_set<int, int> asked;
    for (const auto& c : m.between) asked.add(0, c.ask(add_and_get{}));
    if (m.also) asked.add(1, m.also.ask(ask_back{}));
    std::string all;
    while (auto one = asked.wait_any()) {
      all += one->label == 0 ? outcome(one->result) + " " : "back: " + outcome(one->result) + " ";
    }
    return all;
  }
  int handle_call(ask_back, const state& n) { return n; }
};

PEEPER_SIM_TEST(request_set, WorksInACallback) {
  std::vector<ref<counter>> all;
  for (int i = 0; i < 3; ++i) all.push_back(start<counter>(rt).value());
  const auto r = start<racer>(rt).value();
  EXPECT_EQ(r.call(race{all, {}}), "ok ok ok ");
}

PEEPER_SIM_TEST(request_set, TellsOfARequestThatCanNeverBeAnswered) {
  const auto r = start<racer>(rt).value();
  const auto said = r.call(race{{}, r}).value();
  EXPECT_EQ(said, "back: calling_self ");
}

// --- gather --------------------------------------------------------------------------------------

PEEPER_SIM_TEST(gather, CollectsRepliesAndErrorsWithinOneTimeLimit) {
  std::vector<ref<counter>> all;
  for (int i = 0; i < 5; ++i) all.push_back(start<counter>(rt, {.state = i}).value());
  ASSERT_TRUE(stop(all[1]));
  ASSERT_TRUE(suspend(all[3]));
  ASSERT_TRUE(suspend(all[4]));
  const time_point before = sim.now();
  const auto answers = gather(all, get{}, 2s);
  EXPECT_EQ(sim.now() - before, 2s);
  ASSERT_EQ(answers.replies.size(), 2U);
  EXPECT_EQ(answers.replies[0].second, 0);
  EXPECT_TRUE(answers.replies[1].first == all[2]);
  EXPECT_EQ(answers.replies[1].second, 2);
  std::vector<std::string> bad;
  for (const auto& [server, error] : answers.bad) bad.emplace_back(to_string(error.code()));
  EXPECT_EQ(bad, (std::vector<std::string>{"noproc", "timed_out", "timed_out"}));
}

}  // namespace
}  // namespace peeper
