// SPDX-License-Identifier: Apache-2.0
//
// Kept containers one by one: what they share with those of std, and what modify() promises.
#include <numeric>
#include <ranges>
#include <stdexcept>

#include <gtest/gtest.h>

#include "test_world.hpp"

namespace peeper::test {
namespace {

using detail::kept_state;

static_assert(std::ranges::forward_range<kept_map<int, int>>);
static_assert(std::ranges::bidirectional_range<kept_ordered_map<int, int>>);
static_assert(std::ranges::random_access_range<kept_vector<int>>);
static_assert(std::ranges::random_access_range<kept_deque<std::string>>);

TEST(kept_map, ReadsAsAStdMap) {
  kept_map<std::string, int> m{{"one", 1}, {"two", 2}};
  EXPECT_EQ(m.size(), 2U);
  EXPECT_EQ(m.at("one"), 1);
  EXPECT_EQ(m.find(std::string_view{"two"})->second, 2);
  EXPECT_TRUE(m.contains("one"));
  EXPECT_EQ(m.count("three"), 0U);
  EXPECT_EQ(m.find("three"), m.end());
  EXPECT_THROW((void)m.at("three"), std::out_of_range);
  EXPECT_EQ(m["two"].get(), 2);
  EXPECT_TRUE(m["two"] == 2);
  EXPECT_EQ((kept_map<std::string, int>{{"two", 2}, {"one", 1}}), m) << "order is not part of ==";
  const std::map<std::string, int> source(m.begin(), m.end());
  EXPECT_EQ((kept_map<std::string, int>(source)), m);
}

TEST(kept_map, ChangesAsAStdMap) {
  kept_map<std::string, int> m;
  EXPECT_TRUE(m.insert({"a", 1}).second);
  EXPECT_FALSE(m.insert({"a", 2}).second);
  EXPECT_FALSE(m.emplace("a", 3).second);
  EXPECT_TRUE(m.try_emplace("b", 4).second);
  EXPECT_FALSE(m.insert_or_assign("b", 5).second);
  m["c"] = 6;
  m["d"] += 7;
  ++m["d"];
  m.modify("a", [](int& n) { n = 10; });
  EXPECT_EQ(m.modify(m.find("b"), [](int& n) { return ++n; }), 6);
  m.modify_or_insert("e", [](int& n) { n = 9; });
  EXPECT_THROW(m.modify("absent", [](int&) {}), std::out_of_range);
  EXPECT_EQ(m, (kept_map<std::string, int>{{"a", 10}, {"b", 6}, {"c", 6}, {"d", 8}, {"e", 9}}));
  EXPECT_EQ(m.erase("a"), 1U);
  EXPECT_EQ(m.erase("a"), 0U);
  EXPECT_EQ(m.erase_if([](const auto& entry) { return entry.second == 6; }), 2U);
  EXPECT_EQ(m.erase(m.begin())->first, "e");
  m.clear();
  EXPECT_TRUE(m.empty());
}

TEST(kept_map, IteratesInOrderOfInsertionAlsoAfterARollback) {
  struct holder {
    kept_map<int, int> m;
  };
  kept_state<holder> s{holder{}};
  auto& m = s.value().m;
  s.begin();
  for (const int key : {5, 3, 9, 1, 7}) m.emplace(key, key);
  s.prepare();
  s.commit();
  s.begin();
  m.erase(9);
  m.erase(5);
  m.emplace(9, 0);
  for (int i = 100; i < 200; ++i) m.emplace(i, i);
  m.erase(7);
  s.rollback();
  std::vector<int> keys;
  for (const auto& [key, value] : m) keys.push_back(key);
  EXPECT_EQ(keys, (std::vector<int>{5, 3, 9, 1, 7}));
}

TEST(kept_map, SurvivesItsElementsAsArguments) {
  struct holder {
    kept_map<std::string, std::string> m;
  };
  kept_state<holder> s{holder{}};
  auto& m = s.value().m;
  m.emplace("key", "value");
  s.begin();
  m.insert_or_assign("key", m.at("key"));
  m.insert(*m.begin());
  m.erase(m.begin()->first);
  EXPECT_TRUE(m.empty());
  s.rollback();
  EXPECT_EQ(m.at("key"), "value");
}

TEST(kept_ordered_map, FindsBounds) {
  const kept_ordered_map<int, char> m{{1, 'a'}, {3, 'b'}, {5, 'c'}};
  EXPECT_EQ(m.lower_bound(3)->first, 3);
  EXPECT_EQ(m.upper_bound(3)->first, 5);
  EXPECT_EQ(m.lower_bound(6), m.end());
  EXPECT_EQ(m.rbegin()->first, 5);
  EXPECT_EQ(std::prev(m.end())->second, 'c');
}

TEST(kept_sets, ReadAndChangeAsThoseOfStd) {
  kept_ordered_set<std::pair<double, std::string>> ranking{{2.0, "b"}, {1.0, "a"}};
  ranking.insert({1.5, "c"});
  EXPECT_FALSE(ranking.insert({1.5, "c"}).second);
  EXPECT_EQ(ranking.begin()->second, "a");
  EXPECT_EQ(ranking.lower_bound({1.2, ""})->second, "c");
  ranking.erase(ranking.begin());
  EXPECT_EQ(ranking.size(), 2U);
  kept_set<std::string> words{"x", "y", "x"};
  EXPECT_EQ(words.size(), 2U);
  EXPECT_TRUE(words.contains(std::string_view{"x"}));
  EXPECT_EQ(words.erase("x"), 1U);
  EXPECT_EQ(words, (kept_set<std::string>{"y"}));
}

TEST(kept_sequences, ReadAndChangeAsThoseOfStd) {
  kept_vector<int> v{1, 2, 3};
  v.push_back(4);
  v[0] = 10;
  v[1] += 5;
  v.set(2, 30);
  v.modify(3, [](int& n) { n *= 10; });
  EXPECT_EQ(v, (kept_vector<int>{10, 7, 30, 40}));
  EXPECT_EQ(std::accumulate(v.begin(), v.end(), 0), 87);
  EXPECT_EQ(*v.insert(v.begin() + 1, 8), 8);
  EXPECT_EQ(*v.erase(v.begin()), 8);
  EXPECT_THROW((void)v.at(4), std::out_of_range);
  EXPECT_THROW(v.set(4, 0), std::out_of_range);
  EXPECT_THROW(v.modify(4, [](int&) {}), std::out_of_range);
  v.append_range(std::vector<int>{1, 2});
  v.resize(7, 9);
  EXPECT_EQ(v, (kept_vector<int>{8, 7, 30, 40, 1, 2, 9}));
  EXPECT_EQ(v.erase_if([](int n) { return n > 9; }), 2U);
  v.assign(std::views::iota(0, 3));
  EXPECT_EQ(v, (kept_vector<int>{0, 1, 2}));
  EXPECT_EQ(v.data()[2], 2);
  EXPECT_LT(v, (kept_vector<int>{0, 1, 3}));

  kept_vector<bool> bits{true, false};
  bits[1] = true;
  EXPECT_EQ(bits, (kept_vector<bool>{true, true}));

  kept_deque<std::string> d{"b"};
  d.push_front("a");
  d.emplace_back(3U, 'c');
  EXPECT_EQ(d.front() + d[1].get() + d.back(), "abccc");
  d.pop_front();
  d.pop_back();
  EXPECT_EQ(d, (kept_deque<std::string>{"b"}));
}

TEST(kept_sequences, SurviveTheirElementsAsArguments) {
  kept_vector<std::string> v{std::string(40, 'x')};
  for (int i = 0; i < 20; ++i) {
    v.push_back(v[0]);
    v.insert(v.begin(), v.back());
    v.set(0, v.at(1));
  }
  EXPECT_EQ(v.size(), 41U);
  for (const auto& s : v) EXPECT_EQ(s, std::string(40, 'x'));
}

TEST(kept_value, IsItsDefaultBeforeItIsSet) {
  kept_value<std::string> v;
  EXPECT_EQ(*v, "");
  EXPECT_EQ(v->size(), 0U);
  v.modify([](std::string& s) { s += "x"; });
  v = *v + "y";
  EXPECT_EQ(v, "xy");
  const kept_value<std::string> copy = v;
  EXPECT_EQ(copy, v);
}

// ---------------------------------------------------------------------------- in and out of states

struct lists {
  kept_map<std::string, kept_deque<std::string>> all;
  kept_vector<int> numbers;
};

TEST(attachment, ACopyOfAContainerInAStateIsInNone) {
  kept_state<lists> s{lists{}};
  s.begin();
  s.value().numbers = {1, 2, 3};
  kept_vector<int> copy = s.value().numbers;
  EXPECT_TRUE(s.value().numbers.attached());
  EXPECT_FALSE(copy.attached());
  const std::size_t logged = s.log_bytes();
  copy.push_back(4);
  EXPECT_EQ(s.log_bytes(), logged);
  s.rollback();
  EXPECT_EQ(copy.size(), 4U);
}

TEST(attachment, MovingOutOfAStateRollsBack) {
  kept_state<lists> s{lists{}};
  s.value().numbers = {1, 2, 3};
  s.begin();
  const kept_vector<int> taken = std::move(s.value().numbers);
  EXPECT_TRUE(s.value().numbers.empty());
  s.rollback();
  EXPECT_EQ(s.value().numbers, taken);
}

TEST(attachment, AContainerPutIntoAStateLogsFromThenOn) {
  kept_state<lists> s{lists{}};
  kept_deque<std::string> built{"a", "b"};
  s.begin();
  s.value().all.try_emplace("x", std::move(built));
  s.prepare();
  s.commit();
  s.begin();
  s.value().all.modify("x", [](auto& d) { d.pop_front(); });
  s.rollback();
  EXPECT_EQ(s.value().all.at("x"), (kept_deque<std::string>{"a", "b"}));
}

TEST(attachment, SwappingTwoContainersOfAStateIsOneChange) {
  struct pair {
    kept_vector<int> a;
    kept_vector<int> b;
  };
  kept_state<pair> s{pair{}};
  s.value().a.assign(std::views::iota(0, 10'000));
  s.begin();
  std::swap(s.value().a, s.value().b);
  swap(s.value().a, s.value().b);
  swap(s.value().a, s.value().b);
  EXPECT_TRUE(s.value().a.empty());
  s.rollback();
  EXPECT_EQ(s.value().a.size(), 10'000U);
  EXPECT_TRUE(s.value().b.empty());
}

TEST(attachment, AssigningAWholeStateRollsBack) {
  kept_state<lists> s{lists{}};
  s.value().numbers = {1};
  s.value().all.try_emplace("x", kept_deque<std::string>{"y"});
  s.begin();
  s.value() = lists{};
  s.value().numbers.push_back(9);
  s.rollback();
  EXPECT_EQ(s.value().numbers, (kept_vector<int>{1}));
  EXPECT_EQ(s.value().all.at("x").size(), 1U);
  s.begin();
  auto& self = s.value();
  s.value() = self;
  s.rollback();
  EXPECT_EQ(s.value().numbers, (kept_vector<int>{1}));
}

// ---------------------------------------------------------------------------- modify

TEST(modify, AnErasedElementComesBackWithWhatOlderRecordsKnowOfIt) {
  kept_state<lists> s{lists{}};
  s.value().all.try_emplace("x", kept_deque<std::string>{"a"});
  s.begin();
  s.value().all.modify("x", [](auto& d) { d.push_back("b"); });
  s.value().all.erase("x");
  s.value().all.try_emplace("x", kept_deque<std::string>{"other"});
  s.value().all.modify("x", [](auto& d) { d.clear(); });
  s.rollback();
  EXPECT_EQ(s.value().all.at("x"), (kept_deque<std::string>{"a"}));
}

TEST(modify, TheElementInUseCannotBeErased) {
  kept_state<lists> s{lists{}};
  auto& [all, numbers] = s.value();
  all.try_emplace("x", kept_deque<std::string>{"a"});
  numbers = {1, 2};
  s.begin();
  all.modify("x", [&](auto& d) {
    EXPECT_THROW(all.erase("x"), std::logic_error);
    EXPECT_THROW(all.clear(), std::logic_error);
    all.try_emplace("y");
    EXPECT_EQ(all.erase("y"), 1U);
    d.push_back("b");
  });
  numbers.modify(0, [&](int& n) {
    EXPECT_THROW(numbers.push_back(3), std::logic_error);
    EXPECT_THROW(numbers.pop_back(), std::logic_error);
    n = 7;
  });
  EXPECT_EQ(all.at("x").size(), 2U);
  EXPECT_EQ(numbers, (kept_vector<int>{7, 2}));
  s.rollback();
  EXPECT_EQ(numbers, (kept_vector<int>{1, 2}));
}

TEST(modify, ThatChangesNothingIsNoChange) {
  kept_state<lists> s{lists{}};
  s.value().numbers = {1, 2};
  s.record_deltas(true);
  s.begin();
  s.value().numbers.modify(0, [](int& n) { n = 1; });
  s.prepare();
  EXPECT_FALSE(s.commit());
  EXPECT_TRUE(s.last_delta().empty());
}

TEST(modify, AReferenceThatEscapesIsRefusedWhenADeltaNeedsItsPlace) {
  kept_state<lists> s{lists{}};
  s.value().all.try_emplace("x");
  s.record_deltas(true);
  s.begin();
  kept_deque<std::string>* escaped = nullptr;
  s.value().all.modify("x", [&](auto& d) { escaped = &d; });
  EXPECT_THROW(escaped->push_back("lost"), std::logic_error);
  EXPECT_TRUE(escaped->empty());
  s.rollback();
}

TEST(modify, AnExceptionTakesBackOnlyWhatItDid) {
  kept_state<lists> s{lists{}};
  auto& all = s.value().all;
  s.begin();
  all.try_emplace("x", kept_deque<std::string>{"a"});
  EXPECT_THROW(all.modify("x",
                          [](auto& d) {
                            d.push_back("b");
                            d.clear();
                            throw 1;
                          }),
               int);
  EXPECT_EQ(all.at("x"), (kept_deque<std::string>{"a"}));
  EXPECT_THROW(all.modify_or_insert("new", [](auto&) { throw 1; }), int);
  EXPECT_FALSE(all.contains("new"));
  s.prepare();
  EXPECT_TRUE(s.commit());
  EXPECT_EQ(all.at("x"), (kept_deque<std::string>{"a"}));
}

struct choice {
  int n = 0;
  std::variant<std::string, kept_deque<std::string>> data;
};
struct choices {
  kept_map<int, choice> all;
  std::optional<kept_vector<int>> maybe;
};

TEST(modify, AChangeOfAlternativeCostsNoCopyAndRollsBack) {
  kept_state<choices> s{choices{}};
  auto& all = s.value().all;
  all.modify_or_insert(1, [](choice& c) {
    auto& d = c.data.emplace<1>();
    for (int i = 0; i < 10'000; ++i) d.push_back("element");
  });
  s.begin();
  const std::size_t before = allocations.calls;
  all.modify(1, [](choice& c) {
    std::get<1>(c.data).push_back("more");
    c.data = "text";
  });
  EXPECT_LE(s.log_bytes(), 512U);
  EXPECT_LE(allocations.calls - before, 4U) << "the elements must not be copied";
  all.modify(1, [](choice& c) { c.data.emplace<1>().push_back("fresh"); });
  all.modify(1, [](choice& c) { std::get<1>(c.data).pop_back(); });
  all.erase(1);
  s.rollback();
  EXPECT_EQ(std::get<1>(all.at(1).data).size(), 10'000U);
  EXPECT_EQ(std::get<1>(all.at(1).data).back(), "element");
}

TEST(modifyDeathTest, DestroyingAnAlternativeThroughAnEscapedReferenceSaysSo) {
  ::testing::GTEST_FLAG(death_test_style) = "threadsafe";
  kept_state<choices> s{choices{}};
  s.value().all.try_emplace(1, choice{1, kept_deque<std::string>{"a"}});
  s.begin();
  choice* escaped = nullptr;
  s.value().all.modify(1, [&](choice& c) { escaped = &c; });
  EXPECT_DEATH(escaped->data = "text", "outlived the modify");
  s.rollback();
}

TEST(modify, AnExceptionThatLeavesAnotherElementHalfChangedDoomsTheTransaction) {
  kept_state<choices> s{choices{}};
  auto& all = s.value().all;
  s.begin();
  all.try_emplace(1, choice{1, kept_deque<std::string>{"a"}});
  all.try_emplace(2);
  s.prepare();
  s.commit();
  s.begin();
  all.modify(1, [&](choice& outer) {
    try {
      all.modify(2, [&](choice&) {
        outer.data = "gone";
        throw 1;
      });
    } catch (int) {
    }
  });
  EXPECT_THROW(s.prepare(), std::logic_error);
  s.rollback();
  EXPECT_EQ(std::get<1>(all.at(1).data), (kept_deque<std::string>{"a"}));
}

TEST(modify, AnExceptionTakesBackAnOptionalOfTheStateThatWasReset) {
  kept_state<choices> s{choices{}};
  s.begin();
  s.value().maybe.emplace({1, 2, 3});
  s.value().all.try_emplace(1);
  s.prepare();
  s.commit();
  s.begin();
  s.value().maybe->push_back(4);
  s.value().maybe.reset();
  s.value().maybe.emplace({9});
  s.rollback();
  ASSERT_TRUE(s.value().maybe);
  EXPECT_EQ(*s.value().maybe, (kept_vector<int>{1, 2, 3}));
  EXPECT_TRUE(s.value().maybe->attached());
}

}  // namespace
}  // namespace peeper::test
