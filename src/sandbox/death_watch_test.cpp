// SPDX-License-Identifier: Apache-2.0
#include "sandbox/death_watch.hpp"

#include <array>
#include <atomic>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sandbox/test_processes.hpp"

namespace peeper::sandbox {
namespace {

using namespace test;
using descriptors = std::span<const int>;
using outcome = death_watch::outcome;
using watcher = life_line::watcher;

constexpr time_point for_ever = time_point::max();
constexpr time_point past{};

void wake(std::atomic<std::uint32_t>& word) {
  ++word;
  ::syscall(SYS_futex, &word, FUTEX_WAKE, 64, nullptr, nullptr, 0);
}

/// What the lock alone tells: no pidfd, no look into /proc.
death_watch by_lock_alone(life_line& life, watcher who = watcher::hub) {
  return {life, who, 0, -1, false};
}

enum class death : std::uint8_t { kill, segv, abort, exit };

struct way_to_die {
  death how;
  std::size_t touched_mb;
};

void die(death how) {
  switch (how) {
    case death::kill: ::raise(SIGKILL); break;
    case death::segv: ::raise(SIGSEGV); break;
    case death::abort: std::abort();
    case death::exit: ::_exit(3);
  }
}

class a_death : public ::testing::TestWithParam<way_to_die> {};

TEST_P(a_death, IsToldByTheLockToHubAndPeer) {
  auto& life = shared<life_line>();
  auto& go = shared<std::atomic<bool>>();
  auto& seen_by_peer = shared<std::atomic<bool>>();
  const forked_process worker = run([&life, &go, way = GetParam()](descriptors) {
    life.hold();
    const std::vector<char> touched(way.touched_mb << 20U, 'x');
    while (!go) ::sched_yield();
    die(way.how);
    return static_cast<int>(touched[0]);
  });
  const forked_process peer = run([&life, &seen_by_peer](descriptors) {
    seen_by_peer = by_lock_alone(life, watcher::peer).wait({}, for_ever) == outcome::died;
    return 0;
  });
  go = true;
  EXPECT_EQ(by_lock_alone(life).wait({}, for_ever), outcome::died);
  EXPECT_EQ(exit_status(peer), 0);
  EXPECT_TRUE(seen_by_peer);
  (void)wait_status(worker);
}

std::string name_of(const ::testing::TestParamInfo<way_to_die>& info) {
  static constexpr std::array names{"SIGKILL", "SIGSEGV", "SIGABRT", "exit"};
  return std::string{names.at(static_cast<std::size_t>(info.param.how))} + "_" +
         std::to_string(info.param.touched_mb) + "_MB";
}
INSTANTIATE_TEST_SUITE_P(of, a_death,
                         ::testing::Values(way_to_die{death::kill, 1}, way_to_die{death::segv, 1},
                                           way_to_die{death::abort, 1}, way_to_die{death::exit, 1},
                                           way_to_die{death::kill, 64}, way_to_die{death::segv, 64},
                                           way_to_die{death::abort, 64},
                                           way_to_die{death::exit, 64}),
                         name_of);

TEST(death_watch, IsWokenByAnyOfTheOtherWords) {
  auto& life = shared<life_line>();
  auto& words = shared<std::array<std::atomic<std::uint32_t>, 2>>();
  const forked_process worker = run([&life, &words](descriptors) {
    life.hold();
    for (auto& word : words) wake(word);
    return ::pause();
  });
  death_watch watch{life, watcher::hub, worker.pid, worker.pidfd.get()};
  EXPECT_EQ(watch.wait(std::array{death_watch::word{&words[0], 0}}, for_ever), outcome::woken);
  EXPECT_EQ(watch.wait(std::array{death_watch::word{&words[0], 1}, death_watch::word{&words[1], 0}},
                       for_ever),
            outcome::woken);
  EXPECT_EQ(watch.wait(std::array{death_watch::word{&words[0], 0}}, past), outcome::woken)
      << "what has changed already is no reason to wait, however late it is";
  ::kill(worker.pid, SIGKILL);
  EXPECT_EQ(watch.wait(std::array{death_watch::word{&words[0], 1}}, for_ever), outcome::died);
  (void)wait_status(worker);
}

TEST(death_watch, EndsAtItsDeadline) {
  auto& life = shared<life_line>();
  life.hold();
  EXPECT_EQ(by_lock_alone(life).wait({}, past), outcome::timed_out);
}

/// Of the calling OS process.
void wait_until_asleep(pid_t thread) {
  for (;;) {
    std::ifstream status{"/proc/self/task/" + std::to_string(thread) + "/stat"};
    std::string line;
    std::getline(status, line);
    if (line.find(") S ") != std::string::npos) return;
    ::sched_yield();
  }
}

TEST(death_watch, BegunBeforeTheLockIsHeldHearsOfTheDeathToo) {
  auto& life = shared<life_line>();
  auto& go = shared<std::atomic<bool>>();
  std::atomic<pid_t> waits{0};
  std::atomic<bool> died{false};
  std::thread early{[&] {
    waits = ::gettid();
    died = by_lock_alone(life).wait({}, for_ever) == outcome::died;
  }};
  const forked_process worker = run([&life, &go](descriptors) {
    while (!go) ::sched_yield();
    life.hold();
    return ::raise(SIGKILL);
  });
  wait_until_at_least(waits, 1);
  wait_until_asleep(waits);
  go = true;
  early.join();
  EXPECT_TRUE(died);
  (void)wait_status(worker);
}

TEST(death_watch, BelievesTheHandlerOfFatalSignalsBeforeTheKernel) {
  auto& life = shared<life_line>();
  const forked_process worker = run([&life](descriptors) {
    life.hold();
    life.say_dying();
    return ::pause();  // as long as it takes to dump its core
  });
  EXPECT_EQ(by_lock_alone(life).wait({}, for_ever), outcome::died);
  EXPECT_FALSE(wait_readable(worker.pidfd.get(), 0));
  ::kill(worker.pid, SIGKILL);
  (void)wait_status(worker);
}

struct shared_with_threads {
  life_line life;
  std::atomic<std::uint32_t> written;
  std::atomic<bool> end;
  std::atomic<bool> other_began;
};

/// Its main thread ends in `how`; another one goes on writing, until it ends all.
forked_process with_a_thread_that_lives_on(shared_with_threads& s, void (*how)(life_line&)) {
  return run([&s, how](descriptors) {
    s.life.hold();
    std::thread{[&s] {
      s.other_began = true;
      while (!s.end) ++s.written;
      ::_exit(0);
    }}.detach();
    while (!s.other_began) ::sched_yield();
    how(s.life);
    return ::pause();
  });
}

TEST(death_watch, WaitsUntilAllThreadsOfTheDeadAreDead) {
  auto& s = shared<shared_with_threads>();
  const forked_process worker =
      with_a_thread_that_lives_on(s, [](life_line&) { ::syscall(SYS_exit, 0); });
  EXPECT_EQ(by_lock_alone(s.life).wait({}, for_ever), outcome::died) << "so says its main thread";
  death_watch watch{s.life, watcher::hub, worker.pid, worker.pidfd.get()};
  EXPECT_EQ(watch.wait({}, past), outcome::timed_out);
  const auto before = s.written.load();
  wait_until_at_least(s.written, before + 1);
  s.end = true;
  EXPECT_EQ(watch.wait({}, for_ever), outcome::died);
  EXPECT_TRUE(wait_readable(worker.pidfd.get(), 0)) << "dead as a whole";
  (void)wait_status(worker);
}

TEST(death_watch, WaitsForTheOtherThreadsOfOneThatSaysItIsDying) {
  auto& s = shared<shared_with_threads>();
  const forked_process worker =
      with_a_thread_that_lives_on(s, [](life_line& life) { life.say_dying(); });
  EXPECT_EQ(by_lock_alone(s.life).wait({}, for_ever), outcome::died);
  death_watch watch{s.life, watcher::hub, worker.pid, worker.pidfd.get()};
  EXPECT_EQ(watch.wait({}, past), outcome::timed_out);
  ::kill(worker.pid, SIGKILL);
  EXPECT_EQ(watch.wait({}, for_ever), outcome::died);
  EXPECT_TRUE(wait_readable(worker.pidfd.get(), 0));
  (void)wait_status(worker);
}

TEST(death_watch, OfOneThatHasOverwrittenItsLockHearsFromWhoSawItsEnd) {
  auto& life = shared<life_line>();
  const forked_process worker = run([&life](descriptors) {
    life.hold();
    std::memset(static_cast<void*>(&life), 0x01, sizeof(pthread_mutex_t) * 2);
    return ::raise(SIGKILL);
  });
  EXPECT_TRUE(wait_readable(worker.pidfd.get()));
  death_watch watch = by_lock_alone(life);
  EXPECT_EQ(watch.wait({}, past), outcome::timed_out);
  std::thread who_saw{[&] {
    (void)wait_status(worker);
    life.say_dead();
  }};
  EXPECT_EQ(watch.wait({}, for_ever), outcome::died);
  who_saw.join();
}

TEST(death_watch, OfAFollowerHearsFromItsAdoptionWhenTheLockWasOverwritten) {
  PEEPER_SKIP_WITH_THREAD_SANITIZER();
  static life_line* workers = nullptr;
  auto& life = shared<life_line>();
  auto& follower = shared<std::atomic<pid_t>>();
  const forked_process worker = run([&life, &follower](descriptors) {
    workers = &life;
    life.hold();
    if (fork_follower([]() noexcept { workers->say_dead(); }) == 0) {
      follower = ::getpid();
      return by_lock_alone(life, watcher::peer).wait({}, for_ever) == outcome::died ? 8 : 1;
    }
    wait_until_at_least(follower, 1);
    std::memset(static_cast<void*>(&life), 0x01, sizeof(pthread_mutex_t) * 2);
    return ::raise(SIGKILL);
  });
  (void)wait_status(worker);
  EXPECT_EQ(WEXITSTATUS(wait_status(follower)), 8);
}

}  // namespace
}  // namespace peeper::sandbox
