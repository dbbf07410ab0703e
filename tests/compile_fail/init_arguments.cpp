// EXPECT: fit neither init nor the constructor
// SPDX-License-Identifier: Apache-2.0
#include <string>

#include <peeper/peeper.hpp>

struct counter {
  using state = int;
  static int init(int first) { return first; }
};
bool use(peeper::runtime& rt) {
#ifdef PEEPER_EXPECT_OK
  return peeper::start<counter>(rt, {}, 1).has_value();
#else
  return peeper::start<counter>(rt, {}, std::string{"1"}).has_value();
#endif
}
