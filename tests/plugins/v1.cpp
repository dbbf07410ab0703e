// SPDX-License-Identifier: Apache-2.0
#include <stdexcept>

#include "protocol.hpp"

namespace plugin_test::v1 {

struct own_exception_1 : std::runtime_error {
  using std::runtime_error::runtime_error;
};
using state = state_v1;
struct server : handlers<server, state> {
  using own_exception = own_exception_1;
  static constexpr const char* name = "version 1";
};

}  // namespace plugin_test::v1

PEEPER_PLUGIN(plugin_test::protocol, plugin_test::v1::server);
