// EXPECT: no member named .*insert
// SPDX-License-Identifier: Apache-2.0
#include <peeper/peeper.hpp>

struct session {
  int id = 0;
  std::string user;
  int hits = 0;
};
using sessions = peeper::table<session, &session::id>;
#ifdef PEEPER_EXPECT_OK
void use(const sessions::writer& t) { (void)t.insert({1, "ann", 0}); }
#else
void use(const sessions::reader& t) { (void)t.insert({1, "ann", 0}); }
#endif
