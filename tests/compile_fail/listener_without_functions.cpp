// SPDX-License-Identifier: Apache-2.0
// EXPECT: a listener has void on_state_changed\(const peeper::change<State>&\) or void
#include <peeper/peeper.hpp>

struct counter {
  using state = int;
  void handle_cast(int by, state& n) { n += by; }
};
struct audit {
#if defined(PEEPER_EXPECT_OK)
  void on_state_changed(const peeper::change<int>&) {}
#else
  void on_change(const peeper::change<int>&) {}
#endif
};

int main() {
  peeper::runtime rt;
  return peeper::start<counter>(rt, {.listeners = {audit{}}}).has_value() ? 0 : 1;
}
