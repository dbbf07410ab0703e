// EXPECT: init must return the state
// SPDX-License-Identifier: Apache-2.0
#include <string>

#include <peeper/peeper.hpp>

struct counter {
  using state = int;
#ifdef PEEPER_EXPECT_OK
  static int init() { return 0; }
#else
  static std::string init() { return "0"; }
#endif
};
bool use(peeper::runtime& rt) { return peeper::start<counter>(rt).has_value(); }
