// SPDX-License-Identifier: Apache-2.0
/// \file
/// The time types of the library. All time is read through `environment`, never from a clock.
#pragma once

#include <chrono>

namespace peeper {

using duration = std::chrono::nanoseconds;
/// Monotonic. Under simulation it starts at zero and moves only when the simulation says so.
using time_point = std::chrono::time_point<std::chrono::steady_clock, duration>;

/// "No limit", for every time-out in the library.
inline constexpr duration infinity = duration::max();
/// For the `shutdown` of servers and children: killed at once, without being asked.
inline constexpr duration brutal_kill{-1};
/// OTP's default for a call.
inline constexpr duration default_call_timeout = std::chrono::seconds{5};

/// `start + wait`, saturating: infinity and overflow give time_point::max(), negative waits give
/// `start`.
[[nodiscard]] constexpr time_point deadline_after(time_point start, duration wait) noexcept {
  if (wait <= duration::zero()) return start;
  if (wait >= time_point::max() - start) return time_point::max();
  return start + wait;
}

}  // namespace peeper
