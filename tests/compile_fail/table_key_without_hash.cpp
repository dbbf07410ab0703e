// EXPECT: the key of this table needs a std::hash or boost::hash
// SPDX-License-Identifier: Apache-2.0
#include <peeper/peeper.hpp>

struct place {
  int x = 0;
  int y = 0;
  friend bool operator==(const place&, const place&) = default;
#ifdef PEEPER_EXPECT_OK
  friend std::size_t hash_value(const place& p) {
    return static_cast<std::size_t>(p.x) * 31 + static_cast<std::size_t>(p.y);
  }
#endif
};
struct unit {
  place at;
  int strength = 0;
};
using units = peeper::table<unit, &unit::at>;
void use(const units::reader& t) { (void)t.size(); }
