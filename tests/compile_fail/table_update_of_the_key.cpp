// EXPECT: the key of a row cannot be updated: erase the row and insert another
// SPDX-License-Identifier: Apache-2.0
#include <peeper/peeper.hpp>

struct session {
  int id = 0;
  std::string user;
  int hits = 0;
};
using sessions = peeper::table<session, &session::id>;

void use(const sessions::owner& t) {
#ifdef PEEPER_EXPECT_OK
  (void)t.update_counter<&session::hits>(1, 1);
#else
  (void)t.update_counter<&session::id>(1, 1);
#endif
}
