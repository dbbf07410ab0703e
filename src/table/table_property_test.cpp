// SPDX-License-Identifier: Apache-2.0
/// \file
/// Random operations on every kind of table against plain standard containers, with crashes, kills
/// and restarts: the owner sees the model with what its callback has done, readers the model as of
/// the last commit.
#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <peeper/table.hpp>

#include "support/sim_test.hpp"
#include "table/table_test.hpp"

namespace peeper::test {
namespace {

/// What a table of a kind does, in the simplest way there is.
template <class Kind>
struct model {
  std::map<int, std::vector<name_row>> rows;

  static constexpr bool many = std::is_same_v<Kind, bag> || std::is_same_v<Kind, duplicate_bag>;

  void insert(const name_row& r) {
    auto& of_key = rows[r.id];
    if (!many) of_key.clear();
    if (std::is_same_v<Kind, bag> && std::ranges::find(of_key, r) != of_key.end()) return;
    of_key.push_back(r);
  }
  std::size_t erase(int k) {
    const auto at = rows.find(k);
    if (at == rows.end()) return 0;
    const std::size_t n = at->second.size();
    rows.erase(at);
    return n;
  }
  std::size_t erase_object(const name_row& r) {
    const auto at = rows.find(r.id);
    if (at == rows.end()) return 0;
    const std::size_t n = std::erase(at->second, r);
    if (at->second.empty()) rows.erase(at);
    return n;
  }
  [[nodiscard]] std::vector<name_row> of(int k) const {
    const auto at = rows.find(k);
    return at == rows.end() ? std::vector<name_row>{} : at->second;
  }
  [[nodiscard]] std::vector<name_row> all() const {
    std::vector<name_row> result;
    for (const auto& [k, of_key] : rows) {
      result.insert(result.end(), of_key.begin(), of_key.end());
    }
    return result;
  }
};

std::vector<name_row> as_vector(std::vector<name_row> rows) { return rows; }
std::vector<name_row> as_vector(const std::optional<name_row>& row) {
  return row ? std::vector{*row} : std::vector<name_row>{};
}
std::vector<name_row> sorted(const std::vector<name_row>& rows) { return by_id(rows); }

template <class Kind>
class random_run {
 public:
  using table_type = table<name_row, &name_row::id, Kind>;
  using owner = typename table_type::owner;

  random_run(simulation& sim, runtime& rt)
      : sim_{sim},
        server_{start_owner<table_type>(rt, {.name = "table"}, {"table"})},
        reader_{find_table<table_type>(rt, "table").value()} {}

  void callback() {
    model<Kind> now = committed_;
    const bool crashes = sim_.choose(4) == 0;
    const auto work = [&](owner& t) {
      for (std::uint64_t n = 1 + sim_.choose(12); n > 0; --n) {
        step(t, now);
        if (sim_.choose(8) == 0) compare(t, now);
      }
      EXPECT_EQ(sorted(reader_.select(everything).value()), committed_.all());
    };
    if (crashes) {
      crash_in(server_, work);
    } else {
      in(server_, work);
      committed_ = now;
    }
    switch (sim_.choose(20)) {
      case 0: std::ignore = kill(worker_of(server_)); break;
      case 1: std::ignore = kill(keeper_of(server_)); break;
      case 2: std::ignore = kill(supervisor_of(server_)); break;
      default: break;
    }
    sim_.run();
    EXPECT_EQ(sorted(reader_.select(everything).value()), committed_.all());
    EXPECT_EQ(reader_.size(), committed_.all().size());
  }
  void compare_at_the_end() {
    in(server_, [&](owner& t) { compare(t, committed_); });
  }

 private:
  static bool everything(const name_row&) { return true; }
  int key() { return static_cast<int>(sim_.choose(12)); }
  name_row row() { return {key(), std::string(1, static_cast<char>('a' + sim_.choose(3))), 0}; }

  void step(owner& t, model<Kind>& m) {
    switch (sim_.choose(10)) {
      case 0:
      case 1: {
        const name_row r = row();
        t.insert(r);
        m.insert(r);
        break;
      }
      case 2: {
        std::vector<name_row> list(sim_.choose(5));
        for (name_row& r : list) r = row();
        t.insert(list);
        for (const name_row& r : list) m.insert(r);
        break;
      }
      case 3: {
        const std::vector<name_row> list{row(), row()};
        const bool fresh = m.of(list[0].id).empty() && m.of(list[1].id).empty();
        EXPECT_EQ(t.insert_new(list), fresh);
        for (const name_row& r : list) {
          if (fresh) m.insert(r);
        }
        break;
      }
      case 4: {
        const int k = key();
        EXPECT_EQ(t.erase(k), m.erase(k));
        break;
      }
      case 5: {
        const int k = key();
        EXPECT_EQ(as_vector(t.take(k)), m.of(k));
        m.erase(k);
        break;
      }
      case 6: {
        const name_row r = row();
        EXPECT_EQ(t.erase_object(r), m.erase_object(r));
        break;
      }
      case 7:
        if (sim_.choose(5) == 0) {
          EXPECT_EQ(t.clear(), m.all().size());
          m.rows.clear();
        }
        break;
      default: update(t, m);
    }
  }
  void update(owner& t, model<Kind>& m) {
    const int k = key();
    if constexpr (!table_type::store::many) {
      const auto before = m.of(k);
      const auto n = t.template update_counter<&name_row::hits>(k, 2, name_row{k, "new", 1});
      EXPECT_EQ(n, before.empty() ? 3 : before[0].hits + 2);
      m.insert({k, before.empty() ? "new" : before[0].name, *n});
    } else {
      EXPECT_EQ(t.member(k), !m.of(k).empty());
    }
  }
  void compare(const owner& t, const model<Kind>& m) {
    EXPECT_EQ(sorted(t.select(everything)), m.all());
    EXPECT_EQ(t.size(), m.all().size());
    for (int k = 0; k < 12; ++k) {
      EXPECT_EQ(as_vector(t.lookup(k)), m.of(k));
      EXPECT_EQ(as_vector(reader_.lookup(k).value()), committed_.of(k));
    }
    std::vector<int> keys;
    for (auto k = t.first(); k; k = t.next(*k)) keys.push_back(*k);
    if constexpr (table_type::store::ordered) {
      EXPECT_TRUE(std::ranges::is_sorted(keys));
      std::vector<int> back;
      for (auto k = t.last(); k; k = t.prev(*k)) back.insert(back.begin(), *k);
      EXPECT_EQ(back, keys);
    }
    std::ranges::sort(keys);
    std::vector<int> expected;
    for (const auto& [k, rows] : m.rows) expected.push_back(k);
    EXPECT_EQ(keys, expected);
  }

  simulation& sim_;
  ref<table_server<table_type>> server_;
  typename table_type::reader reader_;
  model<Kind> committed_;
};

template <class Kind>
void follow_the_model(simulation& sim, runtime& rt) {
  random_run<Kind> run{sim, rt};
  for (int i = 0; i < 60 && !testing::Test::HasFailure(); ++i) run.callback();
  run.compare_at_the_end();
}

PEEPER_SIM_TEST(table_property, ASetFollowsTheModelThroughCrashesAndKills_P1_P2) {
  follow_the_model<set>(sim, rt);
}
PEEPER_SIM_TEST(table_property, AnOrderedSetFollowsTheModelThroughCrashesAndKills_P1_P2) {
  follow_the_model<ordered_set>(sim, rt);
}
PEEPER_SIM_TEST(table_property, ABagFollowsTheModelThroughCrashesAndKills_P1_P2) {
  follow_the_model<bag>(sim, rt);
}
PEEPER_SIM_TEST(table_property, ADuplicateBagFollowsTheModelThroughCrashesAndKills_P1_P2) {
  follow_the_model<duplicate_bag>(sim, rt);
}

}  // namespace
}  // namespace peeper::test
