// SPDX-License-Identifier: Apache-2.0
/// pids: found while they live, never re-used, safe to look up at any time.
#include "core/pid_table.hpp"

#include <atomic>
#include <set>
#include <thread>
#include <unordered_set>
#include <vector>

#include <gtest/gtest.h>

#include "support/counter.hpp"
#include "support/sim_test.hpp"

namespace peeper {
namespace {

using test::counter;

TEST(pid, IsAValueOfThreeParts) {
  constexpr pid p{0x3fffffffU, process_role::worker, 0xfffffffeU};
  static_assert(sizeof(p) == 8);
  EXPECT_EQ(p.slot(), 0x3fffffffU);
  EXPECT_EQ(p.role(), process_role::worker);
  EXPECT_EQ(p.generation(), 0xfffffffeU);
  EXPECT_EQ(pid::from_raw(p.raw()), p);
  EXPECT_TRUE(p);
  EXPECT_FALSE(pid{});
  EXPECT_EQ(to_string(pid(17, process_role::worker, 3)), "<worker 17.3>");
  EXPECT_EQ(to_string(pid(1, process_role::server, 1)), "<server 1.1>");
  EXPECT_EQ(to_string(pid{}), "<no process>");
  EXPECT_NE(std::hash<pid>{}(pid(1, process_role::worker, 1)),
            std::hash<pid>{}(pid(1, process_role::keeper, 1)));
}

TEST(pid, ThatWasNeverGivenOutNamesNobody) {
  EXPECT_FALSE(alive(pid{}));
  EXPECT_FALSE(alive(pid(0x3fffffffU, process_role::server, 1)));
  EXPECT_FALSE(alive(pid::from_raw(~std::uint64_t{0})));
  EXPECT_FALSE(kill(pid::from_raw(~std::uint64_t{0})));
  EXPECT_FALSE(send(pid::from_raw(~std::uint64_t{0}), 1));
}

PEEPER_SIM_TEST(pid_table, NeverGivesTheSamePidTwice) {
  const auto live = detail::pid_table::live();
  std::unordered_set<pid> seen;
  for (int i = 0; i < 200; ++i) {
    const auto c = start<counter>(rt).value();
    for (int crash = 0; crash < i % 4; ++crash) {
      EXPECT_TRUE(kill(worker_of(c)));
      EXPECT_TRUE(kill(keeper_of(c)));
    }
    sim.run();
    for (const pid p : {c.pid(), worker_of(c), keeper_of(c), supervisor_of(c)}) {
      EXPECT_TRUE(seen.insert(p).second) << to_string(p);
      EXPECT_TRUE(alive(p));
    }
    EXPECT_TRUE(stop(c));
  }
  for (const pid p : seen) EXPECT_FALSE(alive(p));
  EXPECT_EQ(detail::pid_table::live(), live);
}

TEST(pid_table, IsLookedUpSafelyWhileServersComeAndGo) {
  runtime rt{{.threads = 2}};
  std::atomic<std::uint64_t> newest{0};
  std::atomic<bool> over{false};
  std::vector<std::thread> lookers;
  for (int t = 0; t < 2; ++t) {
    lookers.emplace_back([&] {
      while (!over.load()) {
        const pid p = pid::from_raw(newest.load());
        if (alive(p)) std::ignore = send(p, 1);
        std::ignore = kill(pid(p.slot(), process_role::worker, p.generation()));
      }
    });
  }
  for (int i = 0; i < 2000; ++i) {
    const auto c = start<counter>(rt).value();
    newest.store(c.pid().raw());
    EXPECT_TRUE(stop(c));
  }
  over = true;
  for (auto& t : lookers) t.join();
  EXPECT_EQ(rt.server_count(), 0U);
}

}  // namespace
}  // namespace peeper
