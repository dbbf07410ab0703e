// SPDX-License-Identifier: Apache-2.0
/// \file
/// How the two sides of a ring sleep and wake each other, with a system call only when one really
/// sleeps.
///
/// The sleeper reads `woken`, marks an *episode* (an odd number, one it has never used), looks for
/// the last time, and sleeps while `woken` is what it has read. The waker does its deed, sees an
/// odd episode, changes `woken` and wakes: once for each episode, since that ends it, whether it
/// sleeps already or not. Only the sleeper marks its end: a waker that did could end the next one,
/// and that wake-up would be lost.
///
///     sleeper: reads woken         waker: deed
///              episode = odd              looks at episode     (both sequentially consistent: one
///              looks at the deed          woken + 1             of the two sees the other)
///              sleeps on woken            FUTEX_WAKE
///
/// CRASH: a waker that dies between its deed and FUTEX_WAKE leaves a sleeper that nobody wakes. So
/// who sleeps must also wait for the other side's death (sleep_ticket), or have a deadline.
/// THREADS: one object is one side's; the words are shared.
#pragma once

#include <atomic>
#include <cstdint>

#include <peeper/time.hpp>

#include "sandbox/ring_format.hpp"

namespace peeper::sandbox {

/// What to wait for: sleep while `*word == expected`. Shared between OS processes: futex_waitv with
/// FUTEX2_SIZE_U32, or FUTEX_WAIT, in neither case with the private flag.
struct sleep_ticket {
  std::atomic<std::uint32_t>* word;
  std::uint32_t expected;
};

/// Sleeps on it. RETURNS: false if `deadline` has passed; true also when woken for no reason.
bool sleep_on(const sleep_ticket& ticket, time_point deadline) noexcept;

namespace detail {

/// The side that sleeps.
class ring_sleeper {
 public:
  /// Goes on counting where a predecessor stopped: the waker remembers which episode it has woken.
  explicit ring_sleeper(ring_sleep_line& words) noexcept;
  /// From here on the other side wakes us. REQUIRES: to look again, sequentially consistent, before
  /// sleeping.
  [[nodiscard]] sleep_ticket begin() noexcept;
  void end() noexcept;

 private:
  ring_sleep_line* words_;
  std::uint32_t episode_;  ///< even: awake
};

/// The side that wakes.
class ring_waker {
 public:
  explicit ring_waker(ring_sleep_line& words) noexcept : words_{&words} {}
  /// REQUIRES: the deed was a sequentially consistent store.
  void wake_if_asleep() noexcept {
    // ORDER: seq_cst, as the deed before it; pairs with ring_sleeper::begin() and the look after.
    const std::uint32_t episode = words_->episode.load(std::memory_order_seq_cst);
    if ((episode & 1U) != 0 && episode != last_) [[unlikely]]
      wake(episode);
  }

 private:
  void wake(std::uint32_t episode) noexcept;
  ring_sleep_line* words_;
  std::uint32_t last_ = 0;  ///< the episode that was woken last
};

/// How long to look before sleeping: 2 us where that helps, since a sleep and a wake-up cost more.
/// Not at all where it did not help lately: on a core that the two sides share, the other one waits
/// for us to leave it. Now and then, ever more rarely, a longer look: two sides on cores of their
/// own that both sleep find each other awake again only if one stays so for as long as waking the
/// other takes.
class ring_spin {
 public:
  /// RETURNS: whether `came()` was true in time.
  template <class Came>
  [[nodiscard]] bool until(Came came) {
    if (rest_ != 0) {
      --rest_;
      return came();
    }
    const duration limit = useless_ < patience ? usual : probe;
    const time_point begin = now();
    do {
      for (int i = 0; i < looks_a_reading; ++i) {
        if (came()) {
          helped();
          return true;
        }
        pause();
      }
    } while (now() - begin < limit);
    failed();
    return false;
  }

 private:
  static constexpr duration usual = std::chrono::microseconds{2};
  static constexpr duration probe = std::chrono::microseconds{20};
  static constexpr unsigned patience = 3;
  static constexpr int looks_a_reading = 8;
  static time_point now() noexcept;
  static void pause() noexcept;
  void helped() noexcept;
  void failed() noexcept;

  unsigned useless_ = 0;  ///< looks in a row that did not help, up to `patience`
  unsigned rest_ = 0;     ///< waits until the next look
  unsigned next_rest_ = 1;
};

/// Spins, then sleeps, until `came()`. RETURNS: false if `deadline` passed first.
template <class Came>
[[nodiscard]] bool ring_wait(ring_sleeper& sleeper, ring_spin& spin, Came came,
                             time_point deadline) {
  if (spin.until(came)) return true;
  for (;;) {
    const sleep_ticket ticket = sleeper.begin();
    const bool in_time = came() || sleep_on(ticket, deadline);
    sleeper.end();
    if (came()) return true;
    if (!in_time) return false;
  }
}

}  // namespace detail
}  // namespace peeper::sandbox
