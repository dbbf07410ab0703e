// EXPECT: the_missing_one
// SPDX-License-Identifier: Apache-2.0
#include <peeper/upgrade.hpp>

struct inc {};
struct the_missing_one {};
struct protocol {
  using casts = peeper::types<inc, the_missing_one>;
};
struct half {
  using state = int;
  void handle_cast(inc, state& n) { ++n; }
#ifdef PEEPER_EXPECT_OK
  void handle_cast(the_missing_one, state& n) { ++n; }
#endif
};
auto use() { return peeper::implementation<protocol>::of<half>(); }
