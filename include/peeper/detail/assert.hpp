// SPDX-License-Identifier: Apache-2.0
/// \file
/// Assertions that stay on in release builds: a broken invariant of the library must not go on.
#pragma once

namespace peeper::detail {
[[noreturn]] void assertion_failed(const char* what, const char* file, int line) noexcept;
}

#define PEEPER_ASSERT(condition) \
  ((condition) ? void(0) : ::peeper::detail::assertion_failed(#condition, __FILE__, __LINE__))
