// SPDX-License-Identifier: Apache-2.0
/// What every version of the tally answers; the program knows no more than this.
#pragma once

#include <cstdint>
#include <map>

#include <peeper/upgrade.hpp>

namespace tally {

/// Counts one for `sender`. RETURNS: how many that makes.
struct add {
  using reply = std::uint64_t;
  std::uint32_t sender = 0;
  bool poison = false;  ///< crashes the worker after it has counted
};

struct summary {
  std::map<std::uint32_t, std::uint64_t> counts;
  std::uint64_t since_upgrade = 0;  ///< version 2 counts these as well
};
struct report {
  using reply = summary;
};

struct protocol {
  using calls = peeper::types<add, report>;
};
using server = peeper::upgradable<protocol>;

}  // namespace tally
