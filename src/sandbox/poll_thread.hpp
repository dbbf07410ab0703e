// SPDX-License-Identifier: Apache-2.0
/// \file
/// `poll_thread`: a thread of the hub that waits for descriptors, and calls who wants to know.
///
///     const auto id = thread.add(socket, [this] { read_some(); return socket_; });
///     thread.remove(id);
///
/// THREADS: any. What is called runs in the thread, one at a time, and must not block.
#pragma once

#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "sandbox/descriptor.hpp"

namespace peeper::sandbox {

class poll_thread {
 public:
  /// Throws std::system_error.
  poll_thread();
  poll_thread(const poll_thread&) = delete;
  poll_thread& operator=(const poll_thread&) = delete;
  ~poll_thread();

  /// `ready` is called each time that `descriptor` can be read, or was hung up. It may be called
  /// for nothing. It returns the descriptor to wait for from then on: mostly the same; -1: none, it
  /// is removed. RETURNS: what to remove it by.
  [[nodiscard]] std::uint64_t add(int descriptor, std::move_only_function<int()> ready);
  /// When this returns its `ready` does not run, and will not. Does nothing if it was removed.
  /// REQUIRES: not called by a `ready`.
  void remove(std::uint64_t id);

 private:
  struct entry {
    int descriptor;
    std::uint64_t id;
    std::move_only_function<int()> ready;
  };
  void run();
  void wake() const noexcept;

  descriptor wake_up_;
  std::mutex mutex_;
  // guarded by mutex_
  std::vector<entry> entries_;
  std::uint64_t last_id_ = 0;
  bool over_ = false;

  std::thread thread_;
};

}  // namespace peeper::sandbox
