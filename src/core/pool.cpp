// SPDX-License-Identifier: Apache-2.0
#include <peeper/detail/pool.hpp>

#include <array>
#include <atomic>
#include <cstdint>
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

constexpr std::size_t granule = 64;      // a cache line
constexpr std::size_t class_count = 16;  // 64, 128, 192, ... 1024
constexpr std::uint32_t magazine_size = 64;
/// What the depot keeps of each class; more goes back to the heap, so that a burst is not kept.
constexpr std::size_t depot_bytes_max = std::size_t{4} << 20U;

/// What a free block holds. The second and third word: of a magazine's first block only.
struct block {
  block* next;
  block* next_magazine;
  std::uint32_t magazine_count;
};

/// A batch of blocks of one class, linked through themselves.
struct magazine {
  block* head = nullptr;
  std::uint32_t count = 0;
};

constexpr std::size_t class_of(std::size_t bytes) { return bytes == 0 ? 0 : (bytes - 1) / granule; }
constexpr std::size_t class_bytes(std::size_t index) { return (index + 1) * granule; }

void free_all(magazine m) noexcept {
  while (m.head != nullptr) {
    block* b = m.head;
    m.head = b->next;
    ::operator delete(b);
  }
}

/// Full magazines of one class, on their way from threads that free to threads that allocate.
/// Nobody waits for its lock: who cannot have it at once does without the depot.
class alignas(64) depot {
 public:
  constexpr depot() noexcept = default;

  /// RETURNS: an empty one if there is none, or the depot is busy.
  magazine take() noexcept {
    // ORDER: relaxed: only a hint that spares the lock.
    if (count_.load(std::memory_order_relaxed) == 0 || !try_lock()) return {};
    block* const head = head_;
    if (head != nullptr) {
      head_ = head->next_magazine;
      count_.store(count_.load(std::memory_order_relaxed) - 1, std::memory_order_relaxed);
    }
    unlock();
    return head == nullptr ? magazine{} : magazine{head, head->magazine_count};
  }
  /// Takes the magazine or, when it has enough, frees its blocks. RETURNS: false if it is busy.
  [[nodiscard]] bool put(magazine m, std::size_t bytes_each) noexcept {
    if (!try_lock()) return false;
    const std::size_t full = depot_bytes_max / (bytes_each * magazine_size);
    const bool keeps = count_.load(std::memory_order_relaxed) < full;
    if (keeps) {
      m.head->magazine_count = m.count;
      m.head->next_magazine = head_;
      head_ = m.head;
      count_.store(count_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    }
    unlock();
    if (!keeps) free_all(m);
    return true;
  }
  [[nodiscard]] std::size_t blocks() noexcept {
    while (!try_lock()) {
    }
    std::size_t n = 0;
    for (const block* b = head_; b != nullptr; b = b->next_magazine) n += b->magazine_count;
    unlock();
    return n;
  }

 private:
  [[nodiscard]] bool try_lock() noexcept {
    // ORDER: acquire pairs with unlock().
    return !locked_.exchange(true, std::memory_order_acquire);
  }
  void unlock() noexcept { locked_.store(false, std::memory_order_release); }

  std::atomic<bool> locked_{false};
  std::atomic<std::uint32_t> count_{0};  // of magazines; written under the lock
  block* head_ = nullptr;                // guarded by the lock
};

// Never destroyed: threads give their blocks back at exit, whenever that is.
constinit std::array<depot, class_count> depots{};

/// What a magazine looks like that may be neither used up nor filled: a thread that has not begun
/// to use its cache, or is over with it, is sent to the slow path by the same comparison that finds
/// a used-up or full one.
constexpr magazine closed_magazine{nullptr, magazine_size};

/// Two magazines a class and thread: one that is being used up or filled, one full.
/// Trivial on purpose: reaching it costs no check whether it has been constructed.
struct thread_cache {
  std::array<magazine, class_count> current;
  std::array<magazine, class_count> spare;
  enum class phase : std::uint8_t { unused, open, over } now;
};

constexpr thread_cache new_thread_cache() noexcept {
  thread_cache c{};
  c.current.fill(closed_magazine);
  return c;
}
constinit thread_local thread_cache cache = new_thread_cache();

/// Gives a thread's blocks back when it ends.
struct cache_closer {
  cache_closer() noexcept {
    cache.current.fill({});
    cache.now = thread_cache::phase::open;
  }
  cache_closer(const cache_closer&) = delete;
  cache_closer& operator=(const cache_closer&) = delete;
  ~cache_closer() {
    for (std::size_t i = 0; i < class_count; ++i) {
      for (const magazine& m : {cache.current[i], cache.spare[i]}) {
        if (m.head != nullptr && !depots[i].put(m, class_bytes(i))) free_all(m);
      }
    }
    cache.current.fill(closed_magazine);
    cache.spare.fill({});
    cache.now = thread_cache::phase::over;
  }
};

/// RETURNS: false once the thread is over with its cache.
bool open_cache() noexcept {
  if (cache.now == thread_cache::phase::unused) {
    thread_local const cache_closer closer;
    static_cast<void>(closer);
  }
  return cache.now == thread_cache::phase::open;
}

[[gnu::noinline]] void* allocate_slowly(std::size_t bytes) {
  const std::size_t index = class_of(bytes);
  if (PEEPER_POOLED == 0 || index >= class_count) return ::operator new(bytes);
  if (!open_cache()) return ::operator new(class_bytes(index));
  magazine& m = cache.current[index];
  if (cache.spare[index].head != nullptr) {
    m = cache.spare[index];
    cache.spare[index] = {};
  } else {
    m = depots[index].take();
    if (m.head == nullptr) return ::operator new(class_bytes(index));
  }
  block* b = m.head;
  m.head = b->next;
  --m.count;
  return b;
}

[[gnu::noinline]] void free_slowly(void* memory, std::size_t bytes) noexcept {
  const std::size_t index = class_of(bytes);
  if (PEEPER_POOLED == 0 || index >= class_count || !open_cache()) {
    ::operator delete(memory);
    return;
  }
  magazine& m = cache.current[index];
  magazine& spare = cache.spare[index];
  // A depot that is busy is asked again at the next block; the magazine grows meanwhile.
  if (m.count >= magazine_size &&
      (spare.head == nullptr || depots[index].put(spare, class_bytes(index)))) {
    spare = m;
    m = {};
  }
  auto* b = static_cast<block*>(memory);
  b->next = m.head;
  m.head = b;
  ++m.count;
}

}  // namespace

void* pool_allocate(std::size_t bytes) {
  const std::size_t index = class_of(bytes);
  if (PEEPER_POOLED == 0 || index >= class_count) [[unlikely]]
    return allocate_slowly(bytes);
  magazine& m = cache.current[index];
  block* b = m.head;
  if (b == nullptr) [[unlikely]]
    return allocate_slowly(bytes);
  m.head = b->next;
  --m.count;
  return b;
}

void pool_free(void* memory, std::size_t bytes) noexcept {
  const std::size_t index = class_of(bytes);
  if (PEEPER_POOLED == 0 || index >= class_count) [[unlikely]]
    return free_slowly(memory, bytes);
  magazine& m = cache.current[index];
  if (m.count >= magazine_size) [[unlikely]]
    return free_slowly(memory, bytes);
  auto* b = static_cast<block*>(memory);
  b->next = m.head;
  m.head = b;
  ++m.count;
}

std::size_t pool_depot_bytes() noexcept {
  std::size_t total = 0;
  for (std::size_t i = 0; i < class_count; ++i) total += depots[i].blocks() * class_bytes(i);
  return total;
}

}  // namespace peeper::detail
