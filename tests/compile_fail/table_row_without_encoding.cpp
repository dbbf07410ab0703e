// EXPECT: a row that goes to a file needs an encoding
// SPDX-License-Identifier: Apache-2.0
#include <memory>

#include <peeper/peeper.hpp>

struct session {
  int id = 0;
#ifndef PEEPER_EXPECT_OK
  std::shared_ptr<const int> shared;
#endif
};
using sessions = peeper::table<session, &session::id>;
void use(const sessions::reader& t) { (void)t.to_file("sessions"); }
