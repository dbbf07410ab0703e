// EXPECT: isolation = os_process needs a server class that says so
// SPDX-License-Identifier: Apache-2.0
#include <peeper/os_process.hpp>
#include <peeper/peeper.hpp>

struct holder {
#ifdef PEEPER_EXPECT_OK
  static constexpr bool isolatable = true;
#endif
  using state = int;
};
bool use(peeper::runtime& rt) {
  return peeper::start<holder>(rt, {.isolation = peeper::os_process}).has_value();
}
