// EXPECT: the arguments given to start\(\) of an isolatable server class must be encodable
// SPDX-License-Identifier: Apache-2.0
#include <memory>

#include <peeper/peeper.hpp>

#ifdef PEEPER_EXPECT_OK
using argument = int;
#else
using argument = std::shared_ptr<int>;
#endif
struct holder {
  static constexpr bool isolatable = true;
  using state = int;
  explicit holder(const argument& /*a*/) {}
};
bool use(peeper::runtime& rt) { return peeper::start<holder>(rt, {}, argument{}).has_value(); }
