// SPDX-License-Identifier: Apache-2.0
/// \file
/// Does something of the test's own at a fault point: what the simulation's crash_at and kill_at
/// cannot, such as killing the keeper there.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <utility>

#include <peeper/detail/branch.hpp>
#include <peeper/detail/fault_point.hpp>

namespace peeper::test {

/// REQUIRES: a simulation lives (its own hook goes on being called); one at a time.
class at_fault_point {
 public:
  /// `deed` gets the running server, at the `nth` time (1 = next) that `point` is reached.
  at_fault_point(std::string_view point, unsigned nth, std::function<void(detail::branch&)> deed)
      : point_{point}, left_{nth}, deed_{std::move(deed)} {
    the_one = this;
    next_ = detail::the_fault_hook.exchange(&hook);
  }
  at_fault_point(const at_fault_point&) = delete;
  at_fault_point& operator=(const at_fault_point&) = delete;
  ~at_fault_point() {
    detail::the_fault_hook.store(next_);
    the_one = nullptr;
  }
  [[nodiscard]] bool done() const noexcept { return left_ == 0; }

 private:
  static void hook(std::string_view point, bool may_throw) {
    at_fault_point& self = *the_one;
    if (detail::branch* server = detail::current_branch();
        server != nullptr && self.left_ != 0 && point == self.point_ && --self.left_ == 0) {
      self.deed_(*server);
    }
    self.next_(point, may_throw);
  }

  static inline at_fault_point* the_one = nullptr;
  std::string point_;
  unsigned left_;
  std::function<void(detail::branch&)> deed_;
  detail::fault_hook next_ = nullptr;
};

}  // namespace peeper::test
