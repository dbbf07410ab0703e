// EXPECT: the arguments of a supervised server must be copyable
// SPDX-License-Identifier: Apache-2.0
#include <memory>

#include <peeper/peeper.hpp>

struct counter {
  using state = int;
  state init(const std::unique_ptr<int>& n) { return *n; }
  state init(const std::shared_ptr<int>& n) { return *n; }
};

#ifdef PEEPER_EXPECT_OK
const peeper::child made = peeper::child_spec<counter>({.id = "a"}, {}, std::make_shared<int>(1));
#else
const peeper::child made = peeper::child_spec<counter>({.id = "a"}, {}, std::make_unique<int>(1));
#endif
