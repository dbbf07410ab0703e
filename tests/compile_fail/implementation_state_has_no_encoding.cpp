// EXPECT: the state of an upgradable server is handed to the next version encoded
// SPDX-License-Identifier: Apache-2.0
#include <memory>

#include <peeper/upgrade.hpp>

struct inc {};
struct protocol {
  using casts = peeper::types<inc>;
};
struct counter {
#ifdef PEEPER_EXPECT_OK
  using state = int;
#else
  struct state {
    std::shared_ptr<const int> n;
  };
#endif
  void handle_cast(inc, state&) {}
};
auto use() { return peeper::implementation<protocol>::of<counter>(); }
