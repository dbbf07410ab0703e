// SPDX-License-Identifier: Apache-2.0
/// \file
/// Memory for what one thread makes and another lets go soon after: what a server tells its
/// listeners. It is cut from the front of a chunk, so that the maker's thread never has to wait
/// for a cache line that the other one holds, as it would for a block that has just come back to
/// pool.hpp. A chunk goes when all that was cut from it has gone.
///
/// THREADS: any; it may be freed on any thread.
#pragma once

#include <cstddef>

namespace peeper::detail {

[[nodiscard]] void* relay_allocate(std::size_t bytes);  // throws std::bad_alloc
void relay_free(void* memory, std::size_t bytes) noexcept;

}  // namespace peeper::detail
