// SPDX-License-Identifier: Apache-2.0
#include "sandbox/death_log.hpp"

#include <array>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <memory>
#include <optional>

#include <gtest/gtest.h>
#include <sys/types.h>
#include <unistd.h>

#include "sandbox/ended_processes.hpp"
#include "sandbox/ring_wait.hpp"
#include "sandbox/test_processes.hpp"

namespace peeper::sandbox {
namespace {

using namespace test;

constexpr int exited_with(int status) { return status << 8; }

/// A zygote that tells what it is told to.
struct teller {
  pipe_ends pipe = make_pipe();
  ended_processes ends{pipe.read.get(), [this]() -> std::optional<ended_process> {
                         ended_process one;
                         if (::read(pipe.read.get(), &one, sizeof one) != sizeof one) return {};
                         return one;
                       }};
  void tell(pid_t pid, int status) {
    const std::uint64_t before = ends.mark();
    const ended_process one{.pid = pid, .status = status};
    ASSERT_EQ(::write(pipe.write.get(), &one, sizeof one), static_cast<ssize_t>(sizeof one));
    for (;;) {
      const std::uint32_t seen = ends.changes().load();
      if (ends.mark() > before) return;
      static_cast<void>(sleep_on({&ends.changes(), seen}, time_point::max()));
    }
  }
};

TEST(ended_processes, KnowsAStatusOnlySinceItsMark) {
  teller zygote;
  zygote.tell(7, exited_with(1));
  const std::uint64_t since = zygote.ends.mark();
  EXPECT_EQ(zygote.ends.status_of(7, 0), exited_with(1));
  EXPECT_EQ(zygote.ends.status_of(7, since), std::nullopt) << "that was another with its number";
  zygote.tell(8, exited_with(2));
  EXPECT_EQ(zygote.ends.status_of(7, since), std::nullopt);
  zygote.tell(7, exited_with(3));
  EXPECT_EQ(zygote.ends.status_of(7, since), exited_with(3));
  EXPECT_EQ(zygote.ends.status_of(8, since), exited_with(2));
}

TEST(ended_processes, ForgetsTheOldest) {
  teller zygote;
  for (pid_t pid = 1; pid <= static_cast<pid_t>(ended_processes::kept) + 1; ++pid) {
    zygote.tell(pid, exited_with(0));
  }
  EXPECT_EQ(zygote.ends.status_of(1, 0), std::nullopt);
  EXPECT_EQ(zygote.ends.status_of(2, 0), exited_with(0));
}

TEST(ended_processes, SaysOfALifeLineThatItIsDead) {
  teller zygote;
  life_line before;
  life_line watched;
  life_line left_alone;
  for (life_line* one : {&before, &watched, &left_alone}) one->hold();
  zygote.tell(5, SIGKILL);
  zygote.ends.watch(5, 0, before);
  EXPECT_FALSE(before.seems_alive(life_line::watcher::hub)) << "it had ended already";
  zygote.ends.watch(6, zygote.ends.mark(), watched);
  zygote.ends.watch(7, zygote.ends.mark(), left_alone);
  EXPECT_TRUE(zygote.ends.is_watched(7));
  zygote.ends.unwatch(left_alone);
  EXPECT_FALSE(zygote.ends.is_watched(7));
  EXPECT_TRUE(watched.seems_alive(life_line::watcher::hub));
  zygote.tell(6, SIGKILL);
  zygote.tell(7, SIGKILL);
  EXPECT_FALSE(watched.seems_alive(life_line::watcher::hub));
  EXPECT_TRUE(left_alone.seems_alive(life_line::watcher::hub));
}

struct dead_worker {
  crash_block block{};
  explicit dead_worker(std::uint64_t generation) { block.generation = generation; }
  void say(crash_block::phase phase) {
    block.kind = crash_kind::signalled;
    block.signal = SIGABRT;
    block.code = SI_TKILL;
    block.thread = 1;
    block.frame_count = phase == crash_block::phase::complete ? 2 : 0;
    block.state = phase;
  }
};

TEST(death_log, TakesWhatWasWrittenAfterTheDeathWasHeardOf) {
  teller zygote;
  death_log log{zygote.ends};
  dead_worker first{1};
  first.say(crash_block::phase::told);
  log.note({.pid = 1, .generation = 1}, first.block);
  EXPECT_EQ(log.last_reason(time_point::min()).to_string(), "signalled: SIGABRT");
  first.say(crash_block::phase::complete);
  dead_worker second{2};
  log.note({.pid = 2, .generation = 2}, second.block);
  first.block.signal = SIGSEGV;  // a later worker overwrites it
  const auto all = log.all("server");
  ASSERT_EQ(all.size(), 2U);
  EXPECT_EQ(all[0].signal, SIGABRT);
  EXPECT_EQ(all[0].backtrace.size(), 2U);
}

TEST(death_log, TakesNothingFromABlockThatIsAnothers) {
  teller zygote;
  death_log log{zygote.ends};
  dead_worker another{9};
  another.say(crash_block::phase::complete);
  log.note({.pid = 1, .generation = 1}, another.block);
  EXPECT_EQ(log.last_reason(time_point::min()).to_string(), "signalled: not known yet");
  zygote.tell(1, exited_with(4));
  EXPECT_EQ(log.last_reason(time_point::max()).to_string(), "exited: status 4");
}

TEST(death_log, BelievesTheHubOnlyWhereNobodyElseSaysWhy) {
  teller zygote;
  death_log log{zygote.ends};
  dead_worker silent{1};
  dead_worker crashed{2};
  crashed.say(crash_block::phase::complete);
  log.note({.pid = 1, .generation = 1, .killed = true}, silent.block);
  EXPECT_EQ(log.last_reason(time_point::max()).to_string(), "killed");
  log.note({.pid = 2, .generation = 2, .killed = true}, crashed.block);
  EXPECT_EQ(log.last_reason(time_point::max()).to_string(), "signalled: SIGABRT");
  dead_worker gone{3};
  zygote.tell(3, exited_with(5));
  log.note({.pid = 3, .generation = 3, .hung_for = std::chrono::seconds{1}}, gone.block);
  EXPECT_EQ(log.last_reason(time_point::max()).to_string(), "exited: status 5");
}

}  // namespace
}  // namespace peeper::sandbox
