// SPDX-License-Identifier: Apache-2.0
// EXPECT: on_state_changed must take \(const peeper::change<State>&\), with the
#include <peeper/peeper.hpp>

#if defined(PEEPER_EXPECT_OK)
using heard = int;
#else
using heard = long;
#endif

struct counter {
  using state = int;
  void handle_cast(int by, state& n) { n += by; }
};
struct audit {
  void on_state_changed(const peeper::change<heard>&) {}
  void on_terminate(const peeper::end_event<int>&) {}
};

int main() {
  peeper::runtime rt;
  return peeper::start<counter>(rt, {.listeners = {audit{}}}).has_value() ? 0 : 1;
}
