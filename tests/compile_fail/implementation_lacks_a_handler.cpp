// EXPECT: does not implement the protocol: add `reply handle_call\(.*for this message of its calls
// SPDX-License-Identifier: Apache-2.0
#include <peeper/upgrade.hpp>

struct get {
  using reply = int;
};
struct the_missing_one {
  using reply = int;
};
struct protocol {
  using calls = peeper::types<get, the_missing_one>;
};
struct half {
  using state = int;
  int handle_call(get, const state& n) { return n; }
#ifdef PEEPER_EXPECT_OK
  int handle_call(the_missing_one, const state& n) { return n; }
#endif
};
auto use() { return peeper::implementation<protocol>::of<half>(); }
