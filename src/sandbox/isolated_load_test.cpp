// SPDX-License-Identifier: Apache-2.0
/// \file
/// A server in an OS process of its own under load, while its OS processes are killed at random:
/// nothing acknowledged is undone, nothing happens twice, what is said not to have happened has
/// not.
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>
#include <unistd.h>

#include <peeper/os_process.hpp>
#include <peeper/peeper.hpp>

#include "sandbox/test_processes.hpp"

namespace peeper::sandbox {
namespace {

using namespace std::chrono_literals;

/// The next of its client's; `text` is as long as the client likes.
struct deposit {
  using reply = bool;
  std::uint32_t client = 0;
  std::uint64_t number = 0;
  std::string text;
};
/// Not answered: the next one's number says how many have come.
struct note {
  std::uint32_t client = 0;
};
struct beat {};
struct who {
  using reply = std::int64_t;
};
struct totals {
  std::uint64_t deposits = 0;
  std::uint64_t bytes = 0;
  std::uint64_t beats = 0;
  std::uint64_t entries = 0;
};
struct ask_totals {
  using reply = totals;
};

struct bank {
  static constexpr bool isolatable = true;
  struct state {
    peeper::kept_map<std::uint32_t, std::uint64_t> last;
    peeper::kept_map<std::uint64_t, std::string> texts;
    totals sums;
  };
  static state init() {
    if (peeper::restart_count() == 0) {
      static_cast<void>(peeper::send_interval(peeper::self<bank>(), 1ms, beat{}));
    }
    return {};
  }
  static bool handle_call(const deposit& m, state& s) {
    s.sums.bytes += m.text.size();
    s.texts.insert_or_assign(m.number % 100, m.text);
    const auto found = s.last.find(m.client);
    const std::uint64_t before = found == s.last.end() ? 0 : found->second;
    if (m.number != before + 1) return false;
    s.last.insert_or_assign(m.client, m.number);
    ++s.sums.deposits;
    return true;
  }
  static void handle_info(const beat& /*m*/, state& s) { ++s.sums.beats; }
  static totals handle_call(ask_totals /*m*/, const state& s) {
    totals t = s.sums;
    t.entries = s.texts.size();
    return t;
  }
  static std::int64_t handle_call(who /*m*/, const state& /*s*/) { return ::getpid(); }
};

std::uint64_t kills_wanted() {
  const char* const given = std::getenv("PEEPER_KILLS");  // NOLINT(concurrency-mt-unsafe)
  return given == nullptr ? 200 : std::strtoull(given, nullptr, 10);
}

TEST(isolated_load, LosesNothingWhileItsOsProcessesAreKilled) {
  peeper::runtime rt;
  auto b = peeper::start<bank>(
               rt, {.name = "bank", .max_restarts = 1'000'000, .isolation = peeper::os_process})
               .value();
  std::atomic<bool> over{false};
  std::atomic<std::uint64_t> acknowledged{0};
  std::atomic<std::uint64_t> refused{0};
  std::vector<std::thread> clients;
  for (std::uint32_t client = 1; client <= 3; ++client) {
    clients.emplace_back([&, client] {
      std::mt19937_64 random{client};
      std::uint64_t number = 1;
      while (!over) {
        const auto done =
            b.call(deposit{client, number, std::string(random() % 300, 'x')}, infinity);
        if (done) {
          ASSERT_TRUE(*done) << "client " << client << ", number " << number;
          ++acknowledged;
          ++number;
        } else {
          // Rolled back: the same number again is not the second.
          ASSERT_EQ(done.error().code(), call_errc::crashed) << done.error().what();
          ++refused;
        }
      }
    });
  }
  std::mt19937_64 random{4711};
  for (std::uint64_t kills = 0; kills < kills_wanted();) {
    const auto pid = b.call(who{}, infinity);
    if (!pid) continue;
    const auto wait = std::chrono::microseconds{random() % 300};
    const auto until = std::chrono::steady_clock::now() + wait;
    while (std::chrono::steady_clock::now() < until) {
    }
    switch (random() % 4) {
      case 0: kills += peeper::kill(peeper::worker_of(b)) ? 1 : 0; break;
      case 1: kills += ::kill(static_cast<pid_t>(*pid), SIGSEGV) == 0 ? 1 : 0; break;
      default: kills += ::kill(static_cast<pid_t>(*pid), SIGKILL) == 0 ? 1 : 0;
    }
  }
  over = true;
  for (auto& each : clients) each.join();
  const auto t = b.call(ask_totals{}).value();
  EXPECT_EQ(t.deposits, acknowledged);
  EXPECT_GT(acknowledged, 0U);
  const auto counts = peeper::statistics_of(b).value();
  EXPECT_GE(counts.crashes, refused);
  RecordProperty("acknowledged", std::to_string(acknowledged));
  RecordProperty("crashes", std::to_string(counts.crashes));
}

}  // namespace
}  // namespace peeper::sandbox
