// SPDX-License-Identifier: Apache-2.0
/// \file
/// Real threads: clients, a thread that kills, and callbacks that throw, for a fixed number of
/// operations; then what was acknowledged is compared with what is there.
#include <array>
#include <atomic>
#include <cstdint>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include <peeper/kept.hpp>
#include <peeper/peeper.hpp>

#include "support/sim_test.hpp"

namespace peeper::test {
namespace {

using namespace std::chrono_literals;

struct deposit {
  using reply = std::uint64_t;
  std::uint64_t id = 0;
  bool crash = false;
};
struct deposit_later {
  using reply = std::uint64_t;
  std::uint64_t id = 0;
  bool crash = false;
};
struct round_trip {
  using reply = int;
};
struct echo {
  struct state {};
  int handle_call(round_trip) { return 1; }
};
struct deposit_slowly {
  using reply = std::uint64_t;
  std::uint64_t id = 0;
  bool crash = false;
  ref<echo> helper;
};
struct deposit_quietly {
  std::uint64_t id = 0;
  bool crash = false;
};

struct vault_state {
  std::uint64_t count = 0;
  kept_map<std::uint64_t, std::uint64_t> times;
  kept_vector<std::uint64_t> order;
};
bool valid(const vault_state& s) { return s.count == s.order.size() && s.times.size() <= s.count; }

struct vault {
  using state = vault_state;
  std::uint64_t handle_call(const deposit& m, state& s) { return put(m.id, m.crash, s); }
  void handle_call(const deposit_later& m, from<std::uint64_t> caller, state& s) {
    caller.reply(put(m.id, m.crash, s));
  }
  task<std::uint64_t> handle_call(const deposit_slowly& m, state& s) {
    s.order.push_back(m.id);
    std::ignore = co_await m.helper.ask(round_trip{}, infinity);
    s.order.pop_back();
    co_return put(m.id, m.crash, s);
  }
  void handle_cast(const deposit_quietly& m, state& s) { put(m.id, m.crash, s); }

 private:
  static std::uint64_t put(std::uint64_t id, bool crash, state& s) {
    s.times.modify_or_insert(id, [](std::uint64_t& n) { ++n; });
    s.order.push_back(id);
    if (crash) throw std::runtime_error{"in the middle of it"};
    return ++s.count;
  }
};

/// What one client knows.
struct client_result {
  std::vector<std::uint64_t> acknowledged;
  std::vector<std::uint64_t> crashed;
  std::vector<std::uint64_t> cast;  ///< perhaps there, at most once
  std::uint64_t others = 0;
};

constexpr std::uint64_t clients = 3;
constexpr std::uint64_t operations = 3000;
constexpr std::uint64_t id_stride = 1'000'000;

client_result be_a_client(const ref<vault>& v, const ref<echo>& helper, std::uint64_t who) {
  client_result result;
  std::mt19937_64 random{who};
  const auto note = [&result](std::uint64_t id, const std::expected<std::uint64_t, call_error>& r) {
    if (r) {
      result.acknowledged.push_back(id);
    } else if (r.error().code() == call_errc::crashed) {
      result.crashed.push_back(id);
    } else {
      ++result.others;
    }
  };
  std::vector<std::pair<std::uint64_t, pending<std::uint64_t>>> asked;
  for (std::uint64_t n = 0; n < operations; ++n) {
    const std::uint64_t id = who * id_stride + n;
    const bool crash = random() % 4 == 0;
    switch (random() % 6) {
      case 0:
      case 1: note(id, v.call(deposit{id, crash}, infinity)); break;
      case 2: note(id, v.call(deposit_later{id, crash}, infinity)); break;
      case 3: note(id, v.call(deposit_slowly{id, crash, helper}, infinity)); break;
      case 4: asked.emplace_back(id, v.ask(deposit{id, crash}, infinity)); break;
      default: v.cast(deposit_quietly{id, crash}); result.cast.push_back(id);
    }
    if (asked.size() < 16) continue;
    for (auto& [asked_id, p] : asked) note(asked_id, p.get());
    asked.clear();
  }
  for (auto& [asked_id, p] : asked) note(asked_id, p.get());
  return result;
}

void kill_all_the_time(const ref<vault>& v, const ref<echo>& helper, const std::atomic<bool>& over,
                       std::uint64_t& kills) {
  std::mt19937_64 random{99};
  // Each kill waits until the worker has handled something: no crash is for nothing.
  std::uint64_t seen = 0;
  while (!over.load()) {
    const auto now = statistics_of(v, infinity);
    if (!now || now->handled == seen) {
      std::this_thread::yield();
      continue;
    }
    seen = now->handled;
    bool killed = false;
    switch (random() % 6) {
      case 0: killed = kill(keeper_of(v)); break;
      case 1:
        killed = kill(keeper_of(v));
        kill(worker_of(v));
        break;
      case 2:
        killed = kill(worker_of(v));
        kill(keeper_of(v));
        break;
      case 3: killed = kill(supervisor_of(v)); break;
      case 4: killed = kill(worker_of(helper)); break;
      default: killed = kill(worker_of(v));
    }
    if (killed) ++kills;
  }
}

TEST(real_chaos, LosesNothingAcknowledgedAndDuplicatesNothing_P1_P2_P3_P5) {
  runtime rt{{.threads = 2}};
  constexpr unsigned any_number = 100'000'000;
  const auto v = start<vault>(rt, {.max_restarts = any_number, .keep_poison = 1}).value();
  const auto helper = start<echo>(rt, {.max_restarts = any_number}).value();
  std::array<client_result, clients> results;
  std::uint64_t kills = 0;
  {
    std::atomic<bool> over{false};
    std::thread killer{[&] { kill_all_the_time(v, helper, over, kills); }};
    std::vector<std::thread> threads;
    for (std::uint64_t who = 0; who < clients; ++who) {
      threads.emplace_back([&, who] { results.at(who) = be_a_client(v, helper, who); });
    }
    for (std::thread& t : threads) t.join();
    over = true;
    killer.join();
  }
  const auto s = inspect(v, [](const vault_state& x) { return x; }, infinity).value();
  const auto statistics = statistics_of(v, infinity).value();
  EXPECT_TRUE(valid(s));
  std::uint64_t lost = 0;
  std::uint64_t duplicated = 0;
  std::uint64_t undone = 0;
  std::uint64_t acknowledged = 0;
  std::uint64_t reported = 0;
  for (const client_result& r : results) {
    for (const std::uint64_t id : r.acknowledged) lost += s.times.contains(id) ? 0U : 1U;
    for (const std::uint64_t id : r.crashed) undone += s.times.contains(id) ? 1U : 0U;
    acknowledged += r.acknowledged.size();
    reported += r.crashed.size();
    EXPECT_EQ(r.others, 0U) << "an outcome that nothing here can bring about";
  }
  for (const auto& [id, times] : s.times) duplicated += times - 1;
  EXPECT_EQ(lost, 0U) << "P1";
  EXPECT_EQ(duplicated, 0U) << "P3";
  EXPECT_EQ(undone, 0U) << "P2: reported as crashed, and there";
  EXPECT_GE(statistics.crashes, 2000U);
  EXPECT_GT(kills, 100U);
  EXPECT_GT(acknowledged, 2000U);
  EXPECT_GE(reported, 1000U);
  std::vector<std::uint64_t> last(clients, 0);
  for (const std::uint64_t id : s.order) {
    EXPECT_GE(id % id_stride, last.at(id / id_stride)) << "P6: order of one client's messages";
    last.at(id / id_stride) = id % id_stride;
  }
  RecordProperty("crashes", std::to_string(statistics.crashes));
  RecordProperty("acknowledged", std::to_string(acknowledged));
}

}  // namespace
}  // namespace peeper::test
