// EXPECT: its replies must be able to come from another OS process
// SPDX-License-Identifier: Apache-2.0
#include <memory>

#include <peeper/peeper.hpp>

struct get {
#ifdef PEEPER_EXPECT_OK
  using reply = int;
#else
  using reply = std::shared_ptr<int>;
#endif
};
struct holder {
  static constexpr bool isolatable = true;
  using state = int;
  static get::reply handle_call(get /*m*/, const state& /*n*/) { return {}; }
};
bool use(const peeper::ref<holder>& r) { return r.call(get{}).has_value(); }
