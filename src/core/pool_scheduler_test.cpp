// SPDX-License-Identifier: Apache-2.0
/// The thread pool on the real machine: nobody starves, no wake-up is lost, blocked callbacks are
/// made up for, and it ends. No test here measures time: one that fails would wait for ever.
#include <atomic>
#include <latch>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "support/counter.hpp"
#include "support/sim_test.hpp"

namespace peeper {
namespace {

using namespace std::chrono_literals;
using test::add;
using test::add_and_get;
using test::counter;
using test::get;

struct run {};

// --- blocking ------------------------------------------------------------------------------------

struct waits_for {
  using reply = int;
  ref<counter> whom;
};
struct caller {
  using state = int;
  std::latch* entered;
  int handle_call(const waits_for& m, const state&) {
    entered->count_down();
    return m.whom.call(get{}, infinity).value_or(-1);
  }
};

TEST(pool_scheduler, MakesUpForMoreBlockedCallbacksThanThreads) {
  constexpr int blocked = 16;
  std::latch entered{blocked};
  runtime rt{{.threads = 2}};
  const auto c = start<counter>(rt, {.state = 7}).value();
  ASSERT_TRUE(suspend(c));
  std::vector<pending<int>> asked;
  for (int i = 0; i < blocked; ++i) {
    asked.push_back(start<caller>(rt, {}, &entered).value().ask(waits_for{c}, infinity));
  }
  entered.wait();  // all are in their callbacks at once
  const auto other = start<counter>(rt).value();
  auto answered = other.ask(add_and_get{}, infinity);
  EXPECT_EQ(answered.get(), 1);
  ASSERT_TRUE(resume(c));
  for (auto& a : asked) EXPECT_EQ(a.get(), 7);
}

TEST(pool_scheduler, OfOneThreadServesCallsBetweenServers) {
  std::latch entered{50};
  runtime rt{{.threads = 1}};
  const auto c = start<counter>(rt, {.state = 7, .run_on_caller = false}).value();
  std::vector<pending<int>> asked;
  for (int i = 0; i < 50; ++i) {
    asked.push_back(start<caller>(rt, {}, &entered).value().ask(waits_for{c}, infinity));
  }
  for (auto& a : asked) EXPECT_EQ(a.get(), 7);
}

// --- two runtimes --------------------------------------------------------------------------------

struct pass_on {
  using reply = int;
};
struct bridge {
  using state = int;
  ref<bridge> next;
  int handle_call(pass_on, const state& n) {
    return next ? next.ask(pass_on{}, infinity).get().value_or(-1) : n;
  }
};

TEST(two_runtimes, CallEachOtherAndEndInAnyOrder) {
  for (const bool first_ends_first : {true, false}) {
    auto one = std::make_unique<runtime>(runtime_options{.threads = 1});
    auto two = std::make_unique<runtime>(runtime_options{.threads = 1});
    // one -> two -> one -> two: each thread waits for the other's, and for its own.
    const auto d = start<bridge>(*two, {.state = 9}, ref<bridge>{}).value();
    const auto c = start<bridge>(*one, {}, d).value();
    const auto b = start<bridge>(*two, {}, c).value();
    const auto a = start<bridge>(*one, {}, b).value();
    auto asked = a.ask(pass_on{}, infinity);
    EXPECT_EQ(asked.get(), 9);
    EXPECT_EQ(a.call(pass_on{}, infinity), 9);
    (first_ends_first ? one : two).reset();
    EXPECT_EQ(a.call(pass_on{}, infinity).value_or(-2), first_ends_first ? -2 : -1);
    EXPECT_EQ(one ? one->server_count() : two->server_count(), 2U);
  }
}

// --- fairness and stealing -----------------------------------------------------------------------

/// Casts itself a message for each it gets: never idle.
struct busy {
  using state = int;
  std::atomic<bool>* over;
  void handle_cast(run, const state&) {
    if (!over->load()) self<busy>().cast(run{});
  }
};

TEST(pool_scheduler, LetsOthersHaveTheirTurnBesideServersThatAreNeverIdle) {
  for (const unsigned threads : {1U, 2U}) {
    std::atomic<bool> over{false};
    runtime rt{{.threads = threads}};
    for (int i = 0; i < 8; ++i) start<busy>(rt, {}, &over).value().cast(run{});
    const auto c = start<counter>(rt, {.run_on_caller = false}).value();
    for (int i = 1; i <= 200; ++i) EXPECT_EQ(c.call(add_and_get{}, infinity), i);
    over = true;
  }
}

/// Holds its thread until the other has run: on one thread they would wait for ever.
struct rendezvous {
  using state = int;
  std::latch* both;
  void handle_cast(run, const state&) { both->arrive_and_wait(); }
};
struct wakes {
  using state = int;
  std::vector<ref<rendezvous>> all;
  void handle_cast(run, const state&) {
    for (const auto& r : all) r.cast(run{});
  }
};

TEST(pool_scheduler, StealsWhatOneThreadWokeAndCannotRunItself) {
  runtime rt{{.threads = 2}};
  for (int round = 0; round < 200; ++round) {
    std::latch both{2};
    // Woken by one callback, so they are in one thread's queue.
    const std::vector<ref<rendezvous>> two{start<rendezvous>(rt, {}, &both).value(),
                                           start<rendezvous>(rt, {}, &both).value()};
    const auto w = start<wakes>(rt, {}, two).value();
    w.cast(run{});
    both.wait();
    for (const auto& r : two) EXPECT_TRUE(stop(r));
    EXPECT_TRUE(stop(w));
  }
}

// --- wake-ups ------------------------------------------------------------------------------------

struct ball {
  int left;
};
struct player {
  using state = int;
  std::latch* done;
  ref<player> other;
  void handle_cast(const ref<player>& o, const state&) { other = o; }
  void handle_cast(ball b, const state&) {
    if (b.left == 0) {
      done->count_down();
    } else {
      other.cast(ball{b.left - 1});
    }
  }
};

TEST(pool_scheduler, LosesNoWakeUpBetweenServersThatFallAsleepAllTheTime) {
  for (const unsigned threads : {1U, 2U, 4U}) {
    constexpr int pairs = 3;
    std::latch done{pairs};
    runtime rt{{.threads = threads}};
    for (int i = 0; i < pairs; ++i) {
      const auto a = start<player>(rt, {}, &done, ref<player>{}).value();
      const auto b = start<player>(rt, {}, &done, a).value();
      a.cast(b);
      a.cast(ball{5000});
    }
    done.wait();
  }
}

TEST(pool_scheduler, LosesNoWakeUpOfForeignThreads) {
  runtime rt{{.threads = 2}};
  const auto c = start<counter>(rt).value();
  const auto far = start<counter>(rt, {.run_on_caller = false}).value();
  constexpr int senders = 4;
  constexpr int each = 2000;
  std::vector<std::thread> threads;
  for (int t = 0; t < senders; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < each; ++i) {
        c.cast(add{});
        EXPECT_TRUE(far.call(add_and_get{}, infinity));
        if (i % 10 == 0) {
          EXPECT_TRUE(c.call(get{}, infinity));
        }
      }
    });
  }
  for (auto& t : threads) t.join();
  EXPECT_EQ(c.call(get{}), senders * each);
  EXPECT_EQ(far.call(get{}), senders * each);
}

// --- the end -------------------------------------------------------------------------------------

struct stuck {
  using state = int;
  std::latch* entered;
  std::latch* released;
  void handle_cast(run, const state&) {
    entered->count_down();
    released->wait();
  }
};

TEST(pool_scheduler, NamesAHandlerThatDoesNotReturnAndEndsOnceItDoes) {
  std::latch entered{1};
  std::latch released{1};
  runtime rt{{.threads = 2}};
  const auto s = start<stuck>(rt, {.name = "stuck", .shutdown = 1ms}, &entered, &released).value();
  const auto c = start<counter>(rt, {.name = "fine"}).value();
  s.cast(run{});
  entered.wait();
  const auto r = rt.shutdown(10ms);
  ASSERT_FALSE(r);
  EXPECT_EQ(r.error().servers, std::vector<std::string>{"stuck"});
  EXPECT_FALSE(c.alive());
  released.count_down();
  EXPECT_TRUE(rt.shutdown());
  EXPECT_FALSE(s.alive());
  EXPECT_EQ(rt.server_count(), 0U);
}

TEST(pool_scheduler, EndsWhileThreadsAreStillSending) {
  for (int round = 0; round < 20; ++round) {
    std::vector<std::thread> threads;
    {
      runtime rt{{.threads = 2}};
      const auto c = start<counter>(rt).value();
      for (int t = 0; t < 3; ++t) {
        threads.emplace_back([c] {
          while (c.alive()) {
            c.cast(add{});
            std::ignore = c.call(get{}, 10s);
          }
        });
      }
      EXPECT_TRUE(c.call(get{}));
    }
    for (auto& t : threads) t.join();
  }
}

TEST(pool_scheduler, StartsAndEndsIdleManyTimes) {
  for (int i = 0; i < 50; ++i) {
    const runtime rt{{.threads = 1 + static_cast<unsigned>(i % 4)}};
  }
}

}  // namespace
}  // namespace peeper
