// EXPECT: the key of a table is a member of its row
// SPDX-License-Identifier: Apache-2.0
#include <peeper/peeper.hpp>

struct session {
  int id = 0;
};
struct other {
  int id = 0;
};
#ifdef PEEPER_EXPECT_OK
using sessions = peeper::table<session, &session::id>;
#else
using sessions = peeper::table<session, &other::id>;
#endif
inline constexpr std::size_t bytes = sizeof(sessions);
