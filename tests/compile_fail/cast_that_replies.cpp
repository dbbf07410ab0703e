// EXPECT: handle_cast, handle_info and handle_continue return void
// SPDX-License-Identifier: Apache-2.0
#include <peeper/peeper.hpp>

struct inc {};
struct counter {
  using state = int;
#ifdef PEEPER_EXPECT_OK
  static void handle_cast(inc, state& n) { ++n; }
#else
  static int handle_cast(inc, state& n) { return ++n; }
#endif
};
void use(const peeper::ref<counter>& r) { r.cast(inc{}); }
