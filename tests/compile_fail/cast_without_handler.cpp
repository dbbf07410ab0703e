// EXPECT: the server has no handle_cast for this message
// SPDX-License-Identifier: Apache-2.0
#include <peeper/peeper.hpp>

struct poke {};
struct deaf {
  using state = int;
#ifdef PEEPER_EXPECT_OK
  static void handle_cast(poke, state& n) { ++n; }
#endif
};
void use(const peeper::ref<deaf>& r) { r.cast(poke{}); }
