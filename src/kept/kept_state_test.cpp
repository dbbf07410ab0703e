// SPDX-License-Identifier: Apache-2.0
#include <any>
#include <functional>
#include <limits>
#include <list>
#include <string_view>

#include <boost/describe/class.hpp>
#include <gtest/gtest.h>

#include "test_world.hpp"

namespace peeper::test {

struct named_fields {
  int count = 0;
  std::string page;
  std::vector<int> numbers;
  kept_value<std::string> kept_page;
};
BOOST_DESCRIBE_STRUCT(named_fields, (), (count, page, numbers, kept_page))

namespace {

using detail::kept_state;

template <class State, class F>
bool commit(kept_state<State>& s, F change) {
  s.begin();
  change(s.value());
  s.prepare();
  return s.commit();
}

// ---------------------------------------------------------------------------- what can be kept

struct with_pointer {
  int* p = nullptr;
};
struct with_unique {
  std::unique_ptr<int> p;
};
using with_deep_unique = std::map<int, std::vector<with_unique>>;
struct with_reference_member {
  std::reference_wrapper<int> r;
};
struct with_const {
  const int n = 0;
};
struct with_view {
  std::string_view v;
};
struct with_shared {
  std::shared_ptr<int> p;
};
struct with_shared_const {
  std::shared_ptr<const std::string> p;
};
struct with_function {
  std::function<void()> f;
};
struct recursive {
  std::map<std::string, recursive> children;
};
struct empty {};
class no_default {
 public:
  explicit no_default(int n) : n_(n) {}
  friend bool operator==(const no_default&, const no_default&) = default;
  [[nodiscard]] int n() const { return n_; }

 private:
  int n_;
};

static_assert(keepable<int> && keepable<bool> && keepable<double> && keepable<std::string>);
static_assert(keepable<std::vector<std::optional<std::variant<int, std::string>>>>);
static_assert(keepable<recursive> && keepable<empty> && keepable<no_default>);
static_assert(keepable<with_shared_const> && keepable<std::any>);
static_assert(keepable<kept_world> && keepable<kept_map<int, std::string>>);
static_assert(!keepable<with_pointer> && !keepable<with_unique> && !keepable<with_deep_unique>);
static_assert(!keepable<with_reference_member> && !keepable<with_const> && !keepable<with_view>);
static_assert(!keepable<with_shared> && !keepable<with_function> && !keepable<const int>);
static_assert(!keepable<int*> && !keepable<int&> && !keepable<void(int)>);
static_assert(!keepable<kept_vector<std::unique_ptr<int>>> && !keepable<kept_map<int, int*>>);
static_assert(encodable<kept_world> && !encodable<std::any> && !encodable<no_default>);
static_assert(sizeof(kept_state<int>) == 16, "a server of a small state has to be small");
static_assert(sizeof(kept_map<int, int>) <= 48 && sizeof(kept_ordered_map<int, int>) <= 56);
static_assert(sizeof(kept_vector<int>) <= 32 && sizeof(kept_deque<int>) <= 48);
static_assert(sizeof(kept_value<int>) == 16);

// ---------------------------------------------------------------------------- plain states

TEST(kept_state, ANumberRollsBackAndCommits) {
  kept_state<int> s{5};
  EXPECT_TRUE(commit(s, [](int& n) { n = 6; }));
  EXPECT_FALSE(commit(s, [](int& n) { n = 6; }));
  s.begin();
  s.value() = 7;
  s.rollback();
  EXPECT_EQ(s.value(), 6);
}

TEST(kept_state, ANumberTakesNoHeapMemory) {
  const std::size_t before = allocations.calls;
  kept_state<int> s{5};
  commit(s, [](int& n) { ++n; });
  s.begin();
  s.value() = 9;
  s.rollback();
  EXPECT_EQ(allocations.calls, before);
}

TEST(kept_state, NotANumberIsNoChangeAndMinusZeroIs) {
  kept_state<double> s{std::numeric_limits<double>::quiet_NaN()};
  EXPECT_FALSE(commit(s, [](double&) {}));
  EXPECT_TRUE(commit(s, [](double& x) { x = 0.0; }));
  EXPECT_TRUE(commit(s, [](double& x) { x = -0.0; }));
}

TEST(kept_state, AnEmptyStateNeverChanges) {
  kept_state<empty> s{empty{}};
  EXPECT_FALSE(commit(s, [](empty& e) { e = empty{}; }));
  s.begin();
  s.rollback();
}

TEST(kept_state, AStateNeedsNoDefaultConstructor) {
  kept_state<no_default> s{no_default{1}};
  EXPECT_TRUE(commit(s, [](no_default& n) { n = no_default{2}; }));
  s.begin();
  s.value() = no_default{3};
  s.rollback();
  EXPECT_EQ(s.value().n(), 2);
}

TEST(kept_state, StringsOfTenMegabytesRollBack) {
  kept_state<std::string> s{std::string(10'000'000, 'x')};
  s.begin();
  s.value().append("y");
  s.rollback();
  EXPECT_EQ(s.value().size(), 10'000'000U);
  EXPECT_TRUE(commit(s, [](std::string& text) { text.front() = 'z'; }));
  s.begin();
  s.value().clear();
  s.prepare();
  s.rollback();
  EXPECT_EQ(s.value().size(), 10'000'000U);
  EXPECT_EQ(s.value().front(), 'z');
}

TEST(kept_state, PlainStructuresRollBackAfterPrepareToo) {
  struct plain {
    int n = 0;
    std::vector<std::string> words;
    std::map<std::string, std::vector<int>> index;
    std::optional<std::string> note;
    std::unordered_map<int, int> hashed;
  };
  kept_state<plain> s{plain{}};
  commit(s, [](plain& p) {
    p.words = {"a", "b"};
    p.index["x"] = {1, 2};
    p.hashed[3] = 4;
  });
  for (const bool prepared : {false, true}) {
    s.begin();
    s.value() = plain{.n = 9, .words = {"c"}, .index = {}, .note = "n", .hashed = {}};
    if (prepared) s.prepare();
    s.rollback();
    EXPECT_EQ(s.value().n, 0);
    EXPECT_EQ(s.value().words, (std::vector<std::string>{"a", "b"}));
    EXPECT_EQ(s.value().index.at("x"), (std::vector<int>{1, 2}));
    EXPECT_EQ(s.value().note, std::nullopt);
    EXPECT_EQ(s.value().hashed.at(3), 4);
  }
}

TEST(kept_state, UnchangedPlainFieldsAreNotCopied) {
  struct two {
    int n = 0;
    std::vector<int> large = std::vector<int>(10'000);
  };
  kept_state<two> s{two{}};
  commit(s, [](two& t) { t.n = 1; });
  allocations.largest = 0;
  EXPECT_TRUE(commit(s, [](two& t) { t.n = 2; }));
  EXPECT_EQ(allocations.largest, 0U);
}

/// Copyable, but its moves are copies, and copies may throw.
struct old_style {
  int n = 0;
  static bool throws;
  old_style() = default;
  explicit old_style(int value) : n(value) {}
  old_style(const old_style& other) : n(other.n) {
    if (throws) throw std::bad_alloc{};
  }
  old_style& operator=(const old_style& other) {
    if (throws) throw std::bad_alloc{};
    n = other.n;
    return *this;
  }
  friend bool operator==(const old_style&, const old_style&) = default;
};
bool old_style::throws = false;

TEST(kept_state, ATypeWhoseMovesMayThrowRollsBackWithoutMoving) {
  struct holder {
    int k = 0;
    old_style o;
  };
  kept_state<holder> s{holder{}};
  EXPECT_TRUE(commit(s, [](holder& h) { h.o.n = 1; }));
  s.begin();
  s.value().o.n = 2;
  s.value().k = 2;
  old_style::throws = true;
  EXPECT_THROW(s.prepare(), std::bad_alloc);
  s.rollback();
  EXPECT_EQ(s.value().o.n, 1);
  EXPECT_THROW(s.begin(), std::bad_alloc) << "the shadow has to be copied again";
  s.rollback();
  EXPECT_EQ(s.value().o.n, 1);
  old_style::throws = false;
  EXPECT_TRUE(commit(s, [](holder& h) { h.o.n = 3; }));
  EXPECT_EQ(s.value().o.n, 3);
}

TEST(kept_state, BesideKeptContainersSuchATypeGoesIntoAKeptValue) {
  struct holder {
    kept_value<old_style> o;
    kept_vector<int> v;
  };
  static_assert(keepable<holder>);
  struct refused {
    old_style o;
    kept_vector<int> v;
  };
  static_assert(!keepable<refused>);
  kept_state<holder> s{holder{}};
  commit(s, [](holder& h) { h.o = old_style{1}; });
  s.begin();
  s.value().o.modify([](old_style& o) { o.n = 2; });
  s.value().o = old_style{3};
  EXPECT_EQ(s.value().o->n, 3);
  old_style::throws = true;
  s.rollback();
  old_style::throws = false;
  EXPECT_EQ(s.value().o->n, 1);
}

TEST(kept_state, ATypeWithNoEqualityCountsAsChanged) {
  kept_state<std::any> s{std::any{1}};
  EXPECT_TRUE(commit(s, [](std::any&) {}));
  s.begin();
  s.value() = std::string{"two"};
  s.rollback();
  EXPECT_EQ(std::any_cast<int>(s.value()), 1);
}

TEST(kept_state, PlainFieldsAreInTheDelta) {
  struct plain {
    int n = 0;
    std::string text;
    std::vector<int> numbers;
  };
  kept_state<plain> s{plain{}};
  kept_state<plain> follower{plain{}};
  s.record_deltas(true);
  commit(s, [](plain& p) {
    p.n = 1;
    p.numbers = {1, 2, 3};
  });
  ASSERT_TRUE(apply_delta(follower, s.last_delta()));
  EXPECT_EQ(follower.value().n, 1);
  EXPECT_EQ(follower.value().numbers, (std::vector<int>{1, 2, 3}));
  commit(s, [](plain& p) { p.n = 2; });
  EXPECT_LE(s.last_delta().size(), 12U) << "only what changed";
  ASSERT_TRUE(apply_delta(follower, s.last_delta()));
  EXPECT_EQ(follower.value().n, 2);
  commit(s, [](plain&) {});
  EXPECT_TRUE(s.last_delta().empty());
}

TEST(kept_state, SmallStatesHaveDeltasToo) {
  kept_state<int> s{0};
  kept_state<int> follower{0};
  s.record_deltas(true);
  commit(s, [](int& n) { n = 42; });
  ASSERT_TRUE(apply_delta(follower, s.last_delta()));
  EXPECT_EQ(follower.value(), 42);
  s.record_deltas(false);
  commit(s, [](int& n) { n = 43; });
  EXPECT_TRUE(s.last_delta().empty());
}

TEST(kept_state, NamedFieldsAreNamedInTheDelta) {
  kept_state<named_fields> s{named_fields{}};
  kept_state<named_fields> follower{named_fields{}};
  s.record_deltas(true);
  commit(s, [](named_fields& f) {
    f.count = 3;
    f.kept_page = "kept";
  });
  const auto delta = s.last_delta();
  const std::string_view text{reinterpret_cast<const char*>(delta.data()), delta.size()};
  EXPECT_NE(text.find("count"), std::string_view::npos);
  EXPECT_EQ(text.find("numbers"), std::string_view::npos);
  ASSERT_TRUE(apply_delta(follower, delta));
  EXPECT_EQ(follower.value().count, 3);
  EXPECT_EQ(follower.value().kept_page, "kept");
}

TEST(kept_state, AStateThatIsAKeptContainerRollsBack) {
  kept_state<kept_map<int, int>> s{kept_map<int, int>{{1, 1}}};
  s.begin();
  s.value().erase(1);
  s.value()[2] = 2;
  s.rollback();
  EXPECT_EQ(s.value(), (kept_map<int, int>{{1, 1}}));
  EXPECT_TRUE(commit(s, [](auto& m) { m[2] = 2; }));
}

TEST(kept_state, MayBeDestroyedInTheMiddleOfACallback) {
  world_state s;
  dice d{1};
  s.begin();
  for (int n = 0; n < 200; ++n) change_world(s.value(), d);
}

TEST(kept_state, AStateThatIsAVariantOfKeptContainersRollsBack) {
  using either = std::variant<int, kept_vector<int>>;
  kept_state<either> s{either{kept_vector<int>{1, 2}}};
  s.begin();
  std::get<1>(s.value()).push_back(3);
  s.value() = 4;
  s.rollback();
  EXPECT_EQ(std::get<1>(s.value()), (kept_vector<int>{1, 2}));
}

// ---------------------------------------------------------------------------- memory of the log

struct map_state {
  kept_map<int, std::string> map;
};

TEST(kept_state, ChangingEntriesTakesNothingFromTheHeapInSteadyState) {
  kept_state<map_state> s{map_state{}};
  commit(s, [](map_state& m) {
    for (int i = 0; i < 1000; ++i) m.map.emplace(i, "short");
  });
  const auto change = [](map_state& m) {
    for (int i = 0; i < 500; ++i) m.map.modify(i, [](std::string& t) { t[0] ^= 1; });
  };
  commit(s, change);
  commit(s, change);
  const std::size_t before = allocations.calls;
  commit(s, change);
  s.begin();
  change(s.value());
  s.rollback();
  EXPECT_EQ(allocations.calls, before);
}

TEST(kept_state, AGiantTransactionGivesItsMemoryBack) {
  kept_state<map_state> s{map_state{}};
  s.begin();
  for (int i = 0; i < 100'000; ++i) s.value().map.emplace(i, "short");
  EXPECT_GT(s.log_bytes(), 1'000'000U);
  s.prepare();
  s.commit();
  EXPECT_EQ(s.log_bytes(), 0U);
  EXPECT_LE(s.log_bytes_held(), detail::change_arena::kept_bytes_max);
}

TEST(kept_state, ClearingABigContainerLogsNoElement) {
  kept_state<map_state> s{map_state{}};
  commit(s, [](map_state& m) {
    for (int i = 0; i < 10'000; ++i) m.map.emplace(i, "short");
  });
  s.begin();
  const std::size_t before = allocations.calls;
  s.value().map.clear();
  EXPECT_LE(s.log_bytes(), 128U);
  EXPECT_LE(allocations.calls - before, 1U);
  s.rollback();
  EXPECT_EQ(s.value().map.size(), 10'000U);
}

// ---------------------------------------------------------------------------- oversized fields

TEST(oversized_plain_field, NamesTheFieldAndWhatToUseInstead) {
  named_fields f;
  EXPECT_FALSE(detail::oversized_plain_field(f));
  f.page.resize(65 * 1024);
  const auto page = detail::oversized_plain_field(f);
  ASSERT_TRUE(page);
  EXPECT_EQ(page->name, "page");
  EXPECT_EQ(page->bytes, 65U * 1024);
  EXPECT_EQ(page->instead, "peeper::kept_value");
  f.page.clear();
  f.numbers.resize(20'000);
  EXPECT_EQ(detail::oversized_plain_field(f)->name, "numbers");
  EXPECT_EQ(detail::oversized_plain_field(f)->instead, "peeper::kept_vector");
  f.numbers.clear();
  f.kept_page = std::string(100'000, 'x');
  EXPECT_FALSE(detail::oversized_plain_field(f)) << "a kept container is never too large";
}

TEST(oversized_plain_field, NumbersFieldsThatHaveNoName) {
  struct unnamed {
    int n = 0;
    std::map<int, int> m;
  };
  unnamed u;
  for (int i = 0; i < 20'000; ++i) u.m[i] = i;
  const auto found = detail::oversized_plain_field(u);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->name, "field 1");
  EXPECT_EQ(found->instead, "peeper::kept_map");
}

}  // namespace
}  // namespace peeper::test
