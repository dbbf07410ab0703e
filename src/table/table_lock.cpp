// SPDX-License-Identifier: Apache-2.0
#include <peeper/table/lock.hpp>

namespace peeper::detail {

// Who sleeps has seen a word with `sleepers` in it and sleeps only if it is still that word.
// INVARIANT: `sleepers` stays from then until a writer's unlock(), which wakes all; and where
// `wanted` or `held` is set there is a writer that will come to its unlock().
//
// A writer that comes in clears `wanted`, for others as well: those are woken by its unlock(), and
// set it again.

void table_lock::lock_slowly() noexcept {
  std::uint32_t now = word_.load(std::memory_order_relaxed);
  for (;;) {
    if ((now & ~(wanted | sleepers)) == 0) {
      // ORDER: acquire pairs with the releases of unlock() and unlock_shared().
      if (word_.compare_exchange_weak(now, held | (now & sleepers), std::memory_order_acquire,
                                      std::memory_order_relaxed)) {
        return;
      }
      continue;
    }
    const std::uint32_t waits = now | wanted | sleepers;
    // ORDER: relaxed: only says that somebody waits.
    if (now != waits && !word_.compare_exchange_weak(now, waits, std::memory_order_relaxed)) {
      continue;
    }
    word_.wait(waits, std::memory_order_relaxed);
    now = word_.load(std::memory_order_relaxed);
  }
}

void table_lock::lock_shared_slowly() noexcept {
  unlock_shared();  // it stands back, and may be the one that held the writer up
  while (!try_lock_shared()) {
    std::uint32_t now = word_.load(std::memory_order_relaxed);
    if ((now & (held | wanted)) == 0) continue;
    const std::uint32_t waits = now | sleepers;
    // ORDER: relaxed: only says that somebody waits.
    if (now != waits && !word_.compare_exchange_weak(now, waits, std::memory_order_relaxed)) {
      continue;
    }
    word_.wait(waits, std::memory_order_relaxed);
  }
}

void table_lock::wake() noexcept { word_.notify_all(); }

}  // namespace peeper::detail
