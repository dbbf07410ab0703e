// SPDX-License-Identifier: Apache-2.0
/// \file
/// A thread that sleeps until a request is done.
#pragma once

#include <peeper/detail/branch.hpp>
#include <peeper/detail/request.hpp>
#include <peeper/environment.hpp>

namespace peeper::detail {

class runtime_core;

struct thread_waiter : waiter {
  /// `asker_branch`: the server whose callback waits, if it is one.
  thread_waiter(environment& e, branch* asker_branch) noexcept
      : waiter{&wake}, env{&e}, asker{asker_branch} {}
  static void wake(waiter* w) noexcept {
    auto& self = *static_cast<thread_waiter*>(w);
    // Its wait is over before the answering server does anything else: it is part of no circle.
    if (self.asker != nullptr) self.asker->end_await();
    self.env->unpark(self.sleeper);
  }
  environment* env;
  branch* asker;
  parker sleeper;
};

/// REQUIRES: `w` has been attached to `r`. RETURNS: false if the deadline passed first.
[[nodiscard]] bool wait_attached(runtime_core& rt, request& r, thread_waiter& w,
                                 time_point deadline) noexcept;

}  // namespace peeper::detail
