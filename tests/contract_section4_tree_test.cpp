// SPDX-License-Identifier: Apache-2.0
/// \file
/// The rows of the list of Peeper 0.3.1's shortcomings that are about tables, listeners, transfer
/// and trees; the others are in contract_section4_test.cpp.
#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include <peeper/peeper.hpp>
#include <peeper/sim.hpp>

#include "support/counter.hpp"
#include "support/sim_test.hpp"

namespace peeper::test {
namespace {

using namespace std::chrono_literals;

struct hit {
  int id = 0;
  int count = 0;
};
using hits = table<hit, &hit::id>;

struct add_hit {
  using reply = int;
  int id;
};
struct count_hits {
  using reply = std::size_t;
};
struct throw_after_hit {
  using reply = int;
  int id;
};
struct id_of_table {
  using reply = std::uint64_t;
};

/// A kept table with a name, made in init, as the original's documentation has it.
struct cache {
  using state = int;
  hits::owner all;

  state init(std::size_t rows) {
    all = hits::create({.name = "hits"}).value();
    if (restart_count() == 0) {
      for (std::size_t i = 0; i < rows; ++i) all.insert(hit{.id = -1 - static_cast<int>(i)});
    }
    return 0;
  }
  int handle_call(const add_hit& m, state& n) {
    ++n;
    return all.update_counter<&hit::count>(m.id, 1, hit{.id = m.id}).value();
  }
  std::size_t handle_call(count_hits, const state&) { return all.size(); }
  int handle_call(const throw_after_hit& m, state& n) {
    ++n;
    all.insert(hit{.id = m.id, .count = 1000});
    throw std::runtime_error{"unlucky"};
  }
  std::uint64_t handle_call(id_of_table, const state&) { return all.id().value; }
};

std::expected<ref<cache>, start_error> start_cache(runtime& rt, std::size_t rows = 0) {
  return start<cache>(rt, {.keep_tables = kept_tables::all()}, rows);
}

/// Comes and goes with a table of its own.
struct passer_by {
  using state = int;
  hits::owner own;
  state init() {
    own = hits::create({}).value();
    return 0;
  }
  int handle_call(get, const state& n) { return n; }
};

PEEPER_SIM_TEST(better_than_peeper_0_3_1, Row6_DeletingAnUnrelatedTableHurtsNobody) {
  const auto c = start_cache(rt).value();
  EXPECT_EQ(c.call(add_hit{7}), 1);
  const auto other = start<passer_by>(rt).value();
  EXPECT_TRUE(stop(other));
  EXPECT_EQ(c.call(add_hit{7}), 2);
  EXPECT_EQ(statistics_of(c).value().crashes, 0U);
}

/// Steps of the simulation for 50 calls: what a message costs, in something that no machine
/// changes.
std::size_t steps_of_50_calls(int tables, std::size_t rows) {
  simulation sim{1};
  runtime rt{{.env = &sim.env()}};
  const auto c = start_cache(rt, rows).value();
  for (int i = 0; i < tables; ++i) EXPECT_TRUE(start<passer_by>(rt));
  sim.run();
  std::vector<pending<int>> all;
  all.reserve(50);
  for (int i = 0; i < 50; ++i) all.push_back(c.ask(add_hit{7}));
  const std::size_t steps = sim.run();
  for (int i = 0; i < 50; ++i) EXPECT_EQ(all[static_cast<std::size_t>(i)].get(), i + 1);
  return steps;
}

TEST(better_than_peeper_0_3_1, Row7And19_ACallCostsTheSameBesideAnyNumberOfTables) {
  const std::size_t alone = steps_of_50_calls(0, 0);
  EXPECT_GE(alone, 50U);
  EXPECT_EQ(steps_of_50_calls(1000, 0), alone);
  EXPECT_EQ(steps_of_50_calls(0, 100'000), alone);
}

PEEPER_SIM_TEST(better_than_peeper_0_3_1, Row9_TransferKeepsListenersTablesAndOptions) {
  static std::vector<std::string> heard;
  heard.clear();
  struct note {
    void on_state_changed(const change<int>& c) {
      heard.push_back(std::to_string(c.value()->old) + ">" + std::to_string(c.value()->now));
    }
  };
  auto from = start_dynamic_supervisor(rt).value();
  auto to = start_dynamic_supervisor(rt).value();
  const auto c = from.start_child<cache>({.name = "c",
                                          .max_restarts = 2,
                                          .keep_tables = kept_tables::all(),
                                          .listeners = {note{}}},
                                         std::size_t{0})
                     .value();
  EXPECT_EQ(c.call(add_hit{7}), 1);
  const std::uint64_t table_id = c.call(id_of_table{}).value();
  EXPECT_TRUE(transfer(c, to));
  EXPECT_EQ(c.call(add_hit{7}), 2);
  kill(worker_of(c));
  EXPECT_EQ(c.call(add_hit{7}), 3);
  EXPECT_EQ(c.call(id_of_table{}), table_id);
  sim.advance(listener_rest);
  EXPECT_EQ(heard, (std::vector<std::string>{"0>1", "1>2", "2>3"}));
  kill(worker_of(c));
  kill(worker_of(c));
  sim.run();
  kill(worker_of(c));
  sim.run();
  EXPECT_FALSE(c.alive()) << "its own max_restarts still hold";
  EXPECT_TRUE(whereis<cache>(rt, "c")) << "and its new supervisor restarts it";
}

PEEPER_SIM_TEST(better_than_peeper_0_3_1, Row10_TransferToWhereThereIsNothingLeavesItRunning) {
  auto from = start_dynamic_supervisor(rt).value();
  auto gone = start_dynamic_supervisor(rt).value();
  EXPECT_TRUE(gone.stop());
  const auto c = from.start_child<counter>().value();
  EXPECT_EQ(c.call(add_and_get{5}), 5);
  EXPECT_EQ(transfer(c, gone).error().code(), child_errc::noproc);
  EXPECT_EQ(c.call(get{}), 5);
  EXPECT_EQ(from.count_children().value().active, 1U);
}

PEEPER_SIM_TEST(better_than_peeper_0_3_1,
                Row13_ListenersHearOfChangesOnlyInOrderAndOfEveryEndKillsIncluded) {
  static std::vector<std::string> heard;
  heard.clear();
  struct note {
    void on_state_changed(const change<int>& c) {
      heard.push_back(std::to_string(c.value()->old) + ">" + std::to_string(c.value()->now));
    }
    void on_terminate(const end_event<int>& e) {
      heard.push_back(std::string{to_string(e.reason().kind())} +
                      (e.server_goes_on() ? ", goes on" : ""));
    }
  };
  const auto c = start<counter>(rt, {.listeners = {note{}}}).value();
  EXPECT_EQ(c.call(add_and_get{1}), 1);
  EXPECT_EQ(c.call(add_and_get{0}), 1) << "no change: Peeper calls its listener";
  EXPECT_EQ(c.call(get{}), 1);
  EXPECT_EQ(c.call(add_and_get{2}), 3);
  c.cast(crash{});
  sim.advance(listener_rest);
  kill(worker_of(c));
  sim.advance(listener_rest);
  EXPECT_TRUE(stop(c));
  sim.advance(listener_rest);
  EXPECT_EQ(heard, (std::vector<std::string>{"0>1", "1>3", "exception, goes on", "killed, goes on",
                                             "normal"}));
}

PEEPER_SIM_TEST(better_than_peeper_0_3_1, Row15_TheIdOfAKeptTableStays) {
  const auto c = start_cache(rt).value();
  const std::uint64_t id = c.call(id_of_table{}).value();
  for (int i = 0; i < 3; ++i) {
    kill(worker_of(c));
    EXPECT_EQ(c.call(id_of_table{}), id);
  }
}

PEEPER_SIM_TEST(better_than_peeper_0_3_1, Row17_AlsoUnderASupervisorOfTheUsers) {
  auto top = start_supervisor(rt, {}, {child_spec<counter>({.id = "c"})}).value();
  const auto c = top.child<counter>("c").value();
  EXPECT_EQ(c.call(add_and_get{5}), 5);
  kill(supervisor_of(c));
  kill(supervisor_of(top));
  sim.run();
  EXPECT_EQ(c.call(get{}), 5) << "Peeper: the initial state";
  EXPECT_EQ(top.child<counter>("c").value(), c);
}

/// A callback that asks for its own server's transfer.
struct move_yourself {
  using reply = bool;
  dynamic_supervisor<> to;
};
struct mover {
  using state = int;
  bool handle_call(const move_yourself& m, state& n) {
    ++n;
    return transfer(self<mover>(), m.to).has_value();
  }
  int handle_call(add_and_get m, state& n) { return n += m.by; }
};

PEEPER_SIM_TEST(better_than_peeper_0_3_1, Row20_TransferUnderACallingClientLosesNoUpdate) {
  auto one = start_dynamic_supervisor(rt).value();
  auto two = start_dynamic_supervisor(rt).value();
  const auto m = one.start_child<mover>().value();
  int last = 0;
  const auto client = sim.thread([&] {
    for (int i = 0; i < 50; ++i) last = m.call(add_and_get{1}).value();
  });
  for (int i = 0; i < 10; ++i) EXPECT_TRUE(transfer(m, i % 2 == 0 ? two : one));
  sim.run();
  EXPECT_EQ(last, 50) << "Peeper: acknowledged updates lost in 84 of 100 tries";
  EXPECT_EQ(m.call(move_yourself{two}), false) << "Peeper: blocks, and resets the state";
  EXPECT_EQ(m.call(add_and_get{1}), 52);
}

PEEPER_SIM_TEST(better_than_peeper_0_3_1, Row21_KeptTablesComeBackAsOfTheLastCommit) {
  const auto c = start_cache(rt, 1000).value();
  EXPECT_EQ(c.call(add_hit{7}), 1);
  EXPECT_EQ(c.call(throw_after_hit{8}).error().code(), call_errc::crashed);
  EXPECT_EQ(c.call(count_hits{}), 1001U) << "the row of the crashed callback is not there";
  EXPECT_EQ(c.call(add_hit{7}), 2);
}

struct public_board {
  using state = int;
  hits::owner all;
  state init() {
    all = hits::create({.name = "board", .access = access::public_}).value();
    return 0;
  }
  int handle_call(get, const state& n) { return n; }
};
PEEPER_SIM_TEST(better_than_peeper_0_3_1, Row21_WritesOfOthersSinceTheLastMessageAreNotLost) {
  const auto b = start<public_board>(rt, {.keep_tables = kept_tables::all()}).value();
  auto writer = find_public_table<hits>(rt, "board").value();
  EXPECT_TRUE(writer.insert(hit{.id = 1, .count = 1}));
  kill(worker_of(b));
  EXPECT_EQ(b.call(get{}), 0);
  EXPECT_EQ(writer.lookup(1).value().value().count, 1) << "Peeper: gone";
}

/// The worker's own server as heir, as documented by the original.
struct heir_to_itself {
  using state = int;
  hits::owner all;
  state init() {
    all = hits::create({.name = "mine", .heir = self_pid()}).value();
    return 0;
  }
  int handle_call(const add_hit& m, state& n) {
    ++n;
    return all.update_counter<&hit::count>(m.id, 1, hit{.id = m.id}).value();
  }
};
PEEPER_SIM_TEST(better_than_peeper_0_3_1, Row22_TheServerAsHeirHasItsTableAgainAlsoAfterATransfer) {
  auto one = start_dynamic_supervisor(rt).value();
  auto two = start_dynamic_supervisor(rt).value();
  const auto h = one.start_child<heir_to_itself>().value();
  EXPECT_EQ(h.call(add_hit{1}), 1);
  kill(worker_of(h));
  EXPECT_EQ(h.call(add_hit{1}), 2);
  EXPECT_TRUE(transfer(h, two));
  kill(worker_of(h));
  EXPECT_EQ(h.call(add_hit{1}), 3);
  EXPECT_EQ(statistics_of(h).value().crashes, 2U) << "init did not crash for a name that was there";
}

struct fails_when_told {
  using state = int;
  static inline bool broken = false;
  state init() const {
    if (broken) throw std::runtime_error{"cannot start"};
    return 0;
  }
};
PEEPER_SIM_TEST(better_than_peeper_0_3_1, Row24_TheFaultGoesUpTheTreeWithItsReason) {
  fails_when_told::broken = false;
  static std::vector<child_exit> seen;
  static std::vector<std::string> reasons;
  reasons.clear();
  auto top = start_supervisor(
                 rt, {},
                 {child_spec<fails_when_told>({.id = "c",
                                               .on_exit =
                                                   [](const child_exit& e) {
                                                     reasons.push_back(e.last_crash.to_string());
                                                     fails_when_told::broken = false;
                                                     return restart_decision::restart;
                                                   }},
                                              {.max_restarts = 5})})
                 .value();
  fails_when_told::broken = true;
  kill(worker_of(top.child<fails_when_told>("c").value()));
  sim.run();
  EXPECT_EQ(reasons, std::vector<std::string>{"exception: cannot start"});
  EXPECT_TRUE(top.child<fails_when_told>("c").value().alive());
}

}  // namespace
}  // namespace peeper::test
