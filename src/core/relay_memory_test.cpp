// SPDX-License-Identifier: Apache-2.0
/// \file
/// Blocks of the relay memory are the caller's own until they are freed, on whatever thread.
#include <peeper/detail/relay_memory.hpp>

#include <cstring>
#include <deque>
#include <mutex>
#include <random>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

namespace peeper::detail {
namespace {

struct block {
  unsigned char* memory;
  std::size_t bytes;
  unsigned char mark;

  [[nodiscard]] bool intact() const {
    for (std::size_t i = 0; i < bytes; ++i) {
      if (memory[i] != mark) return false;
    }
    return true;
  }
};

block make_block(std::size_t bytes, unsigned char mark) {
  auto* const memory = static_cast<unsigned char*>(relay_allocate(bytes));
  std::memset(memory, mark, bytes);
  return {memory, bytes, mark};
}

TEST(relay_memory, BlocksAreApartWhateverIsFreedBetween) {
  std::mt19937 random{7};
  std::deque<block> all;
  for (int i = 0; i < 20'000; ++i) {
    // Some are larger than what chunks are cut into, none is empty.
    all.push_back(make_block(1 + random() % (i % 50 == 0 ? 5000 : 200),
                             static_cast<unsigned char>(random())));
    while (all.size() > random() % 300) {
      const std::size_t at = random() % all.size();
      ASSERT_TRUE(all[at].intact());
      relay_free(all[at].memory, all[at].bytes);
      all.erase(all.begin() + static_cast<std::ptrdiff_t>(at));
    }
  }
  for (const block& b : all) {
    ASSERT_TRUE(b.intact());
    relay_free(b.memory, b.bytes);
  }
}

TEST(relay_memory, BlocksAreAlignedForAnything) {
  for (std::size_t bytes = 1; bytes < 2000; bytes += 7) {
    void* const memory = relay_allocate(bytes);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(memory) % alignof(std::max_align_t), 0U);
    relay_free(memory, bytes);
  }
}

TEST(relay_memory, AnotherThreadFreesWhatThisOneMakesAlsoAfterItsEnd) {
  std::mutex mutex;
  std::deque<block> on_the_way;  // guarded by mutex
  bool over = false;             // guarded by mutex
  constexpr int blocks = 100'000;
  bool all_intact = true;
  std::thread maker{[&] {
    std::thread{[&] {
      for (int i = 0; i < blocks; ++i) {
        const block b =
            make_block(16U + static_cast<unsigned>(i) % 240U, static_cast<unsigned char>(i));
        const std::lock_guard lock{mutex};
        on_the_way.push_back(b);
      }
    }}.join();  // that thread's open chunk is closed before all of its blocks are freed
    const std::lock_guard lock{mutex};
    over = true;
  }};
  int freed = 0;
  for (bool done = false; !done;) {
    std::deque<block> batch;
    {
      const std::lock_guard lock{mutex};
      batch.swap(on_the_way);
      done = over;
    }
    for (const block& b : batch) {
      all_intact = all_intact && b.intact();
      relay_free(b.memory, b.bytes);
      ++freed;
    }
  }
  maker.join();
  EXPECT_TRUE(all_intact);
  EXPECT_EQ(freed, blocks);
}

}  // namespace
}  // namespace peeper::detail
