// EXPECT: cannot be kept
// SPDX-License-Identifier: Apache-2.0
#include <memory>

#include <peeper/peeper.hpp>

struct holder {
  struct state {
#ifdef PEEPER_EXPECT_OK
    int value = 0;
#else
    std::unique_ptr<int> value;
#endif
  };
};
bool use(peeper::runtime& rt) { return peeper::start<holder>(rt).has_value(); }
