// EXPECT: anonymous union
// SPDX-License-Identifier: Apache-2.0
#include <variant>

#include <peeper/peeper.hpp>

struct holder {
  struct state {
    int rounds = 0;
#ifdef PEEPER_EXPECT_OK
    std::variant<int, float> value;
#else
    union {
      int whole;
      float part;
    };
#endif
  };
};
bool use(peeper::runtime& rt) { return peeper::start<holder>(rt).has_value(); }
