// SPDX-License-Identifier: Apache-2.0
/// Timers of servers: kept through crashes, started and cancelled at the commit.
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "support/counter.hpp"
#include "support/sim_test.hpp"

namespace peeper {
namespace {

using namespace std::chrono_literals;
using strings = std::vector<std::string>;

struct ring {
  std::string text;
};
struct look {
  using reply = strings;
};
struct wake_me {
  duration after;
  std::string text;
  bool then_crash = false;
};
struct every {
  duration period;
  std::string text;
};
struct cancel_last {
  bool then_crash = false;
};
/// Its copies fail, wherever they are made.
struct brittle {
  brittle() = default;
  brittle(brittle&&) = default;
  brittle(const brittle&) { throw std::runtime_error{"no copies"}; }
};

/// Writes down when each timer rang.
struct sleeper {
  using state = strings;
  environment* env;
  timer_id last;

  [[nodiscard]] std::string now() const {
    return std::to_string(
        std::chrono::duration_cast<std::chrono::milliseconds>(env->now().time_since_epoch())
            .count());
  }
  void handle_info(const ring& m, state& s) { s.push_back(m.text + "@" + now()); }
  void handle_info(const brittle&, state& s) { s.push_back("brittle@" + now()); }
  void handle_cast(const wake_me& m, const state&) {
    last = send_after(self<sleeper>(), m.after, ring{m.text});
    if (m.then_crash) throw std::runtime_error{"unlucky"};
  }
  void handle_cast(const every& m, const state&) {
    last = send_interval(self<sleeper>(), m.period, ring{m.text});
  }
  void handle_cast(cancel_last m, const state&) {
    EXPECT_TRUE(cancel_timer(self<sleeper>(), last));
    if (m.then_crash) throw std::runtime_error{"unlucky"};
  }
  state handle_call(look, const state& s) { return s; }
};

PEEPER_SIM_TEST(timer, RingsOnceAtItsTime) {
  const auto s = start<sleeper>(rt, {}, &sim.env()).value();
  s.cast(wake_me{30ms, "b"});
  s.cast(wake_me{20ms, "a"});
  const auto id = send_after(s, 40ms, ring{"c"});
  EXPECT_NE(id, timer_id{});
  s.cast(wake_me{0ms, "at once"});
  s.cast(wake_me{-5ms, "negative"});
  sim.run();
  sim.advance(1h);
  const auto told = s.call(look{}).value();
  ASSERT_EQ(told.size(), 5U);
  EXPECT_TRUE(told[0] == "at once@0" || told[0] == "at once@1") << told[0];
  EXPECT_EQ(strings(told.begin() + 2, told.end()), (strings{"a@20", "b@30", "c@40"}));
}

PEEPER_SIM_TEST(timer, IsNeverEarlyHoweverFarAway) {
  const auto s = start<sleeper>(rt, {}, &sim.env()).value();
  std::map<std::int64_t, int> due;
  std::uint64_t reach = 1;
  for (int i = 0; i < 200; ++i) {
    reach = reach < 10'000'000'000 ? reach * 2 : 1;
    const auto ms = static_cast<std::int64_t>(sim.choose(reach));
    send_after(s, std::chrono::milliseconds{ms}, ring{std::to_string(ms)});
    ++due[ms];
  }
  sim.advance(20'000'000'000ms);
  const auto told = s.call(look{}).value();
  EXPECT_EQ(told.size(), 200U);
  for (const auto& t : told) {
    const auto at = t.find('@');
    const auto wanted = std::stoll(t.substr(0, at));
    const auto rang = std::stoll(t.substr(at + 1));
    EXPECT_GE(rang, wanted);
    EXPECT_LE(rang, std::max<long long>(wanted, 1));
  }
}

PEEPER_SIM_TEST(timer, OfACallbackThatCrashesIsNeverStarted) {
  const auto s = start<sleeper>(rt, {}, &sim.env()).value();
  s.cast(wake_me{20ms, "never", true});
  sim.run();
  sim.advance(1h);
  EXPECT_EQ(s.call(look{}), strings{});
}

PEEPER_SIM_TEST(timer, OutlivesCrashesOfItsServer) {
  const auto s = start<sleeper>(rt, {}, &sim.env()).value();
  s.cast(wake_me{20ms, "kept"});
  sim.run();
  EXPECT_TRUE(kill(worker_of(s)));
  EXPECT_TRUE(kill(keeper_of(s)));
  sim.advance(1h);
  EXPECT_EQ(s.call(look{}), strings{"kept@20"});
}

PEEPER_SIM_TEST(timer, ThatIsCancelledDoesNotRing) {
  const auto s = start<sleeper>(rt, {}, &sim.env()).value();
  const auto id = send_after(s, 20ms, ring{"cancelled outside"});
  EXPECT_TRUE(cancel_timer(s, id));
  EXPECT_FALSE(cancel_timer(s, id));
  EXPECT_FALSE(cancel_timer(s, timer_id{}));
  EXPECT_FALSE(cancel_timer(ref<sleeper>{}, id));
  s.cast(wake_me{20ms, "cancelled inside"});
  s.cast(cancel_last{});
  const auto rung = send_after(s, 10ms, ring{"rung"});
  sim.run();
  sim.advance(1h);
  EXPECT_FALSE(cancel_timer(s, rung));
  EXPECT_EQ(s.call(look{}), strings{"rung@10"});
}

PEEPER_SIM_TEST(timer, ThatACrashedCallbackCancelledRingsAllTheSame) {
  const auto s = start<sleeper>(rt, {}, &sim.env()).value();
  s.cast(wake_me{20ms, "uncancelled"});
  s.cast(cancel_last{true});
  sim.run();
  sim.advance(1h);
  EXPECT_EQ(s.call(look{}), strings{"uncancelled@20"});
}

PEEPER_SIM_TEST(interval, RingsUntilItIsCancelled) {
  const auto s = start<sleeper>(rt, {}, &sim.env()).value();
  const auto id = send_interval(s, 10ms, ring{"x"});
  sim.advance(35ms);
  EXPECT_EQ(s.call(look{}), (strings{"x@10", "x@20", "x@30"}));
  EXPECT_TRUE(kill(worker_of(s)));
  sim.advance(10ms);
  EXPECT_EQ(s.call(look{})->size(), 4U);
  EXPECT_TRUE(cancel_timer(s, id));
  sim.advance(1h);
  EXPECT_EQ(s.call(look{})->size(), 4U);
  s.cast(every{10ms, "y"});
  sim.run();
  sim.advance(25ms);
  s.cast(cancel_last{});
  sim.run();
  sim.advance(1h);
  EXPECT_EQ(s.call(look{})->size(), 6U);
}

PEEPER_SIM_TEST(interval, EndsWithItsServer) {
  const auto s = start<sleeper>(rt, {}, &sim.env()).value();
  const auto id = send_interval(s, 10ms, ring{"x"});
  send_after(s, 10ms, ring{"y"});
  ASSERT_TRUE(stop(s));
  EXPECT_FALSE(cancel_timer(s, id));
  EXPECT_FALSE(cancel_timer(s, send_interval(s, 10ms, ring{"dead already"})));
  sim.advance(1min);
}

PEEPER_SIM_TEST(interval, NeedsAPositivePeriod) {
  const auto s = start<sleeper>(rt, {}, &sim.env()).value();
  EXPECT_THROW(send_interval(s, 0ms, ring{}), std::invalid_argument);
  EXPECT_THROW(send_interval(s, -1ms, ring{}), std::invalid_argument);
}

PEEPER_SIM_TEST(interval, ShorterThanATickRingsOnceATick) {
  const auto s = start<sleeper>(rt, {}, &sim.env()).value();
  send_interval(s, 1ns, ring{"x"});
  sim.advance(5ms);
  EXPECT_EQ(s.call(look{}), (strings{"x@1", "x@2", "x@3", "x@4", "x@5"}));
}

PEEPER_SIM_TEST(interval, NeverCopiesItsMessage) {
  const auto s = start<sleeper>(rt, {}, &sim.env()).value();
  send_interval(s, 10ms, brittle{});
  sim.advance(25ms);
  EXPECT_EQ(s.call(look{}), (strings{"brittle@10", "brittle@20"}));
}

PEEPER_SIM_TEST(timer, NeedsNoRunningCallbackButSelfDoes) {
  EXPECT_THROW(std::ignore = self<sleeper>(), std::logic_error);
  EXPECT_THROW(std::ignore = dictionary(), std::logic_error);
  EXPECT_EQ(self_pid(), pid{});
  EXPECT_EQ(current_deadline(), time_point::max());
  EXPECT_EQ(send_after(ref<sleeper>{}, 1s, ring{}), timer_id{});
  EXPECT_EQ(send_interval(ref<sleeper>{}, 1s, ring{}), timer_id{});
}

struct wrong_self {
  using state = int;
  void handle_cast(cancel_last, const state&) { std::ignore = self<sleeper>(); }
};

PEEPER_SIM_TEST(self, OfAnotherClassIsAnError) {
  const auto w = start<wrong_self>(rt).value();
  w.cast(cancel_last{});
  sim.run();
  ASSERT_EQ(list_poison(w)->size(), 1U);
  EXPECT_NE(list_poison(w)->front().reason.detail().find("another class"), std::string::npos);
}

}  // namespace
}  // namespace peeper
