// SPDX-License-Identifier: Apache-2.0
#include "sandbox/death_watch.hpp"

#include <algorithm>
#include <cerrno>

#include <fmt/format.h>
#include <linux/futex.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <peeper/detail/assert.hpp>

#include "core/real_clock.hpp"
#include "sandbox/futex.hpp"

namespace peeper::sandbox {

using detail::wake_all;

namespace {

timespec timespec_of(duration d) noexcept {
  const auto count = std::max<duration::rep>(d.count(), 0);
  return {.tv_sec = count / 1'000'000'000, .tv_nsec = count % 1'000'000'000};
}

futex_waitv waited(const void* at, std::uint32_t seen) noexcept {
  futex_waitv one{};
  one.uaddr = reinterpret_cast<std::uintptr_t>(at);
  one.val = seen;
  one.flags = FUTEX_32;
  return one;
}

}  // namespace

life_line::life_line() noexcept {
  pthread_mutexattr_t robust;
  ::pthread_mutexattr_init(&robust);
  ::pthread_mutexattr_setrobust(&robust, PTHREAD_MUTEX_ROBUST);
  ::pthread_mutexattr_setpshared(&robust, PTHREAD_PROCESS_SHARED);
  for (pthread_mutex_t& lock : locks_) ::pthread_mutex_init(&lock, &robust);
  ::pthread_mutexattr_destroy(&robust);
}

// glibc's layout, which is part of its ABI: the futex is a mutex's first int.
static_assert(offsetof(pthread_mutex_t, __data.__lock) == 0);

life_line::word& life_line::lock_word(watcher who) noexcept {
  return reinterpret_cast<word&>(locks_[static_cast<std::size_t>(who)]);
}

bool life_line::seems_alive(watcher who) const noexcept {
  // ORDER: acquire, as in first_sign().
  const std::uint32_t lock =
      const_cast<life_line*>(this)->lock_word(who).load(std::memory_order_acquire);
  return notice_.load(std::memory_order_acquire) == notice::none && (lock & FUTEX_TID_MASK) != 0 &&
         (lock & FUTEX_OWNER_DIED) == 0;
}

void life_line::hold() noexcept {
  for (const watcher who : {watcher::hub, watcher::peer}) {
    PEEPER_ASSERT(::pthread_mutex_lock(&locks_[static_cast<std::size_t>(who)]) == 0);
    // Who came to watch before could not ask yet to be woken at the death.
    wake_all(&lock_word(who));
  }
}

void life_line::say(notice what) noexcept {
  // ORDER: releases what was published before to the watchers' acquire in first_sign().
  notice_.store(what, std::memory_order_release);
  wake_all(&notice_);
}
void life_line::say_dying() noexcept { say(notice::dying); }
void life_line::say_dead() noexcept { say(notice::dead); }

death_watch::death_watch(life_line& of, life_line::watcher who, pid_t pid, int pidfd,
                         bool may_have_threads)
    : of_{&of},
      lock_{&of.lock_word(who)},
      pidfd_{pidfd},
      may_have_threads_{may_have_threads},
      tasks_{fmt::format("/proc/{}/task", pid)} {}

bool death_watch::first_sign() const noexcept {
  // ORDER: acquire pairs with say(); and with the kernel's exchange of the lock's word, which comes
  // after all that the dead thread has written.
  return of_->notice_.load(std::memory_order_acquire) != life_line::notice::none ||
         (lock_->load(std::memory_order_acquire) & FUTEX_OWNER_DIED) != 0;
}

bool death_watch::dead_as_a_whole(time_point deadline) const noexcept {
  if (of_->notice_.load(std::memory_order_relaxed) == life_line::notice::dead) return true;
  if (!may_have_threads_ || pidfd_ < 0) return true;
  // The links of that folder are its threads and two more: one look, nothing to be read. Once there
  // is no such folder the OS process has been waited for. Its number may be another's by then, but
  // the pidfd is not.
  struct stat threads{};
  if (::stat(tasks_.c_str(), &threads) != 0 || threads.st_nlink <= 3) return true;
  pollfd whole{.fd = pidfd_, .events = POLLIN, .revents = 0};
  for (;;) {
    timespec left{};
    const timespec* limit = nullptr;
    if (deadline != time_point::max()) {
      left = timespec_of(deadline - peeper::detail::read_clock(CLOCK_MONOTONIC));
      limit = &left;
    }
    const int ready = ::ppoll(&whole, 1, limit, nullptr);
    if (ready >= 0 || errno != EINTR) return ready > 0;
  }
}

death_watch::outcome death_watch::wait(std::span<const word> others, time_point deadline) noexcept {
  PEEPER_ASSERT(others.size() <= words_max);
  const timespec at = timespec_of(deadline.time_since_epoch());
  const timespec* limit = deadline == time_point::max() ? nullptr : &at;
  for (;;) {
    if (first_sign()) return dead_as_a_whole(deadline) ? outcome::died : outcome::timed_out;
    std::uint32_t lock = lock_->load(std::memory_order_relaxed);
    if ((lock & FUTEX_OWNER_DIED) != 0) continue;
    // Asks the kernel to wake us at the holder's death. Not before there is one: to glibc the bit
    // alone would be a lock that is held.
    // ORDER: none needed, the kernel compares the word again before we sleep.
    if ((lock & FUTEX_TID_MASK) != 0 && (lock & FUTEX_WAITERS) == 0) {
      if (!lock_->compare_exchange_strong(lock, lock | FUTEX_WAITERS, std::memory_order_relaxed)) {
        continue;
      }
      lock |= FUTEX_WAITERS;
    }
    std::array<futex_waitv, words_max + 2> words{};
    words[0] = waited(lock_, lock);
    words[1] = waited(&of_->notice_, static_cast<std::uint32_t>(life_line::notice::none));
    std::ranges::transform(others, words.begin() + 2,
                           [](const word& w) { return waited(w.at, w.seen); });
    const long error =
        ::syscall(SYS_futex_waitv, words.data(), others.size() + 2, 0, limit, CLOCK_MONOTONIC);
    if (first_sign()) continue;
    if (std::ranges::any_of(others, [](const word& w) {
          return w.at->load(std::memory_order_relaxed) != w.seen;
        })) {
      return outcome::woken;
    }
    if (error < 0 && errno == ETIMEDOUT) return outcome::timed_out;
    PEEPER_ASSERT(error >= 0 || errno == EAGAIN || errno == EINTR);
  }
}

std::string why_no_death_watch() {
  if (::syscall(SYS_futex_waitv, nullptr, 0, 0, nullptr, CLOCK_MONOTONIC) < 0 && errno == ENOSYS) {
    return "workers in OS processes need the system call futex_waitv, which this kernel does not "
           "have: run Linux 5.16 or later, and see that no seccomp filter of a container hides it";
  }
  return {};
}

}  // namespace peeper::sandbox
