// SPDX-License-Identifier: Apache-2.0
/// Casts: nobody waits, and order holds for each sender (P6).
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "support/counter.hpp"
#include "support/sim_test.hpp"

namespace peeper {
namespace {

using namespace std::chrono_literals;
using test::add;
using test::counter;
using test::get;

PEEPER_SIM_TEST(cast, ReturnsBeforeItIsHandled) {
  const auto c = start<counter>(rt).value();
  c.cast(add{5});
  sim.run();
  EXPECT_EQ(c.call(get{}), 5);
}

PEEPER_SIM_TEST(cast, ToAStoppedServerIsNoError) {
  const auto c = start<counter>(rt).value();
  EXPECT_TRUE(c.try_cast(add{}));
  ASSERT_TRUE(stop(c));
  c.cast(add{});
  EXPECT_EQ(c.try_cast(add{}).error(), cast_error::gone);
  sim.run();
}

// --- order ---------------------------------------------------------------------------------------

struct item {
  int sender;
  int number;
};
struct take_all {
  using reply = std::vector<std::pair<int, int>>;
};
struct note {
  using reply = void;
  int sender;
  int number;
};

struct recorder {
  using state = std::vector<std::pair<int, int>>;
  void handle_cast(item m, state& s) { s.emplace_back(m.sender, m.number); }
  void handle_info(item m, state& s) { s.emplace_back(m.sender, m.number); }
  void handle_call(note m, state& s) { s.emplace_back(m.sender, m.number); }
  state handle_call(take_all, state& s) { return std::exchange(s, {}); }
};

void expect_each_sender_in_order(const recorder::state& all, int senders, int each) {
  std::vector<int> next(static_cast<std::size_t>(senders), 0);
  for (const auto& [sender, number] : all) {
    EXPECT_EQ(number, next[static_cast<std::size_t>(sender)]++) << "of sender " << sender;
  }
  for (const int n : next) EXPECT_EQ(n, each);
}

/// Casts, infos, calls and asks of one sender, mixed.
void send_mixed(const ref<recorder>& to, int sender, int n) {
  std::vector<pending<void>> asked;
  for (int i = 0; i < n; ++i) {
    switch (i % 7) {
      case 0:
      case 3: to.cast(item{sender, i}); break;
      case 1: to.send(item{sender, i}); break;
      case 5: EXPECT_TRUE(to.call(note{sender, i})); break;
      default: asked.push_back(to.ask(note{sender, i})); break;
    }
  }
  for (auto& a : asked) EXPECT_TRUE(a.get());
}

PEEPER_SIM_TEST(order, HoldsForEachOfManySendingThreads) {
  const auto r = start<recorder>(rt).value();
  constexpr int senders = 8;
  constexpr int each = 40;
  {
    std::vector<std::unique_ptr<environment::thread>> threads;
    for (int t = 0; t < senders; ++t) {
      threads.push_back(sim.thread([&, t] { send_mixed(r, t, each); }));
    }
  }
  expect_each_sender_in_order(r.call(take_all{}).value(), senders, each);
}

struct go {
  ref<recorder> to;
  int sender;
  int number;
};
/// Sends what it is told to, in one callback or many, by every means.
struct sending_server {
  using state = int;
  void handle_cast(const go& m, state&) { send_mixed(m.to, m.sender, m.number); }
};
struct sending_in_coroutine {
  using state = int;
  task<void> handle_cast(const go& m, state&) {
    for (int i = 0; i < m.number; ++i) {
      if (i % 3 == 0) m.to.cast(item{m.sender, i});
      if (i % 3 == 1) m.to.send(item{m.sender, i});
      if (i % 3 == 2) {
        EXPECT_TRUE(co_await m.to.ask(note{m.sender, i}));
      }
    }
  }
};

PEEPER_SIM_TEST(order, HoldsForEachOfManySendingServers) {
  const auto r = start<recorder>(rt).value();
  constexpr int senders = 8;
  constexpr int each = 40;
  std::vector<ref<sending_server>> plain;
  std::vector<ref<sending_in_coroutine>> waiting;
  for (int i = 0; i < senders; ++i) {
    if (i % 2 == 0) {
      plain.push_back(start<sending_server>(rt).value());
      plain.back().cast(go{r, i, each});
    } else {
      waiting.push_back(start<sending_in_coroutine>(rt).value());
      waiting.back().cast(go{r, i, each});
    }
  }
  sim.run();
  expect_each_sender_in_order(r.call(take_all{}).value(), senders, each);
}

// --- what a callback sends leaves at its commit (P2) ---------------------------------------------

struct tell_and_crash {
  ref<recorder> to;
};
struct tell_call_and_crash {
  ref<recorder> to;
  ref<recorder> called;
};
struct sender_that_crashes {
  using state = int;
  void handle_cast(const tell_and_crash& m, state&) {
    m.to.cast(item{0, 1});
    m.to.send(item{0, 2});
    std::ignore = m.to.ask(note{0, 3});
    throw std::runtime_error{"after sending"};
  }
  void handle_cast(const tell_call_and_crash& m, state&) {
    m.to.cast(item{0, 1});
    m.called.cast(item{0, 2});
    EXPECT_TRUE(m.called.call(note{0, 3}));
    m.called.cast(item{0, 4});
    throw std::runtime_error{"after an awaited call"};
  }
};

PEEPER_SIM_TEST(cast, OfACallbackThatCrashesNeverLeaves) {
  const auto r = start<recorder>(rt).value();
  const auto s = start<sender_that_crashes>(rt).value();
  s.cast(tell_and_crash{r});
  sim.run();
  EXPECT_EQ(statistics_of(s)->crashes, 1U);
  EXPECT_EQ(r.call(take_all{}).value(), recorder::state{});
}

PEEPER_SIM_TEST(cast, QueuedBeforeAnAwaitedCallToTheSameServerLeavesWithIt) {
  const auto r = start<recorder>(rt).value();
  const auto called = start<recorder>(rt).value();
  const auto s = start<sender_that_crashes>(rt).value();
  s.cast(tell_call_and_crash{r, called});
  sim.run();
  EXPECT_EQ(statistics_of(s)->crashes, 1U);
  EXPECT_EQ(r.call(take_all{}).value(), recorder::state{});
  EXPECT_EQ(called.call(take_all{}).value(), (recorder::state{{0, 2}, {0, 3}}));
}

struct queue_up {
  using reply = int;
  ref<counter> to;
};
struct peeker {
  using state = int;
  int handle_call(const queue_up& m, const state&) {
    m.to.cast(add{});
    // It has not left: somebody else's look does not find it.
    return 0;
  }
};

PEEPER_SIM_TEST(cast, OfACallbackHasLeftWhenItsCallerHasTheReply) {
  const auto c = start<counter>(rt).value();
  const auto p = start<peeker>(rt).value();
  EXPECT_EQ(p.call(queue_up{c}), 0);
  EXPECT_EQ(c.call(get{}), 1);
}

PEEPER_SIM_TEST(broadcast, CastsToAll) {
  std::vector<ref<counter>> all;
  for (int i = 0; i < 5; ++i) all.push_back(start<counter>(rt).value());
  ASSERT_TRUE(stop(all[3]));
  broadcast(all, add{2});
  sim.run();
  for (int i = 0; i < 5; ++i) {
    if (i != 3) {
      EXPECT_EQ(all[static_cast<std::size_t>(i)].call(get{}), 2);
    }
  }
}

}  // namespace
}  // namespace peeper
