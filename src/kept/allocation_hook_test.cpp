// SPDX-License-Identifier: Apache-2.0
//
// The operators new of this test program: they count, and fail when a test wants them to. (Nothing
// else is in this file, since g++ warns of the pair where it inlines one of the two.)
#include <algorithm>
#include <cstdlib>
#include <new>

#include "test_world.hpp"

namespace peeper::test {

thread_local allocation_counters allocations;

}  // namespace peeper::test

void* operator new(std::size_t bytes) {
  auto& a = peeper::test::allocations;
  ++a.calls;
  a.bytes += bytes;
  a.largest = std::max(a.largest, bytes);
  if (a.until_failure >= 0 && a.until_failure-- == 0) throw std::bad_alloc{};
  if (void* p = std::malloc(bytes == 0 ? 1 : bytes)) return p;
  throw std::bad_alloc{};
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, std::size_t /*bytes*/) noexcept { std::free(p); }
