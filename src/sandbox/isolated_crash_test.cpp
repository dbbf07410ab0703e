// SPDX-License-Identifier: Apache-2.0
/// \file
/// What is said of the death of a server's worker: to its caller, its listeners, the log, and in
/// its history.
#include <array>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <peeper/os_process.hpp>
#include <peeper/peeper.hpp>
#include <peeper/zygote.hpp>

#include "sandbox/crash_reporter.hpp"
#include "sandbox/test_processes.hpp"

// Not static: so that a backtrace knows their names.
namespace peeper::sandbox::dying {

enum class way : std::uint8_t {
  nowhere,
  abort,
  division,
  exception,
  stack,
  exit,
  kill,
  kill_from_outside,
  hang,
  leak,
};

struct perish {
  using reply = int;
  way how = way::nowhere;
};
struct prosper {
  using reply = std::int64_t;
};
struct please_kill {
  using reply = int;
  std::int64_t whom = 0;
};

[[gnu::noinline]] void write_to_nowhere() {
  volatile std::uintptr_t nowhere = 0x10;  // not known to the compiler
  *reinterpret_cast<volatile char*>(nowhere) = 1;
  __asm__ volatile("");  // no tail call into here
}
[[gnu::noinline, gnu::no_sanitize("undefined")]] int divide_by_zero() {
  const volatile int zero = 0;
#if defined(__x86_64__)
  return 100 / zero;
#else
  ::raise(SIGFPE);
  return zero;
#endif
}
[[noreturn, gnu::noinline]] void throw_unlucky() { throw std::runtime_error{"unlucky"}; }
[[gnu::noinline]] void throw_where_nothing_may() noexcept { throw_unlucky(); }
[[gnu::noinline]] int recurse_for_ever(volatile int* depth) {
  std::array<volatile int, 64> some{};
  some[0] = *depth;
  *depth = *depth + 1;
  return (*depth == 0 ? 0 : recurse_for_ever(depth)) + some[0];
}
[[gnu::noinline]] void leak_for_ever() {
  for (;;) {
    auto* const lost = static_cast<volatile char*>(::operator new(std::size_t{1} << 20U));
    for (std::size_t at = 0; at < std::size_t{1} << 20U; at += 4096) lost[at] = 1;
  }
}

/// Runs in the program.
struct killer {
  static constexpr bool isolatable = true;
  using state = int;
  static int handle_call(please_kill m, state& /*n*/) {
    return ::kill(static_cast<pid_t>(m.whom), SIGKILL);
  }
};

struct mortal {
  static constexpr bool isolatable = true;
  using state = int;
  int handle_call(perish m, state& n) {
    n = -1;
    switch (m.how) {
      case way::nowhere: write_to_nowhere(); break;
      case way::abort: std::abort();
      case way::division: return divide_by_zero();
      case way::exception: throw_where_nothing_may(); break;
      case way::stack: {
        volatile int depth = 1;
        return recurse_for_ever(&depth);
      }
      case way::exit: ::_exit(3);
      case way::kill: ::raise(SIGKILL); break;
      case way::kill_from_outside:
        std::ignore = peeper::whereis<killer>("killer")->call(please_kill{::getpid()});
        break;
      case way::hang:
        for (;;) ::pause();
      case way::leak: leak_for_ever(); break;
    }
    return 0;
  }
  static std::int64_t handle_call(prosper /*m*/, state& n) {
    ++n;
    return ::getpid();
  }
};

}  // namespace peeper::sandbox::dying

namespace peeper::sandbox {
namespace {

using namespace std::chrono_literals;
using namespace test;
using dying::mortal;
using dying::perish;
using dying::prosper;
using dying::way;
using testing::Contains;
using testing::HasSubstr;

const std::string name_of_perish = "peeper::sandbox::dying::perish";

/// Long enough for any machine: only where a test fails does it come to that.
constexpr auto long_enough = 60s;

struct heard {
  std::mutex mutex;
  std::vector<std::string> reasons;
};
struct ear {
  std::shared_ptr<heard> to;
  void on_terminate(const peeper::end_event<int>& e) const {
    const std::lock_guard lock{to->mutex};
    to->reasons.push_back(e.reason().to_string());
  }
};

/// A program with a server that dies, and with a log.
class crash_of_a_server : public testing::Test {
 protected:
  crash_of_a_server() {
    spdlog::drop("peeper");
    auto logger = std::make_shared<spdlog::logger>(
        "peeper", std::make_shared<spdlog::sinks::ostream_sink_mt>(log_));
    logger->set_level(spdlog::level::err);
    spdlog::register_logger(std::move(logger));
  }
  ~crash_of_a_server() override { spdlog::drop("peeper"); }

  /// The last of its history; and that all others have been told the same.
  crash_report report_of(way how, os_process_options options = {}) {
    auto ends = std::make_shared<heard>();
    std::vector<crash_report> history;
    exit_reason told;
    std::int64_t before = 0;
    peeper::pid worker;
    {
      peeper::runtime rt;
      auto k = peeper::start<dying::killer>(rt, {.name = "killer"}).value();
      auto c = peeper::start<mortal>(rt, {.name = "victim",
                                          .state = 7,
                                          .listeners = {ear{ends}},
                                          .isolation = peeper::os_process(options)})
                   .value();
      before = c.call(prosper{}).value();
      worker = peeper::worker_of(c);
      const auto failed = c.call(perish{how});
      EXPECT_FALSE(failed);
      if (failed) return {};
      EXPECT_EQ(failed.error().code(), call_errc::crashed);
      told = failed.error().reason();
      history = peeper::crash_history(c, long_enough);
      EXPECT_EQ(peeper::inspect(c, [](int n) { return n; }).value(), 8) << "rolled back";
    }
    EXPECT_EQ(history.size(), 1U);
    if (history.empty()) return {};
    const crash_report r = history.back();
    EXPECT_EQ(r.reason(), told) << "the caller's error says the same";
    EXPECT_THAT(ends->reasons, testing::ElementsAre(told.to_string(), "shutdown"));
    EXPECT_EQ(r.server, "victim");
    EXPECT_EQ(r.pid, before);
    EXPECT_EQ(r.generation, worker.generation());
    EXPECT_EQ(r.message_number, 3U) << "after init and prosper";
    EXPECT_EQ(r.message_type, name_of_perish);
    EXPECT_THAT(log_.str(), HasSubstr("[error] " + r.details() + "\n"));
    EXPECT_THAT(r.to_string(), testing::StartsWith("server \"victim\": " + told.to_string()));
    EXPECT_THAT(r.to_string(), HasSubstr(", handling message 3 (" + name_of_perish + "), gen"));
    return r;
  }

  std::ostringstream log_;
};

TEST_F(crash_of_a_server, BySegmentationFaultNamesTheAddressAndTheFunctions) {
  for (const auto follower : {followers::one, followers::two, followers::none}) {
    const crash_report r = report_of(way::nowhere, {.follower = follower});
    EXPECT_EQ(r.reason().to_string(), "signalled: SIGSEGV (address not mapped) at 0x10");
    EXPECT_EQ(r.signal, SIGSEGV);
    EXPECT_EQ(r.address, 0x10U);
    ASSERT_FALSE(r.backtrace.empty());
    EXPECT_THAT(r.backtrace.front(), HasSubstr("dying::write_to_nowhere()"));
    EXPECT_THAT(r.backtrace, Contains(HasSubstr("dying::mortal::handle_call(")));
  }
}

TEST_F(crash_of_a_server, ByAbortNamesTheHandlerThatCalledIt) {
  const crash_report r = report_of(way::abort);
  EXPECT_EQ(r.reason().to_string(), "signalled: SIGABRT");
  EXPECT_THAT(r.backtrace, Contains(HasSubstr("dying::mortal::handle_call(")));
}

TEST_F(crash_of_a_server, ByADivisionByZeroSaysSo) {
  const crash_report r = report_of(way::division);
  EXPECT_EQ(r.signal, SIGFPE);
#if defined(__x86_64__)
  EXPECT_EQ(r.reason().to_string(), "signalled: SIGFPE (integer divided by zero)");
#endif
  EXPECT_THAT(r.backtrace, Contains(HasSubstr("dying::divide_by_zero()")));
}

TEST_F(crash_of_a_server, ByTerminateHasTheTextOfTheException) {
  const crash_report r = report_of(way::exception);
  EXPECT_EQ(r.reason().to_string(),
            "signalled: SIGABRT (std::terminate: std::runtime_error: unlucky)");
  // Some compilers unwind the stack up to what is noexcept before they find that nobody catches.
  EXPECT_THAT(r.backtrace, Contains(HasSubstr("dying::throw_where_nothing_may(")));
}

TEST_F(crash_of_a_server, ByAStackOverflowIsToldApart) {
  PEEPER_SKIP_WITH_THREAD_SANITIZER();
  const crash_report r = report_of(way::stack);
  EXPECT_EQ(r.reason().to_string(), "signalled: SIGSEGV (stack overflow)");
  EXPECT_THAT(r.backtrace, Contains(HasSubstr("dying::recurse_for_ever(")));
}

TEST_F(crash_of_a_server, ByExitHasItsStatusThoughNobodyReportedIt) {
  const crash_report r = report_of(way::exit);
  EXPECT_EQ(r.reason(), exit_reason(exit_kind::exited, "status 3"));
  EXPECT_TRUE(r.backtrace.empty()) << "nobody was left to look";
}

TEST_F(crash_of_a_server, BySigkillIsThatAndNothingMore) {
  for (const way how : {way::kill, way::kill_from_outside}) {
    const crash_report r = report_of(how);
    EXPECT_EQ(r.reason(), exit_reason(exit_kind::signalled, "SIGKILL"));
    EXPECT_TRUE(r.backtrace.empty());
  }
}

TEST_F(crash_of_a_server, ThatWasHungNamesTheCallbackAndTheTime) {
  const crash_report r = report_of(way::hang, {.callback_limit = 50ms});
  EXPECT_THAT(
      r.reason().to_string(),
      testing::MatchesRegex("hung: message 3 \\(.*::perish\\) took more than [0-9]*[0-9][0-9] ms"));
}

TEST_F(crash_of_a_server, ForWantOfMemoryIsToldApart) {
  PEEPER_SKIP_WITHOUT_MEMORY_LIMITS();
  const crash_report r =
      report_of(way::leak, {.limits = {.memory_bytes = std::uint64_t{64} << 20U}});
  EXPECT_EQ(r.reason(), exit_reason(exit_kind::out_of_memory));
  EXPECT_THAT(r.backtrace, Contains(HasSubstr("dying::leak_for_ever()")));
}

TEST_F(crash_of_a_server, ThatWasIdleBlamesNoMessage) {
  peeper::runtime rt;
  auto c = peeper::start<mortal>(rt, {.isolation = peeper::os_process}).value();
  ASSERT_EQ(::kill(static_cast<pid_t>(c.call(prosper{}).value()), SIGKILL), 0);
  while (peeper::statistics_of(c).value().crashes == 0) std::this_thread::yield();
  const auto history = peeper::crash_history(c, long_enough);
  ASSERT_EQ(history.size(), 1U);
  EXPECT_EQ(history[0].reason(), exit_reason(exit_kind::signalled, "SIGKILL"));
  EXPECT_EQ(history[0].message_number, 0U);
  EXPECT_EQ(history[0].message_type, "");
  EXPECT_EQ(history[0].server, c.name()) << "an unnamed one by its pid";
}

TEST_F(crash_of_a_server, ThatTheProgramKilledSaysSo) {
  peeper::runtime rt;
  auto c = peeper::start<mortal>(rt, {.isolation = peeper::os_process}).value();
  EXPECT_TRUE(peeper::kill(peeper::worker_of(c)));
  EXPECT_TRUE(c.call(prosper{}));
  const auto history = peeper::crash_history(c, long_enough);
  ASSERT_EQ(history.size(), 1U);
  EXPECT_EQ(history[0].reason(), exit_reason(exit_kind::killed));
}

TEST_F(crash_of_a_server, AreRememberedUpToTheLastSixteen) {
  for (const auto follower : {followers::one, followers::none}) {
    peeper::runtime rt;
    auto c = peeper::start<mortal>(rt, {.max_restarts = 1000,
                                        .isolation = peeper::os_process({.follower = follower})})
                 .value();
    const std::uint64_t first = peeper::worker_of(c).generation();
    constexpr std::uint64_t deaths = crash_records::kept + 4;
    for (std::uint64_t i = 1; i <= deaths; ++i) {
      EXPECT_FALSE(c.call(perish{i % 2 == 0 ? way::exit : way::abort}));
    }
    const auto history = peeper::crash_history(c, long_enough);
    ASSERT_EQ(history.size(), crash_records::kept);
    for (std::size_t i = 0; i < history.size(); ++i) {
      const std::uint64_t death = deaths - crash_records::kept + 1 + i;
      EXPECT_EQ(history[i].generation, first + death - 1);
      EXPECT_EQ(history[i].message_number, 2 * death) << "each init is one, too";
      EXPECT_EQ(history[i].message_type, name_of_perish);
      EXPECT_EQ(history[i].reason().kind(),
                death % 2 == 0 ? exit_kind::exited : exit_kind::signalled);
    }
    EXPECT_TRUE(peeper::stop(c));
    EXPECT_EQ(peeper::crash_history(c).size(), crash_records::kept) << "it outlives the server";
  }
  EXPECT_THAT(log_.str(), HasSubstr("handling message 2 (" + name_of_perish + ")"));
}

TEST_F(crash_of_a_server, InTheProgramIsAnExceptionAndNoReport) {
  peeper::runtime rt;
  auto k = peeper::start<dying::killer>(rt, {.state = 1}).value();
  EXPECT_TRUE(peeper::crash_history(k).empty());
  EXPECT_TRUE(peeper::crash_history(peeper::ref<mortal>{}).empty());
}

}  // namespace
}  // namespace peeper::sandbox
