// SPDX-License-Identifier: Apache-2.0
/// \file
/// Memory for messages: size-classed free lists, one set a thread, so that a message costs no
/// general-heap allocation, lock or shared cache line. Blocks freed on another thread travel back
/// in batches through a depot, which nobody waits for.
///
/// THREADS: any; a block may be freed on any thread.
#pragma once

#include <cstddef>

namespace peeper::detail {

[[nodiscard]] [[gnu::hot]] void* pool_allocate(std::size_t bytes);  // throws std::bad_alloc
[[gnu::hot]] void pool_free(void* memory, std::size_t bytes) noexcept;

/// Blocks that the pools hold for reuse now, over all threads that have given theirs back.
[[nodiscard]] std::size_t pool_depot_bytes() noexcept;

}  // namespace peeper::detail
