// EXPECT: terminate must take
// SPDX-License-Identifier: Apache-2.0
#include <peeper/peeper.hpp>

struct counter {
  using state = int;
#ifdef PEEPER_EXPECT_OK
  static void terminate(const peeper::exit_reason&, const state&) {}
#else
  static void terminate(int) {}
#endif
};
bool use(peeper::runtime& rt) { return peeper::start<counter>(rt).has_value(); }
