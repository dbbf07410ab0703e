// EXPECT: the version of a type must be higher than that of its `previous`
// SPDX-License-Identifier: Apache-2.0
#include <peeper/peeper.hpp>

struct first {
  static constexpr unsigned version = 2;
  int n = 0;
};
struct second {
#ifdef PEEPER_EXPECT_OK
  static constexpr unsigned version = 3;
#else
  static constexpr unsigned version = 2;
#endif
  using previous = first;
  static second migrate(first&& old) { return {old.n}; }
  int n = 0;
};
auto use(std::span<const std::byte> bytes) { return peeper::decode<second>(bytes); }
