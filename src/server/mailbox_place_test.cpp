// SPDX-License-Identifier: Apache-2.0
/// Places in a limited mailbox: whoever takes one gives it back, crash or not.
#include <stdexcept>

#include <gtest/gtest.h>

#include "support/counter.hpp"
#include "support/sim_test.hpp"

namespace peeper {
namespace {

using test::add;
using test::counter;
using test::get;

struct send_and_crash {};

struct sender {
  struct state {
    ref<counter> target;
  };
  void handle_cast(send_and_crash, const state& s) {
    s.target.cast(add{1});
    throw std::runtime_error{"after the cast was staged"};
  }
};

PEEPER_SIM_TEST(mailbox_place, ACastThatACrashTookBackLeavesNoPlaceTaken) {
  const auto target =
      start<counter>(rt, {.mailbox = {.max_length = 1, .when_full = overflow::reject}}).value();
  const auto s = start<sender>(rt, {.state = {{target}}}).value();
  for (int i = 0; i < 3; ++i) s.cast(send_and_crash{});
  sim.run();
  EXPECT_TRUE(target.try_cast(add{5}));
  sim.run();
  EXPECT_EQ(target.call(get{}), 5);
}

struct burst {
  int casts = 0;
};
struct burst_then_call {
  using reply = int;
  int casts = 0;
};

struct bursting {
  struct state {
    ref<counter> target;
  };
  void handle_cast(burst m, const state& s) {
    for (int i = 0; i < m.casts; ++i) s.target.cast(add{1});
  }
  int handle_call(burst_then_call m, const state& s) {
    for (int i = 0; i < m.casts; ++i) s.target.cast(add{1});
    return s.target.call(get{}).value();
  }
};

PEEPER_SIM_TEST(mailbox_place, ACallbackNeverWaitsForPlacesThatItHoldsItself) {
  const auto target =
      start<counter>(rt, {.mailbox = {.max_length = 2, .when_full = overflow::block}}).value();
  const auto b = start<bursting>(rt, {.state = {{target}}}).value();
  b.cast(burst{5});
  sim.run();
  EXPECT_EQ(target.call(get{}), 5);
  EXPECT_EQ(b.call(burst_then_call{5}), 10);
}

PEEPER_SIM_TEST(mailbox_place, IsExceededByWhatOneCallbackSendsAtMost) {
  const auto target =
      start<counter>(rt, {.mailbox = {.max_length = 3, .when_full = overflow::block}}).value();
  const auto b = start<bursting>(rt, {.state = {{target}}}).value();
  ASSERT_TRUE(suspend(target));
  target.cast(add{1});
  target.cast(add{1});
  b.cast(burst{10});  // takes the last place, and then holds one
  b.cast(burst{10});  // holds none: waits
  sim.run();
  EXPECT_EQ(statistics_of(target)->queued, 12U) << "the limit, and what one callback sent beyond";
  EXPECT_EQ(statistics_of(target)->dropped, 0U);
  ASSERT_TRUE(resume(target));
  sim.run();
  EXPECT_EQ(target.call(get{}), 22);
}

PEEPER_SIM_TEST(mailbox_place, ACallbackThatHoldsNoneWaitsForRoom) {
  const auto target =
      start<counter>(rt, {.mailbox = {.max_length = 1, .when_full = overflow::block}}).value();
  const auto b = start<bursting>(rt, {.state = {{target}}}).value();
  ASSERT_TRUE(suspend(target));
  target.cast(add{1});
  b.cast(burst{1});
  sim.run();
  EXPECT_EQ(statistics_of(target)->queued, 1U);
  ASSERT_TRUE(resume(target));
  sim.run();
  EXPECT_EQ(target.call(get{}), 2);
}

}  // namespace
}  // namespace peeper
