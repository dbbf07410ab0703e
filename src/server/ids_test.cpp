// SPDX-License-Identifier: Apache-2.0
/// Ids of timers and monitors as keys.
#include <set>
#include <string>
#include <unordered_set>

#include <gtest/gtest.h>

#include "support/counter.hpp"
#include "support/sim_test.hpp"

namespace peeper {
namespace {

using namespace std::chrono_literals;
using test::counter;

template <class Id>
void expect_a_key(Id one, Id other) {
  EXPECT_NE(one, other);
  EXPECT_TRUE((one < other) != (other < one));
  EXPECT_EQ(std::hash<Id>{}(one), std::hash<Id>{}(Id{one}));
  EXPECT_EQ((std::unordered_set<Id>{one, other, one}.size()), 2U);
  EXPECT_EQ((std::set<Id>{one, other, one}.size()), 2U);
}

TEST(an_id, IsAKeyOfHashedAndOfOrderedContainers) {
  expect_a_key(timer_id{7}, timer_id{8});
  expect_a_key(monitor_id{7}, monitor_id{8});
  expect_a_key(pid{1, process_role::worker, 1}, pid{1, process_role::worker, 2});
}

struct ring {
  int n;
};
struct follow {
  ref<counter> who;
};
struct seen {
  using reply = std::string;
};

/// Knows by their ids whom it watches and which alarms it has set.
struct keeper_of_ids {
  struct state {
    kept_map<monitor_id, std::string> watched;
    kept_ordered_map<timer_id, int> alarms;
    std::string text;
  };
  static void handle_cast(const follow& m, state& s) {
    s.watched.insert_or_assign(monitor(m.who), m.who.name());
    s.alarms.insert_or_assign(send_after(self<keeper_of_ids>(), 1s, ring{1}), 1);
  }
  static void handle_cast(test::crash, state& s) {
    s.watched.clear();
    s.alarms.clear();
    throw std::runtime_error{"unlucky"};
  }
  static void handle_info(const down& d, state& s) {
    s.text += s.watched.at(d.id) + " ended; ";
    s.watched.erase(d.id);
  }
  static void handle_info(ring, const state&) {}
  static std::string handle_call(seen, const state& s) {
    return s.text + std::to_string(s.watched.size()) + " watched, " +
           std::to_string(s.alarms.size()) + " alarms";
  }
};

PEEPER_SIM_TEST(an_id, KeepsItsPlaceInAStateThroughACrash) {
  const auto one = start<counter>(rt, {.name = "one"}).value();
  const auto two = start<counter>(rt, {.name = "two"}).value();
  const auto k = start<keeper_of_ids>(rt).value();
  k.cast(follow{one});
  k.cast(follow{two});
  k.cast(test::crash{});
  sim.run();
  kill(two.pid());
  sim.run();
  EXPECT_EQ(k.call(seen{}), "two ended; 1 watched, 2 alarms");
}

}  // namespace
}  // namespace peeper
