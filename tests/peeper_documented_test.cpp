// SPDX-License-Identifier: Apache-2.0
/// \file
/// What Peeper 0.3.1 documents, behaviour by behaviour, where no test of a part shows it already
/// (docs/differences.md lists which test shows which).
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include <peeper/peeper.hpp>
#include <peeper/sim.hpp>
#include <peeper/upgrade.hpp>

#include "support/counter.hpp"
#include "support/sim_test.hpp"

namespace peeper::test {
namespace {

using namespace std::chrono_literals;

PEEPER_SIM_TEST(peeper_0_3_1_documents, StartTakesTheInitialState) {
  const auto c = start<counter>(rt, {.state = 41}).value();
  EXPECT_EQ(c.call(add_and_get{1}), 42);
}

PEEPER_SIM_TEST(peeper_0_3_1_documents, AServerIsAChildOfASupervisionTree) {
  auto top = start_supervisor(rt, {}, {child_spec<counter>({.id = "hits"}, {.state = 7})}).value();
  EXPECT_EQ(top.child<counter>("hits").value().call(get{}), 7);
}

/// Options that belong to the class: a function of it, given to start.
struct with_defaults {
  using state = int;
  static options<with_defaults> defaults() { return {.state = 3, .max_restarts = 7}; }
  int handle_call(get, const state& n) { return n; }
};
PEEPER_SIM_TEST(peeper_0_3_1_documents, OptionsMayBeDeclaredByTheClass) {
  auto o = with_defaults::defaults();
  o.name = "one of them";
  const auto c = start<with_defaults>(rt, std::move(o)).value();
  EXPECT_EQ(c.call(get{}), 3);
  EXPECT_EQ(whereis<with_defaults>(rt, "one of them").value(), c);
}

// --- tables ------------------------------------------------------------------------------------

struct entry {
  std::string key;
  int value = 0;
};
using entries = table<entry, &entry::key>;
using sorted_entries = table<entry, &entry::key, ordered_set>;

struct set_entry {
  std::string key;
  int value;
};
struct sizes {
  using reply = std::pair<std::size_t, std::size_t>;
};

/// The original's CacheServer, with a second table.
struct cache_server {
  struct state {
    int writes = 0;
  };
  entries::owner cache;
  sorted_entries::owner other;
  state init() {
    cache = entries::create({.name = "cache"}).value();
    other = sorted_entries::create({.name = "other"}).value();
    return {};
  }
  void handle_cast(const set_entry& m, state& s) {
    ++s.writes;
    cache.insert({m.key, m.value});
    other.insert({m.key, m.value});
  }
  sizes::reply handle_call(sizes, const state&) { return {cache.size(), other.size()}; }
};

sizes::reply sizes_after_a_crash(simulation& sim, runtime& rt, const kept_tables& keep) {
  const auto c = start<cache_server>(rt, {.keep_tables = keep}).value();
  c.cast(set_entry{"a", 1});
  c.cast(set_entry{"b", 2});
  sim.run();
  EXPECT_EQ(c.call(sizes{}).value(), (sizes::reply{2, 2}));
  kill(worker_of(c));
  auto after = c.call(sizes{}).value();
  EXPECT_TRUE(stop(c));
  return after;
}

PEEPER_SIM_TEST(peeper_0_3_1_documents, TablesAreKeptAllOfThemNoneOrThoseThatAreNamed) {
  EXPECT_EQ(sizes_after_a_crash(sim, rt, kept_tables::all()), (sizes::reply{2, 2}));
  EXPECT_EQ(sizes_after_a_crash(sim, rt, {}), (sizes::reply{0, 0}));
  EXPECT_EQ(sizes_after_a_crash(sim, rt, {"cache"}), (sizes::reply{2, 0}));
  EXPECT_EQ(sizes_after_a_crash(sim, rt, {"other", "cache"}), (sizes::reply{2, 2}));
}

// --- listeners ---------------------------------------------------------------------------------

std::vector<std::string> heard;

struct my_listener {
  static constexpr listener_options options{.wants_state = true};
  void on_state_changed(const change<int>& c) {
    heard.push_back("changed from " + std::to_string(*c.old_state()) + " to " +
                    std::to_string(*c.new_state()));
  }
  void on_terminate(const end_event<int>& e) {
    heard.push_back("terminated: " + e.reason().to_string() + ", final state " +
                    std::to_string(*e.final_state()));
  }
};

PEEPER_SIM_TEST(peeper_0_3_1_documents, AListenerGetsOldAndNewStateReasonAndFinalState) {
  heard.clear();
  const auto c = start<counter>(rt, {.listeners = {my_listener{}}}).value();
  c.cast(add{2});
  c.cast(add{3});
  sim.advance(listener_rest);
  EXPECT_TRUE(stop(c));
  sim.advance(listener_rest);
  EXPECT_EQ(heard, (std::vector<std::string>{"changed from 0 to 2", "changed from 2 to 5",
                                             "terminated: normal, final state 5"}));
}

// --- the process dictionary --------------------------------------------------------------------

struct remember {
  std::string what;
};
struct recall {
  using reply = std::string;
};
struct rememberer {
  using state = int;
  void handle_cast(const remember& m, state&) { dictionary().put("it", m.what); }
  std::string handle_call(recall, const state&) {
    return dictionary().get<std::string>("it").value_or("");
  }
};
PEEPER_SIM_TEST(peeper_0_3_1_documents, TheProcessDictionaryIsKept) {
  const auto r = start<rememberer>(rt).value();
  r.cast(remember{"this"});
  sim.run();
  kill(worker_of(r));
  EXPECT_EQ(r.call(recall{}), "this");
}

// --- code_change -------------------------------------------------------------------------------

struct number_v1 {
  static constexpr unsigned version = 1;
  int n = 0;
};
struct number_v2 {
  static constexpr unsigned version = 2;
  using previous = number_v1;
  static number_v2 migrate(number_v1&& old) { return {.n = old.n, .migrated = true}; }
  int n = 0;
  bool migrated = false;
};
struct numbers {
  using calls = types<get>;
};
struct class_v1 {
  using state = number_v1;
  state init() { return {.n = 5}; }
  int handle_call(get, const state& s) { return s.n; }
};
struct class_v2 {
  using state = number_v2;
  state init() { return {}; }
  int handle_call(get, const state& s) { return s.migrated ? 100 + s.n : -1; }
};
PEEPER_SIM_TEST(peeper_0_3_1_documents, CodeChangeTurnsTheOldStateIntoTheNewOne) {
  const auto s =
      start<upgradable<numbers>>(rt, {.state = implementation<numbers>::of<class_v1>()}).value();
  EXPECT_EQ(s.call(get{}), 5);
  EXPECT_TRUE(upgrade(s, implementation<numbers>::of<class_v2>()));
  EXPECT_EQ(s.call(get{}), 105);
}

// --- transfer ----------------------------------------------------------------------------------

PEEPER_SIM_TEST(peeper_0_3_1_documents, AServerMovesFromOneDynamicSupervisorToAnother) {
  auto source = start_dynamic_supervisor(rt, {.name = "source"}).value();
  auto target = start_dynamic_supervisor(rt, {.name = "target"}).value();
  const auto c = source.start_child<counter>({.name = "it", .state = 9}).value();
  EXPECT_TRUE(transfer(c, target));
  EXPECT_TRUE(source.stop());
  EXPECT_EQ(whereis<counter>(rt, "it").value().call(get{}), 9);
}

}  // namespace
}  // namespace peeper::test
