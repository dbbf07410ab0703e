// EXPECT: update_counter needs a member that is a number
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
  (void)t.update_counter<&session::user>(1, "x");
#endif
}
