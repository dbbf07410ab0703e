// SPDX-License-Identifier: Apache-2.0
/// \file
/// `ended_processes`: what the hub knows of the ends of OS processes that came of its zygote.
///
/// A thread reads what the zygote tells, so that its queue does not grow. It tells the life lines
/// of those who are watched: an OS process may have overwritten its own before it died. And it
/// keeps the last wait statuses: how one ended that could not say so itself.
///
/// Numbers of OS processes come back. So who asks says since when he means it: a mark() from before
/// that OS process was forked.
/// THREADS: any.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <vector>

#include <sys/types.h>

#include "sandbox/death_watch.hpp"
#include "sandbox/poll_thread.hpp"

namespace peeper::sandbox {

/// As waitpid() gives it.
struct ended_process {
  pid_t pid = 0;
  int status = 0;
};

/// The wait status that the kernel has for an OS process which is exiting, while it still tears
/// down its memory: 15 us, and not the 43 ms of 1 GB. RETURNS: nothing if it is not exiting, or
/// gone.
[[nodiscard]] std::optional<int> status_if_exiting(pid_t pid) noexcept;

class ended_processes {
 public:
  /// So many are remembered.
  static constexpr std::size_t kept = 1024;

  /// `take`: the next one that has ended, without blocking; `socket`: to poll for it.
  ended_processes(int socket, std::move_only_function<std::optional<ended_process>()> take);
  ended_processes(const ended_processes&) = delete;
  ended_processes& operator=(const ended_processes&) = delete;

  [[nodiscard]] std::uint64_t mark() const;
  /// RETURNS: its wait status, if it has ended since that mark.
  [[nodiscard]] std::optional<int> status_of(pid_t pid, std::uint64_t since) const;
  /// A futex word that changes, and is woken, whenever one has ended.
  [[nodiscard]] std::atomic<std::uint32_t>& changes() noexcept { return changes_; }

  /// Says of `life` that it is dead as soon as `pid` has ended, or at once.
  void watch(pid_t pid, std::uint64_t since, life_line& life);
  /// It is somebody's.
  [[nodiscard]] bool is_watched(pid_t pid) const;
  /// Afterwards `life` is not touched any more.
  void unwatch(const life_line& life);

  /// For who else has something to wait for.
  [[nodiscard]] poll_thread& thread() noexcept { return thread_; }

 private:
  struct watched {
    pid_t pid;
    life_line* life;
  };
  [[nodiscard]] bool read_some();

  std::move_only_function<std::optional<ended_process>()> take_;
  std::atomic<std::uint32_t> changes_{0};
  mutable std::mutex mutex_;
  // guarded by mutex_
  std::deque<ended_process> ended_;
  std::uint64_t count_ = 0;  // the last of ended_ is this one
  std::vector<watched> watched_;

  poll_thread thread_;  // last: it uses all the others
};

}  // namespace peeper::sandbox
