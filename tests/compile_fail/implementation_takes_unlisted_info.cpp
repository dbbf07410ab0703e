// EXPECT: has a handle_info for a message of the library that the protocol does not list
// SPDX-License-Identifier: Apache-2.0
#include <peeper/upgrade.hpp>

struct inc {};
struct protocol {
  using casts = peeper::types<inc>;
#ifdef PEEPER_EXPECT_OK
  using infos = peeper::types<peeper::down>;
#endif
};
struct counter {
  using state = int;
  void handle_cast(inc, state& n) { ++n; }
  void handle_info(const peeper::down&, state& n) { n = 0; }
};
auto use() { return peeper::implementation<protocol>::of<counter>(); }
