// EXPECT: the server class has no handle_continue for that message
// SPDX-License-Identifier: Apache-2.0
#include <peeper/peeper.hpp>

struct load {};
struct counter {
  using state = int;
  static auto init() { return peeper::ok(0, peeper::continue_with(load{})); }
#ifdef PEEPER_EXPECT_OK
  static void handle_continue(load, state& n) { ++n; }
#endif
};
bool use(peeper::runtime& rt) { return peeper::start<counter>(rt).has_value(); }
