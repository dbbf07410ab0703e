// EXPECT: the server has no handle_info for this message
// SPDX-License-Identifier: Apache-2.0
#include <peeper/peeper.hpp>

struct tick {};
struct deaf {
  using state = int;
#ifdef PEEPER_EXPECT_OK
  static void handle_info(tick, state& n) { ++n; }
#endif
};
void use(const peeper::ref<deaf>& r) { r.send(tick{}); }
