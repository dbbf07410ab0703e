// SPDX-License-Identifier: Apache-2.0
/// \file
/// `table_lock`: many readers or one writer; new readers stand back for a writer that waits.
/// std::shared_mutex lets readers that never pause keep a commit waiting for ever; the system's
/// read-write lock that does not costs a look-up as much as finding its row.
///
/// THREADS: any. Not recursive: no code that could come back to the table runs under it.
#pragma once

#include <atomic>
#include <cstdint>

namespace peeper::detail {

class table_lock {
 public:
  table_lock() noexcept = default;
  table_lock(const table_lock&) = delete;
  table_lock& operator=(const table_lock&) = delete;
  ~table_lock() = default;

  void lock() noexcept {
    std::uint32_t nobody = 0;
    // ORDER: acquire pairs with the releases of unlock() and unlock_shared().
    if (!word_.compare_exchange_strong(nobody, held, std::memory_order_acquire,
                                       std::memory_order_relaxed)) [[unlikely]] {
      lock_slowly();
    }
  }
  void unlock() noexcept {
    // ORDER: release pairs with the acquires of all that lock.
    if ((word_.fetch_and(~(held | sleepers), std::memory_order_release) & sleepers) != 0)
        [[unlikely]] {
      wake();
    }
  }
  void lock_shared() noexcept {
    // ORDER: acquire pairs with unlock().
    if ((word_.fetch_add(reader, std::memory_order_acquire) & (held | wanted)) != 0) [[unlikely]] {
      lock_shared_slowly();
    }
  }
  /// RETURNS: false if a writer has the lock or waits for it.
  [[nodiscard]] bool try_lock_shared() noexcept {
    std::uint32_t now = word_.load(std::memory_order_relaxed);
    while ((now & (held | wanted)) == 0) {
      // ORDER: acquire pairs with unlock().
      if (word_.compare_exchange_weak(now, now + reader, std::memory_order_acquire,
                                      std::memory_order_relaxed)) {
        return true;
      }
    }
    return false;
  }
  void unlock_shared() noexcept {
    // ORDER: release pairs with the acquire of lock(): the writer's changes come after this look.
    const std::uint32_t before = word_.fetch_sub(reader, std::memory_order_release);
    if ((before & wanted) != 0 && before < 2 * reader) [[unlikely]] {
      wake();  // the last one lets the writer in
    }
  }

 private:
  static constexpr std::uint32_t held = 1;      ///< by a writer
  static constexpr std::uint32_t wanted = 2;    ///< by a writer, which sleeps or is about to
  static constexpr std::uint32_t sleepers = 4;  ///< to be woken by the writer's unlock()
  static constexpr std::uint32_t reader = 8;    ///< one; some of them may be standing back

  void lock_slowly() noexcept;
  void lock_shared_slowly() noexcept;
  void wake() noexcept;

  std::atomic<std::uint32_t> word_{0};
};

}  // namespace peeper::detail
