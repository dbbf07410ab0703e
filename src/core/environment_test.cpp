// SPDX-License-Identifier: Apache-2.0
/// The machine as an environment: parking, clocks, threads.
#include <peeper/environment.hpp>

#include <atomic>
#include <memory>
#include <set>
#include <vector>

#include <gtest/gtest.h>

namespace peeper {
namespace {

using namespace std::chrono_literals;

TEST(real_environment, TokensAreLeftAndTakenOnce) {
  environment& env = real_environment();
  parker p;
  EXPECT_FALSE(env.park(p, env.now()));
  EXPECT_FALSE(env.park(p, time_point{}));
  env.unpark(p);
  env.unpark(p);  // one token only
  EXPECT_TRUE(env.park(p, time_point::max()));
  EXPECT_FALSE(env.park(p, env.now() + 1us));
  env.unpark(p);
  EXPECT_TRUE(env.park(p, time_point{}));  // also when the time is over
}

TEST(real_environment, PingsAndPongsLoseNoToken) {
  environment& env = real_environment();
  parker ping;
  parker pong;
  constexpr int rounds = 20'000;
  const auto other = env.start_thread("a name longer than the kernel takes", [&] {
    for (int i = 0; i < rounds; ++i) {
      env.park(ping, time_point::max());
      env.unpark(pong);
    }
  });
  for (int i = 0; i < rounds; ++i) {
    env.unpark(ping);
    ASSERT_TRUE(env.park(pong, time_point::max()));
  }
}

TEST(real_environment, TimeDoesNotGoBackAndTheCoarseClockDoesNotLead) {
  environment& env = real_environment();
  time_point last{};
  for (int i = 0; i < 1000; ++i) {
    const time_point coarse = env.coarse_now();
    const time_point now = env.now();
    EXPECT_LE(coarse, now);
    EXPECT_LE(last, now);
    last = now;
  }
}

TEST(real_environment, IsRandomAndHasThreads) {
  environment& env = real_environment();
  std::set<std::uint64_t> seen;
  for (int i = 0; i < 100; ++i) seen.insert(env.random());
  EXPECT_GT(seen.size(), 90U);
  EXPECT_GE(env.default_threads(), 1U);
  EXPECT_FALSE(env.simulated());
  std::atomic<int> ran{0};
  {
    std::vector<std::unique_ptr<environment::thread>> threads;
    for (int i = 0; i < 4; ++i) threads.push_back(env.start_thread("t", [&] { ++ran; }));
  }
  EXPECT_EQ(ran, 4);  // destructors join
}

TEST(time, DeadlinesSaturate) {
  constexpr time_point now{1h};
  EXPECT_EQ(deadline_after(now, 1s), time_point{1h + 1s});
  EXPECT_EQ(deadline_after(now, infinity), time_point::max());
  EXPECT_EQ(deadline_after(now, duration::max() - 1h), time_point::max());
  EXPECT_EQ(deadline_after(now, 0s), now);
  EXPECT_EQ(deadline_after(now, duration::min()), now);
}

}  // namespace
}  // namespace peeper
