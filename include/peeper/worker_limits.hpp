// SPDX-License-Identifier: Apache-2.0
/// \file
/// `worker_limits`: what the OS process of a worker may use, and do.
///
///     .limits = {.memory_bytes = 512 << 20, .less_power = true}
///
/// They hold for the worker and its follower, each on its own.
#pragma once

#include <chrono>
#include <cstdint>

namespace peeper {

struct worker_limits {
  /// Memory of its own that it may write to: heap, private mappings; not what it shares with the
  /// hub, nor the stack. An allocation beyond it ends the worker: exit_kind::out_of_memory. What
  /// the program had when the zygote was made counts. 0: no limit. Default: 0.
  std::uint64_t memory_bytes = 0;
  /// Of the OS process's life, not of a callback: then SIGXCPU ends it. 0: no limit. Default: 0.
  std::chrono::seconds cpu_time{0};
  /// Descriptors; one more is an error for who wants it (EMFILE). 0: as the hub's. Default: 0.
  std::uint32_t open_files = 0;
  /// It cannot gain privileges, and makes no system calls but those that memory, clocks, waiting
  /// and its own end need: no files, no network, no threads, no other programs, no signals to
  /// others. Any other ends it: exit_kind::forbidden. Standard output and error can be written.
  /// Default: false.
  bool less_power = false;
};

}  // namespace peeper
