// SPDX-License-Identifier: Apache-2.0
#include <peeper/detail/pool.hpp>

#include <array>
#include <atomic>
#include <bit>
#include <cstdint>
#include <mutex>
#include <new>

namespace peeper::detail {
namespace {

#if defined(__SANITIZE_ADDRESS__)
#define PEEPER_POOLED 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define PEEPER_POOLED 0
#endif
#endif
#ifndef PEEPER_POOLED
#define PEEPER_POOLED 1
#endif

constexpr std::size_t smallest_shift = 6;  // 64 bytes: a line
constexpr std::size_t class_count = 5;     // 64, 128, 256, 512, 1024
constexpr std::size_t largest = std::size_t{64} << (class_count - 1);
constexpr std::uint32_t magazine_size = 64;
/// What the depot keeps of each class; more goes back to the heap, so that a burst is not kept.
constexpr std::uint32_t depot_magazines_max = 256;

struct block {
  block* next;
};

/// A batch of blocks of one class, linked through themselves.
struct magazine {
  block* head = nullptr;
  std::uint32_t count = 0;
};

constexpr std::size_t class_of(std::size_t bytes) {
  return bytes <= 64 ? 0 : static_cast<std::size_t>(std::bit_width(bytes - 1)) - smallest_shift;
}
constexpr std::size_t class_bytes(std::size_t index) { return std::size_t{64} << index; }

class depot {
 public:
  bool take(std::size_t index, magazine& out) noexcept {
    // ORDER: relaxed: only a hint that spares the lock; put() and take() agree under the lock.
    if (counts_[index].load(std::memory_order_relaxed) == 0) return false;
    const std::lock_guard lock{mutex_};
    std::uint32_t n = counts_[index].load(std::memory_order_relaxed);
    if (n == 0) return false;
    out = full_[index][--n];
    counts_[index].store(n, std::memory_order_relaxed);
    return true;
  }
  /// Takes the magazine or, when it has enough, frees its blocks.
  void put(std::size_t index, magazine m) noexcept {
    {
      const std::lock_guard lock{mutex_};
      const std::uint32_t n = counts_[index].load(std::memory_order_relaxed);
      if (n < depot_magazines_max) {
        full_[index][n] = m;
        counts_[index].store(n + 1, std::memory_order_relaxed);
        return;
      }
    }
    free_all(m);
  }
  static void free_all(magazine m) noexcept {
    while (m.head != nullptr) {
      block* b = m.head;
      m.head = b->next;
      ::operator delete(b);
    }
  }
  [[nodiscard]] std::size_t bytes() noexcept {
    const std::lock_guard lock{mutex_};
    std::size_t total = 0;
    for (std::size_t i = 0; i < class_count; ++i) {
      for (std::uint32_t k = 0; k < counts_[i].load(std::memory_order_relaxed); ++k) {
        total += full_[i][k].count * class_bytes(i);
      }
    }
    return total;
  }

 private:
  std::mutex mutex_;
  std::array<std::atomic<std::uint32_t>, class_count> counts_{};
  std::array<std::array<magazine, depot_magazines_max>, class_count> full_{};
};

depot& the_depot() noexcept {
  // Never destroyed: threads give their blocks back at exit, whenever that is.
  static auto* d = new depot;
  return *d;
}

/// Two magazines a class and thread: one that is being used up or filled, one full.
struct thread_pool_cache {
  std::array<magazine, class_count> current{};
  std::array<magazine, class_count> spare{};

  thread_pool_cache() noexcept { the_depot(); }
  thread_pool_cache(const thread_pool_cache&) = delete;
  thread_pool_cache& operator=(const thread_pool_cache&) = delete;
  ~thread_pool_cache() {
    for (std::size_t i = 0; i < class_count; ++i) {
      if (current[i].head != nullptr) the_depot().put(i, current[i]);
      if (spare[i].head != nullptr) the_depot().put(i, spare[i]);
      current[i] = spare[i] = {};
    }
    alive = false;
  }
  static thread_local bool alive;
};
thread_local bool thread_pool_cache::alive = true;
thread_local thread_pool_cache cache;

}  // namespace

void* pool_allocate(std::size_t bytes) {
  if (PEEPER_POOLED == 0 || bytes > largest || !thread_pool_cache::alive) {
    return ::operator new(
        PEEPER_POOLED == 0 ? bytes : (bytes > largest ? bytes : class_bytes(class_of(bytes))));
  }
  const std::size_t index = class_of(bytes);
  magazine& m = cache.current[index];
  if (m.head == nullptr) {
    if (cache.spare[index].head != nullptr) {
      std::swap(m, cache.spare[index]);
    } else if (!the_depot().take(index, m)) {
      return ::operator new(class_bytes(index));
    }
  }
  block* b = m.head;
  m.head = b->next;
  --m.count;
  return b;
}

void pool_free(void* memory, std::size_t bytes) noexcept {
  if (PEEPER_POOLED == 0 || bytes > largest || !thread_pool_cache::alive) {
    ::operator delete(memory);
    return;
  }
  const std::size_t index = class_of(bytes);
  magazine& m = cache.current[index];
  if (m.count == magazine_size) {
    if (cache.spare[index].head != nullptr) the_depot().put(index, cache.spare[index]);
    cache.spare[index] = m;
    m = {};
  }
  auto* b = static_cast<block*>(memory);
  b->next = m.head;
  m.head = b;
  ++m.count;
}

std::size_t pool_depot_bytes() noexcept { return the_depot().bytes(); }

}  // namespace peeper::detail
