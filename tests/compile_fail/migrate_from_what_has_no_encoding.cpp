// EXPECT: the `previous` of a type must be one that can be decoded
// SPDX-License-Identifier: Apache-2.0
#include <peeper/peeper.hpp>

struct first {
#ifdef PEEPER_EXPECT_OK
  int n = 0;
#else
  const int* n = nullptr;
#endif
};
struct second {
  static constexpr unsigned version = 1;
  using previous = first;
  static second migrate(first&& /*old*/) { return {1}; }
  int n = 0;
};
auto use(std::span<const std::byte> bytes) { return peeper::decode<second>(bytes); }
