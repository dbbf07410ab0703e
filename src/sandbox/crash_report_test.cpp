// SPDX-License-Identifier: Apache-2.0
#include <peeper/crash_report.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <new>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include "sandbox/crash_handler.hpp"
#include "sandbox/read_crash.hpp"
#include "sandbox/test_processes.hpp"

// Not static: so that a backtrace knows their names.
namespace peeper::sandbox::crash_test {

[[gnu::noinline]] void write_to_nowhere() {
  volatile std::uintptr_t nowhere = 0x10;  // not known to the compiler
  *reinterpret_cast<volatile char*>(nowhere) = 1;
  __asm__ volatile("");  // no tail call into here
}

using function = void (*)();
[[gnu::noinline, gnu::no_sanitize("undefined")]] void call_what_is_no_code(function what) {
  what();
  __asm__ volatile("");
}

[[gnu::noinline]] int recurse_for_ever(volatile int* depth) {
  std::array<volatile int, 64> some{};
  some[0] = *depth;
  *depth = *depth + 1;
  return (*depth == 0 ? 0 : recurse_for_ever(depth)) + some[0];
}

}  // namespace peeper::sandbox::crash_test

namespace peeper::sandbox {
namespace {

using namespace test;
using descriptors = std::span<const int>;
using testing::AnyOf;
using testing::Contains;
using testing::HasSubstr;
using testing::StartsWith;

struct shared_state {
  crash_block block;
  life_line life;
};

std::string name_of_type(std::uint64_t type) { return type == 7 ? "parse" : "?"; }

/// A worker that reports its crashes and dies of `deed`, and what the hub makes of it.
template <class Deed>
crash_report report_of(const Deed& deed) {
  auto& s = shared<shared_state>();
  const forked_process worker = run([&s, deed](descriptors) {
    s.life.hold();
    s.block.generation = 4;
    report_crashes(s.block, s.life);
    s.block.callback_begins(123, 7);
    deed();
    return 0;
  });
  const int status = wait_status(worker);
  const crash_report report = read_crash(s.block, worker.pid, status, "parser", name_of_type);
  if (WIFSIGNALED(status)) {
    EXPECT_EQ(WTERMSIG(status), report.signal) << "it dies of what it reports";
  }
  EXPECT_EQ(report.pid, worker.pid);
  return report;
}

TEST(a_crash, BySegmentationFaultIsReportedWithAddressCallbackAndBacktrace) {
  const crash_report r = report_of([] { crash_test::write_to_nowhere(); });
  EXPECT_EQ(r.kind, crash_kind::signalled);
  EXPECT_EQ(r.signal, SIGSEGV);
  EXPECT_EQ(r.address, 0x10U);
  EXPECT_EQ(r.thread, r.pid) << "of the main thread";
  EXPECT_EQ(r.generation, 4U);
  EXPECT_EQ(r.message_number, 123U);
  ASSERT_FALSE(r.backtrace.empty());
  EXPECT_THAT(r.backtrace.front(), StartsWith("peeper::sandbox::crash_test::write_to_nowhere()+"));
  EXPECT_GE(r.backtrace.size(), 5U) << "down to main()";
  EXPECT_EQ(r.reason(), exit_reason(exit_kind::signalled, "SIGSEGV (address not mapped) at 0x10"));
  const std::string line = r.to_string();
  EXPECT_THAT(line, StartsWith("server \"parser\": signalled: SIGSEGV (address not mapped) at 0x10 "
                               "in peeper::sandbox::crash_test::write_to_nowhere()+"));
  EXPECT_THAT(line, HasSubstr(", handling message 123 (parse), generation 4, OS process "));
  EXPECT_THAT(line, testing::Not(HasSubstr("\n")));
  EXPECT_THAT(r.details(), HasSubstr("\n  #1  "));
}

TEST(a_crash, ByAStackOverflowIsToldApartAndReportedFromAnotherStack) {
  PEEPER_SKIP_WITH_THREAD_SANITIZER();
  const crash_report r = report_of([] {
    volatile int depth = 1;
    crash_test::recurse_for_ever(&depth);
  });
  EXPECT_EQ(r.kind, crash_kind::stack_overflow);
  EXPECT_EQ(r.reason(), exit_reason(exit_kind::signalled, "SIGSEGV (stack overflow)"));
  EXPECT_EQ(r.backtrace.size(), crash_block::frames_max);
  EXPECT_THAT(r.backtrace, Contains(HasSubstr("recurse_for_ever")).Times(testing::Ge(60)));
}

TEST(a_crash, ByACallOfWhatIsNoCodeNamesTheCaller) {
  const crash_report r = report_of([] { crash_test::call_what_is_no_code(nullptr); });
  EXPECT_EQ(r.signal, SIGSEGV);
  ASSERT_EQ(r.backtrace.size(), 2U);
  EXPECT_THAT(r.backtrace[1], HasSubstr("call_what_is_no_code"));
}

TEST(a_crash, ByAnyFatalSignalIsReported) {
  for (const int signal : {SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGXCPU, SIGSEGV, SIGSYS}) {
    const crash_report r = report_of([signal] { ::raise(signal); });
    EXPECT_EQ(r.kind, crash_kind::signalled);
    EXPECT_EQ(r.signal, signal);
    EXPECT_GE(r.backtrace.size(), 5U);
  }
}

TEST(a_crash, ByAnExceptionThatNobodyCatchesNamesItAndItsText) {
  const crash_report r =
      report_of([] { throw std::runtime_error{"unlucky\n" + std::string(1000, '!')}; });
  EXPECT_EQ(r.kind, crash_kind::terminate);
  EXPECT_THAT(r.what, StartsWith("std::runtime_error: unlucky?!!"));
  EXPECT_THAT(r.reason().to_string(),
              StartsWith("signalled: SIGABRT (std::terminate: std::runtime_error: unlucky?!"));

  const crash_report bare = report_of([] { std::terminate(); });
  EXPECT_EQ(bare.kind, crash_kind::terminate);
  EXPECT_EQ(bare.reason().detail(), "SIGABRT (std::terminate)");
  EXPECT_THAT(bare.backtrace, Contains(HasSubstr("terminate")));
}

TEST(a_crash, ForWantOfMemoryIsToldApart) {
  EXPECT_EQ(report_of([] { throw std::bad_alloc{}; }).reason(),
            exit_reason(exit_kind::out_of_memory));
  EXPECT_EQ(report_of([] { end_out_of_memory(); }).reason(), exit_reason(exit_kind::out_of_memory));
}

TEST(a_crash, ThatNobodyCouldReportIsKnownByItsWaitStatus) {
  const crash_report killed = report_of([] { ::raise(SIGKILL); });
  EXPECT_EQ(killed.reason(), exit_reason(exit_kind::signalled, "SIGKILL"));
  EXPECT_EQ(killed.message_number, 123U) << "what it was doing is known all the same";
  EXPECT_EQ(killed.message_type, "parse");
  EXPECT_TRUE(killed.backtrace.empty());
  const crash_report exited = report_of([] { ::_exit(3); });
  EXPECT_EQ(exited.reason(), exit_reason(exit_kind::exited, "status 3"));
}

TEST(a_crash, OfAnotherThreadIsReportedAsItsOwn) {
  const crash_report r =
      report_of([] { std::thread{[] { crash_test::write_to_nowhere(); }}.join(); });
  EXPECT_EQ(r.signal, SIGSEGV);
  EXPECT_NE(r.thread, r.pid);
  EXPECT_THAT(r.backtrace.front(), HasSubstr("write_to_nowhere"));
}

TEST(a_crash, InsideTheHandlerLeavesWhatWasWrittenBefore) {
  auto& s = shared<shared_state>();
  const forked_process worker = run([&s](descriptors) {
    report_crashes(s.block, s.life);
    // A stack in ruins: the handler's walk over it crashes.
#if defined(__x86_64__)
    __asm__ volatile("mov $0x1000, %rsp\n\tmov $0x1000, %rbp\n\tud2");
#else
    __asm__ volatile("mov x29, #0x1000\n\tmov sp, x29\n\tudf #0");
#endif
    return 0;
  });
  EXPECT_EQ(end_signal(worker), SIGSEGV) << "of the handler";
  EXPECT_EQ(s.block.state, crash_block::phase::told);
  const crash_report r = read_crash(s.block, worker.pid, std::nullopt, "parser");
  EXPECT_EQ(r.signal, SIGILL);
  EXPECT_TRUE(r.backtrace.empty());
}

TEST(a_crash, IsToldToWatchersByTheHandlerItself) {
  auto& s = shared<shared_state>();
  const forked_process worker = run([&s](descriptors) {
    s.life.hold();
    report_crashes(s.block, s.life);
    std::memset(static_cast<void*>(&s.life), 0x01, sizeof(pthread_mutex_t) * 2);
    return ::raise(SIGSEGV);
  });
  death_watch watch{s.life, life_line::watcher::hub, 0, -1, false};
  EXPECT_EQ(watch.wait({}, time_point::max()), death_watch::outcome::died);
  EXPECT_EQ(read_crash(s.block, worker.pid, std::nullopt, "parser").signal, SIGSEGV)
      << "what it is is written down before it is told";
  (void)wait_status(worker);
}

TEST(a_crash, OfAFollowerIsNotTakenForItsWorkers) {
  auto& s = shared<shared_state>();
  auto& own = shared<shared_state>();
  const forked_process worker = run([&s, &own](descriptors) {
    s.life.hold();
    report_crashes(s.block, s.life);
    for (int i = 0; i < 2; ++i) {
      const pid_t follower = fork_follower();
      if (follower == 0) {
        if (i == 1) report_crashes(own.block, own.life);
        std::abort();
      }
      int status = 0;
      ::waitpid(follower, &status, 0);
      if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGABRT) return 1;
    }
    return 0;
  });
  EXPECT_EQ(exit_status(worker), 0);
  EXPECT_EQ(s.block.state, crash_block::phase::nothing);
  EXPECT_EQ(own.block.state, crash_block::phase::complete);
}

TEST(a_crash, LeavesItsChildToTheZygoteWhileItIsReported) {
  PEEPER_SKIP_WITH_THREAD_SANITIZER();
  static auto& waited_for = shared<std::atomic<int>>();
  auto& s = shared<shared_state>();
  const forked_process worker = run([&s](descriptors) {
    report_crashes(s.block, s.life);
    struct sigaction action{};
    action.sa_handler = [](int) { waited_for = 1; };
    ::sigaction(SIGCHLD, &action, nullptr);
    sigset_t both{};
    sigemptyset(&both);
    sigaddset(&both, SIGCHLD);
    sigaddset(&both, SIGABRT);
    ::sigprocmask(SIG_BLOCK, &both, nullptr);
    const pid_t child = ::fork();
    if (child == 0) ::_exit(0);
    siginfo_t ended{};
    ::waitid(P_PID, static_cast<id_t>(child), &ended, WEXITED | WNOWAIT);
    ::raise(SIGABRT);
    // Both are there now: the crash's comes first, and the other one into the midst of its handler.
    ::sigprocmask(SIG_UNBLOCK, &both, nullptr);
    return 0;
  });
  EXPECT_EQ(end_signal(worker), SIGABRT);
  EXPECT_EQ(s.block.state, crash_block::phase::complete);
  EXPECT_EQ(waited_for, 0);
}

TEST(a_crash, LetsTheCoreBeDumpedAfterwards) {
  std::string pattern;
  std::getline(std::ifstream{"/proc/sys/kernel/core_pattern"} >> std::ws, pattern);
  rlimit core{};
  ::getrlimit(RLIMIT_CORE, &core);
  if (pattern.starts_with('|') || core.rlim_max == 0) {
    GTEST_SKIP() << "core dumps go to a program here, or are not allowed";
  }
  static std::string folder = testing::TempDir() + "/peeper_core_" + std::to_string(::getpid());
  std::filesystem::create_directory(folder);
  auto& s = shared<shared_state>();
  const pipe_ends to = make_pipe();
  ASSERT_EQ(::write(to.write.get(), folder.data(), folder.size()),
            static_cast<ssize_t>(folder.size()));
  const std::array passed{to.read.get()};
  const forked_process worker = run(
      [&s](descriptors got) {
        std::array<char, 1024> there{};
        if (::read(got[0], there.data(), there.size() - 1) <= 0 || ::chdir(there.data()) != 0) {
          return 1;
        }
        rlimit all{};
        ::getrlimit(RLIMIT_CORE, &all);
        all.rlim_cur = all.rlim_max;
        ::setrlimit(RLIMIT_CORE, &all);
        report_crashes(s.block, s.life);
        crash_test::write_to_nowhere();
        return 0;
      },
      passed);
  const int status = wait_status(worker);
  std::filesystem::remove_all(folder);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
  EXPECT_TRUE(WCOREDUMP(status));
}

TEST(a_crash_block, OfRandomBytesMakesAReportLikeAnyOther) {
  std::mt19937 random{7};
  for (int round = 0; round < 2000; ++round) {
    alignas(crash_block) std::array<std::byte, sizeof(crash_block)> bytes{};
    for (std::byte& b : bytes) b = static_cast<std::byte>(random());
    auto& block = *reinterpret_cast<crash_block*>(bytes.data());
    // Else nearly none would be looked at any further.
    if (round % 2 == 0) block.state = crash_block::phase::complete;
    if (round % 4 == 0) block.signal = SIGSEGV;
    if (round % 8 == 0) block.kind = static_cast<crash_kind>(random() % 7);
    const crash_report r = read_crash(block, 1, SIGKILL, "parser", name_of_type);
    EXPECT_LE(r.backtrace.size(), crash_block::frames_max);
    const std::string text = r.details();
    EXPECT_TRUE(std::ranges::all_of(text, [](char c) {
      return c == '\n' || (c >= ' ' && c <= '~');
    })) << text;
    EXPECT_THAT(text, StartsWith("server \"parser\": "));
  }
}

}  // namespace
}  // namespace peeper::sandbox
