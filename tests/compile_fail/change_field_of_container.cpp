// SPDX-License-Identifier: Apache-2.0
// EXPECT: this field is not plain: use of<&state::field>\(\) for a kept container
#include <peeper/peeper.hpp>

struct room {
  int lines = 0;
  peeper::kept_vector<int> numbers;
};

bool look(const peeper::change<room>& c) {
#if defined(PEEPER_EXPECT_OK)
  return c.field<&room::lines>() != nullptr;
#else
  return c.field<&room::numbers>() != nullptr;
#endif
}
