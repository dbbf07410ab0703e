// SPDX-License-Identifier: Apache-2.0
/// The message pools: blocks of any size, freed on any thread.
#include <peeper/detail/pool.hpp>

#include <cstdint>
#include <cstring>
#include <deque>
#include <mutex>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

namespace peeper::detail {
namespace {

TEST(pool, GivesDistinctAlignedBlocksOfTheSizeAsked) {
  std::vector<std::pair<void*, std::size_t>> blocks;
  std::set<void*> seen;
  for (std::size_t bytes = 1; bytes <= 3000; bytes += 7) {
    void* p = pool_allocate(bytes);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(p) % alignof(std::max_align_t), 0U);
    EXPECT_TRUE(seen.insert(p).second);
    std::memset(p, static_cast<int>(bytes % 251), bytes);
    blocks.emplace_back(p, bytes);
  }
  for (const auto& [p, bytes] : blocks) {
    const auto* at = static_cast<const unsigned char*>(p);
    EXPECT_EQ(at[0], bytes % 251);
    EXPECT_EQ(at[bytes - 1], bytes % 251);
    pool_free(p, bytes);
  }
}

TEST(pool, SurvivesBlocksThatAreFreedOnOtherThreads) {
  std::mutex mutex;
  std::deque<std::pair<std::uint64_t*, std::size_t>> handed;
  constexpr int count = 20'000;
  std::vector<std::thread> threads;
  for (int maker = 0; maker < 2; ++maker) {
    threads.emplace_back([&, maker] {
      for (int i = 0; i < count; ++i) {
        const std::size_t bytes = 64U << (i % 5);
        auto* p = static_cast<std::uint64_t*>(pool_allocate(bytes));
        *p = reinterpret_cast<std::uintptr_t>(p) + static_cast<std::uint64_t>(maker);
        const std::lock_guard lock{mutex};
        handed.emplace_back(p, bytes);
      }
    });
  }
  std::uint64_t sum = 0;
  threads.emplace_back([&] {
    for (int freed = 0; freed < 2 * count;) {
      std::deque<std::pair<std::uint64_t*, std::size_t>> taken;
      {
        const std::lock_guard lock{mutex};
        taken.swap(handed);
      }
      if (taken.empty()) std::this_thread::yield();
      for (const auto& [p, bytes] : taken) {
        sum += *p - reinterpret_cast<std::uintptr_t>(p);
        pool_free(p, bytes);
        ++freed;
      }
    }
  });
  for (auto& t : threads) t.join();
  EXPECT_EQ(sum, static_cast<std::uint64_t>(count));
}

TEST(pool, KeepsAtMostALimitedAmountAfterABurst) {
  // What the depot may hold: 256 batches of 64 blocks of each of five sizes, and no more.
  std::thread{[] {
    std::vector<void*> burst;
    for (int i = 0; i < 100'000; ++i) burst.push_back(pool_allocate(64));
    for (void* p : burst) pool_free(p, 64);
  }}.join();
  EXPECT_LE(pool_depot_bytes(), std::size_t{256} * 64 * (64 + 128 + 256 + 512 + 1024));
}

}  // namespace
}  // namespace peeper::detail
