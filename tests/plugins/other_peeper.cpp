// SPDX-License-Identifier: Apache-2.0
/// As a plugin that was built with another version of peeper shows itself.
#include "protocol.hpp"

extern "C" const peeper::detail::plugin* peeper_plugin() noexcept {
  static constexpr peeper::detail::plugin this_one{
      {.layout = 1,
       .protocol = peeper::detail::plugin_key_of<plugin_test::protocol>().protocol,
       .name = nullptr},
      nullptr};
  return &this_one;
}
