// SPDX-License-Identifier: Apache-2.0
/// The state of version 2, and how it comes from version 1.
#pragma once

#include <cstdint>
#include <utility>

#include "state_v1.hpp"

namespace tally::v2 {

struct state {
  static constexpr unsigned version = 2;
  using previous = v1::state;
  static state migrate(v1::state&& old) { return {std::move(old.counts), 0}; }

  peeper::kept_map<std::uint32_t, std::uint64_t> counts;
  std::uint64_t since_upgrade = 0;
};

}  // namespace tally::v2
