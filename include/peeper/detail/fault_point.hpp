// SPDX-License-Identifier: Apache-2.0
/// \file
/// Named points at which the simulation may make the running worker crash or be killed. Costs a
/// load of a flag that is never written outside tests.
#pragma once

#include <array>
#include <atomic>
#include <string_view>

namespace peeper::detail {

/// The library's own points. Tests walk them all.
struct library_fault_point {
  std::string_view name;
  bool may_throw;  ///< if not, the worker can only be killed there
};
inline constexpr std::array<library_fault_point, 8> library_fault_points{{
    {"init.done", true},       // init has returned, nothing of it is committed
    {"callback.done", true},   // the same of any other callback
    {"edit.done", true},       // the same of an edit
    {"committed", false},      // its effects have not left yet
    {"published", false},      // its reply has not left yet
    {"rolled_back", false},    // after a crash; its caller has not been told yet
    {"terminate.done", true},  // terminate has returned, what it sent has not left yet
    {"restarting", false},     // the old worker is dead, the next one has not begun
}};

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
