// EXPECT: this message is not a call
// SPDX-License-Identifier: Apache-2.0
#include <peeper/peeper.hpp>

struct get {
#ifdef PEEPER_EXPECT_OK
  using reply = int;
#endif
};
struct counter {
  using state = int;
  static int handle_call(get, const state& n) { return n; }
};
void use(const peeper::ref<counter>& r) { std::ignore = r.call(get{}); }
