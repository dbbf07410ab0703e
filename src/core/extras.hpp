// SPDX-License-Identifier: Apache-2.0
/// \file
/// What only some processes need: monitors and links. Guarded by one lock a process (made lazily).
#pragma once

#include <cstdint>
#include <mutex>
#include <utility>
#include <vector>

#include <peeper/pid.hpp>

namespace peeper::detail {

/// Somebody who watches this process (or one incarnation of one of its roles).
struct watcher_entry {
  std::uint64_t monitor_id;
  pid watched;  ///< role server: until the server ends; else: until that incarnation does
  pid watcher;  ///< the watching server
};

struct process_extras {
  std::mutex mutex;
  // guarded by mutex
  std::vector<watcher_entry> watchers;
  std::vector<pid> links;  ///< servers (role server)
  /// Live monitors of this process and what they watch; DOWNs of others are stale.
  std::vector<std::pair<std::uint64_t, pid>> watching;
  bool ended = false;
};

}  // namespace peeper::detail
