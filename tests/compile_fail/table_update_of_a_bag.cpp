// EXPECT: updates are for tables with one row a key: take and insert
// SPDX-License-Identifier: Apache-2.0
#include <peeper/peeper.hpp>

struct session {
  int id = 0;
  std::string user;
  int hits = 0;
};
using sessions = peeper::table<session, &session::id>;

#ifdef PEEPER_EXPECT_OK
using kind = peeper::ordered_set;
#else
using kind = peeper::bag;
#endif
void use(const peeper::table<session, &session::id, kind>::owner& t) {
  (void)t.update_element<&session::user>(1, "eve");
}
