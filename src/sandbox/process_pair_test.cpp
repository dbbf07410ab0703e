// SPDX-License-Identifier: Apache-2.0
/// \file
/// Worker and follower in real OS processes that are killed in every way, at every fault point and
/// at random: each message is handled once, in order, or is the one that crashed; nothing that was
/// recorded is undone.
#include "sandbox/process_pair.hpp"

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sandbox/pair_test.hpp"

namespace peeper::sandbox {
namespace {

using namespace test;

TEST(process_pair, HandlesMessagesInOrderAndRecordsEachOnce_P1_P6) {
  bank b;
  for (std::uint64_t i = 1; i <= 20'000; ++i) b.send(add, i);
  ASSERT_TRUE(b.finish());
  EXPECT_EQ(b.handled(), 20'000U);
  EXPECT_EQ(b.crashes(), 0);
}

TEST(process_pair, GoesOnWithTheStateWhateverItsWorkerDiesOf_P1_P2_P3) {
  for (const death how : all_deaths) {
    bank b;
    for (std::uint64_t i = 1; i <= 100; ++i) b.send(add, i);
    ASSERT_TRUE(b.finish());
    for (int turn = 1; turn <= 3; ++turn) {
      ASSERT_TRUE(b.wait_protected());
      b.send(add, 1);
      b.send(die, static_cast<std::uint64_t>(how));
      b.send(add, 2);  // waits behind it, and is handled
      ASSERT_TRUE(b.finish()) << b.lost();
      EXPECT_EQ(b.crashes(), turn);
      EXPECT_EQ(b.poison(), turn);
    }
    EXPECT_EQ(b.handled(), 106U);
  }
}

TEST(process_pair, LosesNoMessageWhenItsWorkerIsKilledBetweenCallbacks_P3) {
  bank b;
  for (int i = 0; i < 50; ++i) {
    b.send(add, 1);
    ASSERT_TRUE(b.finish());
    ASSERT_TRUE(b.wait_protected());
    b.pair().kill_worker();
  }
  b.send(add, 1);
  ASSERT_TRUE(b.finish()) << b.lost();
  EXPECT_EQ(b.handled(), 51U);
  EXPECT_EQ(b.crashes(), 50);
  EXPECT_EQ(b.poison(), 0) << "no message had been begun";
}

TEST(process_pair, SaysWhatItsWorkerDiedOf) {
  PEEPER_SKIP_WITH_THREAD_SANITIZER();
  bank b;
  const auto report_of = [&b](death how) {
    b.send(add, 1);
    b.send(die, static_cast<std::uint64_t>(how));
    EXPECT_TRUE(b.finish()) << b.lost();
    return b.pair().last_crash("ledger");
  };
  const crash_report segv = report_of(death::segv);
  EXPECT_EQ(segv.kind, crash_kind::signalled);
  EXPECT_EQ(segv.signal, SIGSEGV);
  EXPECT_EQ(segv.server, "ledger");
  EXPECT_EQ(segv.generation, 1U);
  EXPECT_EQ(segv.message_number, 2U);
  EXPECT_EQ(report_of(death::abort).signal, SIGABRT);
  EXPECT_EQ(report_of(death::stack).kind, crash_kind::stack_overflow);
  EXPECT_EQ(report_of(death::terminate).kind, crash_kind::terminate);
  const crash_report killed = report_of(death::kill);
  EXPECT_TRUE(killed.backtrace.empty()) << "nobody could write it down";
  EXPECT_EQ(killed.generation, 5U);
  EXPECT_EQ(killed.message_number, 10U);
}

TEST(process_pair, TriesAMessageAgainAsOftenAsItIsTold_P3) {
  pair_options options = small;
  options.retries = 2;
  bank b{options};
  b.send(die, static_cast<std::uint64_t>(death::kill));
  b.send(add, 1);
  for (int i = 1; i <= 3; ++i) {
    while (b.crashes() < i) ASSERT_TRUE(b.step(never)) << b.lost();
    EXPECT_EQ(b.poison(), i == 3 ? 1 : 0);
  }
  ASSERT_TRUE(b.finish()) << b.lost();
  EXPECT_EQ(b.handled(), 1U);
  EXPECT_EQ(b.crashes(), 3);
}

TEST(process_pair, BearsAnyNumberOfMessagesThatKillOneAfterTheOther_P3) {
  bank b;
  for (std::size_t i = 0; i < 20; ++i) {
    b.send(die, static_cast<std::uint64_t>(all_deaths[i % all_deaths.size()]));
  }
  b.send(add, 1);
  ASSERT_TRUE(b.finish()) << b.lost();
  EXPECT_EQ(b.handled(), 1U);
  EXPECT_EQ(b.poison(), 20);
}

TEST(process_pair, GoesOnBeforeItIsProtectedIfItIsTold) {
  pair_options options = small;
  options.protect_first = false;
  bank b{options};
  for (int turn = 1; turn <= 20; ++turn) {
    ASSERT_TRUE(b.wait_protected());
    b.send(die, static_cast<std::uint64_t>(death::segv));
    for (std::uint64_t i = 0; i < 300; ++i) b.send(add, i);
    ASSERT_TRUE(b.finish()) << b.lost();
    EXPECT_EQ(b.poison(), turn);
  }
  EXPECT_EQ(b.handled(), 6000U);
}

TEST(process_pair, KillsACallbackThatOverrunsItsLimit) {
  pair_options options = small;
  options.callback_limit = std::chrono::milliseconds{500};
  bank b{options};
  ASSERT_TRUE(b.wait_protected());
  b.send(add, 1);
  b.send(die, static_cast<std::uint64_t>(death::hang));
  b.send(add, 2);
  ASSERT_TRUE(b.finish()) << b.lost();
  EXPECT_EQ(b.handled(), 2U);
  EXPECT_EQ(b.crashes(), 1);
  EXPECT_EQ(b.hung(), 1);
}

TEST(process_pair, MakesAnotherFollowerWhenOneDies) {
  bank b;
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(b.wait_protected());
    const pid_t follower = b.pair().follower();
    kill_and_wait(follower);
    // The worker must not wait for it when it has much to write.
    for (std::uint64_t n = 0; n < 100; ++n) b.send(add_much, n);
    ASSERT_TRUE(b.finish()) << b.lost();
    ASSERT_TRUE(b.wait_protected());
    EXPECT_NE(b.pair().follower(), follower);
  }
  EXPECT_EQ(b.crashes(), 0);
}

TEST(process_pair, SaysThatItIsLostWhenNobodyHasTheState) {
  bank b{{.messages = small.messages, .records = small.records, .follower = false}};
  b.send(add, 1);
  ASSERT_TRUE(b.finish());
  b.pair().kill_worker();
  b.send(add, 1);
  EXPECT_FALSE(b.finish());
  EXPECT_THAT(b.lost(), testing::HasSubstr("no follower"));
  EXPECT_FALSE(b.step(never)) << "it stays so";
}

TEST(process_pair, NeedsAZygote) {
  const int status = exit_status(run([](std::span<const int>) {
    const auto made = process_pair::start(small, &make_ledger);
    return !made && made.error().find("first thing in main") != std::string::npos ? 0 : 1;
  }));
  EXPECT_EQ(status, 0);
}

/// Handles messages, while a member dies of `how` when it comes to `point`. RETURNS: it did.
bool die_at(std::string_view point, death how, int nth, const pair_options& options) {
  auto& t = shared<trap>();
  t.how = how;
  t.nth = nth;
  bank b{options, &t};
  EXPECT_TRUE(b.wait_protected());
  t.point = point.data();
  bool alive = true;
  for (std::uint64_t i = 0; i < 200 && alive; ++i) {
    b.send(i % 50 != 49 ? add : i % 100 == 49 ? add_much : add_huge, i);
    if (i % 70 == 60) b.send(die, static_cast<std::uint64_t>(death::kill));
    if (i % 10 == 9) alive = b.finish();
  }
  // Two deaths at once are more than a pair can bear: then it says so, and only then.
  if (!b.lost().empty()) {
    EXPECT_EQ(t.sprung, 1) << point << ' ' << b.lost();
  }
  return t.sprung == 1;
}

TEST(process_pair, SurvivesADeathAtEachFaultPointOfWorkerAndFollower_P1_P2_P3) {
  for (const std::string_view point : all_fault_points()) {
    bool reached = false;
    for (const int nth : {1, 2, 7, 40}) reached |= die_at(point, death::kill, nth, small);
    EXPECT_TRUE(reached) << point;
  }
}

TEST(process_pair, SurvivesEachWayToDieAtEachFaultPoint_P1_P2_P3) {
  pair_options options = small;
  std::vector<death> ways{all_deaths.begin() + 1, all_deaths.end()};
  if (!sanitized) {
    options.limits.memory_bytes = std::uint64_t{64} << 20U;
    ways.push_back(death::leak);
  }
  for (const std::string_view point : all_fault_points()) {
    for (const death how : ways) {
      bool reached = false;
      for (const int nth : {1, 3}) reached |= die_at(point, how, nth, options);
      EXPECT_TRUE(reached) << point << ", way " << static_cast<int>(how);
    }
  }
}

TEST(process_pair, SurvivesALoopAtTheFaultPointsOfACallback_P1_P2_P3) {
  pair_options options = small;
  options.callback_limit = std::chrono::milliseconds{100};
  for (const std::string_view point : {"pair.begun", "pair.handled", "ring.publishing"}) {
    for (const death how : {death::loop, death::hang}) {
      EXPECT_TRUE(die_at(point, how, 3, options)) << point;
    }
  }
}

TEST(process_pair, SurvivesKillsAtRandomMoments_P1_P2_P3_P6) {
  std::mt19937_64 random{20261123};
  bank b;
  const int kills = std::getenv("PEEPER_KILLS") != nullptr        // NOLINT(concurrency-mt-unsafe)
                        ? std::atoi(std::getenv("PEEPER_KILLS"))  // NOLINT
                        : 500;
  int workers = 0;
  for (int i = 0; i < kills; ++i) {
    ASSERT_TRUE(b.wait_protected()) << b.lost();
    const bool the_worker = random() % 2 == 0;
    const std::uint64_t before = random() % 100;
    const std::uint64_t after = random() % 100;
    for (std::uint64_t n = 0; n < before; ++n) b.send(n % 17 == 3 ? add_much : add, n);
    if (the_worker) {
      b.pair().kill_worker();
      ++workers;
    } else if (const pid_t follower = b.pair().follower(); follower != 0) {
      kill_and_wait(follower);
    }
    for (std::uint64_t n = 0; n < after; ++n) b.send(add, n);
    ASSERT_TRUE(b.finish()) << b.lost();
  }
  EXPECT_EQ(b.crashes(), workers);
  EXPECT_LE(b.poison(), workers);
}

}  // namespace
}  // namespace peeper::sandbox
