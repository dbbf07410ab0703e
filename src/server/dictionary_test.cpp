// SPDX-License-Identifier: Apache-2.0
/// \file
/// The dictionary is part of the commit: against a model over random operations, and from every
/// place that may change it.
#include <map>
#include <random>
#include <stdexcept>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include <gtest/gtest.h>

#include <peeper/peeper.hpp>
#include <peeper/sim.hpp>

#include "support/sim_test.hpp"

namespace peeper::test {
namespace {

using words = std::map<std::string, int>;

words contents(const detail::dictionary_store& d) {
  words all;
  for (const std::string& key : d.keys()) all.emplace(key, std::any_cast<int>(*d.get(key)));
  return all;
}

TEST(dictionary_store, RollsBackToTheLastCommitWhateverWasDoneSince_P2) {
  std::mt19937_64 random{7};
  detail::dictionary_store d;
  words committed;
  words now;
  for (int i = 0; i < 20'000; ++i) {
    // Long and short keys: those that the string holds itself and those that it allocates.
    const std::string key = (random() % 2 == 0 ? "k" : "a key that is long enough for the heap ") +
                            std::to_string(random() % 8);
    switch (random() % 8) {
      case 0:
        d.commit();
        committed = now;
        break;
      case 1:
        d.rollback();
        now = committed;
        break;
      case 2:
      case 3: EXPECT_EQ(d.erase(key), now.erase(key) == 1); break;
      default: {
        const auto value = static_cast<int>(random() % 100);
        d.put(key, value);
        now[key] = value;
      }
    }
    ASSERT_EQ(contents(d), now) << "after step " << i;
  }
}

struct put_word {
  using reply = int;
  std::string key;
  int value = 0;
  bool crash = false;
};
struct put_many {
  using reply = int;
  int count = 0;
  bool crash = false;
};
struct all_words {
  using reply = words;
};
struct word_as_text {
  using reply = bool;
  std::string key;
};
struct writer {
  struct state {};
  bool init_writes = false;
  state init(bool write_in_init) {
    init_writes = write_in_init;
    if (init_writes) {
      dictionary().put("starts", dictionary().get<int>("starts").value_or(0) + 1);
    }
    return {};
  }
  int handle_call(const put_word& m, state&) {
    dictionary().put(m.key, m.value);
    if (m.crash) throw std::runtime_error{"unlucky"};
    return m.value;
  }
  int handle_call(put_many m) {
    for (int i = 0; i < m.count; ++i) dictionary().put(std::to_string(i), i);
    if (m.crash) throw std::runtime_error{"unlucky"};
    return m.count;
  }
  words handle_call(all_words, const state&) {
    words all;
    for (const auto& key : dictionary().keys()) all[key] = dictionary().get<int>(key).value();
    return all;
  }
  bool handle_call(const word_as_text& m) {
    return dictionary().get<std::string>(m.key).has_value();
  }
  void terminate(const exit_reason& reason, const state&) {
    dictionary().put("terminated", dictionary().get<int>("terminated").value_or(0) + 1);
    if (reason.detail() == "twice") throw std::runtime_error{"and terminate, too"};
  }
};
struct crash_twice {
  using reply = int;
};
struct unruly : writer {
  int handle_call(crash_twice) { throw std::runtime_error{"twice"}; }
  using writer::handle_call;
};

PEEPER_SIM_TEST(dictionary, OutlivesTheWorkerTheKeeperAndBoth_P1) {
  const auto c = start<writer>(rt, {}, false).value();
  EXPECT_EQ(c.call(put_word{"a", 1}), 1);
  kill(worker_of(c));
  EXPECT_EQ(c.call(all_words{}).value(), (words{{"a", 1}}));
  kill(keeper_of(c));
  kill(worker_of(c));
  EXPECT_EQ(c.call(all_words{}).value(), (words{{"a", 1}}));
  kill(supervisor_of(c));
  EXPECT_EQ(c.call(all_words{}).value(), (words{{"a", 1}}));
}

PEEPER_SIM_TEST(dictionary, OfACrashedCallbackIsAsItWas_P2) {
  const auto c = start<writer>(rt, {}, false).value();
  EXPECT_EQ(c.call(put_word{"a", 1}), 1);
  EXPECT_FALSE(c.call(put_word{"a", 2, true}).has_value());
  EXPECT_FALSE(c.call(put_many{100, true}).has_value());
  EXPECT_EQ(c.call(all_words{}).value(), (words{{"a", 1}, {"terminated", 2}}));
}

PEEPER_SIM_TEST(dictionary, MayBeChangedByInitOnEveryStart) {
  const auto c = start<writer>(rt, {}, true).value();
  EXPECT_EQ(c.call(all_words{}).value(), (words{{"starts", 1}}));
  kill(worker_of(c));
  EXPECT_EQ(c.call(all_words{}).value(), (words{{"starts", 2}}));
}

PEEPER_SIM_TEST(dictionary, ChangedByTerminateStaysSoWhateverCrashesNext) {
  const auto c = start<writer>(rt, {}, false).value();
  EXPECT_FALSE(c.call(put_word{"a", 2, true}).has_value());
  EXPECT_EQ(c.call(all_words{}).value(), (words{{"terminated", 1}}));
  kill(worker_of(c));
  EXPECT_EQ(c.call(all_words{}).value(), (words{{"terminated", 1}}));
}

PEEPER_SIM_TEST(dictionary, OfATerminateThatCrashesIsAsItWas_P2) {
  const auto c = start<unruly>(rt, {}, false).value();
  EXPECT_EQ(c.call(put_word{"a", 1}), 1);
  EXPECT_FALSE(c.call(crash_twice{}).has_value());
  EXPECT_EQ(c.call(all_words{}).value(), (words{{"a", 1}}));
}

PEEPER_SIM_TEST(dictionary, MayBeChangedByAnEditWhichCommitsOrUndoesIt_P2) {
  const auto c = start<writer>(rt, {}, false).value();
  ASSERT_TRUE(edit(c, [](writer::state&) { dictionary().put("a", 1); }).has_value());
  EXPECT_FALSE(edit(c, [](writer::state&) {
                 dictionary().put("a", 2);
                 throw std::runtime_error{"unlucky"};
               }).has_value());
  EXPECT_EQ(c.call(all_words{}).value(), (words{{"a", 1}}));
  kill(worker_of(c));
  EXPECT_EQ(c.call(all_words{}).value(), (words{{"a", 1}}));
}

PEEPER_SIM_TEST(dictionary, TellsNothingForAKeyOfAnotherType) {
  const auto c = start<writer>(rt, {}, false).value();
  EXPECT_EQ(c.call(put_word{"a", 1}), 1);
  EXPECT_EQ(c.call(word_as_text{"a"}), false);
  EXPECT_EQ(c.call(word_as_text{"b"}), false);
}

struct point {
  int x = 0;
  int y = 0;
  friend auto operator<=>(const point&, const point&) = default;
};
using path = std::vector<std::string>;
using index = std::map<std::string, int>;
enum class keys_do : std::uint8_t { put, erase, crash };
struct change_keys {
  using reply = int;
  keys_do what = keys_do::put;
};
struct show_keys {
  using reply = std::string;
};
struct many_kinds {
  struct state {};
  int handle_call(change_keys m) {
    auto d = dictionary();
    if (m.what == keys_do::erase) {
      EXPECT_TRUE(d.erase(2));
      EXPECT_FALSE(d.erase(2));
      EXPECT_FALSE(d.erase(3L));
      EXPECT_TRUE(d.erase(path{"a", "b"}));
      d.put(point{1, 2}, 7);
      return 0;
    }
    d.put(2, std::string{"two"});
    d.put(1, 1.5);
    d.put(2L, 'l');
    d.put("1", 1);
    d.put(std::string_view{"0"}, 0);
    d.put(std::tuple{1, std::string{"x"}}, 3);
    d.put(path{"a", "b"}, 4);
    d.put(index{{"a", 1}}, 5);
    d.put(point{1, 2}, 6);
    if (m.what == keys_do::crash) throw std::runtime_error{"unlucky"};
    return 1;
  }
  std::string handle_call(show_keys, const state&) {
    const auto d = dictionary();
    std::string all = describe(d.keys<int>()) + describe(d.keys<long>()) + describe(d.keys());
    all += describe(d.keys<std::tuple<int, std::string>>()) + describe(d.keys<path>());
    all += describe(d.keys<index>()) + describe(d.keys<point>());
    all += describe(d.get<std::string>(2)) + describe(d.get<int>(2)) + describe(d.get<char>(2L));
    all += describe(d.get<int>(std::string{"0"})) + describe(d.get<int>(point{1, 2}));
    return all;
  }
};

PEEPER_SIM_TEST(dictionary, HasKeysOfManyTypesSideBySideThatCommitTogether_P2) {
  const auto c = start<many_kinds>(rt).value();
  const std::string none = "[][][][][][][]nothingnothingnothingnothingnothing";
  EXPECT_FALSE(c.call(change_keys{keys_do::crash}).has_value());
  EXPECT_EQ(c.call(show_keys{}), none);
  EXPECT_EQ(c.call(change_keys{}), 1);
  const std::string all =
      R"([1, 2][2]["0", "1"][{1, "x"}][["a", "b"]][[{"a", 1}]][{1, 2}]"two"nothing"l"06)";
  EXPECT_EQ(c.call(show_keys{}), all);
  kill(worker_of(c));
  kill(keeper_of(c));
  EXPECT_EQ(c.call(show_keys{}), all);
  EXPECT_EQ(c.call(change_keys{keys_do::erase}), 0);
  EXPECT_EQ(c.call(show_keys{}),
            R"([1][2]["0", "1"][{1, "x"}][][[{"a", 1}]][{1, 2}]nothingnothing"l"07)");
  EXPECT_FALSE(edit(c, [](many_kinds::state&) {
                 dictionary().put(3, 3);
                 dictionary().erase(1);
                 dictionary().put(1, 1);
                 dictionary().erase(point{1, 2});
                 throw std::runtime_error{"unlucky"};
               }).has_value());
  EXPECT_EQ(c.call(show_keys{}),
            R"([1][2]["0", "1"][{1, "x"}][][[{"a", 1}]][{1, 2}]nothingnothing"l"07)");
}

/// A comparison that throws leaves the dictionary as it was, and a rollback compares nothing.
struct moody {
  int n = 0;
  static inline bool throws = false;
  friend bool operator<(const moody& a, const moody& b) {
    if (throws) throw std::runtime_error{"moody"};
    return a.n < b.n;
  }
};

TEST(dictionary_store, ComparesNoKeysWhenItRollsBackOrCommits) {
  detail::dictionary_store d;
  d.put(moody{1}, 1);
  d.put(moody{2}, 2);
  d.commit();
  EXPECT_TRUE(d.erase(moody{1}));
  d.put(moody{2}, 20);
  d.put(moody{3}, 3);
  moody::throws = true;
  EXPECT_THROW(d.put(moody{4}, 4), std::runtime_error);
  d.rollback();
  moody::throws = false;
  EXPECT_EQ(d.keys<moody>().size(), 2U);
  EXPECT_EQ(std::any_cast<int>(*d.get(moody{1})), 1);
  EXPECT_EQ(std::any_cast<int>(*d.get(moody{2})), 2);
  EXPECT_TRUE(d.erase(moody{2}));
  moody::throws = true;
  d.commit();
  moody::throws = false;
  EXPECT_EQ(d.keys<moody>().size(), 1U);
}

TEST(dictionary, NeedsARunningCallback_P8) {
  EXPECT_THROW(std::ignore = dictionary(), std::logic_error);
}

}  // namespace
}  // namespace peeper::test
