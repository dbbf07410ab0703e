// EXPECT: a handle_call that takes a from<R> answers through it
// SPDX-License-Identifier: Apache-2.0
#include <peeper/peeper.hpp>

struct get {
  using reply = int;
};
struct counter {
  using state = int;
#ifdef PEEPER_EXPECT_OK
  static void handle_call(get, peeper::from<int> caller, const state& n) { caller.reply(n); }
#else
  static int handle_call(get, peeper::from<int>, const state& n) { return n; }
#endif
};
int use(const peeper::ref<counter>& r) { return r.call(get{}).value(); }
