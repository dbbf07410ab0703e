// EXPECT: its messages must be able to go to another OS process
// SPDX-License-Identifier: Apache-2.0
#include <memory>

#include <peeper/peeper.hpp>

struct shared {
#ifdef PEEPER_EXPECT_OK
  int value = 0;
#else
  std::shared_ptr<int> value;
#endif
};
struct holder {
  static constexpr bool isolatable = true;
  using state = int;
  static void handle_cast(const shared& /*m*/, state& /*n*/) {}
};
void use(const peeper::ref<holder>& r) { r.cast(shared{}); }
