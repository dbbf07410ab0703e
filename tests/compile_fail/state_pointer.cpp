// EXPECT: a state cannot hold a pointer
// SPDX-License-Identifier: Apache-2.0
#include <peeper/peeper.hpp>

struct holder {
  struct state {
#ifdef PEEPER_EXPECT_OK
    int value = 0;
#else
    int* value = nullptr;
#endif
  };
};
bool use(peeper::runtime& rt) { return peeper::start<holder>(rt).has_value(); }
