// SPDX-License-Identifier: Apache-2.0
#include <peeper/table.hpp>

#include <cstdint>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/sim_test.hpp"
#include "table/table_test.hpp"

namespace peeper::test {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

// --- operations, on every kind -------------------------------------------------------------------

PEEPER_SIM_TEST(table_operations, OfASetReplaceTheRowOfAKey) {
  auto owner = start_owner<names>(rt);
  in(owner, [](names::owner& t) {
    t.insert({1, "ann", 0});
    t.insert({1, "bob", 5});
    EXPECT_EQ(t.lookup(1), (name_row{1, "bob", 5}));
    EXPECT_EQ(t.lookup(2), std::nullopt);
    EXPECT_EQ(t.size(), 1U);
    EXPECT_FALSE(t.insert_new({1, "eve", 0}));
    EXPECT_TRUE(t.insert_new({2, "eve", 0}));
    EXPECT_TRUE(t.member(2));
    EXPECT_EQ(t.take(2), (name_row{2, "eve", 0}));
    EXPECT_EQ(t.take(2), std::nullopt);
    EXPECT_FALSE(t.member(2));
    EXPECT_EQ(t.erase_object({1, "bob", 6}), 0U);
    EXPECT_EQ(t.erase_object({1, "bob", 5}), 1U);
    EXPECT_EQ(t.erase(1), 0U);
    t.insert({{1, "a", 0}, {2, "b", 0}, {1, "c", 0}});
    EXPECT_EQ(t.size(), 2U);
    EXPECT_EQ(t.lookup(1)->name, "c");
    EXPECT_EQ(t.clear(), 2U);
    EXPECT_EQ(t.size(), 0U);
  });
}

PEEPER_SIM_TEST(table_operations, OfABagKeepEachRowOnceOfADuplicateBagAllInTheOrderOfTheirComing) {
  auto owner = start_owner<bag_of_names>(rt);
  in(owner, [](bag_of_names::owner& t) {
    t.insert({{1, "z", 0}, {1, "a", 0}, {1, "z", 0}, {2, "b", 0}});
    EXPECT_THAT(t.lookup(1), ElementsAre(name_row{1, "z", 0}, name_row{1, "a", 0}));
    EXPECT_EQ(t.size(), 3U);
    EXPECT_EQ(t.erase_object({1, "z", 0}), 1U);
    EXPECT_THAT(t.take(1), ElementsAre(name_row{1, "a", 0}));
    EXPECT_THAT(t.lookup(1), IsEmpty());
    EXPECT_FALSE(t.insert_new({2, "other", 0}));
  });
  auto other = start_owner<duplicate_names>(rt);
  in(other, [](duplicate_names::owner& t) {
    t.insert({{1, "z", 0}, {1, "a", 0}, {1, "z", 0}});
    EXPECT_THAT(t.lookup(1),
                ElementsAre(name_row{1, "z", 0}, name_row{1, "a", 0}, name_row{1, "z", 0}));
    EXPECT_EQ(t.erase_object({1, "z", 0}), 2U);
    EXPECT_EQ(t.erase(1), 1U);
  });
}

PEEPER_SIM_TEST(table_operations, InsertNewOfAListIsAllOrNothing) {
  auto owner = start_owner<names>(rt);
  in(owner, [](names::owner& t) {
    t.insert({2, "b", 0});
    EXPECT_FALSE(t.insert_new({{1, "a", 0}, {2, "x", 0}, {3, "c", 0}}));
    EXPECT_EQ(t.size(), 1U);
    EXPECT_TRUE(t.insert_new({{1, "a", 0}, {3, "c", 0}}));
    EXPECT_EQ(t.size(), 3U);
  });
}

PEEPER_SIM_TEST(table_operations, UpdateCounterHasAThresholdAndADefaultRow) {
  auto owner = start_owner<names>(rt);
  in(owner, [](names::owner& t) {
    EXPECT_EQ(t.update_counter<&name_row::hits>(1, 1), std::nullopt);
    EXPECT_EQ(t.update_counter<&name_row::hits>(1, 1, name_row{1, "new", 10}), 11);
    EXPECT_EQ(t.update_counter<&name_row::hits>(1, 2, name_row{1, "new", 10}), 13);
    EXPECT_EQ(t.update_counter<&name_row::hits>(1, 2, {.threshold = 15, .reset = 3}), 15);
    EXPECT_EQ(t.update_counter<&name_row::hits>(1, 1, {.threshold = 15, .reset = 3}), 3);
    EXPECT_EQ(t.update_counter<&name_row::hits>(1, -2, {.threshold = 2, .reset = 9}), 9);
    EXPECT_EQ(t.lookup(1), (name_row{1, "new", 9}));
    EXPECT_THROW((void)t.update_counter<&name_row::hits>(1, std::numeric_limits<int>::max()),
                 std::overflow_error);
    EXPECT_THROW((void)t.update_counter<&name_row::hits>(2, 1, name_row{3, "wrong key", 0}),
                 std::logic_error);
    EXPECT_EQ(t.lookup(1), (name_row{1, "new", 9}));
    EXPECT_EQ(t.size(), 1U);
  });
}

PEEPER_SIM_TEST(table_operations, UpdateElementChangesOneMember) {
  auto owner = start_owner<names>(rt);
  in(owner, [](names::owner& t) {
    EXPECT_FALSE(t.update_element<&name_row::name>(1, "x"));
    t.insert({1, "a", 7});
    EXPECT_TRUE(t.update_element<&name_row::name>(1, "x"));
    EXPECT_EQ(t.lookup(1), (name_row{1, "x", 7}));
    EXPECT_EQ(t.lookup_element<&name_row::name>(1), "x");
    EXPECT_EQ(t.lookup_element<&name_row::name>(2), std::nullopt);
    EXPECT_EQ(t.lookup_element<&name_row::name>(2, "nobody"), "nobody");
  });
}

PEEPER_SIM_TEST(table_operations, SelectGoesOnWhereItsPageEnded) {
  auto owner = start_owner<names>(rt);
  in(owner, [](names::owner& t) {
    for (int i = 0; i < 1000; ++i) t.insert({i, "x", i % 3});
    const auto third = [](const name_row& r) { return r.hits == 0; };
    EXPECT_EQ(t.select(third).size(), 334U);
    std::set<int> met;
    std::size_t pages = 0;
    for (auto page = t.select(third, 10);; page = t.select(third, 10, page.more)) {
      ++pages;
      EXPECT_LE(page.rows.size(), 10U);
      for (const name_row& r : page.rows) EXPECT_TRUE(met.insert(r.id).second) << r.id;
      if (!page.more) break;
    }
    EXPECT_EQ(met.size(), 334U);
    EXPECT_GE(pages, 34U);
    EXPECT_EQ(t.fold(0, [](int sum, const name_row& r) { return sum + r.hits; }), 333 * 3);
  });
}

PEEPER_SIM_TEST(table_operations, OfAnOrderedSetGoInTheOrderOfItsKeys) {
  auto owner = start_owner<ordered_names>(rt);
  in(owner, [&](ordered_names::owner& t) {
    EXPECT_EQ(t.first(), std::nullopt);
    EXPECT_EQ(t.last(), std::nullopt);
    for (const int i : {50, 10, 40, 20, 30}) t.insert({i, "x", 0});
    EXPECT_EQ(t.first(), 10);
    EXPECT_EQ(t.last(), 50);
    EXPECT_EQ(t.next(10), 20);
    EXPECT_EQ(t.next(25), 30);
    EXPECT_EQ(t.prev(25), 20);
    EXPECT_EQ(t.next(50), std::nullopt);
    EXPECT_EQ(t.prev(10), std::nullopt);
    t.erase(20);
    EXPECT_EQ(t.next(10), 30);
    EXPECT_EQ(t.prev(30), 10);
    EXPECT_THAT(t.fold(std::vector<int>{},
                       [](std::vector<int> all, const name_row& r) {
                         all.push_back(r.id);
                         return all;
                       }),
                ElementsAre(10, 30, 40, 50));
  });
}

template <class Table>
void a_walk_meets_all_who_stay(runtime& rt, simulation& sim) {
  auto owner = start_owner<Table>(rt);
  in(owner, [&](typename Table::owner& t) {
    for (int i = 0; i < 300; i += 2) t.insert({i, "stays", 0});
    std::multiset<int> met;
    int fresh = 1001;
    for (auto k = t.first(); k; k = t.next(*k)) {
      met.insert(*k);
      if (*k % 2 != 0) t.erase(*k);  // the one that the walk stands on
      if (fresh < 3001) {            // and much growth on the way
        for (int i = 0; i < 20; ++i, fresh += 2) t.insert({fresh, "comes", 0});
      }
      const int even = static_cast<int>(sim.choose(150)) * 2;
      t.erase(even);
      t.insert({even, "is there again", 1});
    }
    for (int i = 0; i < 300; i += 2) EXPECT_EQ(met.count(i), 1U) << i;
    for (const int i : met) EXPECT_EQ(met.count(i), 1U) << i;
  });
}
PEEPER_SIM_TEST(a_walk, OfASetMeetsEveryKeyThatStaysOnceWhateverChanges) {
  a_walk_meets_all_who_stay<names>(rt, sim);
}
PEEPER_SIM_TEST(a_walk, OfAnOrderedSetMeetsEveryKeyThatStaysOnceWhateverChanges) {
  a_walk_meets_all_who_stay<ordered_names>(rt, sim);
}

PEEPER_SIM_TEST(a_walk, MayBeMadeAndTheTableChangedByTheFunctionsGivenToSelectAndFold) {
  auto owner = start_owner<names>(rt);
  in(owner, [](names::owner& t) {
    for (int i = 0; i < 1000; ++i) t.insert({i, "x", 0});
    const auto odd = t.select([&](const name_row& r) {
      if (r.id % 2 == 0) t.erase(r.id);
      return t.member(r.id);
    });
    EXPECT_EQ(odd.size(), 500U);
    EXPECT_EQ(t.size(), 500U);
  });
}

struct constant_hash_key {
  int value = 0;
  friend bool operator==(constant_hash_key, constant_hash_key) = default;
  friend std::size_t hash_value(constant_hash_key) { return 7; }
};
struct badly_hashed {
  constant_hash_key id;
  int n = 0;
  friend bool operator==(const badly_hashed&, const badly_hashed&) = default;
};
PEEPER_SIM_TEST(a_walk, WorksAlsoIfAllKeysHaveOneHash) {
  using table_type = table<badly_hashed, &badly_hashed::id>;
  auto owner = start_owner<table_type>(rt);
  in(owner, [](table_type::owner& t) {
    for (int i = 0; i < 50; ++i) t.insert({{i}, 0});
    int met = 0;
    for (auto k = t.first(); k; k = t.next(*k)) {
      t.update_element<&badly_hashed::n>(*k, 1);
      ++met;
    }
    EXPECT_EQ(met, 50);
    EXPECT_EQ(t.lookup({3}), (badly_hashed{{3}, 1}));
  });
}

inline std::pair<int, std::string> id_and_name(const name_row& r) { return {r.id, r.name}; }
PEEPER_SIM_TEST(table_operations, TakeAKeyThatIsMadeOfSeveralMembers) {
  using table_type = table<name_row, &id_and_name>;
  auto owner = start_owner<table_type>(rt);
  in(owner, [](table_type::owner& t) {
    t.insert({{1, "a", 0}, {1, "b", 0}});
    EXPECT_EQ(t.size(), 2U);
    EXPECT_EQ((t.update_counter<&name_row::hits>({1, "b"}, 4)), 4);
    EXPECT_THROW((void)t.update_element<&name_row::name>({1, "b"}, "c"), std::logic_error);
    EXPECT_EQ(t.lookup({1, "b"}), (name_row{1, "b", 4}));
    EXPECT_EQ(t.erase({1, "a"}), 1U);
  });
}

// --- commit --------------------------------------------------------------------------------------

struct alignas(32) wide_row {
  int id = 0;
};

PEEPER_SIM_TEST(table_operations, KeepRowsWhereTheirAlignmentAsks) {
  using wide = table<wide_row, &wide_row::id>;
  auto owner = start_owner<wide>(rt);
  in(owner, [](wide::owner& t) {
    for (int id = 0; id < 100; ++id) t.insert(wide_row{id});
    const bool aligned = t.fold(true, [](bool all, const wide_row& r) {
      return all && reinterpret_cast<std::uintptr_t>(&r) % alignof(wide_row) == 0;
    });
    EXPECT_TRUE(aligned);
    EXPECT_EQ(t.size(), 100U);
  });
}

PEEPER_SIM_TEST(table_operations, FindEveryRowAndNoOtherWhileASetGrows) {
  auto owner = start_owner<names>(rt, {.name = "names"}, kept_tables::all());
  const auto r = find_table<names>(rt, "names").value();
  constexpr int all = 2'000;
  for (int id = 0; id < all; id += 100) {
    in(owner, [id](names::owner& t) {
      for (int i = id; i < id + 100; ++i) t.insert({i, "", i});
    });
    for (int i = 0; i < all; ++i) ASSERT_EQ(r.member(i), i < id + 100) << i << " of " << id + 100;
  }
  const auto sum = r.fold(0, [](int s, const name_row& row) { return s + row.hits; });
  EXPECT_EQ(sum, all * (all - 1) / 2);
}

PEEPER_SIM_TEST(table_commit, IsWhenReadersSeeWhatTheOwnerSawAtOnce_P2) {
  auto owner = start_owner<names>(rt, {.name = "names"});
  const auto reader = find_table<names>(rt, "names").value();
  in(owner, [&](names::owner& t) {
    t.insert({1, "a", 0});
    EXPECT_TRUE(t.member(1));
    EXPECT_FALSE(reader.member(1).value()) << "readers see committed rows only";
    EXPECT_EQ(reader.size(), 0U);
    EXPECT_EQ(t.size(), 1U);
  });
  EXPECT_TRUE(reader.member(1).value());
  in(owner, [&](names::owner& t) {
    t.insert({1, "b", 0});
    t.insert({2, "c", 0});
    t.insert({2, "d", 0});
    EXPECT_EQ(reader.lookup(1).value()->name, "a");
    t.erase(1);
    EXPECT_EQ(t.lookup(1), std::nullopt);
    EXPECT_EQ(reader.lookup(1).value()->name, "a");
    EXPECT_EQ(reader.first().value(), 1);
    EXPECT_EQ(t.first(), 2);
    EXPECT_EQ(reader.select([](const name_row&) { return true; })->size(), 1U);
  });
  EXPECT_FALSE(reader.member(1).value());
  EXPECT_EQ(reader.lookup(2).value()->name, "d");
  EXPECT_EQ(reader.size(), 1U);
}

PEEPER_SIM_TEST(table_commit, ACrashedCallbackLeavesNoRow_P2) {
  auto owner = start_owner<names>(rt, {.name = "names"}, kept_tables::all());
  in(owner, [](names::owner& t) { t.insert({{1, "a", 0}, {2, "b", 0}, {3, "c", 0}}); });
  const auto reader = find_table<names>(rt, "names").value();
  crash_in(owner, [](names::owner& t) {
    t.insert({1, "changed", 0});
    t.erase(2);
    t.insert({4, "new", 0});
    t.insert({4, "newer", 0});
    t.erase(4);
    t.insert({5, "five", 0});
    std::ignore = t.update_counter<&name_row::hits>(3, 5);
    t.clear();
    t.insert({6, "six", 0});
  });
  const auto check = [](const auto& t) {
    std::map<int, std::string> all;
    for (const name_row& r : t) all[r.id] = r.name + std::to_string(r.hits);
    EXPECT_THAT(all, ElementsAre(std::pair{1, "a0"}, std::pair{2, "b0"}, std::pair{3, "c0"}));
  };
  const auto everything = [](const name_row&) { return true; };
  check(reader.select(everything).value());
  EXPECT_EQ(reader.size(), 3U);
  in(owner, [&](names::owner& t) {
    check(t.select(everything));
    EXPECT_EQ(t.size(), 3U);
  });
}

struct move_money {
  int amount = 0;
  bool crash = false;
};
struct bank {
  using state = int;
  using accounts = table<name_row, &name_row::id>;
  accounts::owner from;
  accounts::owner to;
  int init() {
    from = accounts::create({.name = "from"}).value();
    to = accounts::create({.name = "to"}).value();
    if (restart_count() == 0) {
      from.insert({1, "", 100});
      to.insert({1, "", 0});
    }
    return 0;
  }
  void handle_cast(move_money m, int& moved) {
    std::ignore = from.update_counter<&name_row::hits>(1, -m.amount);
    moved += m.amount;
    fault_point("bank.halfway");
    std::ignore = to.update_counter<&name_row::hits>(1, m.amount);
    dictionary().put("moved", moved);
    fault_point("bank.done");
    if (m.crash) throw std::runtime_error{"unlucky"};
  }
  struct balance {
    using reply = std::vector<int>;
  };
  std::vector<int> handle_call(balance, const int& moved) {
    return {from.lookup(1)->hits, to.lookup(1)->hits, moved,
            dictionary().get<int>("moved").value_or(0)};
  }
};
PEEPER_SIM_TEST(table_commit, OfTwoKeptTablesTheStateAndTheDictionaryIsOne_P2) {
  auto b = start<bank>(rt, {.keep_tables = {"from", "to"}}).value();
  const auto from = find_table<bank::accounts>(rt, "from").value();
  const auto to = find_table<bank::accounts>(rt, "to").value();
  sim.crash_randomly(0.2);
  for (int i = 0; i < 50; ++i) {
    b.cast(move_money{1, i % 5 == 4});
    sim.run();
  }
  sim.crash_randomly(0);
  const auto now = b.call(bank::balance{}).value();
  EXPECT_EQ(now[0] + now[1], 100);
  EXPECT_EQ(now[1], now[2]);
  EXPECT_EQ(now[2], now[3]);
  EXPECT_GT(now[1], 0);
  EXPECT_LE(now[1], 40);
  EXPECT_EQ(from.lookup(1).value()->hits, now[0]);
  EXPECT_EQ(to.lookup(1).value()->hits, now[1]);
}

PEEPER_SIM_TEST(table_commit, OfAnEditThatThrowsIsNone_P2) {
  auto owner = start_owner<names>(rt, {.name = "names"});
  in(owner, [](names::owner& t) { t.insert({1, "a", 0}); });
  names::owner handle = handle_of(owner);
  EXPECT_FALSE(edit(owner, [&](auto&) {
    handle.insert({1, "b", 0});
    throw std::runtime_error{"no"};
  }));
  EXPECT_EQ(handle_of(owner), handle) << "an edit that throws costs no worker";
  in(owner, [](names::owner& t) { EXPECT_EQ(t.lookup(1)->name, "a"); });
}

}  // namespace
}  // namespace peeper::test
