// SPDX-License-Identifier: Apache-2.0
/// \file
/// How long a restart waits, for branches and supervisors alike.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include <peeper/environment.hpp>
#include <peeper/options.hpp>

namespace peeper::detail {

/// Doubled for each restart in the window, capped, then up to half of it taken off at random, so
/// that those who crashed together do not come back together.
[[nodiscard]] inline duration backoff_pause(const backoff_options& backoff, std::size_t in_window,
                                            environment& env) {
  if (backoff.min <= duration::zero()) return duration::zero();
  duration longest = std::min(backoff.min, backoff.max);
  for (std::size_t n = in_window; n > 1 && longest < backoff.max; --n) {
    longest = longest > backoff.max / 2 ? backoff.max : longest * 2;
  }
  const auto half = static_cast<std::uint64_t>(longest.count()) / 2;
  return duration{longest.count() -
                  static_cast<duration::rep>(half == 0 ? 0 : env.random() % half)};
}

}  // namespace peeper::detail
