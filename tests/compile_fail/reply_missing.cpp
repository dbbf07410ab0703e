// EXPECT: handle_call returns void, but the message has a reply type
// SPDX-License-Identifier: Apache-2.0
#include <peeper/peeper.hpp>

struct get {
  using reply = int;
};
struct counter {
  using state = int;
#ifdef PEEPER_EXPECT_OK
  static int handle_call(get, const state& n) { return n; }
#else
  static void handle_call(get, const state&) {}
#endif
};
int use(const peeper::ref<counter>& r) { return r.call(get{}).value(); }
