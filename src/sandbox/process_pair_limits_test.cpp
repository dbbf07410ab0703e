// SPDX-License-Identifier: Apache-2.0
/// \file
/// Pairs whose members have limits, and what the hub says that their workers died of.
#include <array>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include "sandbox/pair_test.hpp"

namespace peeper::sandbox {
namespace {

using namespace test;

/// Long enough for any machine: only where a test fails does it come to that.
time_point soon() { return std::chrono::steady_clock::now() + std::chrono::seconds{60}; }

/// The worker dies of it, its follower goes on with what it had.
std::string reason_of(bank& b, death how) {
  const std::uint64_t before = b.handled();
  const int crashes = b.crashes();
  EXPECT_TRUE(b.wait_protected()) << b.lost();
  b.send(add, 1);
  b.send(die, static_cast<std::uint64_t>(how));
  b.send(add, 2);
  EXPECT_TRUE(b.finish()) << b.lost();
  EXPECT_EQ(b.handled(), before + 2);
  EXPECT_EQ(b.crashes(), crashes + 1);
  return b.pair().last_reason(soon()).to_string();
}

TEST(a_reason, IsGivenForEachWayInWhichAWorkerDies) {
  PEEPER_SKIP_WITH_THREAD_SANITIZER();
  pair_options options = small;
  options.callback_limit = std::chrono::milliseconds{200};
  bank b{options};
  EXPECT_EQ(reason_of(b, death::segv), "signalled: SIGSEGV");
  EXPECT_EQ(reason_of(b, death::abort), "signalled: SIGABRT");
  EXPECT_EQ(reason_of(b, death::stack), "signalled: SIGSEGV (stack overflow)");
  EXPECT_EQ(reason_of(b, death::terminate), "signalled: SIGABRT (std::terminate)");
  // Of these only the kernel knows.
  EXPECT_EQ(reason_of(b, death::exit), "exited: status 3");
  EXPECT_EQ(reason_of(b, death::kill), "signalled: SIGKILL");
  for (const death how : {death::hang, death::loop}) {
    EXPECT_THAT(reason_of(b, how),
                testing::MatchesRegex("hung: message [0-9]+ took more than [2-9][0-9][0-9] ms"));
  }
  b.pair().kill_worker();
  b.send(add, 1);
  ASSERT_TRUE(b.finish()) << b.lost();
  EXPECT_EQ(b.pair().last_reason(soon()), exit_reason(exit_kind::killed));
  // And so it stays, whatever came later.
  std::vector<exit_kind> kinds;
  for (const crash_report& one : b.pair().crashes("ledger")) kinds.push_back(one.reason().kind());
  using enum exit_kind;
  EXPECT_THAT(kinds, testing::ElementsAre(signalled, signalled, signalled, signalled, exited,
                                          signalled, hung, hung, killed));
}

TEST(a_reason, IsGivenAlsoWhereNobodyIsLeft) {
  pair_options options = small;
  options.follower = false;
  bank b{options};
  b.send(die, static_cast<std::uint64_t>(death::exit));
  EXPECT_FALSE(b.finish());
  EXPECT_EQ(b.pair().last_reason(soon()), exit_reason(exit_kind::exited, "status 3"));
}

TEST(a_reason, OfTheDeathsThatAreRememberedIsThatOfTheLastOnes) {
  PEEPER_SKIP_WITH_THREAD_SANITIZER();
  bank b;
  constexpr std::uint32_t deaths = death_log::kept + 5;
  for (std::uint32_t i = 0; i < deaths; ++i) {
    EXPECT_EQ(reason_of(b, i % 2 == 0 ? death::abort : death::segv),
              i % 2 == 0 ? "signalled: SIGABRT" : "signalled: SIGSEGV");
  }
  const auto all = b.pair().crashes("ledger");
  ASSERT_EQ(all.size(), death_log::kept);
  for (std::size_t i = 0; i < all.size(); ++i) {
    EXPECT_EQ(all[i].generation, deaths - all.size() + i + 1);
    EXPECT_EQ(all[i].signal, all[i].generation % 2 == 1 ? SIGABRT : SIGSEGV);
    EXPECT_EQ(all[i].message_number, all[i].generation * 3 - 1);
    // The last one's may not be there yet.
    if (i + 1 < all.size()) {
      EXPECT_GE(all[i].backtrace.size(), 5U);
    }
  }
}

TEST(limits_of_a_pair, EndALeakAndTheStateBeforeItGoesOn_P2) {
  PEEPER_SKIP_WITHOUT_MEMORY_LIMITS();
  pair_options options = small;
  options.limits.memory_bytes = std::uint64_t{64} << 20U;
  bank b{options};
  // Followers of followers have the same room: no fork takes any of it.
  for (int turn = 0; turn < 10; ++turn) {
    EXPECT_EQ(reason_of(b, death::leak), "out of memory");
  }
}

TEST(limits_of_a_pair, EndALoopThatTakesTooMuchCpuTime) {
  PEEPER_SKIP_WITH_THREAD_SANITIZER();
  pair_options options = small;
  options.limits.cpu_time = std::chrono::seconds{1};
  bank b{options};
  EXPECT_EQ(reason_of(b, death::loop), "signalled: SIGXCPU (limit of CPU time)");
}

TEST(limits_of_a_pair, LeaveAWorkerThatHasUsedUpItsDescriptorsAFollower) {
  pair_options options = small;
  options.limits.open_files = 16;
  bank b{options};
  for (int turn = 1; turn <= 5; ++turn) {
    ASSERT_TRUE(b.wait_protected()) << b.lost();
    b.send(die, static_cast<std::uint64_t>(death::descriptors));
    ASSERT_TRUE(b.finish()) << b.lost();
    EXPECT_EQ(b.crashes(), turn - 1) << "that is no death";
    const pid_t follower = b.pair().follower();
    kill_and_wait(follower);
    b.send(add, 1);
    ASSERT_TRUE(b.finish());
    ASSERT_TRUE(b.wait_protected()) << "made by one that has none left";
    EXPECT_NE(b.pair().follower(), follower);
    EXPECT_EQ(reason_of(b, death::abort), "signalled: SIGABRT");
  }
}

TEST(limits_of_a_pair, AboveThoseOfTheHubAreAnErrorThatSaysSo) {
  const int status = exit_status(run([](std::span<const int>) {
    rlimit few{.rlim_cur = 64, .rlim_max = 64};
    if (::setrlimit(RLIMIT_NOFILE, &few) != 0) return 1;
    if (::getuid() == 0 && ::setuid(65534) != 0) return 2;
    zygote_link zygote;
    pair_options options = small;
    options.limits.open_files = 65;
    auto pair = process_pair::start(options, &make_ledger);
    if (!pair) return 3;
    if ((*pair)->next(soon()).what != pair_event::kind::lost) return 4;
    return (*pair)->last_reason(soon()).detail() ==
                   "status 229 (its limits are above those of the hub)"
               ? 0
               : 5;
  }));
  EXPECT_EQ(status, 0);
}

pair_options less_power() {
  pair_options options = small;
  options.limits.less_power = true;
  return options;
}

TEST(a_pair_with_less_power, IsRefusedFilesNetworkAndForksAndGoesOn_P2_P3) {
  PEEPER_SKIP_WITH_THREAD_SANITIZER();
  bank b{less_power()};
  for (int turn = 0; turn < 5; ++turn) {
    EXPECT_EQ(reason_of(b, death::file), "forbidden: openat");
    EXPECT_EQ(reason_of(b, death::socket), "forbidden: socket");
    EXPECT_EQ(reason_of(b, death::fork), "forbidden: clone");
    EXPECT_EQ(reason_of(b, death::abort), "signalled: SIGABRT");
  }
}

TEST(a_pair_with_less_power, HandlesMessagesAndReplacesFollowersAsAnyOther_P1_P6) {
  PEEPER_SKIP_WITH_THREAD_SANITIZER();
  bank b{less_power()};
  for (int turn = 0; turn < 10; ++turn) {
    ASSERT_TRUE(b.wait_protected()) << b.lost();
    kill_and_wait(b.pair().follower());
    for (std::uint64_t i = 0; i < 200; ++i) b.send(i % 50 == 49 ? add_huge : add_much, i);
    ASSERT_TRUE(b.finish()) << b.lost();
    ASSERT_TRUE(b.wait_protected()) << b.lost();
    b.pair().kill_worker();
    b.send(add, 1);
    ASSERT_TRUE(b.finish()) << b.lost();
  }
  EXPECT_EQ(b.handled(), 2010U);
  EXPECT_EQ(b.crashes(), 10);
}

TEST(a_pair_with_less_power, LetsItsFollowerForkNothing) {
  PEEPER_SKIP_WITH_THREAD_SANITIZER();
  bank b{less_power()};
  for (std::uint64_t turn = 1; turn <= 5; ++turn) {
    ASSERT_TRUE(b.wait_protected()) << b.lost();
    const pid_t follower = b.pair().follower();
    const descriptor pidfd{static_cast<int>(::syscall(SYS_pidfd_open, follower, 0U))};
    b.send(die_applied, static_cast<std::uint64_t>(death::fork));
    ASSERT_TRUE(b.finish()) << b.lost();
    wait_readable(pidfd.get());
    ASSERT_TRUE(b.wait_protected()) << b.lost();
    EXPECT_NE(b.pair().follower(), follower);
    EXPECT_EQ(b.handled(), turn);
  }
  EXPECT_EQ(b.crashes(), 0) << "the worker's is the state";
}

TEST(a_pair_with_less_power, HasNoForksAtAllWithoutAFollower) {
  PEEPER_SKIP_WITH_THREAD_SANITIZER();
  pair_options options = less_power();
  options.follower = false;
  bank b{options};
  b.send(add, 1);
  b.send(die, static_cast<std::uint64_t>(death::fork));
  EXPECT_FALSE(b.finish());
  EXPECT_EQ(b.handled(), 1U);
  EXPECT_EQ(b.pair().last_reason(soon()).to_string(), "forbidden: clone");
}

}  // namespace
}  // namespace peeper::sandbox
