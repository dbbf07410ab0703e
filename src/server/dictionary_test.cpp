// SPDX-License-Identifier: Apache-2.0
/// \file
/// The dictionary is part of the commit: against a model over random operations, and from every
/// place that may change it.
#include <map>
#include <random>
#include <stdexcept>
#include <string>
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

TEST(dictionary, NeedsARunningCallback_P8) {
  EXPECT_THROW(std::ignore = dictionary(), std::logic_error);
}

}  // namespace
}  // namespace peeper::test
