// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <peeper/worker_limits.hpp>

namespace peeper::sandbox {

/// Puts memory, CPU time and open files of the calling OS process, and of those it forks, under
/// their limits. For ever: nobody but root can take them back. (`less_power`: forbid_system_calls.)
///
/// Memory is RLIMIT_DATA, which since Linux 4.7 counts private writable mappings: what a leak
/// consists of. RLIMIT_AS would count what is shared with the hub (rings, tables), and addresses
/// that malloc() only reserves, 64 MB for each thread. A failed `new` ends the OS process at once:
/// as an exception it could be caught, and the leak would live on. A failed malloc() returns null.
/// REQUIRES: report_crashes() was called.
/// RETURNS: 0, or errno: the limit is above what the hub itself may use.
[[nodiscard]] int apply_limits(const worker_limits& limits) noexcept;

}  // namespace peeper::sandbox
