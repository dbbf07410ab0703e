// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <chrono>
#include <cmath>
#include <limits>
#include <list>

#include <boost/describe/class.hpp>
#include <gtest/gtest.h>

#include "test_world.hpp"

namespace peeper::test {

enum class colour : std::uint8_t { red = 1, green = 200 };

struct tree {
  int label = 0;
  std::vector<tree> children;
};

struct nothing_in_it {};

struct everything {
  bool flag = false;
  std::int8_t tiny = 0;
  std::uint64_t huge = 0;
  std::int64_t low = 0;
  colour paint = colour::red;
  float single = 0;
  double real = 0;
  std::string text;
  std::optional<int> maybe;
  std::optional<std::optional<int>> twice;
  std::optional<std::monostate> unit;
  std::variant<std::monostate, int, std::string, std::vector<int>> either;
  std::array<int, 3> three{};
  std::array<std::byte, 2> raw{};
  std::vector<bool> bits;
  std::vector<unsigned char> blob;
  std::list<std::string> words;
  std::deque<int> queue;
  std::map<int, std::string> names;
  std::unordered_map<std::string, int> hits;
  std::set<int> seen;
  std::pair<int, std::string> pair;
  std::tuple<int, double, std::string> triple;
  std::chrono::milliseconds wait{};
  std::chrono::system_clock::time_point when;
  tree root;
  nothing_in_it none;
};

/// Two versions of a described structure, as before and after a change of the program.
namespace old_program {
struct player {
  std::string name;
  int score = 0;
  bool vip = false;
};
BOOST_DESCRIBE_STRUCT(player, (), (name, score, vip))
}  // namespace old_program
namespace new_program {
struct player {
  int score = 0;
  std::vector<std::string> badges{"welcome"};
  std::string name;
};
BOOST_DESCRIBE_STRUCT(player, (), (score, badges, name))
}  // namespace new_program

namespace {

everything sample() {
  everything e;
  e.flag = true;
  e.tiny = -128;
  e.huge = std::numeric_limits<std::uint64_t>::max();
  e.low = std::numeric_limits<std::int64_t>::min();
  e.paint = colour::green;
  e.single = 1.5F;
  e.real = -std::numeric_limits<double>::infinity();
  e.text = "gr\xC3\xBC\xC3\x9F dich";
  e.maybe = -1;
  e.twice = std::optional<int>{};
  e.unit = std::monostate{};
  e.either = std::vector<int>{1, 2};
  e.three = {1, -2, 3};
  e.raw = {std::byte{0}, std::byte{255}};
  e.bits = {true, false, true};
  e.blob = {0, 128, 255};
  e.words = {"a", "", std::string("\xFF\x00 not text", 11)};
  e.queue = {1000, 100000};
  e.names = {{-1, "x"}, {1, "y"}};
  e.hits = {{"index", 3}};
  e.seen = {23, 24, 255, 256, 65535, 65536};
  e.pair = {1, "one"};
  e.triple = {1, 2.5, "three"};
  e.wait = std::chrono::milliseconds{-5};
  e.when = std::chrono::system_clock::time_point{std::chrono::seconds{1'000'000}};
  e.root = {1, {{2, {}}, {3, {{4, {}}}}}};
  return e;
}

std::vector<std::byte> bytes(std::initializer_list<int> values) {
  std::vector<std::byte> result;
  for (const int v : values) result.push_back(static_cast<std::byte>(v));
  return result;
}

TEST(codec, EverySupportedTypeSurvivesTheRoundTrip) {
  const everything e = sample();
  const auto got = decode<everything>(encode(e));
  ASSERT_TRUE(got) << got.error().text;
  EXPECT_TRUE(detail::same(*got, e));
  const auto empty = decode<everything>(encode(everything{}));
  ASSERT_TRUE(empty);
  EXPECT_TRUE(detail::same(*empty, everything{}));
  EXPECT_FALSE(detail::same(*empty, e));
}

TEST(codec, NotANumberSurvivesTheRoundTrip) {
  const auto got = decode<double>(encode(std::nan("")));
  ASSERT_TRUE(got);
  EXPECT_TRUE(std::isnan(*got));
}

TEST(codec, KeptContainersSurviveTheRoundTrip) {
  for (const std::uint64_t seed : seeds(1, 50)) {
    SCOPED_TRACE("PEEPER_SEED=" + std::to_string(seed));
    dice d{seed};
    kept_world w;
    for (int n = 0; n < 200; ++n) change_world(w, d);
    const auto got = decode_world(encode_world(w));
    ASSERT_TRUE(got) << got.error().text;
    EXPECT_EQ(dump(*got, true), dump(w, true));
  }
}

TEST(codec, BytesAreThoseOfTheWorkedExample) {
  // docs/encoding.md shows these.
  struct point {
    int x = 0;
    int y = 0;
  };
  EXPECT_EQ(encode(point{1, -2}), bytes({0x83, 0x01, 0x00, 0x82, 0x01, 0x21}));
  EXPECT_EQ(encode(old_program::player{"ann", 7, true}),
            bytes({0x83, 0x01, 0x00, 0xA3, 0x64, 'n', 'a',  'm',  'e', 0x63, 'a', 'n', 'n',
                   0x65, 's',  'c',  'o',  'r',  'e', 0x07, 0x63, 'v', 'i',  'p', 0xF5}));
}

TEST(codec, TextThatIsNotUtf8IsAByteString) {
  EXPECT_EQ(encode(std::string("ab")), bytes({0x83, 0x01, 0x00, 0x62, 'a', 'b'}));
  EXPECT_EQ(encode(std::string("\xC0\x80")), bytes({0x83, 0x01, 0x00, 0x42, 0xC0, 0x80}));
  for (const std::string text :
       {"\xED\xA0\x80", "\xF4\x90\x80\x80", "\xE0\x80\x80", "12345678\xFF", "\xC3"}) {
    const auto encoded = encode(text);
    EXPECT_EQ(encoded[3] & std::byte{0xE0}, std::byte{0x40}) << "must not claim to be text";
    EXPECT_EQ(decode<std::string>(encoded).value(), text);
  }
}

TEST(codec, FieldsMayComeGoAndMoveWhereTheyHaveNames) {
  const auto got = decode<new_program::player>(encode(old_program::player{"ann", 7, true}));
  ASSERT_TRUE(got) << got.error().text;
  EXPECT_EQ(got->name, "ann");
  EXPECT_EQ(got->score, 7);
  EXPECT_EQ(got->badges, std::vector<std::string>{"welcome"}) << "a missing field has its default";
}

TEST(codec, AFieldThatIsThereTwiceIsAnError) {
  const auto twice = bytes({0x83, 0x01, 0x00, 0xA2, 0x65, 's', 'c', 'o', 'r', 'e', 0x01, 0x65, 's',
                            'c', 'o', 'r', 'e', 0x02});
  const auto got = decode<old_program::player>(twice);
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().text, "a field is there twice");
}

TEST(codec, AKeyThatIsThereTwiceIsAnError) {
  const auto twice = bytes({0x83, 0x01, 0x00, 0xA2, 0x01, 0x02, 0x01, 0x03});
  EXPECT_FALSE((decode<std::map<int, int>>(twice)));
  EXPECT_FALSE((decode<kept_map<int, int>>(twice)));
  EXPECT_FALSE((decode<kept_ordered_map<int, int>>(twice)));
  const auto elements = bytes({0x83, 0x01, 0x00, 0x82, 0x01, 0x01});
  EXPECT_FALSE(decode<std::set<int>>(elements));
  EXPECT_FALSE(decode<kept_set<int>>(elements));
}

TEST(codec, AnotherFormatIsAnError) {
  const auto got = decode<int>(bytes({0x83, 0x02, 0x00, 0x01}));
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().text, "encoding format 2 is not known; this program reads format 1");
  EXPECT_EQ(got.error().offset, 1U);
}

TEST(codec, ErrorsSayWhereAndWhat) {
  const auto check = [](auto decoded, std::size_t offset, std::string_view text) {
    ASSERT_FALSE(decoded);
    EXPECT_EQ(decoded.error().text, text);
    EXPECT_EQ(decoded.error().offset, offset);
  };
  check(decode<int>({}), 0, "ends too early");
  check(decode<int>(bytes({0x83, 0x01, 0x00})), 0, "announces more items than the input can hold");
  check(decode<int>(bytes({0x83, 0x01, 0x00, 0x19, 0x01})), 3, "ends too early");
  check(decode<int>(bytes({0x83, 0x01, 0x00, 0x61, 'a'})), 3, "expected an integer");
  check(decode<int>(bytes({0x83, 0x01, 0x00, 0x01, 0x01})), 4, "bytes are left over after the end");
  check(decode<std::uint8_t>(bytes({0x83, 0x01, 0x00, 0x19, 0x01, 0x00})), 3,
        "integer is out of range");
  check(decode<std::uint8_t>(bytes({0x83, 0x01, 0x00, 0x20})), 3, "expected a natural number");
  check(decode<std::int64_t>(
            bytes({0x83, 0x01, 0x00, 0x3B, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF})),
        3, "integer is out of range");
  check(decode<bool>(bytes({0x83, 0x01, 0x00, 0x01})), 3, "expected true or false");
  check(decode<double>(bytes({0x83, 0x01, 0x00, 0x01})), 3, "expected a floating-point number");
  check(decode<std::string>(bytes({0x83, 0x01, 0x00, 0x01})), 3, "expected a string");
  check(decode<std::variant<int, bool>>(bytes({0x83, 0x01, 0x00, 0x82, 0x02, 0x01})), 4,
        "variant has no such alternative");
  check(decode<std::array<int, 2>>(bytes({0x83, 0x01, 0x00, 0x81, 0x01})), 3,
        "array has the wrong number of items");
  check(decode<int>(bytes({0x83, 0x01, 0x00, 0xFC})), 3, "is not CBOR");
  check(decode<std::string>(bytes({0x83, 0x01, 0x00, 0x7F, 0x61, 'a', 0xFF})), 3,
        "expected a string");
}

TEST(codec, ACountTheInputCannotHoldAllocatesNothing) {
  const auto hostile = {
      bytes({0x83, 0x01, 0x00, 0x9B, 0x00, 0x00, 0x00, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF}),
      bytes({0x83, 0x01, 0x00, 0x9A, 0xFF, 0xFF, 0xFF, 0xFF, 0x00}),
      bytes({0x83, 0x01, 0x00, 0x9B, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF}),
      bytes({0x83, 0x01, 0x00, 0x7B, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF}),
      bytes({0x83, 0x01, 0x00, 0xBB, 0x80, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00}),
      bytes({0x83, 0x01, 0x00, 0x5B, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF}),
  };
  for (const auto& input : hostile) {
    allocations.largest = 0;
    EXPECT_FALSE(decode<std::vector<int>>(input));
    EXPECT_FALSE(decode<std::string>(input));
    EXPECT_FALSE((decode<std::map<int, int>>(input)));
    EXPECT_FALSE((decode<kept_map<int, int>>(input)));
    EXPECT_FALSE(decode<std::vector<unsigned char>>(input));
    EXPECT_FALSE(decode<kept_vector<std::string>>(input));
    EXPECT_LT(allocations.largest, 512U);
  }
}

TEST(codec, DepthIsBoundedWhenReadingAndWhenWriting) {
  // 83 01 00, then trees of one child each.
  std::vector<std::byte> deep = bytes({0x83, 0x01, 0x00});
  for (int n = 0; n < 100'000; ++n) {
    for (const int b : {0x82, 0x01, 0x81}) deep.push_back(static_cast<std::byte>(b));
  }
  const auto got = decode<tree>(deep);
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().text, "nested too deep");

  tree root;
  for (tree* t = &root;;) {
    try {
      const auto encoded = encode(root);
      ASSERT_TRUE(decode<tree>(encoded)) << "what can be written can be read";
    } catch (const std::length_error&) {
      break;
    }
    t->children.emplace_back();
    t = &t->children.front();
  }
}

TEST(codec, AnUnknownFieldIsSkippedHoweverItNests) {
  auto input = bytes({0x83, 0x01, 0x00, 0xA2, 0x63, 'o', 'd', 'd'});
  for (int n = 0; n < 10'000; ++n) input.push_back(std::byte{0x81});
  for (const std::byte b : bytes({0x01, 0x65, 's', 'c', 'o', 'r', 'e', 0x07})) input.push_back(b);
  const auto got = decode<old_program::player>(input);
  ASSERT_TRUE(got) << got.error().text;
  EXPECT_EQ(got->score, 7);
}

TEST(codec, TruncatedAtAnyByteIsAnError) {
  const auto encoded = encode(sample());
  for (std::size_t n = 0; n < encoded.size(); ++n) {
    EXPECT_FALSE(decode<everything>(std::span{encoded}.first(n))) << n;
  }
}

TEST(codec, AnyBitFlippedIsAnErrorOrAnotherValueAndNeverMuchMemory) {
  const auto encoded = encode(sample());
  for (std::size_t bit = 0; bit < encoded.size() * 8; ++bit) {
    auto flipped = encoded;
    flipped[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
    allocations.largest = 0;
    (void)decode<everything>(flipped);
    EXPECT_LT(allocations.largest, 8192U) << bit;
  }
}

TEST(codec, RandomBytesAreNeverACrash) {
  for (const std::uint64_t seed : seeds(1, 2000)) {
    dice d{seed};
    auto input = bytes({0x83, 0x01, 0x00});
    for (int n = d.below(100); n > 0; --n) input.push_back(static_cast<std::byte>(d.below(256)));
    (void)decode_world(input);
    (void)decode<everything>(input);
  }
}

// ---------------------------------------------------------------------------- deltas

class deltas : public ::testing::Test {
 protected:
  deltas() {
    dice d{7};
    source_.record_deltas(true);
    for (int round = 0; round < 30; ++round) {
      source_.begin();
      for (int n = 0; n < 6; ++n) change_world(source_.value(), d);
      source_.prepare();
      if (!source_.commit()) continue;
      if (round < 29) {
        EXPECT_TRUE(apply_delta(target_, source_.last_delta()));
      }
    }
    delta_.assign(source_.last_delta().begin(), source_.last_delta().end());
    before_ = dump(target_.value(), true);
  }

  world_state source_;
  world_state target_;
  std::vector<std::byte> delta_;
  std::string before_;
};

TEST_F(deltas, TruncatedAtAnyByteLeaveTheTargetAsItWas) {
  ASSERT_GT(delta_.size(), 10U);
  for (std::size_t n = 0; n < delta_.size(); ++n) {
    EXPECT_FALSE(apply_delta(target_, std::span{delta_}.first(n))) << n;
    ASSERT_EQ(dump(target_.value(), true), before_) << n;
  }
  EXPECT_TRUE(apply_delta(target_, delta_));
  EXPECT_EQ(dump(target_.value(), true), dump(source_.value(), true));
}

TEST_F(deltas, WithAnyBitFlippedAreAppliedWholeOrNotAtAll) {
  int refused = 0;
  for (std::size_t bit = 0; bit < delta_.size() * 8; ++bit) {
    auto flipped = delta_;
    flipped[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
    world_state target{target_.value()};
    allocations.largest = 0;
    const auto applied = apply_delta(target, flipped);
    EXPECT_LT(allocations.largest, 100'000U) << bit;
    if (applied) continue;
    ++refused;
    ASSERT_EQ(dump(target.value(), true), before_) << bit;
  }
  EXPECT_GT(refused, 0);
}

TEST_F(deltas, ThatNameWhatIsNotThereAreErrors) {
  const auto refused = [&](std::initializer_list<int> operation, std::string_view text) {
    std::vector<std::byte> delta = bytes({0x9F, 0x01, 0x00});
    for (const int b : operation) delta.push_back(static_cast<std::byte>(b));
    delta.push_back(std::byte{0xFF});
    const auto applied = apply_delta(target_, delta);
    ASSERT_FALSE(applied);
    EXPECT_EQ(applied.error().text, text);
    ASSERT_EQ(dump(target_.value(), true), before_);
  };
  refused({0x82, 0x81, 0x18, 0x63, 0x02}, "there is no such kept container here");
  refused({0x82, 0x81, 0x01, 0x09}, "this container has no such operation");
  refused({0x83, 0x81, 0x01, 0x02, 0x00}, "this container has no such operation");
  refused({0x84, 0x81, 0x01, 0x04, 0x19, 0xFF, 0xFF, 0x01}, "index is beyond the end");
  refused({0x84, 0x81, 0x01, 0x04, 0x00, 0x1B, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF},
          "index is beyond the end");
  refused({0x83, 0x81, 0x05, 0x04, 0x19, 0x7F, 0xFF}, "there is no element with this key");
  refused({0x83, 0x80, 0x00, 0xA1, 0x18, 0x63, 0x00}, "no such field");
  refused({0x81, 0x80}, "an operation has a path, a number and arguments");
  refused({0x83, 0x80, 0x01, 0x00}, "an element has no such operation");
}

TEST(delta, BytesAreThoseOfTheWorkedExample) {
  // docs/encoding.md shows these.
  struct store {
    int hits = 0;
    kept_map<std::string, kept_deque<std::string>> lists;
  };
  detail::kept_state<store> s{store{}};
  s.value().lists.try_emplace("a", kept_deque<std::string>{"x", "y"});
  s.record_deltas(true);
  s.begin();
  s.value().lists.modify("a", [](auto& d) { d.push_back("z"); });
  s.value().hits = 3;
  s.prepare();
  s.commit();
  const auto delta = s.last_delta();
  EXPECT_EQ(std::vector<std::byte>(delta.begin(), delta.end()),
            bytes({0x9F, 0x01, 0x00, 0x84, 0x83, 0x00, 0x61, 0x61, 0x00, 0x05, 0x02,
                   0x81, 0x61, 0x7A, 0x83, 0x80, 0x00, 0xA1, 0x00, 0x03, 0xFF}));
}

/// Counts how often one of it has to make place for another.
struct counts_moves {
  int value = 0;
  static inline int moves = 0;

  counts_moves() = default;
  explicit counts_moves(int v) : value{v} {}
  counts_moves(const counts_moves&) = default;
  counts_moves& operator=(const counts_moves&) = default;
  counts_moves(counts_moves&& other) noexcept : value{other.value} { ++moves; }
  counts_moves& operator=(counts_moves&& other) noexcept {
    value = other.value;
    ++moves;
    return *this;
  }
  ~counts_moves() = default;
  bool operator==(const counts_moves&) const = default;
};
BOOST_DESCRIBE_STRUCT(counts_moves, (), (value))

TEST(delta, AppliedToAnEndOfADequeMovesNoNeighbour) {
  struct line {
    kept_deque<counts_moves> waiting;
  };
  const auto change = [](auto fn) {
    detail::kept_state<line> source{line{}};
    detail::kept_state<line> target{line{}};
    for (auto* each : {&source, &target}) {
      for (int i = 0; i < 1000; ++i) each->value().waiting.emplace_back(i);
    }
    source.record_deltas(true);
    source.begin();
    fn(source.value().waiting);
    source.prepare();
    source.commit();
    // What makes room moves all, once in a while.
    target.value().waiting.emplace_back(0);
    target.value().waiting.pop_back();
    counts_moves::moves = 0;
    EXPECT_TRUE(apply_delta(target, source.last_delta()));
    EXPECT_EQ(target.value().waiting, source.value().waiting);
    return counts_moves::moves;
  };
  EXPECT_LT(change([](auto& d) { d.push_front(counts_moves{-1}); }), 20);
  EXPECT_LT(change([](auto& d) { d.push_back(counts_moves{-1}); }), 20);
  EXPECT_LT(change([](auto& d) { d.pop_front(); }), 20);
  EXPECT_LT(change([](auto& d) { d.pop_back(); }), 20);
  const std::array more{counts_moves{-3}, counts_moves{-2}, counts_moves{-1}};
  EXPECT_LT(change([&](auto& d) { d.insert(d.begin(), more.begin(), more.end()); }), 60);
}

TEST(delta_size, DependsOnTheOperationAndNotOnTheContainer) {
  struct lists {
    kept_map<std::string, kept_deque<std::string>> all;
  };
  const auto measure = [](int elements) {
    detail::kept_state<lists> s{lists{}};
    s.value().all.modify_or_insert(std::string("jobs"), [&](auto& jobs) {
      for (int i = 0; i < elements; ++i) jobs.push_back("some job");
    });
    s.record_deltas(true);
    s.begin();
    s.value().all.modify("jobs", [](auto& jobs) { jobs.push_back("one more"); });
    const std::size_t log_bytes = s.log_bytes();
    s.prepare();
    s.commit();
    return std::pair{log_bytes, s.last_delta().size()};
  };
  const auto [small_log, small_delta] = measure(10);
  const auto [large_log, large_delta] = measure(10'000);
  EXPECT_EQ(small_log, large_log);
  EXPECT_LE(large_log, 64U);
  // The index of the new element takes two bytes more.
  EXPECT_LE(large_delta, small_delta + 2);
  EXPECT_LE(large_delta, 32U);
}

}  // namespace
}  // namespace peeper::test
