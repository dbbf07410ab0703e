// SPDX-License-Identifier: Apache-2.0
#include <stdexcept>

#include "protocol.hpp"
#include "state_v2.hpp"

namespace tally::v2 {

struct server {
  using state = v2::state;
  static std::uint64_t handle_call(const add& m, state& s) {
    std::uint64_t count = 0;
    s.counts.modify_or_insert(m.sender, [&](std::uint64_t& n) { count = ++n; });
    ++s.since_upgrade;
    if (m.poison) throw std::runtime_error{"poison, version 2"};
    return count;
  }
  static summary handle_call(report /*r*/, const state& s) {
    return {{s.counts.begin(), s.counts.end()}, s.since_upgrade};
  }
};

}  // namespace tally::v2

PEEPER_PLUGIN(tally::protocol, tally::v2::server);
