// EXPECT: a type with a `previous` says how to come from there
// SPDX-License-Identifier: Apache-2.0
#include <peeper/peeper.hpp>

struct first {
  int n = 0;
};
struct second {
  static constexpr unsigned version = 1;
  using previous = first;
#ifdef PEEPER_EXPECT_OK
  static second migrate(first&& old) { return {old.n}; }
#else
  static second migrate(int n) { return {n}; }
#endif
  int n = 0;
};
auto use(std::span<const std::byte> bytes) { return peeper::decode<second>(bytes); }
