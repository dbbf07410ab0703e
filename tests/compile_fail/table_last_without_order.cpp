// EXPECT: last and prev need an ordered_set: the other kinds have no order
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
using kind = peeper::set;
#endif
void use(const peeper::table<session, &session::id, kind>::reader& t) { (void)t.last(); }
