// EXPECT: a handler of an isolatable server class cannot be a coroutine
// SPDX-License-Identifier: Apache-2.0
#include <peeper/peeper.hpp>

struct poke {};
struct holder {
#ifndef PEEPER_EXPECT_OK
  static constexpr bool isolatable = true;
#endif
  using state = int;
  static peeper::task<void> handle_cast(poke /*m*/, state& /*n*/) { co_return; }
};
void use(const peeper::ref<holder>& r) { r.cast(poke{}); }
