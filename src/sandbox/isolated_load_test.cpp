// SPDX-License-Identifier: Apache-2.0
/// \file
/// A server in an OS process of its own under load, while its OS processes are killed at random:
/// nothing acknowledged is undone, nothing happens twice, what is said not to have happened has
/// not.
#include <algorithm>
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
/// Not answered.
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
  std::uint64_t notes = 0;
  std::uint64_t entries = 0;
};
struct ask_totals {
  using reply = totals;
};

struct account {
  std::uint32_t client = 0;
  std::uint64_t last = 0;
};
using accounts = peeper::table<account, &account::client>;

/// State, table and dictionary say the same, or they have not been kept together.
struct bank {
  static constexpr bool isolatable = true;
  struct state {
    peeper::kept_map<std::uint32_t, std::uint64_t> last;
    peeper::kept_map<std::uint64_t, std::string> texts;
    totals sums;
  };
  state init() {
    all_ = accounts::create({.name = "accounts"}).value();
    if (peeper::restart_count() == 0) {
      static_cast<void>(peeper::send_interval(peeper::self<bank>(), 1ms, beat{}));
    }
    return {};
  }
  bool handle_call(const deposit& m, state& s) {
    s.sums.bytes += m.text.size();
    s.texts.insert_or_assign(m.number % 100, m.text);
    const auto found = s.last.find(m.client);
    const std::uint64_t before = found == s.last.end() ? 0 : found->second;
    if (m.number != before + 1) return false;
    if (all_.lookup_element<&account::last>(m.client, 0) != before) return false;
    if (peeper::dictionary().get<std::uint64_t>(m.client).value_or(0) != before) return false;
    s.last.insert_or_assign(m.client, m.number);
    all_.insert({m.client, m.number});
    peeper::dictionary().put(m.client, m.number);
    ++s.sums.deposits;
    return true;
  }
  static void handle_info(const beat& /*m*/, state& s) { ++s.sums.beats; }
  static void handle_cast(note /*m*/, state& s) { ++s.sums.notes; }
  static totals handle_call(ask_totals /*m*/, const state& s) {
    totals t = s.sums;
    t.entries = s.texts.size();
    return t;
  }
  static std::int64_t handle_call(who /*m*/, const state& /*s*/) { return ::getpid(); }
  accounts::owner all_;
};

/// 10,000 in all; fewer where each takes long.
std::uint64_t kills_wanted() {
  const char* const given = std::getenv("PEEPER_KILLS");  // NOLINT(concurrency-mt-unsafe)
  if (given != nullptr) return std::strtoull(given, nullptr, 10);
  return test::sanitized ? 200 : 3400;
}

void spin(std::chrono::microseconds long_enough) {
  const auto until = std::chrono::steady_clock::now() + long_enough;
  while (std::chrono::steady_clock::now() < until) {
  }
}

enum class victim : std::uint8_t { worker, follower, both };

class isolated_load : public ::testing::TestWithParam<followers> {
 protected:
  isolated_load()
      : bank_{peeper::start<bank>(rt_, {.name = "bank",
                                        .max_restarts = 1'000'000,
                                        .keep_poison = 1'000'000,
                                        .keep_tables = peeper::kept_tables::all(),
                                        .isolation = peeper::os_process({.follower = GetParam()})})
                  .value()} {}

  void deposit_until_over(std::uint32_t client) {
    std::mt19937_64 random{client};
    std::uint64_t number = 1;
    while (!over_) {
      const auto done =
          bank_.call(deposit{client, number, std::string(random() % 300, 'x')}, infinity);
      if (done) {
        ASSERT_TRUE(*done) << "client " << client << ", number " << number;
        ++acknowledged_;
        ++number;
      } else {
        // Rolled back: the same number again is not the second.
        ASSERT_EQ(done.error().code(), call_errc::crashed) << done.error().what();
        ++refused_;
      }
    }
  }
  void cast_until_over() {
    for (std::uint64_t sent = 0; !over_; ++sent) {
      bank_.cast(note{7});
      if (sent % 16 == 0) static_cast<void>(bank_.call(who{}, infinity));
      noted_ = sent + 1;
    }
  }

  /// RETURNS: how many OS processes.
  std::uint64_t kill_one(std::uint64_t random) {
    const auto asked = bank_.call(who{}, infinity);
    if (!asked) return 0;
    const auto worker = static_cast<pid_t>(*asked);
    const auto follower = test::child_of(worker);
    spin(std::chrono::microseconds{random % 300});
    random /= 300;
    switch (whom(random % 10)) {
      case victim::worker: return kill_worker(worker, random / 10);
      case victim::both:
        if (!follower) return 0;
        return (random / 10 % 2 == 0 ? ended(*follower) + kill_worker(worker, random / 20)
                                     : kill_worker(worker, random / 20) + ended(*follower));
      case victim::follower:
        if (!follower) return 0;
        const std::uint64_t killed = ended(*follower);
        // With one follower nobody may be killed before there is the next one.
        while (GetParam() == followers::one) {
          const auto now = bank_.call(who{}, infinity);
          const auto next = test::child_of(worker);
          if ((next && *next != *follower) || (now && *now != worker)) break;
        }
        return killed;
    }
    return 0;
  }

  peeper::runtime rt_;
  peeper::ref<bank> bank_;
  std::atomic<bool> over_{false};
  std::atomic<std::uint64_t> acknowledged_{0};
  std::atomic<std::uint64_t> refused_{0};
  std::atomic<std::uint64_t> noted_{0};

 private:
  static victim whom(std::uint64_t random) {
    if (GetParam() == followers::none || random < 6) return victim::worker;
    return GetParam() == followers::one || random < 8 ? victim::follower : victim::both;
  }
  static std::uint64_t ended(pid_t pid) { return ::kill(pid, SIGKILL) == 0 ? 1 : 0; }
  std::uint64_t kill_worker(pid_t worker, std::uint64_t random) const {
    switch (random % 4) {
      case 0: return peeper::kill(peeper::worker_of(bank_)) ? 1 : 0;
      // The thread sanitizer would put it off: it would meet another worker's time.
      case 1: return ::kill(worker, test::thread_sanitized ? SIGKILL : SIGSEGV) == 0 ? 1 : 0;
      default: return ended(worker);
    }
  }
};

TEST_P(isolated_load, LosesNothingWhileItsOsProcessesAreKilled) {
  std::vector<std::thread> clients;
  for (std::uint32_t client = 1; client <= 3; ++client) {
    clients.emplace_back([this, client] { deposit_until_over(client); });
  }
  clients.emplace_back([this] { cast_until_over(); });
  std::mt19937_64 random{4711};
  for (std::uint64_t kills = 0; kills < kills_wanted();) kills += kill_one(random());
  over_ = true;
  for (auto& each : clients) each.join();
  const auto t = bank_.call(ask_totals{}).value();
  const auto counts = peeper::statistics_of(bank_).value();
  EXPECT_EQ(t.deposits, acknowledged_);
  const auto table = peeper::find_table<accounts>(rt_, "accounts").value();
  const auto in_table = table.fold(
      std::uint64_t{0}, [](std::uint64_t sum, const account& a) { return sum + a.last; });
  EXPECT_EQ(in_table.value(), acknowledged_);
  EXPECT_GT(acknowledged_, 0U);
  EXPECT_GT(t.beats, 0U);
  const auto aside = peeper::list_poison(bank_).value();
  const auto notes_aside =
      std::ranges::count_if(aside, [](const auto& each) { return each.message.ends_with("note"); });
  EXPECT_EQ(t.notes + static_cast<std::uint64_t>(notes_aside), noted_)
      << "each cast is handled once, or set aside";
  EXPECT_GE(counts.crashes, refused_);
  RecordProperty("acknowledged", std::to_string(acknowledged_));
  RecordProperty("crashes", std::to_string(counts.crashes));
}

INSTANTIATE_TEST_SUITE_P(followers, isolated_load,
                         ::testing::Values(followers::none, followers::one, followers::two),
                         &test::name_of);

}  // namespace
}  // namespace peeper::sandbox
