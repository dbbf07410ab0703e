// SPDX-License-Identifier: Apache-2.0
/// \file
/// The machine's clocks, read directly: for the real environment, and where going through its
/// virtual functions would cost more than the reading.
///
/// THREADS: any.
#pragma once

#include <time.h>

#include <peeper/time.hpp>

namespace peeper::detail {

[[nodiscard]] inline time_point read_clock(clockid_t which) noexcept {
  timespec t{};
  clock_gettime(which, &t);
  return time_point{std::chrono::seconds{t.tv_sec} + std::chrono::nanoseconds{t.tv_nsec}};
}
[[nodiscard]] inline time_point real_coarse_now() noexcept {
  return read_clock(CLOCK_MONOTONIC_COARSE);
}

}  // namespace peeper::detail
