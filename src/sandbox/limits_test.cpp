// SPDX-License-Identifier: Apache-2.0
#include "sandbox/limits.hpp"

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sandbox/crash_handler.hpp"
#include "sandbox/read_crash.hpp"
#include "sandbox/system_call_filter.hpp"
#include "sandbox/test_processes.hpp"

namespace peeper::sandbox {
namespace {

using namespace test;
using descriptors = std::span<const int>;

struct shared_state {
  crash_block block;
  life_line life;
};

/// How a worker under `limits` that does `deed` ends.
template <class Deed>
exit_reason end_of(const worker_limits& limits, const Deed& deed) {
  auto& s = shared<shared_state>();
  const forked_process worker = run([&s, limits, deed](descriptors) {
    report_crashes(s.block, s.life);
    if (apply_limits(limits) != 0) return 100;
    if (limits.less_power && forbid_system_calls() != 0) return 101;
    return static_cast<int>(deed());
  });
  const int status = wait_status(worker);
  return read_crash(s.block, worker.pid, status, "parser").reason();
}

exit_reason exited(int status) { return {exit_kind::exited, "status " + std::to_string(status)}; }

std::size_t allocate(std::size_t megabytes) {
  std::size_t sum = 0;
  for (std::size_t i = 0; i < megabytes; ++i) {
    auto* leaked = new std::vector<char>(std::size_t{1} << 20U, 'x');
    sum += static_cast<std::size_t>(leaked->at(i) == 'x');
  }
  return sum;
}

TEST(a_memory_limit, EndsALeakAndNothingElse) {
  PEEPER_SKIP_WITHOUT_MEMORY_LIMITS();
  constexpr worker_limits limits{.memory_bytes = std::uint64_t{128} << 20U};
  EXPECT_EQ(end_of(limits, [] { return allocate(100000); }), exit_reason(exit_kind::out_of_memory));
  EXPECT_EQ(end_of(limits, [] { return allocate(32); }), exited(32));
}

TEST(a_memory_limit, IsNotForWhatIsShared) {
  PEEPER_SKIP_WITHOUT_MEMORY_LIMITS();
  EXPECT_EQ(end_of({.memory_bytes = std::uint64_t{128} << 20U},
                   [] {
                     void* at = ::mmap(nullptr, std::size_t{1} << 30U, PROT_READ | PROT_WRITE,
                                       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
                     return at == MAP_FAILED ? 1 : 0;
                   }),
            exited(0));
}

TEST(a_memory_limit, CannotBeOutlivedByCatchingTheException) {
  PEEPER_SKIP_WITHOUT_MEMORY_LIMITS();
  EXPECT_EQ(end_of({.memory_bytes = std::uint64_t{128} << 20U},
                   [] {
                     for (;;) {
                       try {
                         allocate(1000);
                       } catch (const std::bad_alloc&) {
                       }
                     }
                     return 0;
                   }),
            exit_reason(exit_kind::out_of_memory));
}

TEST(a_limit_of_cpu_time, EndsAnEndlessLoop) {
  PEEPER_SKIP_WITH_THREAD_SANITIZER();
  const exit_reason reason = end_of({.cpu_time = std::chrono::seconds{1}}, [] {
    for (volatile unsigned i = 0;;) i = i + 1;
    return 0;
  });
  EXPECT_EQ(reason, exit_reason(exit_kind::signalled, "SIGXCPU (limit of CPU time)"));
}

TEST(a_limit_of_open_files, IsAnErrorForWhoWantsOneMore) {
  EXPECT_EQ(end_of({.open_files = 16},
                   [] {
                     int opened = 0;
                     while (::open("/dev/null", O_RDONLY) >= 0) ++opened;
                     return errno == EMFILE ? opened : 0;
                   }),
            exited(13))
      << "besides standard input, output and error";
}

TEST(limits, AboveThoseOfTheHubAreAnError) {
  // Root may have more than it has.
  EXPECT_EQ(end_of({.open_files = 16},
                   [] {
                     if (::getuid() == 0 && ::setuid(65534) != 0) return 1;
                     return apply_limits({.open_files = 17}) == EPERM ? 0 : 2;
                   }),
            exited(0));
}

constexpr worker_limits less_power{.less_power = true};

exit_reason forbidden(const char* system_call) { return {exit_kind::forbidden, system_call}; }

TEST(less_power, ForbidsFilesNetworkForksThreadsProgramsAndSignals) {
  PEEPER_SKIP_WITH_THREAD_SANITIZER();
  EXPECT_EQ(end_of(less_power, [] { return ::open("/dev/null", O_RDONLY); }), forbidden("openat"));
  EXPECT_EQ(end_of(less_power, [] { return ::socket(AF_INET, SOCK_STREAM, 0); }),
            forbidden("socket"));
  EXPECT_EQ(end_of(less_power, [] { return ::fork(); }), forbidden("clone"));
  EXPECT_EQ(end_of(less_power, [] { return ::unlink("/tmp/nothing"); }), forbidden("unlink"));
  EXPECT_EQ(end_of(less_power, [] { return ::execl("/bin/true", "true", nullptr); }),
            forbidden("execve"));
  EXPECT_EQ(end_of(less_power, [] { return ::kill(::getppid(), SIGKILL); }), forbidden("kill"));
  EXPECT_EQ(end_of(less_power, [] { return ::read(0, nullptr, 0); }), forbidden("read"));
  EXPECT_EQ(end_of(less_power,
                   [] {
                     return ::mmap(nullptr, 4096, PROT_READ | PROT_EXEC,
                                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED;
                   }),
            forbidden("mmap"));
  const exit_reason thread = end_of(less_power, [] {
    std::thread{[] {}}.join();
    return 0;
  });
  EXPECT_EQ(thread.kind(), exit_kind::forbidden);
  EXPECT_THAT(std::string{thread.detail()}, testing::HasSubstr("to start a thread"));
}

TEST(less_power, LeavesWhatACallbackNeeds) {
  PEEPER_SKIP_WITH_THREAD_SANITIZER();
  EXPECT_EQ(end_of(less_power,
                   [] {
                     std::size_t sum = allocate(40);
                     const std::unique_ptr<char[]> large{new char[std::size_t{64} << 20U]};
                     try {
                       throw std::runtime_error{"unlucky"};
                     } catch (const std::exception&) {
                       ++sum;
                     }
                     sum += static_cast<std::size_t>(
                         std::chrono::steady_clock::now().time_since_epoch().count() != 0);
                     std::atomic<int> nobody{0};
                     nobody.notify_all();
                     return ::write(2, "", 0) == 0 ? sum : 0;
                   }),
            exited(42));
}

TEST(less_power, LeavesReportsOfOtherCrashesAsTheyAre) {
  PEEPER_SKIP_WITH_THREAD_SANITIZER();
  EXPECT_EQ(end_of(less_power,
                   [] {
                     volatile std::uintptr_t nowhere = 0x10;  // not known to the compiler
                     *reinterpret_cast<volatile char*>(nowhere) = 1;
                     return 0;
                   }),
            exit_reason(exit_kind::signalled, "SIGSEGV (address not mapped) at 0x10"));
  EXPECT_EQ(end_of(less_power,
                   [] {
                     std::abort();
                     return 0;
                   }),
            exit_reason(exit_kind::signalled, "SIGABRT"));
  EXPECT_EQ(end_of(less_power,
                   [] {
                     end_out_of_memory();
                     return 0;
                   }),
            exit_reason(exit_kind::out_of_memory));
  EXPECT_EQ(
      end_of(less_power,
             [] {
               throw std::runtime_error{"unlucky"};
               return 0;
             }),
      exit_reason(exit_kind::signalled, "SIGABRT (std::terminate: std::runtime_error: unlucky)"));
}

struct pair_state {
  shared_state worker;
  shared_state follower;
  std::atomic<pid_t> followers_pid;
};

TEST(less_power, LetsTheHubDecideWhoMayForkTheNextFollower) {
  PEEPER_SKIP_WITH_THREAD_SANITIZER();
  std::array<int, 2> ends{};
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()), 0);
  const descriptor hubs_end{ends[0]};
  descriptor workers_end{ends[1]};
  auto& s = shared<pair_state>();
  const std::array passed{workers_end.get()};
  const forked_process worker = run(
      [&s](descriptors got) {
        s.worker.life.hold();
        report_crashes(s.worker.block, s.worker.life);
        if (forbid_system_calls(got[0]) != 0) return 101;
        const pid_t parent = ::getpid();
        const descriptor self{static_cast<int>(::syscall(SYS_pidfd_open, parent, 0U))};
        if (fork_follower() == 0) {
          report_crashes(s.follower.block, s.follower.life);
          s.follower.life.hold();
          s.followers_pid = ::getpid();
          death_watch watch{s.worker.life, life_line::watcher::peer, parent, self.get(), false};
          if (watch.wait({}, time_point::max()) != death_watch::outcome::died) return 102;
          return static_cast<int>(::fork());  // it has the same filter, and the same gate
        }
        wait_until_at_least(s.followers_pid, 1);
        return static_cast<int>(::fork());  // what a parser of hostile input may try
      },
      passed);
  workers_end.reset();
  auto gate = fork_gate::receive(hubs_end.get());
  ASSERT_TRUE(gate);

  ASSERT_TRUE(wait_readable(gate->polled()));
  const auto first = gate->next();
  ASSERT_TRUE(first);
  EXPECT_EQ(first->pid, worker.pid);
  gate->allow(*first);
  wait_until_at_least(s.followers_pid, 1);

  for (const pid_t pid : {worker.pid, s.followers_pid.load()}) {
    ASSERT_TRUE(wait_readable(gate->polled()));
    const auto next = gate->next();
    ASSERT_TRUE(next);
    EXPECT_EQ(next->pid, pid);
    ::kill(pid, SIGKILL);
    EXPECT_EQ(WTERMSIG(wait_status(pid)), SIGKILL) << "it has not come back from fork()";
  }
  pollfd none_left{.fd = gate->polled(), .events = 0, .revents = 0};
  ::poll(&none_left, 1, -1);
  EXPECT_NE(none_left.revents & POLLHUP, 0);
}

}  // namespace
}  // namespace peeper::sandbox
