// SPDX-License-Identifier: Apache-2.0
/// \file
/// valid(state): checked before each commit, as a member or as a free function.
#include <stdexcept>
#include <string>

#include <gtest/gtest.h>

#include <peeper/peeper.hpp>
#include <peeper/sim.hpp>

#include "support/counter.hpp"
#include "support/sim_test.hpp"

namespace peeper::test {
namespace {

/// Says itself what a valid state is.
struct account {
  using state = int;
  static bool valid(const state& n) { return n >= 0; }
  int init(int first) const { return first; }
  int handle_call(get, const state& n) { return n; }
  int handle_call(add_and_get m, state& n) { return n += m.by; }
  void handle_cast(const add& m, state& n) { n += m.by; }
};

/// As a member that looks at the worker: a limit that is not in the state.
struct limited {
  using state = int;
  int init(int most) {
    most_ = most;
    return 0;
  }
  [[nodiscard]] bool valid(const state& n) const { return n <= most_; }
  int handle_call(add_and_get m, state& n) { return n += m.by; }
  int most_ = 0;
};

/// The state says it: a free function found beside its type.
struct range {
  int low = 0;
  int high = 10;
};
bool valid(const range& r) {
  if (r.high == 13) throw std::runtime_error{"unlucky"};
  return r.low <= r.high;
}
struct set_low {
  using reply = int;
  int to = 0;
};
struct set_high {
  using reply = int;
  int to = 0;
};
struct ranger {
  using state = range;
  int handle_call(set_low m, state& r) { return r.low = m.to; }
  int handle_call(set_high m, state& r) { return r.high = m.to; }
};

PEEPER_SIM_TEST(an_invariant, ThatDoesNotHoldRollsTheCallbackBackAndTellsTheCallerWhy_P2) {
  const auto c = start<account>(rt, {}, 5).value();
  EXPECT_EQ(c.call(add_and_get{-5}), 0);
  const auto told = c.call(add_and_get{-1});
  ASSERT_FALSE(told.has_value());
  EXPECT_EQ(told.error().code(), call_errc::crashed);
  EXPECT_EQ(told.error().reason().kind(), exit_kind::invariant);
  EXPECT_FALSE(told.error().reason().detail().empty());
  EXPECT_EQ(c.call(get{}), 0);
  EXPECT_EQ(statistics_of(c).value().restarts, 1U);
}

PEEPER_SIM_TEST(an_invariant, IsCheckedForCastsToo) {
  const auto c = start<account>(rt, {}, 1).value();
  c.cast(add{-2});
  c.cast(add{1});
  EXPECT_EQ(c.call(get{}), 2);
  EXPECT_EQ(list_poison(c).value().at(0).reason.kind(), exit_kind::invariant);
}

PEEPER_SIM_TEST(an_invariant, MayBeAFreeFunctionBesideTheState) {
  const auto c = start<ranger>(rt).value();
  EXPECT_EQ(c.call(set_low{10}), 10);
  const auto told = c.call(set_low{11});
  ASSERT_FALSE(told.has_value());
  EXPECT_EQ(told.error().reason().kind(), exit_kind::invariant);
  EXPECT_EQ(inspect(c, [](const range& r) { return r.low; }), 10);
}

PEEPER_SIM_TEST(an_invariant, MayLookAtTheWorkersOwnMembers) {
  const auto c = start<limited>(rt, {}, 3).value();
  EXPECT_EQ(c.call(add_and_get{3}), 3);
  EXPECT_EQ(outcome(c.call(add_and_get{1})), "crashed");
  EXPECT_EQ(c.call(add_and_get{0}), 3);
}

PEEPER_SIM_TEST(an_invariant, ThatThrowsIsACrashWithThatException) {
  const auto c = start<ranger>(rt).value();
  const auto told = c.call(set_high{13});
  ASSERT_FALSE(told.has_value());
  EXPECT_EQ(told.error().reason(), (exit_reason{exit_kind::exception, "unlucky"}));
  EXPECT_EQ(inspect(c, [](const range& r) { return r.high; }), 10);
}

PEEPER_SIM_TEST(an_invariant, IsCheckedForTheFirstState) {
  const auto c = start<account>(rt, {.name = "broken"}, -1);
  ASSERT_FALSE(c.has_value());
  EXPECT_EQ(c.error().code(), start_errc::init_failed);
  EXPECT_EQ(c.error().reason().kind(), exit_kind::invariant);
  EXPECT_EQ(rt.server_count(), 0U);
  EXPECT_TRUE(start<account>(rt, {.name = "broken"}, 1).has_value());
}

PEEPER_SIM_TEST(an_invariant, IsCheckedForAnEditAndTheWorkerLivesOn) {
  const auto c = start<account>(rt, {}, 1).value();
  const pid worker = worker_of(c);
  const auto edited = edit(c, [](int& n) { n = -1; });
  ASSERT_FALSE(edited.has_value());
  EXPECT_EQ(edited.error().code(), call_errc::crashed);
  EXPECT_EQ(edited.error().reason().kind(), exit_kind::invariant);
  EXPECT_EQ(c.call(get{}), 1);
  EXPECT_EQ(worker_of(c), worker);
  EXPECT_TRUE(edit(c, [](int& n) { n = 7; }).has_value());
  EXPECT_EQ(c.call(get{}), 7);
}

}  // namespace
}  // namespace peeper::test
