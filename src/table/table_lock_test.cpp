// SPDX-License-Identifier: Apache-2.0
//
// The lock of a table, on real threads.
#include <atomic>
#include <cstdint>
#include <mutex>
#include <shared_mutex>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include <peeper/table/lock.hpp>

namespace peeper::detail {
namespace {

/// As soon as the writer waits, and not before it has been there, readers are let in no more.
TEST(table_lock, MakesNewReadersStandBackForAWriterThatWaits) {
  table_lock lock;
  std::atomic<int> written{0};
  lock.lock_shared();
  std::thread writer{[&] {
    const std::lock_guard hold{lock};
    written = 1;
  }};
  // Would be for ever if readers went before it.
  while (lock.try_lock_shared()) {
    lock.unlock_shared();
    std::this_thread::yield();
  }
  EXPECT_EQ(written, 0) << "this reader is still there";
  std::vector<std::thread> readers;
  for (int i = 0; i < 3; ++i) {
    readers.emplace_back([&] {
      const std::shared_lock hold{lock};
      EXPECT_EQ(written, 1);
    });
  }
  lock.unlock_shared();
  for (std::thread& t : readers) t.join();
  writer.join();
  EXPECT_TRUE(lock.try_lock_shared()) << "nobody waits any more";
  lock.unlock_shared();
}

TEST(table_lock, LetsWritersInThoughReadersNeverPause) {
  constexpr int writes = 2'000;
  table_lock lock;
  std::uint64_t first = 0;  // guarded by the lock: always the same number as `second`
  std::uint64_t second = 0;
  std::atomic<int> writers_left{2};
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&] {
      while (writers_left.load() != 0) {
        const std::shared_lock hold{lock};
        ASSERT_EQ(first, second);
      }
    });
  }
  for (int i = 0; i < 2; ++i) {
    threads.emplace_back([&] {
      for (int n = 0; n < writes; ++n) {
        const std::lock_guard hold{lock};
        ++first;
        ++second;
      }
      --writers_left;
    });
  }
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(first, 2U * writes);
  EXPECT_EQ(second, 2U * writes);
}

}  // namespace
}  // namespace peeper::detail
