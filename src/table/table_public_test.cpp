// SPDX-License-Identifier: Apache-2.0
/// \file
/// Public tables: writes by others than the owner's callbacks; and readers on real threads.
#include <atomic>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include <peeper/table.hpp>

#include "support/sim_test.hpp"
#include "table/table_test.hpp"

namespace peeper::test {
namespace {

using namespace std::chrono_literals;

ref<table_server<names>> public_owner(runtime& rt, duration wait = 5s) {
  return start_owner<names>(rt, {.name = "names", .access = access::public_, .write_wait = wait},
                            kept_tables::all());
}

PEEPER_SIM_TEST(a_public_table, TakesWritesOfAnybodyAtOnce) {
  auto owner = public_owner(rt);
  const auto w = find_public_table<names>(rt, "names").value();
  EXPECT_TRUE(w.insert({1, "a", 0}));
  EXPECT_EQ(w.insert_new({1, "b", 0}), false);
  EXPECT_EQ(w.insert_new({{2, "b", 0}, {3, "c", 0}}), true);
  EXPECT_EQ(w.update_counter<&name_row::hits>(1, 5).value(), 5);
  EXPECT_EQ(w.update_element<&name_row::name>(9, "x"), false);
  EXPECT_EQ(w.size(), 3U);
  EXPECT_EQ(w.take(2).value()->name, "b");
  EXPECT_EQ(w.erase(3), 1U);
  in(owner, [](names::owner& t) {
    EXPECT_EQ(t.size(), 1U);
    EXPECT_EQ(t.lookup(1), (name_row{1, "a", 5}));
  });
  EXPECT_EQ(w.clear(), 1U);
  EXPECT_EQ(w.size(), 0U);
}

PEEPER_SIM_TEST(a_public_table, KeepsWhatOthersWroteWhenTheOwnersCallbackCrashes) {
  auto owner = public_owner(rt);
  const auto w = find_public_table<names>(rt, "names").value();
  crash_in(owner, [&](names::owner& t) {
    t.insert({1, "owner's", 0});
    const detail::outside_callbacks another_thread;
    EXPECT_TRUE(w.insert({2, "other's", 0}));
    EXPECT_EQ(w.size(), 1U) << "others do not see what is not committed";
  });
  EXPECT_EQ(w.lookup(1).value(), std::nullopt);
  EXPECT_EQ(w.lookup(2).value()->name, "other's");
}

PEEPER_SIM_TEST(a_public_table, TakesWritesOfItsOwnersCallbackByAWriterAsPartOfItsCommit_P2) {
  auto owner = public_owner(rt);
  const auto w = find_public_table<names>(rt, "names").value();
  crash_in(owner, [&](names::owner& t) {
    EXPECT_TRUE(w.insert({1, "a", 0}));
    EXPECT_TRUE(t.member(1));
    EXPECT_TRUE(w.member(1).value());
  });
  EXPECT_EQ(w.size(), 0U);
}

PEEPER_SIM_TEST(a_public_table, TakesAWriteOfAnotherServersCallbackEvenIfThatCrashes) {
  auto owner = public_owner(rt);
  auto other = start_owner<names>(rt);
  const auto w = find_public_table<names>(rt, "names").value();
  crash_in(other, [&](names::owner&) { EXPECT_TRUE(w.insert({1, "a", 0})); });
  EXPECT_EQ(w.size(), 1U);
}

/// A callback of the owner that changes row 1, and goes on after a while.
struct helper {
  using state = int;
  struct wait {
    using reply = int;
    duration d{};
  };
  struct timeout_over {};
  void handle_call(const wait& m, from<int> caller, int&) {
    waiting = std::make_shared<from<int>>(std::move(caller));
    send_after(self<helper>(), m.d, timeout_over{});
  }
  void handle_info(const timeout_over&, int&) { waiting->reply(1); }
  std::shared_ptr<from<int>> waiting;
};

PEEPER_SIM_TEST(a_public_table, LetsAWriteWaitForTheCommitThatChangesItsRowAndLosesNothing) {
  auto owner = public_owner(rt);
  auto h = start<helper>(rt).value();
  const auto w = find_public_table<names>(rt, "names").value();
  EXPECT_TRUE(w.insert({1, "a", 0}));
  const time_point begin = sim.now();
  auto first = owner.ask(job<names>{[&](names::owner& t) {
    std::ignore = t.update_counter<&name_row::hits>(1, 10);
    EXPECT_TRUE(h.call(helper::wait{1s}));
  }});
  std::vector<std::unique_ptr<environment::thread>> threads;
  for (int i = 0; i < 3; ++i) {
    threads.push_back(sim.thread([&] {
      const auto n = w.update_counter<&name_row::hits>(1, 1);
      EXPECT_TRUE(n) << n.error().what();
    }));
  }
  EXPECT_TRUE(first.get());
  threads.clear();
  EXPECT_EQ(w.lookup(1).value()->hits, 13);
  EXPECT_GE(sim.now() - begin, 1s);
}

PEEPER_SIM_TEST(a_public_table, SaysBusyWhenTheWaitIsTooLong_P8) {
  auto owner = public_owner(rt, 100ms);
  auto h = start<helper>(rt).value();
  const auto w = find_public_table<names>(rt, "names").value();
  bool asked = false;
  auto first = owner.ask(job<names>{[&](names::owner& t) {
    t.insert({1, "a", 0});
    asked = true;
    EXPECT_TRUE(h.call(helper::wait{1s}));
  }});
  sim.run();
  ASSERT_TRUE(asked);
  const time_point begin = sim.now();
  const auto busy = w.insert({1, "b", 0});
  ASSERT_FALSE(busy);
  EXPECT_EQ(busy.error().code(), table_errc::busy);
  EXPECT_EQ(sim.now() - begin, 100ms);
  const auto busy_clear = w.clear();
  ASSERT_FALSE(busy_clear);
  EXPECT_EQ(busy_clear.error().code(), table_errc::busy);
  EXPECT_TRUE(w.insert({2, "b", 0})) << "another row is free";
  EXPECT_FALSE(w.member(1).value());
  EXPECT_TRUE(first.get());
  EXPECT_TRUE(w.insert({1, "b", 0}));
  EXPECT_EQ(w.size(), 2U);
}

PEEPER_SIM_TEST(a_public_table, TellsWhoWaitsWhenItEnds) {
  auto owner = public_owner(rt, infinity);
  auto h = start<helper>(rt).value();
  const auto w = find_public_table<names>(rt, "names").value();
  auto first = owner.ask(job<names>{[&](names::owner& t) {
    t.insert({1, "a", 0});
    t.drop();
    EXPECT_TRUE(h.call(helper::wait{1s}));
  }});
  sim.run();
  // It is woken by the commit, and writes, or finds the table gone, as the seed has it.
  const auto done = w.insert({1, "b", 0});
  EXPECT_TRUE(first.get());
  EXPECT_TRUE(done || done.error().code() == table_errc::gone);
  const auto after = w.insert({1, "b", 0});
  ASSERT_FALSE(after);
  EXPECT_EQ(after.error().code(), table_errc::gone);
}

// --- real threads --------------------------------------------------------------------------------

/// Two rows of which the owner always changes both, in both tables, by the same number.
TEST(table_readers, OnOtherThreadsSeeWholeCommitsOnlyWhileTheOwnerWritesAndCrashes_P2) {
  runtime rt{{.threads = 2}};
  auto owner = start_owner<names>(rt, {.name = "names"}, kept_tables::all());
  in(owner, [](names::owner& t) { t.insert({{1, "", 0}, {2, "", 0}}); });
  const auto reader = find_table<names>(rt, "names").value();
  std::atomic<bool> over{false};
  std::atomic<std::uint64_t> looks{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 2; ++i) {
    threads.emplace_back([&] {
      int last = 0;
      while (!over.load() && !HasFailure()) {
        // One look sees one commit; the rows are few, so a fold is one look.
        const auto rows = reader.select([](const name_row& r) { return r.id <= 2; }).value();
        ASSERT_EQ(rows.size(), 2U);
        ASSERT_EQ(rows[0].hits, rows[1].hits);
        ASSERT_GE(rows[0].hits, last) << "commits are seen in their order";
        ASSERT_GE(rows[0].hits, 0) << "of a callback that crashed";
        last = rows[0].hits;
        ASSERT_GE(reader.lookup(1).value()->hits, last);
        ++looks;
      }
    });
  }
  constexpr int rounds = 300;
  // Slow readers are waited for, but the table stays so small that a select is one look, and no
  // owner gives up (P7) meanwhile.
  for (int i = 1; (i <= rounds || looks.load() < 100) && !HasFailure(); ++i) {
    in(owner, [i](names::owner& t) {
      std::ignore = t.update_counter<&name_row::hits>(1, 1);
      t.insert({100 + i % 100, "one of many", i});
      std::ignore = t.update_counter<&name_row::hits>(2, 1);
    });
    if (i <= rounds && i % 10 == 0) {
      crash_in(owner, [](names::owner& t) {
        t.insert({{1, "", -1}, {2, "", -1}});
        t.clear();
      });
    }
  }
  over = true;
  for (std::thread& t : threads) t.join();
  EXPECT_GE(looks.load(), 100U);
}

TEST(table_writers, OfManyThreadsAndTheOwnerLoseNoIncrement) {
  runtime rt{{.threads = 2}};
  auto owner = public_owner(rt);
  const auto w = find_public_table<names>(rt, "names").value();
  constexpr int each = 500;
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&] {
      for (int n = 0; n < each; ++n) {
        ASSERT_TRUE(w.update_counter<&name_row::hits>(1, 1, name_row{1, "", 0}));
      }
    });
  }
  for (int n = 0; n < each; ++n) {
    in(owner, [](names::owner& t) {
      std::ignore = t.update_counter<&name_row::hits>(1, 1, name_row{1, "", 0});
      t.insert({2, "", t.lookup(1)->hits});
    });
  }
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(w.lookup(1).value()->hits, 4 * each);
}

TEST(table_readers, AreAnsweredWhileACallbackOfTheOwnerGoesOn) {
  std::atomic<bool> inside{false};
  std::atomic<bool> answered{false};
  runtime rt{{.threads = 1}};
  auto owner = start_owner<names>(rt, {.name = "names"});
  const auto reader = find_table<names>(rt, "names").value();
  std::thread looks{[&] {
    inside.wait(false);
    EXPECT_EQ(reader.size(), 0U);
    EXPECT_FALSE(reader.member(1).value());
    answered = true;
    answered.notify_all();
  }};
  in(owner, [&](names::owner& t) {
    t.insert({1, "a", 0});
    inside = true;
    inside.notify_all();
    answered.wait(false);  // would be for ever if the reader waited for this callback
  });
  looks.join();
  EXPECT_EQ(reader.size(), 1U);
}

}  // namespace
}  // namespace peeper::test
