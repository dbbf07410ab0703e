// SPDX-License-Identifier: Apache-2.0
/// \file
/// Named points at which the simulation may make the running worker crash or be killed. Costs a
/// load of a flag that is never written outside tests.
#pragma once

#include <atomic>
#include <string_view>

namespace peeper::detail {

/// Called with the point's name and whether an exception may be thrown from there.
using fault_hook = void (*)(std::string_view point, bool may_throw);
inline std::atomic<fault_hook> the_fault_hook{nullptr};

inline void fault_point(std::string_view point, bool may_throw) {
  // ORDER: acquire pairs with the simulation's release when it installs the hook.
  if (const fault_hook hook = the_fault_hook.load(std::memory_order_acquire)) [[unlikely]] {
    hook(point, may_throw);
  }
}

}  // namespace peeper::detail
