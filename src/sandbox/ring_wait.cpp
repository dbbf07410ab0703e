// SPDX-License-Identifier: Apache-2.0
#include "sandbox/ring_wait.hpp"

#include <algorithm>
#include <cerrno>
#include <thread>

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <peeper/detail/fault_point.hpp>

#include "core/real_clock.hpp"

namespace peeper::sandbox {

using peeper::detail::fault_point;

bool sleep_on(const sleep_ticket& ticket, time_point deadline) noexcept {
  timespec at{};
  timespec* limit = nullptr;
  if (deadline != time_point::max()) {
    const auto left = std::max<std::int64_t>(deadline.time_since_epoch().count(), 0);
    at.tv_sec = left / 1'000'000'000;
    at.tv_nsec = left % 1'000'000'000;
    limit = &at;
  }
  // An absolute deadline on CLOCK_MONOTONIC. Not FUTEX_PRIVATE: who wakes is another OS process.
  return ::syscall(SYS_futex, reinterpret_cast<std::uint32_t*>(ticket.word), FUTEX_WAIT_BITSET,
                   ticket.expected, limit, nullptr, FUTEX_BITSET_MATCH_ANY) == 0 ||
         errno != ETIMEDOUT;
}

namespace detail {

ring_sleeper::ring_sleeper(ring_sleep_line& words) noexcept
    : words_{&words},
      // A predecessor may have died asleep. ORDER: relaxed, it is dead; its death has been seen.
      episode_{(words.episode.load(std::memory_order_relaxed) | 1U) + 1} {}

sleep_ticket ring_sleeper::begin() noexcept {
  // Read before the episode is seen: whoever wakes this episode changes the word after this, so
  // that a wake-up for a deed that was not enough ends the episode, too. (It will not be woken
  // twice.) ORDER: acquire, so that it stays before the store; pairs with wake().
  const std::uint32_t before = words_->woken.load(std::memory_order_acquire);
  // ORDER: seq_cst, as the look after it; pairs with the deed and wake_if_asleep().
  words_->episode.store(++episode_, std::memory_order_seq_cst);
  // CRASH: marked as asleep: the waker may wake nobody, which is harmless.
  fault_point("ring.sleep_marked", false);
  return {&words_->woken, before};
}

void ring_sleeper::end() noexcept {
  // ORDER: relaxed: a waker that still sees the odd number wakes nobody.
  words_->episode.store(++episode_, std::memory_order_relaxed);
  fault_point("ring.sleep_ended", false);
}

void ring_waker::wake(std::uint32_t episode) noexcept {
  last_ = episode;
  // ORDER: release pairs with begin(). An addition: a ring's consumers both wake its producer.
  words_->woken.fetch_add(1, std::memory_order_release);
  // CRASH: who has not gone to sleep yet will not; who sleeps is found by who watches for our
  // death.
  fault_point("ring.waking", false);
  ::syscall(SYS_futex, reinterpret_cast<std::uint32_t*>(&words_->woken), FUTEX_WAKE, 1, nullptr,
            nullptr, 0);
}

time_point ring_spin::now() noexcept { return peeper::detail::read_clock(CLOCK_MONOTONIC); }

void ring_spin::pause() noexcept {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

void ring_spin::helped() noexcept {
  if (useless_ < patience) {
    useless_ = 0;
    next_rest_ = 1;
  } else {
    useless_ = patience - 1;  // a long look helped: one usual look shows whether those do, now
  }
}

void ring_spin::failed() noexcept {
  constexpr unsigned rest_max = 256;
  if (useless_ < patience) ++useless_;
  if (useless_ < patience) return;
  rest_ = next_rest_;
  next_rest_ = std::min(2 * next_rest_, rest_max);
}

}  // namespace detail
}  // namespace peeper::sandbox
