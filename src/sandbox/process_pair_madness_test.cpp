// SPDX-License-Identifier: Apache-2.0
/// \file
/// Workers gone mad, which write where they must not: it hurts nobody but their own server. Either
/// it goes on and has lost nothing, or it ends and says what was not to be believed.
#include <chrono>
#include <cstdint>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sandbox/pair_test.hpp"

namespace peeper::sandbox {
namespace {

using namespace test;
using testing::AnyOf;
using testing::HasSubstr;

/// Long enough for any machine: only where a test fails does it come to that.
time_point soon() { return std::chrono::steady_clock::now() + std::chrono::seconds{20}; }

const pair_options limited = [] {
  pair_options options = small;
  options.callback_limit = std::chrono::milliseconds{300};
  options.grace = std::chrono::milliseconds{300};
  return options;
}();

descriptor pidfd_of(pid_t pid) {
  return descriptor{static_cast<int>(::syscall(SYS_pidfd_open, pid, 0U))};
}

/// What a pair came to whose worker did this.
struct outcome {
  std::string lost;  ///< why; empty: it went on
  std::string reason;
  int crashes = 0;
  int hung = 0;
  std::uint64_t handled = 0;  ///< of 101, and the one that did it
};

outcome outcome_of(death how, const pair_options& options = limited) {
  outcome came;
  descriptor worker;
  descriptor follower;
  bank unhurt;
  {
    bank b{options};
    for (std::uint64_t i = 0; i < 50; ++i) b.send(add, i);
    EXPECT_TRUE(b.finish(soon())) << b.lost();
    if (options.follower) {
      EXPECT_TRUE(b.wait_protected()) << b.lost();
      follower = pidfd_of(b.pair().follower());
    }
    worker = pidfd_of(b.pair().worker());
    b.send(die, static_cast<std::uint64_t>(how));
    for (std::uint64_t i = 0; i < 50 && b.lost().empty(); ++i)
      b.send(i % 9 == 0 ? add_much : add, i);
    b.finish(soon());
    // Where nothing else has gone on since: two deaths after each other, and the last message.
    for (int i = 0; i < 2 && b.lost().empty() && options.follower; ++i) {
      if (b.wait_protected()) b.pair().kill_worker();
      b.send(add, 1);
      b.finish(soon());
    }
    came = {.lost = b.lost(),
            .reason = b.pair().last_reason().to_string(),
            .crashes = b.crashes(),
            .hung = b.hung(),
            .handled = b.handled()};
  }
  EXPECT_TRUE(wait_readable(worker.get(), 60'000)) << "it has ended";
  if (follower) {
    EXPECT_TRUE(wait_readable(follower.get(), 60'000)) << "it has ended";
  }
  unhurt.send(add, 1);
  EXPECT_TRUE(unhurt.finish(soon()));
  EXPECT_EQ(unhurt.crashes(), 0);
  return came;
}

/// It says what was not to be believed; or nobody could go on, since that was overwritten, too.
auto says_why() {
  return AnyOf(HasSubstr("not to be believed"), HasSubstr("died at once"),
               HasSubstr("had no follower"), HasSubstr("has not the state of its worker"));
}

TEST(a_worker_gone_mad, HurtsOnlyItsOwnServerWhateverItOverwrites_P1_P3) {
  PEEPER_SKIP_WITH_THREAD_SANITIZER();
  for (const death how : {death::records, death::messages, death::control, death::all}) {
    const outcome came = outcome_of(how);
    const std::string which = std::to_string(static_cast<int>(how));
    if (came.lost.empty()) {
      EXPECT_GE(came.handled, 102U) << which;
    } else {
      EXPECT_THAT(came.lost, says_why()) << which;
      EXPECT_GE(came.handled, 50U) << which;
    }
  }
}

TEST(a_worker_gone_mad, ThatHasClosedAllItsDescriptorsWorksOn) {
  const outcome came = outcome_of(death::closed);
  EXPECT_EQ(came.lost, "");
  EXPECT_EQ(came.handled, 103U);
  EXPECT_EQ(came.crashes, 2) << "those that were wanted";
}

TEST(a_worker_gone_mad, ThatSaysItHasRecordedMoreThanThereIsIsNotBelieved) {
  const outcome came = outcome_of(death::cursor);
  EXPECT_THAT(came.lost, HasSubstr("its records are not to be believed"));
  EXPECT_EQ(came.handled, 50U);
}

TEST(a_worker_gone_mad, ThatOverwritesItsMessagesIsNotBelieved) {
  PEEPER_SKIP_WITH_THREAD_SANITIZER();
  EXPECT_THAT(outcome_of(death::messages).lost, HasSubstr("not to be believed"));
}

TEST(a_worker_gone_mad, ThatCannotBeWokenAnyMoreIsKilledAsHung_P1_P3) {
  const outcome came = outcome_of(death::unwoken);
  EXPECT_EQ(came.lost, "");
  EXPECT_GE(came.handled, 102U);
}

TEST(a_worker_gone_mad, WhoseDeathNothingTellsIsHeardOfByTheZygote_P1_P3) {
  const outcome came = outcome_of(death::unheard);
  // It has overwritten its follower's line, too.
  EXPECT_THAT(came.lost, AnyOf("", HasSubstr("died at once"), HasSubstr("had no follower")));
  pair_options alone = limited;
  alone.follower = false;
  alone.callback_limit = infinity;
  const outcome last = outcome_of(death::unheard, alone);
  EXPECT_THAT(last.lost, HasSubstr("had no follower"));
  EXPECT_EQ(last.reason, "exited: status 3");
}

TEST(a_worker_gone_mad, ThatIsTakenForDeadIsSo) {
  PEEPER_SKIP_WITH_THREAD_SANITIZER();
  EXPECT_THAT(outcome_of(death::undead).lost,
              AnyOf("", HasSubstr("died at once"), HasSubstr("had no follower")));
}

TEST(a_worker_gone_mad, ThatNamesASuccessorThatIsNoneEndsThePair) {
  // Where its follower is not faster, and says who it is.
  EXPECT_THAT(outcome_of(death::follower).lost,
              AnyOf("", HasSubstr("died at once"), HasSubstr("has not the state")));
}

TEST(a_worker_gone_mad, CannotKeepItsFollowerWaiting_P1_P3) {
  const outcome came = outcome_of(death::generation);
  EXPECT_EQ(came.lost, "");
  EXPECT_EQ(came.handled, 102U);
  EXPECT_EQ(came.crashes, 3);
}

TEST(a_worker_gone_mad, ThatSaysThatItHasBegunNothingIsHungAllTheSame) {
  bank b{limited};
  ASSERT_TRUE(b.wait_protected());
  b.send(die, static_cast<std::uint64_t>(death::liar));
  while (b.crashes() == 0) ASSERT_TRUE(b.step(soon())) << b.lost();
  EXPECT_EQ(b.hung(), 1);
  EXPECT_EQ(b.pair().last_reason().kind(), exit_kind::hung);
}

TEST(a_worker_gone_mad, AtAnyFaultPointHurtsOnlyItsOwnServer_P1_P3) {
  PEEPER_SKIP_WITH_THREAD_SANITIZER();
  bank unhurt;
  for (const std::string_view point : all_fault_points()) {
    for (const death how : {death::closed, death::records}) {
      const std::string at = std::string{point} + ", way " + std::to_string(static_cast<int>(how));
      SCOPED_TRACE(at);
      auto& t = shared<trap>();
      t.how = how;
      t.nth = 1;
      bank b{limited, &t};
      ASSERT_TRUE(b.wait_protected());
      t.point = point.data();
      for (std::uint64_t i = 0; i < 100 && b.lost().empty(); ++i) {
        b.send(i % 10 == 9 ? (i % 20 == 9 ? add_much : add_huge) : add, i);
        if (i % 40 == 25) b.send(die, static_cast<std::uint64_t>(death::kill));
        if (i % 10 == 9) b.finish(soon());
      }
      EXPECT_EQ(t.sprung, 1) << b.lost();
      EXPECT_TRUE(b.lost().empty() || how != death::closed) << b.lost();
      unhurt.send(add, 1);
      ASSERT_TRUE(unhurt.finish(soon()));
    }
  }
  EXPECT_EQ(unhurt.crashes(), 0);
}

pair_options less_power() {
  pair_options options = limited;
  options.limits.less_power = true;
  return options;
}

TEST(a_worker_gone_mad, WithLessPowerGetsTwoChildrenAtTheMost) {
  PEEPER_SKIP_WITH_THREAD_SANITIZER();
  bank b{less_power()};
  ASSERT_TRUE(b.wait_protected());
  kill_and_wait(b.pair().follower());
  b.send(die, static_cast<std::uint64_t>(death::forker));
  b.send(add, 1);
  if (b.finish(soon())) {
    EXPECT_EQ(b.poison(), 1);
  }
  EXPECT_EQ(b.pair().last_reason(soon()).to_string(), "forbidden: clone");
}

TEST(a_worker_gone_mad, WithLessPowerCannotGiveItsFollowerLeaveToFork) {
  PEEPER_SKIP_WITH_THREAD_SANITIZER();
  bank b{less_power()};
  ASSERT_TRUE(b.wait_protected());
  const descriptor follower = pidfd_of(b.pair().follower());
  b.send(die, static_cast<std::uint64_t>(death::claim));
  b.send(die_applied, static_cast<std::uint64_t>(death::fork));
  ASSERT_TRUE(b.finish(soon())) << b.lost();
  EXPECT_TRUE(wait_readable(follower.get(), 60'000)) << "it was killed";
  EXPECT_EQ(b.crashes(), 0);
}

}  // namespace
}  // namespace peeper::sandbox
