// EXPECT: this server class has no state
// SPDX-License-Identifier: Apache-2.0
#include <peeper/peeper.hpp>

struct stateless {
#ifdef PEEPER_EXPECT_OK
  struct state {};
#endif
};
bool use(peeper::runtime& rt) { return peeper::start<stateless>(rt).has_value(); }
