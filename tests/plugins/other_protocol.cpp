// SPDX-License-Identifier: Apache-2.0
/// Compiled from an older header of the same protocol.
#include <string>

#include <peeper/upgrade.hpp>

namespace plugin_test {

struct get {
  using reply = int;
};
struct put {
  short value = 0;  // an int in the program
};
struct protocol {
  using calls = peeper::types<get>;
  using casts = peeper::types<put>;
};

namespace old {
struct server {
  using state = int;
  static int handle_call(get /*m*/, const state& n) { return n; }
  static void handle_cast(put m, state& n) { n = m.value; }
};
}  // namespace old

}  // namespace plugin_test

PEEPER_PLUGIN(plugin_test::protocol, plugin_test::old::server);
