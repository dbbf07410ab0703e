// EXPECT: explain_member<.*line.*C array cannot be found|C array cannot be found.*line
// SPDX-License-Identifier: Apache-2.0
#include <vector>

#include <peeper/peeper.hpp>

struct line {
#ifdef PEEPER_EXPECT_OK
  static constexpr bool peeper_opaque = true;
#endif
  char text[16] = {};
};
struct holder {
  struct state {
    int rounds = 0;
    line first;
    std::vector<line> rest;
  };
};
bool use(peeper::runtime& rt) { return peeper::start<holder>(rt).has_value(); }
