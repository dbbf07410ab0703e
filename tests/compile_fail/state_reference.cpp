// EXPECT: a const or reference member
// SPDX-License-Identifier: Apache-2.0

#include <peeper/peeper.hpp>

struct holder {
  struct state {
#ifdef PEEPER_EXPECT_OK
    int value;
#else
    int& value;
#endif
  };
  static state init() {
    static int one = 1;
    return {one};
  }
};
bool use(peeper::runtime& rt) { return peeper::start<holder>(rt).has_value(); }
