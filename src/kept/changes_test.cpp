// SPDX-License-Identifier: Apache-2.0
//
// What listeners are told of a commit: random operations on a state with everything in it, replayed
// onto a copy. PEEPER_SEED=<seed> runs that one alone.
#include <new>
#include <stdexcept>

#include <gtest/gtest.h>

#include "support/replay.hpp"
#include "test_world.hpp"

namespace peeper::test {
namespace {

struct poison : std::runtime_error {
  poison() : std::runtime_error("poison") {}
};

/// Some of what happens inside throws, and the callback swallows it.
void change_with_failures(kept_world& w, dice& d) {
  const int key = d.below(6);
  try {
    switch (d.below(4)) {
      case 0:
        modify(w.shapes, key, [&](auto& shape) {
          change_shape(shape, d);
          change_world(w, d);
          if (d.one_in(2)) throw poison{};
        });
        break;
      case 1:
        modify(w.items, key, [&](auto& item) {
          change_item(item, d);
          change_queue(w.queue, d);
          if (d.one_in(2)) throw poison{};
          change_item(item, d);
        });
        break;
      case 2:
        w.items.modify_or_insert(key, [&](auto& item) {
          change_item(item, d);
          modify(w.items, (key + 1) % 6, [&](auto& other) { change_item(other, d); });
          if (d.one_in(2)) throw poison{};
        });
        break;
      default: change_world(w, d);
    }
  } catch (const poison&) {
  } catch (const std::logic_error&) {  // an element in use cannot go
  }
}

TEST(changes_property, AreReplayedToTheSameState) {
  for (const std::uint64_t seed : seeds(5000, 60)) {
    SCOPED_TRACE("PEEPER_SEED=" + std::to_string(seed));
    dice d{seed};
    detail::state_watch<kept_world> watch;
    detail::kept_state<kept_world> s{kept_world{}};
    kept_world copy;
    s.watch(watch);
    for (int round = 0; round < 80; ++round) {
      s.begin();
      for (int n = d.below(12); n > 0; --n) change_with_failures(s.value(), d);
      if (d.one_in(4)) {
        s.rollback();
        ASSERT_TRUE(watch.noted.empty());
        continue;
      }
      try {
        s.prepare();
      } catch (const std::logic_error&) {  // what was swallowed left a change half done
        s.rollback();
        continue;
      }
      ASSERT_TRUE(s.collect(watch));
      replay(copy, watch.noted);
      s.commit();
      ASSERT_EQ(dump(copy, true), dump(s.value(), true)) << "round " << round;
      ASSERT_FALSE(HasFailure()) << "round " << round;
    }
  }
}

TEST(changes_property, ThatCannotBeToldForWantOfMemoryHarmNobody) {
  int untold = 0;
  for (const std::uint64_t seed : seeds(6000, 60)) {
    SCOPED_TRACE("PEEPER_SEED=" + std::to_string(seed));
    dice d{seed};
    detail::state_watch<kept_world> watch;
    detail::kept_state<kept_world> s{kept_world{}};
    kept_world copy;
    s.watch(watch);
    for (int round = 0; round < 60; ++round) {
      s.begin();
      bool told = false;
      try {
        allocations.until_failure = d.below(150);
        for (int n = d.below(6); n > 0; --n) change_world(s.value(), d);
        s.prepare();
        told = s.collect(watch);
        allocations.until_failure = -1;
      } catch (const std::bad_alloc&) {
        allocations.until_failure = -1;
        s.rollback();
        continue;
      }
      if (told) {
        replay(copy, watch.noted);
      } else {
        ++untold;
        copy = s.value();
        s.watch(watch);  // as who missed something does: it begins anew
      }
      s.commit();
      ASSERT_EQ(dump(copy, true), dump(s.value(), true)) << "round " << round;
      ASSERT_FALSE(HasFailure()) << "round " << round;
    }
  }
  EXPECT_GT(untold, 20);
}

struct small {
  int number = 0;
  kept_map<int, kept_vector<int>> rows;
  kept_value<std::string> text;
};

struct watched {
  detail::state_watch<small> watch;
  detail::kept_state<small> state{small{}};
  watched() { state.watch(watch); }
  template <class F>
  const changes<small>& after(F&& change) {
    if (committed_) state.commit();
    committed_ = true;
    state.begin();
    change(state.value());
    state.prepare();
    EXPECT_TRUE(state.collect(watch));
    return watch.noted;
  }

 private:
  bool committed_ = false;
};

TEST(changes, AreEmptyIfEverythingIsAsItWas) {
  watched w;
  const auto& c = w.after([](small& s) {
    s.number = 7;
    s.rows.try_emplace(1);
    s.text = "a";
  });
  EXPECT_FALSE(c.empty());
  EXPECT_TRUE(w.after([](small& s) {
                 s.number = 8;
                 s.number = 7;
                 s.text = "a";
                 s.rows.modify(1, [](auto&) {});
                 s.rows.erase(99);
               }).empty());
}

TEST(changes, NameTheElementThatWasModifiedAndWhatInIt) {
  watched w;
  w.after([](small& s) { s.rows.try_emplace(4); });
  const auto& c = w.after([](small& s) {
    s.rows.modify(4, [&](auto& row) {
      row.push_back(1);
      s.rows.try_emplace(5);
    });
  });
  EXPECT_EQ(c.field<&small::number>(), nullptr);
  EXPECT_TRUE(c.of<&small::text>().empty());
  const auto rows = c.of<&small::rows>();
  ASSERT_EQ(rows.size(), 2U);
  EXPECT_EQ(rows[0].kind, change_kind::modified);
  EXPECT_EQ(rows[0].key, 4);
  ASSERT_EQ(rows[0].inside->operations().size(), 1U);
  EXPECT_EQ(rows[0].inside->operations()[0].kind, change_kind::inserted);
  EXPECT_EQ(rows[0].inside->operations()[0].now, 1);
  EXPECT_EQ(rows[1].kind, change_kind::inserted);
  EXPECT_EQ(rows[1].key, 5);
}

TEST(changes, ThatAnExceptionInModifyUndoesAreNotTold) {
  watched w;
  w.after([](small& s) { s.rows.try_emplace(4); });
  const auto& c = w.after([](small& s) {
    try {
      s.rows.modify(4, [&](auto& row) {
        row.push_back(1);
        s.text = "gone";
        throw poison{};
      });
    } catch (const poison&) {
      s.number = 3;
    }
  });
  EXPECT_TRUE(c.of<&small::rows>().empty());
  EXPECT_TRUE(c.of<&small::text>().empty());
  ASSERT_NE(c.field<&small::number>(), nullptr);
  EXPECT_EQ(c.field<&small::number>()->old, 0);
  EXPECT_EQ(c.field<&small::number>()->now, 3);
}

}  // namespace
}  // namespace peeper::test
