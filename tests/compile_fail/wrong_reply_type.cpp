// EXPECT: handle_call returns something that is not the reply type
// SPDX-License-Identifier: Apache-2.0
#include <string>

#include <peeper/peeper.hpp>

struct get {
  using reply = int;
};
struct counter {
  using state = int;
#ifdef PEEPER_EXPECT_OK
  static int handle_call(get, const state& n) { return n; }
#else
  static std::string handle_call(get, const state& n) { return std::to_string(n); }
#endif
};
int use(const peeper::ref<counter>& r) { return r.call(get{}).value(); }
