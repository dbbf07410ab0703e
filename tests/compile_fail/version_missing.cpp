// EXPECT: a type with a `previous` needs a version of its own
// SPDX-License-Identifier: Apache-2.0
#include <peeper/peeper.hpp>

struct first {
  int n = 0;
};
struct second {
#ifdef PEEPER_EXPECT_OK
  static constexpr unsigned version = 1;
#endif
  using previous = first;
  static second migrate(first&& old) { return {old.n}; }
  int n = 0;
};
auto use(std::span<const std::byte> bytes) { return peeper::decode<second>(bytes); }
