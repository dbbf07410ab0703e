// EXPECT: bit-field
// SPDX-License-Identifier: Apache-2.0

#include <peeper/peeper.hpp>

struct holder {
  struct state {
#ifdef PEEPER_EXPECT_OK
    int low = 0;
#else
    int low : 3 = 0;
#endif
    int high = 0;
  };
};
bool use(peeper::runtime& rt) { return peeper::start<holder>(rt).has_value(); }
