// SPDX-License-Identifier: Apache-2.0
/// What init learns about the start it is part of.
#include <stdexcept>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "support/counter.hpp"
#include "support/sim_test.hpp"

namespace peeper {
namespace {

using namespace std::chrono_literals;
using test::counter;
using test::crash;
using test::get;
using strings = std::vector<std::string>;

struct tick {};

/// Writes down each start; sets a timer and a monitor on the first only.
struct heart {
  struct state {
    timer_id beat;
    monitor_id watched;
    int beats = 0;
    int ended = 0;
  };
  state init(strings* starts, ref<counter> other, int failing_start) {
    starts->push_back(std::to_string(restart_count()) + ", " + last_crash().to_string());
    state s;
    if (restart_count() == 0) {
      s.beat = send_interval(self<heart>(), 1s, tick{});
      s.watched = monitor(other);
    }
    if (static_cast<int>(starts->size()) == failing_start) throw std::runtime_error{"no start"};
    return s;
  }
  void handle_info(tick, state& s) { ++s.beats; }
  void handle_info(const down& d, state& s) {
    if (d.id == s.watched) ++s.ended;
  }
  void handle_cast(crash, state& s) {
    s.beats = -1000;
    throw std::runtime_error{"unlucky"};
  }
  int handle_call(get, const state& s) { return static_cast<int>(restart_count()) * 100 + s.beats; }
};

PEEPER_SIM_TEST(restart_count, LetsInitSetTimersAndMonitorsOnce) {
  strings starts;
  const auto other = start<counter>(rt).value();
  const auto h = start<heart>(rt, {}, &starts, other, 0).value();
  sim.advance(1500ms);
  h.cast(crash{});
  sim.run();
  EXPECT_TRUE(kill(worker_of(h)));
  sim.advance(3s);
  EXPECT_EQ(h.call(get{}), 204) << "two restarts, one beat a second";
  kill(other.pid());
  sim.run();
  EXPECT_EQ(inspect(h, [](const heart::state& s) { return s.ended; }), 1);
  EXPECT_EQ(starts, (strings{"0, normal", "1, exception: unlucky", "2, killed"}));
}

PEEPER_SIM_TEST(restart_count, CountsAnInitThatFailedToo) {
  strings starts;
  const auto other = start<counter>(rt).value();
  const auto h = start<heart>(rt, {.backoff = {.min = 10ms, .max = 10ms}}, &starts, other, 2);
  ASSERT_TRUE(h);
  EXPECT_TRUE(kill(worker_of(*h)));
  sim.advance(500ms);
  EXPECT_EQ(h->call(get{}), 200);
  EXPECT_EQ(starts, (strings{"0, normal", "1, killed", "2, exception: no start"}));
}

PEEPER_SIM_TEST(restart_count, IsThatOfTheWorkerOnly) {
  strings starts;
  const auto other = start<counter>(rt).value();
  const auto h = start<heart>(rt, {}, &starts, other, 0).value();
  h.cast(crash{});
  sim.run();
  EXPECT_TRUE(kill(keeper_of(h)));
  EXPECT_EQ(h.call(get{}), 100);
  h.cast(crash{});
  sim.run();
  EXPECT_EQ(starts, (strings{"0, normal", "1, exception: unlucky", "2, exception: unlucky"}));
}

TEST(restart_count, NeedsARunningCallback) {
  EXPECT_THROW((void)restart_count(), std::logic_error);
  EXPECT_THROW((void)last_crash(), std::logic_error);
}

}  // namespace
}  // namespace peeper
