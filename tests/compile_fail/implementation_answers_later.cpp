// EXPECT: list that message in the protocol's deferred_calls instead of its calls
// SPDX-License-Identifier: Apache-2.0
#include <peeper/upgrade.hpp>

struct get {
  using reply = int;
};
struct protocol {
#ifdef PEEPER_EXPECT_OK
  using deferred_calls = peeper::types<get>;
#else
  using calls = peeper::types<get>;
#endif
};
struct counter {
  using state = int;
  void handle_call(get, peeper::from<int> caller, const state& n) { caller.reply(n); }
};
auto use() { return peeper::implementation<protocol>::of<counter>(); }
