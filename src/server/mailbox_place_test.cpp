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

}  // namespace
}  // namespace peeper
