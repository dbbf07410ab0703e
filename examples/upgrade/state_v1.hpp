// SPDX-License-Identifier: Apache-2.0
/// The state of version 1. Later versions migrate from it, so it has a file of its own.
#pragma once

#include <cstdint>

#include <peeper/kept.hpp>

namespace tally::v1 {

struct state {
  static constexpr unsigned version = 1;
  peeper::kept_map<std::uint32_t, std::uint64_t> counts;
};

}  // namespace tally::v1
