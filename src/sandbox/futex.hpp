// SPDX-License-Identifier: Apache-2.0
/// \file
/// Waking who sleeps on a word that OS processes share.
#pragma once

#include <climits>

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace peeper::sandbox::detail {

/// Shared between OS processes, so without FUTEX_PRIVATE_FLAG. SIGNAL: async-signal-safe.
inline void wake_all(const void* word) noexcept {
  ::syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

}  // namespace peeper::sandbox::detail
