// SPDX-License-Identifier: Apache-2.0
/// \file
/// What a mailbox that drops its oldest needs beside the lock-free inbox: senders must be able to
/// take out what the owner has not begun, so its user messages wait here, under a lock.
///
/// THREADS: any.
#pragma once

#include <cstdint>
#include <mutex>

#include <peeper/detail/message.hpp>

namespace peeper::detail {

struct locked_mailbox {
  explicit locked_mailbox(std::uint32_t max_length) noexcept : max{max_length} {}

  const std::uint32_t max;
  std::mutex mutex;
  // guarded by mutex
  message* head = nullptr;
  message* tail = nullptr;
  std::uint32_t length = 0;
  std::uint64_t dropped = 0;
  bool closed = false;

  /// RETURNS: the victim that had to go, if any. REQUIRES: the lock, !closed.
  message* append(message* m) noexcept {
    m->next = nullptr;
    (tail == nullptr ? head : tail->next) = m;
    tail = m;
    if (++length <= max) return nullptr;
    ++dropped;
    return pop();
  }
  message* pop() noexcept {
    message* m = head;
    if (m == nullptr) return nullptr;
    head = m->next;
    if (head == nullptr) tail = nullptr;
    --length;
    return m;
  }
};

}  // namespace peeper::detail
