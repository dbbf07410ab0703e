// EXPECT: do not fit this server class's init
// SPDX-License-Identifier: Apache-2.0
#include <peeper/peeper.hpp>

struct account {
  using state = long;
  static state init(long opening) { return opening; }
};
bool use(peeper::runtime& rt) {
#ifdef PEEPER_EXPECT_OK
  return peeper::start<account>(rt, {}, 100).has_value();
#else
  return peeper::start<account>(rt).has_value();  // it would start with 0
#endif
}
