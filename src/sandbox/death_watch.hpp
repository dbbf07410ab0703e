// SPDX-License-Identifier: Apache-2.0
/// \file
/// `life_line` and `death_watch`: to hear of the death of another OS process within microseconds,
/// and of messages from it, in one wait.
///
///     life->hold();                                    // in the worker, first thing
///
///     death_watch watch{*life, life_line::watcher::peer, worker_pid, pidfd};
///     switch (watch.wait({{&ring_word, seen}}, deadline)) ...   // in the follower
///
/// The kernel tells of a dead OS process by SIGCHLD and pidfd only after its memory has been torn
/// down: 43 ms for 1 GB. But robust locks it gives back first. So each OS process holds one, in
/// memory it shares with its watchers, for as long as it lives. What else can say it is dead:
///  - its own handler of fatal signals (say_dying()), since a core dump comes before all else;
///  - whoever has seen its pidfd or wait status (say_dead()), should it have overwritten the lock.
///
/// THREADS: hold() by the main thread; of a death_watch: one at a time.
/// CRASH: all of it may be overwritten by the watched. It can then be taken for dead while it
/// lives, or be heard of late; nothing else. So who was told of a death reads what was published
/// until then, and never again.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include <pthread.h>
#include <sys/types.h>

#include <peeper/time.hpp>

namespace peeper::sandbox {

/// Of one OS process. In shared memory: REQUIRES: made before any watcher looks.
class life_line {
 public:
  /// The kernel wakes one of those who wait for a lock, so each has a lock of its own.
  enum class watcher : std::uint8_t { hub, peer };
  enum class notice : std::uint32_t { none, dying, dead };

  life_line() noexcept;
  life_line(const life_line&) = delete;
  life_line& operator=(const life_line&) = delete;

  /// From here on, until its death, the calling OS process holds this. Once.
  void hold() noexcept;
  /// It is about to be ended by a signal. SIGNAL: async-signal-safe.
  void say_dying() noexcept;
  /// It holds this, and nothing says that it is dead or dying. Any OS process; may be late.
  [[nodiscard]] bool seems_alive(watcher who) const noexcept;
  /// It is dead: as a whole, by its pidfd or wait status. SIGNAL: async-signal-safe.
  void say_dead() noexcept;

 private:
  friend class death_watch;
  using word = std::atomic<std::uint32_t>;
  static_assert(sizeof(word) == sizeof(int) && word::is_always_lock_free);

  [[nodiscard]] word& lock_word(watcher who) noexcept;
  void say(notice what) noexcept;

  std::array<pthread_mutex_t, 2> locks_;  // by watcher
  std::atomic<notice> notice_{notice::none};
};

class death_watch {
 public:
  enum class outcome : std::uint8_t {
    woken,      ///< one of the other words may have changed
    died,       ///< it is dead: none of its threads will run again (see wait())
    timed_out,  ///< the deadline has passed; it may be dead in part
  };
  /// Something else to wait for. Whoever changes it wakes it with FUTEX_WAKE, shared.
  struct word {
    const std::atomic<std::uint32_t>* at;
    std::uint32_t seen;  ///< as long as it has this value there is reason to wait
  };
  static constexpr std::size_t words_max = 6;

  /// `pidfd`: not owned; -1: it was dead when it was opened. `may_have_threads`: false where a
  /// filter of system calls keeps the watched from starting threads, and the watcher from looking
  /// into /proc.
  death_watch(life_line& of, life_line::watcher who, pid_t pid, int pidfd,
              bool may_have_threads = true);

  /// RETURNS: `died` also where it was `woken`. After `died` none of its threads runs: either the
  /// pidfd says so, or it has one thread and that one was in its death (releasing the lock) or
  /// about to end itself (dying). With more threads this waits for the pidfd, so a core dump is
  /// waited for.
  [[nodiscard]] outcome wait(std::span<const word> others, time_point deadline) noexcept;

 private:
  [[nodiscard]] bool first_sign() const noexcept;
  [[nodiscard]] bool dead_as_a_whole(time_point deadline) const noexcept;

  life_line* of_;
  life_line::word* lock_;
  int pidfd_;
  bool may_have_threads_;
  std::string tasks_;  // /proc/<pid>/task
};

/// RETURNS: why deaths cannot be watched on this kernel; empty if they can.
[[nodiscard]] std::string why_no_death_watch();

}  // namespace peeper::sandbox
