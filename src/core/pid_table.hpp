// SPDX-License-Identifier: Apache-2.0
/// \file
/// Slots of pids. A slot is never given back to the heap, so that a stale pid can always be looked
/// up; its generations only grow, so that a pid is never re-used.
///
/// THREADS: any.  COMPLEXITY: O(1) each; a lookup takes one spin lock of the slot's own.
#pragma once

#include <atomic>
#include <cstdint>

#include <peeper/detail/process.hpp>

namespace peeper::detail::pid_table {

/// A slot and the generation that its processes start with.
struct allocation {
  std::uint32_t slot;
  std::uint32_t first_generation;
};
[[nodiscard]] allocation allocate();  // throws std::bad_alloc
/// From now on the slot's pids are found. REQUIRES: `p` is constructed.
void publish(std::uint32_t slot, process& p) noexcept;
/// The slot's processes are gone; `next_generation` is above any they had.
void free(std::uint32_t slot, std::uint32_t next_generation) noexcept;
[[nodiscard]] std::uint64_t live() noexcept;

}  // namespace peeper::detail::pid_table
