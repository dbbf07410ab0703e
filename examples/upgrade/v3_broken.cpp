// SPDX-License-Identifier: Apache-2.0
/// A version that should never have been shipped: its migrate throws.
#include <stdexcept>

#include "protocol.hpp"
#include "state_v2.hpp"

namespace tally::v3 {

struct state {
  static constexpr unsigned version = 3;
  using previous = v2::state;
  static state migrate(v2::state&& /*old*/) { throw std::runtime_error{"not written yet"}; }
  std::uint64_t all = 0;
};

struct server {
  using state = v3::state;
  static std::uint64_t handle_call(const add& /*m*/, state& s) { return ++s.all; }
  static summary handle_call(report /*r*/, const state& /*s*/) { return {}; }
};

}  // namespace tally::v3

PEEPER_PLUGIN(tally::protocol, tally::v3::server);
