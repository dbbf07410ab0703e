// SPDX-License-Identifier: Apache-2.0
//
// Random operations on a state with everything in it, against a model in std containers.
// A failure prints its seed; PEEPER_SEED=<seed> runs that one alone.
#include <new>
#include <stdexcept>

#include <gtest/gtest.h>

#include "test_world.hpp"

namespace peeper::test {
namespace {

using state = world_state;

struct poison : std::runtime_error {
  poison() : std::runtime_error("poison") {}
};

TEST(kept_property, TheHookFailsTheAllocationItIsToldToFail) {
  allocations.until_failure = 1;
  int refused = 0;
  for (int n = 0; n < 3; ++n) {
    try {
      ::operator delete(::operator new(8));
    } catch (const std::bad_alloc&) {
      refused = n;
    }
  }
  EXPECT_EQ(refused, 1);
}

TEST(kept_property, RollbackAndCommitFollowTheModel) {
  for (const std::uint64_t seed : seeds(1, 60)) {
    SCOPED_TRACE("PEEPER_SEED=" + std::to_string(seed));
    dice d{seed};
    state s;
    std_world model;
    const bool deltas = d.one_in(2);
    s.record_deltas(deltas);
    for (int round = 0; round < 120; ++round) {
      const std::string before = dump(s.value(), true);
      std_world next = model;
      s.begin();
      for (int n = d.below(12); n > 0; --n) {
        const std::uint64_t choice = d.engine();
        dice a{choice};
        dice b{choice};
        change_world(s.value(), a);
        change_world(next, b);
      }
      ASSERT_EQ(dump(s.value(), false), dump(next, false)) << "round " << round;
      if (d.one_in(2)) {
        if (d.one_in(2)) s.prepare();
        s.rollback();
        ASSERT_EQ(dump(s.value(), true), before) << "round " << round;
      } else {
        s.prepare();
        s.commit();
        model = next;
        ASSERT_EQ(dump(s.value(), false), dump(model, false)) << "round " << round;
      }
    }
  }
}

TEST(kept_property, StateIsTheReplayOfItsDeltas) {
  for (const std::uint64_t seed : seeds(1000, 60)) {
    SCOPED_TRACE("PEEPER_SEED=" + std::to_string(seed));
    dice d{seed};
    state s;
    state follower;
    state second;
    s.record_deltas(true);
    follower.record_deltas(true);
    for (int round = 0; round < 80; ++round) {
      const std::string before = dump(s.value(), true);
      s.begin();
      for (int n = d.below(12); n > 0; --n) change_world(s.value(), d);
      if (d.one_in(4)) {
        s.rollback();
        ASSERT_EQ(dump(s.value(), true), before);
        continue;
      }
      s.prepare();
      if (!s.commit()) {
        EXPECT_TRUE(s.last_delta().empty());
        EXPECT_EQ(dump(s.value(), true), before);
        continue;
      }
      const auto applied = apply_delta(follower, s.last_delta());
      ASSERT_TRUE(applied) << applied.error().text << " at " << applied.error().offset;
      ASSERT_EQ(dump(follower.value(), true), dump(s.value(), true)) << "round " << round;
      // A follower of the follower: applying records deltas as well.
      if (!follower.last_delta().empty()) {
        const auto again = apply_delta(second, follower.last_delta());
        ASSERT_TRUE(again) << again.error().text;
      }
      ASSERT_EQ(dump(second.value(), true), dump(s.value(), true)) << "round " << round;
    }
  }
}

TEST(kept_property, AnExceptionInModifyLeavesNoTraceOfIt) {
  for (const std::uint64_t seed : seeds(2000, 60)) {
    SCOPED_TRACE("PEEPER_SEED=" + std::to_string(seed));
    dice d{seed};
    state s;
    state follower;
    s.record_deltas(true);
    for (int round = 0; round < 60; ++round) {
      const std::string before = dump(s.value(), true);
      s.begin();
      for (int n = d.below(8); n > 0; --n) {
        change_world(s.value(), d);
        if (d.one_in(2)) continue;
        const std::string now = dump(s.value(), true);
        const int key = d.below(6);
        auto& w = s.value();
        try {
          switch (d.below(4)) {
            case 0:
              modify(w.shapes, key, [&](auto& shape) {
                change_shape(shape, d);
                throw poison{};
              });
              break;
            case 1:
              modify(w.items, key, [&](auto& item) {
                change_item(item, d);
                change_queue(w.queue, d);
                change_item(item, d);
                throw poison{};
              });
              break;
            case 2:
              w.shapes.modify_or_insert(key, [&](auto& shape) {
                change_shape(shape, d);
                modify(w.shapes, (key + 1) % 6, [&](auto& other) { change_shape(other, d); });
                throw poison{};
              });
              break;
            default:
              w.boxed.modify([&](auto& shape) {
                change_shape(shape, d);
                throw poison{};
              });
          }
        } catch (const poison&) {
        }
        ASSERT_EQ(dump(s.value(), true), now) << "round " << round;
      }
      if (d.one_in(3)) {
        s.rollback();
        ASSERT_EQ(dump(s.value(), true), before) << "round " << round;
        continue;
      }
      s.prepare();
      if (!s.commit()) continue;
      const auto applied = apply_delta(follower, s.last_delta());
      ASSERT_TRUE(applied) << applied.error().text;
      ASSERT_EQ(dump(follower.value(), true), dump(s.value(), true)) << "round " << round;
    }
  }
}

TEST(kept_property, AnExceptionAnywhereInsideNestedChangesRollsBackExactly) {
  for (const std::uint64_t seed : seeds(3000, 200)) {
    SCOPED_TRACE("PEEPER_SEED=" + std::to_string(seed));
    dice d{seed};
    state s;
    s.record_deltas(d.one_in(2));
    auto& w = s.value();
    for (int round = 0; round < 20; ++round) {
      s.begin();
      for (int n = 0; n < 10; ++n) change_world(w, d);
      s.prepare();
      s.commit();
      const std::string before = dump(w, true);
      s.begin();
      bool caught = false;
      // Inside the inner modify() an alternative of the outer element, or of the state itself, is
      // replaced, and then the inner one throws; the callback may swallow that.
      try {
        w.shapes.modify_or_insert(0, [&](auto& outer) {
          change_shape(outer, d);
          try {
            w.items.modify_or_insert(1, [&](auto& inner) {
              change_item(inner, d);
              change_shape(outer, d);
              if (d.one_in(2)) w.maybe.reset();
              if (d.one_in(2)) w.either.template emplace<1>();
              change_item(inner, d);
              throw poison{};
            });
          } catch (const poison&) {
            caught = true;
            if (d.one_in(2)) throw;
          }
          change_shape(outer, d);
        });
      } catch (const poison&) {
      }
      ASSERT_TRUE(caught);
      for (int n = d.below(3); n > 0; --n) change_world(w, d);
      // Some of these cannot commit and say so; all of them can roll back.
      if (d.one_in(2)) {
        try {
          s.prepare();
        } catch (const std::logic_error&) {
        }
      }
      s.rollback();
      ASSERT_EQ(dump(w, true), before) << "round " << round;
    }
  }
}

TEST(kept_property, NoAllocationThatFailsBreaksTheStrongGuarantee) {
  for (const std::uint64_t seed : seeds(4000, 40)) {
    SCOPED_TRACE("PEEPER_SEED=" + std::to_string(seed));
    dice setup{seed};
    state s;
    s.record_deltas(setup.one_in(2));
    s.begin();
    for (int n = 0; n < 40; ++n) change_world(s.value(), setup);
    s.prepare();
    s.commit();
    const std::string before = dump(s.value(), true);
    const std::uint64_t script = setup.engine();
    // The same callback again and again, each time with another allocation that fails.
    bool finished = false;
    for (std::ptrdiff_t fail_at = 0; !finished; ++fail_at) {
      ASSERT_LT(fail_at, 5000);
      dice d{script};
      allocations.until_failure = fail_at;
      try {
        s.begin();
        for (int n = 0; n < 40; ++n) change_world(s.value(), d);
        s.prepare();
        finished = true;
      } catch (const std::bad_alloc&) {
      }
      allocations.until_failure = -1;
      s.rollback();
      ASSERT_EQ(dump(s.value(), true), before) << "allocation " << fail_at;
    }
  }
}

TEST(kept_property, AnOperationThatMeetsBadAllocHasNotHappened) {
  // Single operations, each of which promises the strong guarantee by itself.
  using operation = void (*)(kept_world&, dice&);
  const operation operations[] = {
      [](kept_world& w, dice& d) { change_numbers(w.numbers, d); },
      [](kept_world& w, dice& d) { change_queue(w.queue, d); },
      [](kept_world& w, dice& d) { w.hits.insert_or_assign(d.word(), d.below(9)); },
      [](kept_world& w, dice& d) { w.hits.erase(d.word()); },
      [](kept_world& w, dice& d) { change_names(w.names, d); },
      [](kept_world& w, dice& d) { change_set(w.seen, d.below(30), d); },
      [](kept_world& w, dice& d) { change_set(w.words, d.word(), d); },
      [](kept_world& w, dice& d) {
        w.lists.modify_or_insert(d.word(), [&](auto& list) { change_queue(list, d); });
      },
      [](kept_world& w, dice& d) {
        w.items.modify_or_insert(d.below(4), [&](auto& i) { change_item(i, d); });
      },
      [](kept_world& w, dice& d) {
        w.shapes.modify_or_insert(d.below(4), [&](auto& s) { change_shape(s, d); });
      },
      [](kept_world& w, dice& d) { modify(w.grid, 0, [&](auto& row) { change_numbers(row, d); }); },
      [](kept_world& w, dice& d) { w.page = d.word(); },
      [](kept_world& w, dice& d) { w.boxed.modify([&](auto& s) { change_shape(s, d); }); },
  };
  for (const std::uint64_t seed : seeds(5000, 30)) {
    SCOPED_TRACE("PEEPER_SEED=" + std::to_string(seed));
    dice d{seed};
    state s;
    state follower;
    s.record_deltas(true);
    for (int round = 0; round < 12; ++round) {
      const std::string before = dump(s.value(), true);
      s.begin();
      for (int n = 0; n < 8; ++n) {
        const operation& change = operations[d.below(static_cast<int>(std::size(operations)))];
        const std::uint64_t choice = d.engine();
        const std::string now = dump(s.value(), true);
        for (std::ptrdiff_t fail_at = 0;; ++fail_at) {
          ASSERT_LT(fail_at, 1000);
          dice c{choice};
          bool failed = false;
          allocations.until_failure = fail_at;
          try {
            change(s.value(), c);
          } catch (const std::bad_alloc&) {
            failed = true;
          }
          allocations.until_failure = -1;
          if (!failed) break;
          ASSERT_EQ(dump(s.value(), true), now) << "allocation " << fail_at;
        }
      }
      if (d.one_in(3)) {
        s.rollback();
        ASSERT_EQ(dump(s.value(), true), before);
        continue;
      }
      s.prepare();
      if (!s.commit()) continue;
      const auto applied = apply_delta(follower, s.last_delta());
      ASSERT_TRUE(applied) << applied.error().text;
      ASSERT_EQ(dump(follower.value(), true), dump(s.value(), true));
    }
  }
}

// ---------------------------------------------------------------------------- throwing elements

/// Copies throw when told to; moves do not.
struct moody {
  static thread_local int until_throw;
  int n = 0;

  moody() = default;
  moody(int value) : n(value) {}  // NOLINT(google-explicit-constructor)
  moody(const moody& other) : n(other.n) {
    if (until_throw >= 0 && until_throw-- == 0) throw poison{};
  }
  moody& operator=(const moody& other) {
    if (until_throw >= 0 && until_throw-- == 0) throw poison{};
    n = other.n;
    return *this;
  }
  moody(moody&&) noexcept = default;
  moody& operator=(moody&&) noexcept = default;
  ~moody() = default;
  friend bool operator==(const moody&, const moody&) = default;
};
thread_local int moody::until_throw = -1;

struct moody_hash {
  std::size_t operator()(const moody& m) const {
    if (moody::until_throw >= 0 && moody::until_throw-- == 0) throw poison{};
    return static_cast<std::size_t>(m.n % 3);
  }
};
struct moody_equal {
  bool operator()(const moody& a, const moody& b) const {
    if (moody::until_throw >= 0 && moody::until_throw-- == 0) throw poison{};
    return a.n == b.n;
  }
};
struct moody_less {
  bool operator()(const moody& a, const moody& b) const {
    if (moody::until_throw >= 0 && moody::until_throw-- == 0) throw poison{};
    return a.n < b.n;
  }
};

struct moody_state {
  moody plain;
  kept_map<moody, moody, moody_hash, moody_equal> hashed;
  kept_ordered_map<moody, moody, moody_less> ordered;
  kept_set<moody, moody_hash, moody_equal> set;
  kept_vector<moody> list;
  kept_deque<moody> queue;
  kept_value<moody> one;
};

std::vector<int> numbers_of(const moody_state& s) {
  std::vector<int> all{s.plain.n, s.one->n, -1};
  for (const auto& [k, v] : s.hashed) all.insert(all.end(), {k.n, v.n});
  all.push_back(-1);
  for (const auto& [k, v] : s.ordered) all.insert(all.end(), {k.n, v.n});
  all.push_back(-1);
  for (const auto& k : s.set) all.push_back(k.n);
  all.push_back(-1);
  for (const auto& k : s.list) all.push_back(k.n);
  all.push_back(-1);
  for (const auto& k : s.queue) all.push_back(k.n);
  return all;
}

void change_moody(moody_state& s, dice& d) {
  const moody a{d.below(12)};
  const moody b{d.below(100)};
  switch (d.below(14)) {
    case 0: s.plain = b; break;
    case 1: s.hashed.insert_or_assign(a, b); break;
    case 2: s.hashed.erase(a); break;
    case 3: s.ordered.insert_or_assign(a, b); break;
    case 4: s.ordered.erase(a); break;
    case 5: s.set.insert(a); break;
    case 6: s.set.erase(a); break;
    case 7: s.list.push_back(b); break;
    case 8:
      if (!s.list.empty()) s.list.modify(0, [&](moody& m) { m = b; });
      break;
    case 9:
      s.list.insert(s.list.begin(), b);
      if (s.list.size() > 8) s.list.erase(s.list.begin(), s.list.begin() + 5);
      break;
    case 10: s.queue.push_front(b); break;
    case 11:
      if (!s.queue.empty()) s.queue.pop_back();
      break;
    case 12: s.one = b; break;
    default: s.hashed.modify_or_insert(a, [&](moody& m) { m = b; });
  }
}

TEST(kept_property, RollbackCallsNothingOfTheElementsThatMayThrow) {
  for (const std::uint64_t seed : seeds(6000, 200)) {
    SCOPED_TRACE("PEEPER_SEED=" + std::to_string(seed));
    dice d{seed};
    detail::kept_state<moody_state> s{moody_state{}};
    for (int round = 0; round < 60; ++round) {
      const auto before = numbers_of(s.value());
      moody::until_throw = d.below(40);
      bool failed = false;
      try {
        s.begin();
        for (int n = d.below(10); n > 0; --n) change_moody(s.value(), d);
        s.prepare();
      } catch (const poison&) {
        failed = true;
      }
      // Any copy, hash or comparison during the rollback would throw out of a noexcept function.
      moody::until_throw = 0;
      if (failed || d.one_in(2)) {
        s.rollback();
        moody::until_throw = -1;
        ASSERT_EQ(numbers_of(s.value()), before) << "round " << round;
      } else {
        s.commit();
        moody::until_throw = -1;
      }
    }
  }
}

}  // namespace
}  // namespace peeper::test
