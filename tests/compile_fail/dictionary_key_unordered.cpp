// SPDX-License-Identifier: Apache-2.0
// EXPECT: a key of the dictionary must be ordered
#include <compare>

#include <peeper/peeper.hpp>

struct place {
  int x = 0;
  int y = 0;
#if defined(PEEPER_EXPECT_OK)
  friend auto operator<=>(const place&, const place&) = default;
#endif
};

void mark() { peeper::dictionary().put(place{1, 2}, true); }
