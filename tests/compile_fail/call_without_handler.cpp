// EXPECT: the server has no handle_call for this message
// SPDX-License-Identifier: Apache-2.0
#include <peeper/peeper.hpp>

struct ask_me {
  using reply = int;
};
struct deaf {
  using state = int;
#ifdef PEEPER_EXPECT_OK
  static int handle_call(ask_me, const state& n) { return n; }
#endif
};
int use(const peeper::ref<deaf>& r) { return r.call(ask_me{}).value(); }
