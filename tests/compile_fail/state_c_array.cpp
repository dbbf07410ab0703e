// EXPECT: fields of an aggregate with a C array cannot be found. Use
// SPDX-License-Identifier: Apache-2.0
#include <array>

#include <peeper/peeper.hpp>

struct holder {
  struct state {
    int rounds = 0;
#ifdef PEEPER_EXPECT_OK
    std::array<int, 4> cells{};
#else
    int cells[4] = {};
#endif
  };
};
bool use(peeper::runtime& rt) { return peeper::start<holder>(rt).has_value(); }
