// SPDX-License-Identifier: Apache-2.0
/// pending::then: its function may run on any server's thread, but belongs to no callback.
#include <stdexcept>

#include <gtest/gtest.h>

#include "support/counter.hpp"
#include "support/sim_test.hpp"

namespace peeper {
namespace {

using test::add;
using test::counter;
using test::get;

struct hold {
  using reply = int;
};
struct let_go {
  using reply = int;
};
struct holder {
  struct state {};
  void handle_call(hold, from<int> caller, const state&) { held = std::move(caller); }
  int handle_call(let_go, const state&) { return held.reply(5) ? 1 : 0; }
  from<int> held;
};

struct let_go_and_crash {
  using reply = int;
};
struct crasher {
  struct state {
    ref<holder> whom;
  };
  int handle_call(let_go_and_crash, const state& s) {
    EXPECT_TRUE(s.whom.call(let_go{}));
    throw std::runtime_error{"after the answer has gone out"};
  }
};

PEEPER_SIM_TEST(then, WhatItSendsIsNotUndoneByACrashOfTheServerWhoseThreadRunsIt) {
  const auto target = start<counter>(rt).value();
  const auto h = start<holder>(rt).value();
  const auto c = start<crasher>(rt, {.state = {{h}}}).value();
  h.ask(hold{}).then(
      [target](const std::expected<int, call_error>& r) { target.cast(add{r.value_or(0)}); });
  sim.run();
  EXPECT_FALSE(c.call(let_go_and_crash{}));
  sim.run();
  EXPECT_EQ(target.call(get{}), 5);
}

}  // namespace
}  // namespace peeper
