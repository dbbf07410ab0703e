// EXPECT: a move-only member of a state cannot be kept
// SPDX-License-Identifier: Apache-2.0
#include <memory>
#include <vector>

#include <peeper/peeper.hpp>

struct holder {
  struct state {
    int rounds = 0;
#ifdef PEEPER_EXPECT_OK
    std::vector<int> values;
#else
    std::vector<std::unique_ptr<int>> values;
#endif
  };
};
bool use(peeper::runtime& rt) { return peeper::start<holder>(rt).has_value(); }
