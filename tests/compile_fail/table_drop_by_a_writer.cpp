// EXPECT: no member named .*drop
// SPDX-License-Identifier: Apache-2.0
#include <peeper/peeper.hpp>

struct session {
  int id = 0;
  std::string user;
  int hits = 0;
};
using sessions = peeper::table<session, &session::id>;
#ifdef PEEPER_EXPECT_OK
void use(const sessions::owner& t) { t.drop(); }
#else
void use(const sessions::writer& t) { t.drop(); }
#endif
