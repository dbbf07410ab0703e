// SPDX-License-Identifier: Apache-2.0
/// \file
/// `idle_watch`: who hears of the death of a worker's OS process while nothing is asked of it. One
/// thread of the program for all of them, which sleeps.
///
///     idle_watch::program().watch(this, pidfd, server);   // again for each new worker
///     idle_watch::program().forget(this);
///
/// THREADS: any.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>

#include <peeper/detail/branch.hpp>

#include "sandbox/descriptor.hpp"

namespace peeper::sandbox {

class idle_watch {
 public:
  /// Made, with its thread, when it is first asked for; lives as long as the program.
  [[nodiscard]] static idle_watch& program();

  /// When `pidfd` says that it is over, `server` looks at its worker, once. In the place of what
  /// `who` was watching before. Throws std::bad_alloc, std::system_error.
  /// REQUIRES: forget(who) before `server` goes.
  void watch(const void* who, descriptor pidfd, peeper::detail::branch& server);
  void forget(const void* who) noexcept;

 private:
  idle_watch();
  [[noreturn]] void run() noexcept;

  struct watched {
    descriptor pidfd;
    peeper::detail::branch* server;
    const void* who;
  };
  descriptor epoll_;
  std::mutex mutex_;
  std::map<std::uint64_t, watched> watched_;  // guarded by mutex_
  std::uint64_t last_ = 0;                    // guarded by mutex_
};

}  // namespace peeper::sandbox
