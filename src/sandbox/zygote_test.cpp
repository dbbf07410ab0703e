// SPDX-License-Identifier: Apache-2.0
#include "sandbox/zygote.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "sandbox/test_processes.hpp"

namespace peeper::sandbox {
namespace {

using namespace test;
using descriptors = std::span<const int>;

int pidfd_of(pid_t pid) { return static_cast<int>(::syscall(SYS_pidfd_open, pid, 0U)); }

/// Makes an OS process that has no zygote yet: a program of its own, where a test can make one.
/// RETURNS: its exit status.
template <class Body>
int in_fresh_program(const Body& body, descriptors passed = {}) {
  return exit_status(run(body, passed));
}

TEST(zygote, ForksAWorkerThatRunsItsEntryAndTellsItsExitStatus) {
  auto& seen = shared<std::atomic<pid_t>>();
  const forked_process worker = run([&seen](descriptors) {
    seen = ::getpid();
    return 7;
  });
  EXPECT_EQ(exit_status(worker), 7);
  EXPECT_EQ(seen, worker.pid);
  EXPECT_TRUE(wait_readable(worker.pidfd.get())) << "the pidfd is the worker's";
}

TEST(zygote, TellsTheSignalThatEndedAWorker) {
  EXPECT_EQ(end_signal(run([](descriptors) { return ::raise(SIGKILL); })), SIGKILL);
}

TEST(zygote, LetsAWorkerWhoseEntryThrowsAbort) {
  EXPECT_EQ(end_signal(run([](descriptors) -> int { throw 1; })), SIGABRT);
}

TEST(zygote, GivesAWorkerTheDescriptorsPassedAndNoOthers) {
  const descriptor not_passed{::open("/dev/null", O_RDONLY)};
  const pipe_ends one = make_pipe();
  const pipe_ends two = make_pipe();
  const std::array passed{one.write.get(), two.write.get()};
  auto& open_ones = shared<std::atomic<int>>();
  const forked_process worker = run(
      [&open_ones](descriptors got) {
        for (int number = 0; number < 4096; ++number) {
          if (::fcntl(number, F_GETFD) >= 0) ++open_ones;
        }
        return got.size() == 2 && ::write(got[0], "one", 3) == 3 && ::write(got[1], "two", 3) == 3
                   ? 0
                   : 1;
      },
      passed);
  EXPECT_EQ(exit_status(worker), 0);
  std::array<char, 3> text{};
  EXPECT_EQ(::read(one.read.get(), text.data(), 3), 3);
  EXPECT_EQ((std::string{text.data(), 3}), "one");
  EXPECT_EQ(::read(two.read.get(), text.data(), 3), 3);
  EXPECT_EQ((std::string{text.data(), 3}), "two");
  EXPECT_EQ(open_ones, 5) << "standard input, output, error, and the two passed";
}

TEST(zygote, GivesAWorkerFreshSignalsANameAndNothingToDoAtExit) {
  const pipe_ends at_exit = make_pipe();
  const std::array passed{at_exit.write.get()};
  static int told = -1;
  const int status = in_fresh_program(
      [](descriptors got) {
        told = got[0];
        std::atexit([] { (void)!::write(told, "hub", 3); });
        ::signal(SIGUSR1, [](int) {});
        ::signal(SIGCHLD, SIG_IGN);
        sigset_t all{};
        sigfillset(&all);
        ::sigprocmask(SIG_SETMASK, &all, nullptr);
        zygote_link link;
        const forked_process worker = run_by(
            link,
            [](descriptors) {
              struct sigaction user{};
              struct sigaction child{};
              struct sigaction interrupt{};
              sigset_t blocked{};
              ::sigaction(SIGUSR1, nullptr, &user);
              ::sigaction(SIGCHLD, nullptr, &child);
              ::sigaction(SIGINT, nullptr, &interrupt);
              ::sigprocmask(SIG_SETMASK, nullptr, &blocked);
              std::array<char, 16> name{};
              ::prctl(PR_GET_NAME, name.data());
              return (user.sa_handler == SIG_DFL ? 1 : 0) | (child.sa_handler == SIG_DFL ? 2 : 0) |
                     (sigisemptyset(&blocked) == 1 ? 4 : 0) |
                     (std::string_view{name.data()} == "a name of many " ? 8 : 0) |
                     (interrupt.sa_handler == SIG_IGN ? 16 : 0);
            },
            got, "a name of many characters");
        wait_readable(link.ended_descriptor());
        const auto ended = link.take_ended();
        return ended && ended->pid == worker.pid && WIFEXITED(ended->status)
                   ? WEXITSTATUS(ended->status)
                   : 100;
      },
      passed);
  EXPECT_EQ(status, 31);
  EXPECT_EQ(
      ::poll(std::array{pollfd{.fd = at_exit.read.get(), .events = POLLIN, .revents = 0}}.data(), 1,
             0),
      0)
      << "what the hub wants done at its exit is not done by others";
}

TEST(zygote, LeavesNothingInStdiosBuffersForWorkersToWriteAgain) {
  pipe_ends out = make_pipe();
  const std::array passed{out.write.get()};
  const int status = in_fresh_program(
      [](descriptors got) {
        ::dup2(got[0], 1);
        std::fputs("once", stdout);
        zygote_link link;
        run_by(link, [](descriptors) { return std::fflush(stdout); });
        wait_readable(link.ended_descriptor());
        return std::fflush(stdout);
      },
      passed);
  EXPECT_EQ(status, 0);
  out.write.reset();
  EXPECT_EQ(read_to_end(out.read), "once");
}

TEST(zygote, ServesSeveralThreads) {
  auto& runs = shared<std::atomic<int>>();
  std::vector<std::thread> threads;
  std::atomic<int> right{0};
  std::vector<std::vector<pid_t>> pids(4);
  for (auto& mine : pids) {
    threads.emplace_back([&runs, &right, &mine] {
      for (int i = 0; i < 25; ++i) {
        const forked_process worker = run([&runs](descriptors) { return ++runs > 100 ? 1 : 0; });
        mine.push_back(worker.pid);
        if (wait_readable(worker.pidfd.get())) ++right;
      }
    });
  }
  for (auto& t : threads) t.join();
  EXPECT_EQ(right, 100);
  EXPECT_EQ(runs, 100);
  for (const auto& mine : pids) {
    for (const pid_t pid : mine) EXPECT_EQ(wait_status(pid), 0);
  }
}

TEST(zygote, MadeAfterThreadsSaysWhatToDo) {
  const int status = in_fresh_program([](descriptors) {
    std::atomic<bool> end{false};
    std::thread other{[&end] { end.wait(false); }};
    int result = 1;
    try {
      const zygote late;
    } catch (const zygote_error& e) {
      const std::string text = e.what();
      if (e.code() == zygote_errc::too_late && text.find("first thing in main") != text.npos &&
          !zygote::exists()) {
        result = 0;
      }
    }
    end = true;
    end.notify_one();
    other.join();
    return result;
  });
  EXPECT_EQ(status, 0);
}

TEST(zygote, IsOneAProgramButAnotherMayFollowIt) {
  EXPECT_TRUE(zygote::exists());
  EXPECT_THROW(zygote{}, zygote_error);
  try {
    const zygote second;
  } catch (const zygote_error& e) {
    EXPECT_EQ(e.code(), zygote_errc::already_made);
  }
  const int status = in_fresh_program([](descriptors) {
    for (int i = 0; i < 2; ++i) {
      if (zygote::exists()) return 1;
      const zygote one;
      if (!zygote::exists()) return 2;
    }
    return zygote::exists() ? 3 : 0;
  });
  EXPECT_EQ(status, 0);
}

TEST(zygote, RefusesWhatIsTooLongAndCodeThatItDoesNotHave) {
  zygote_link& link = *zygote_link::current();
  const std::vector<std::byte> long_argument(argument_bytes_max + 1);
  const worker_entry entry = [](const worker_start&) { return 0; };
  const auto first = link.fork({.entry = entry, .argument = long_argument});
  ASSERT_FALSE(first);
  EXPECT_EQ(first.error().code, fork_errc::bad_request);

  void* const elsewhere =
      ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  const auto second = link.fork({.entry = reinterpret_cast<worker_entry>(elsewhere)});
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, fork_errc::bad_request);
  EXPECT_THAT(second.error().text, testing::HasSubstr("loaded after the zygote"));
  ::munmap(elsewhere, 4096);

  EXPECT_TRUE(link.fork({.entry = entry})) << "after refusals it goes on";
}

TEST(zygote, ThatHasEndedIsSeenByTheHubAndTakesItsWorkersAlong) {
  pipe_ends living = make_pipe();
  const std::array passed{living.write.get()};
  const forked_process hub = run(
      [](descriptors got) {
        zygote_link link;
        run_by(link, [](descriptors) { return ::pause(); }, got);
        ::close(got[0]);
        ::kill(link.pid(), SIGKILL);
        pollfd ended{.fd = link.ended_descriptor(), .events = 0, .revents = 0};
        ::poll(&ended, 1, -1);
        if ((ended.revents & POLLHUP) == 0) return 1;
        const auto next = link.fork({.entry = [](const worker_start&) { return 0; }});
        return next || next.error().code != fork_errc::zygote_gone ? 2 : 0;
      },
      passed);
  living.write.reset();
  EXPECT_EQ(exit_status(hub), 0);
  EXPECT_EQ(read_to_end(living.read), "") << "returns only when the worker is dead";
}

TEST(zygote, ThatIsDestroyedTakesItsWorkersAlongThoughAnotherHasACopyOfItsSocket) {
  pipe_ends living = make_pipe();
  const std::array passed{living.write.get()};
  const forked_process hub = run(
      [](descriptors got) {
        pid_t copy = 0;
        {
          zygote_link link;
          run_by(link, [](descriptors) { return ::pause(); }, got);
          ::close(got[0]);
          copy = ::fork();
          if (copy == 0) return ::pause();
        }
        ::kill(copy, SIGKILL);
        return 0;
      },
      passed);
  living.write.reset();
  EXPECT_EQ(exit_status(hub), 0);
  EXPECT_EQ(read_to_end(living.read), "");
}

struct follower_seen {
  std::atomic<pid_t> worker;
  std::atomic<pid_t> follower;
  std::atomic<int> told;
  std::atomic<bool> end;
};

TEST(a_follower, OutlivesItsWorkerIsAdoptedAndItsEndIsToldToo) {
  static follower_seen* seen = nullptr;
  auto& s = shared<follower_seen>();
  const forked_process worker = run([&s](descriptors) {
    seen = &s;
    const pid_t child = fork_follower([]() noexcept { ++seen->told; });
    if (child != 0) return ::raise(SIGKILL);
    s.follower = ::getpid();
    while (!s.end) ::sched_yield();
    return 5;
  });
  EXPECT_EQ(WTERMSIG(wait_status(worker)), SIGKILL);
  wait_until_at_least(s.told, 1);
  wait_until_at_least(s.follower, 1);  // it may hear of the end inside fork_follower()
  EXPECT_EQ(::kill(s.follower, 0), 0) << "it lives";
  s.end = true;
  EXPECT_EQ(WEXITSTATUS(wait_status(s.follower)), 5);
}

TEST(a_follower, IsNotDisturbedByAHangUpWhileItsWorkerLives) {
  static follower_seen* seen = nullptr;
  auto& s = shared<follower_seen>();
  const forked_process worker = run([&s](descriptors) {
    seen = &s;
    const pid_t child = fork_follower([]() noexcept { ++seen->told; });
    if (child == 0) {
      ::raise(SIGHUP);
      return s.told == 0 ? 6 : 1;
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 2;
  });
  EXPECT_EQ(exit_status(worker), 6);
}

TEST(a_follower, ThatIsBusyEndsWhenWorkerAndZygoteAreDead) {
  PEEPER_SKIP_WITH_THREAD_SANITIZER();
  pipe_ends living = make_pipe();
  const std::array passed{living.write.get()};
  auto& s = shared<follower_seen>();
  const forked_process hub = run(
      [&s](descriptors got) {
        zygote_link link;
        run_by(
            link,
            [&s](descriptors) {
              if (fork_follower() == 0) {
                s.follower = ::getpid();
                for (;;) ::getppid();  // what a follower may hang in
              }
              return ::pause();
            },
            got);
        ::close(got[0]);
        wait_until_at_least(s.follower, 1);
        ::kill(link.pid(), SIGKILL);
        return 0;
      },
      passed);
  living.write.reset();
  EXPECT_EQ(read_to_end(living.read), "");
  EXPECT_EQ(exit_status(hub), 0);
}

TEST(a_follower, ThatHasBeenAdoptedIsKilledWithTheZygoteWhateverItDoes) {
  static std::atomic<int>* told = nullptr;
  pipe_ends living = make_pipe();
  const std::array passed{living.write.get()};
  auto& s = shared<follower_seen>();
  const forked_process hub = run(
      [&s](descriptors got) {
        zygote_link link;
        run_by(
            link,
            [&s](descriptors) {
              told = &s.told;
              if (fork_follower([]() noexcept { ++*told; }) != 0) return ::raise(SIGKILL);
              wait_until_at_least(s.told, 1);
              ::signal(SIGHUP, SIG_IGN);
              s.follower = ::getpid();
              return ::pause();
            },
            got);
        ::close(got[0]);
        wait_until_at_least(s.follower, 1);
        ::kill(link.pid(), SIGKILL);
        return 0;
      },
      passed);
  living.write.reset();
  EXPECT_EQ(read_to_end(living.read), "");
  EXPECT_EQ(exit_status(hub), 0);
}

/// A worker that forks a follower, dies, and so on with the follower, for ever.
int pairs_for_ever(std::atomic<std::uint64_t>& steps) {
  for (;;) {
    const descriptor self{pidfd_of(::getpid())};
    if (fork_follower() != 0) {
      ++steps;
      ::raise(SIGKILL);
    }
    ++steps;
    wait_readable(self.get());  // of the parent, here
    ++steps;
  }
}

/// Kills hub or zygote while all of their OS processes fork, die and are promoted.
TEST(no_orphan, IsLeftWhenHubOrZygoteIsKilledAtAnyMoment) {
  const auto seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random{seed};
  for (int round = 0; round < 200; ++round) {
    auto& steps = shared<std::atomic<std::uint64_t>>();
    auto& zygotes_pid = shared<std::atomic<pid_t>>();
    pipe_ends living = make_pipe();
    const std::array passed{living.write.get()};
    const forked_process hub = run(
        [&steps, &zygotes_pid](descriptors got) {
          zygote_link link;
          zygotes_pid = link.pid();
          for (int pair = 0; pair < 2; ++pair) {
            (void)try_run_by(link, [&steps](descriptors) { return pairs_for_ever(steps); }, got);
          }
          // Short-lived ones meanwhile, until the zygote is killed.
          while (try_run_by(link, [](descriptors) { return 0; }, got)) ++steps;
          return ::pause();
        },
        passed);
    living.write.reset();
    wait_until_at_least(zygotes_pid, 1);
    const descriptor zygotes_pidfd{pidfd_of(zygotes_pid)};
    ASSERT_TRUE(zygotes_pidfd);
    wait_until_at_least(steps, std::uint64_t{random() % 40});
    const bool zygote_first = random() % 4 == 0;
    ::kill(zygote_first ? zygotes_pid.load() : hub.pid, SIGKILL);
    if (zygote_first) ::kill(hub.pid, SIGKILL);
    // All of them have the write end: this returns when the last one is dead, or never.
    ASSERT_EQ(read_to_end(living.read), "");
    ASSERT_TRUE(wait_readable(zygotes_pidfd.get()));
    ASSERT_EQ(WTERMSIG(wait_status(hub)), SIGKILL);
  }
}

}  // namespace
}  // namespace peeper::sandbox
