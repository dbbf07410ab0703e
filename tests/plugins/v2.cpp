// SPDX-License-Identifier: Apache-2.0
#include <stdexcept>

#include "protocol.hpp"

namespace plugin_test::v2 {

struct own_exception_2 : std::runtime_error {
  using std::runtime_error::runtime_error;
};
struct state {
  static constexpr unsigned version = 2;
  using previous = state_v1;
  static state migrate(state_v1&& old) { return {old.value * 10}; }
  int value = 0;
};
struct server : handlers<server, state> {
  using own_exception = own_exception_2;
  static constexpr const char* name = "version 2";
};

}  // namespace plugin_test::v2

PEEPER_PLUGIN(plugin_test::protocol, plugin_test::v2::server);
