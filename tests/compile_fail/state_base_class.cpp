// EXPECT: fields of an aggregate with a base class cannot be found. Make
// SPDX-License-Identifier: Apache-2.0

#include <peeper/peeper.hpp>

struct entity {
  int id = 0;
};
struct holder {
#ifdef PEEPER_EXPECT_OK
  struct state {
    entity who;
#else
  struct state : entity {
#endif
    int rounds = 0;
  };
};
bool use(peeper::runtime& rt) { return peeper::start<holder>(rt).has_value(); }
