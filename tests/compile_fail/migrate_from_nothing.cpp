// EXPECT: migrate\(\) is never called without the type that it starts from
// SPDX-License-Identifier: Apache-2.0
#include <peeper/peeper.hpp>

struct first {
  int n = 0;
};
struct second {
  static constexpr unsigned version = 1;
#ifdef PEEPER_EXPECT_OK
  using previous = first;
#endif
  static second migrate(first&& old) { return {old.n}; }
  int n = 0;
};
auto use(std::span<const std::byte> bytes) { return peeper::decode<second>(bytes); }
