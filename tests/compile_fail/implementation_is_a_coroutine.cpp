// EXPECT: a handler of an upgradable server cannot be a coroutine
// SPDX-License-Identifier: Apache-2.0
#include <peeper/peeper.hpp>

struct inc {};
struct protocol {
  using casts = peeper::types<inc>;
};
struct counter {
  using state = int;
#ifdef PEEPER_EXPECT_OK
  void handle_cast(inc, state& n) { ++n; }
#else
  peeper::task<void> handle_cast(inc, state& n) {
    ++n;
    co_return;
  }
#endif
};
auto use() { return peeper::implementation<protocol>::of<counter>(); }
