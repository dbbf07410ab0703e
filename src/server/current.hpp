// SPDX-License-Identifier: Apache-2.0
/// \file
/// The running callback, as the library's own sources reach it. Headers use current_execution(),
/// a function: they are inlined into users' coroutines, which go on on other threads, where an
/// address of a thread's variable that the compiler has kept would be wrong.
#pragma once

#include <peeper/detail/execution.hpp>

namespace peeper::detail {

/// Null on a foreign thread.
inline constinit thread_local execution* running_here = nullptr;

/// Makes `e` current for a scope.
class execution_scope {
 public:
  explicit execution_scope(execution& e) noexcept : outer_{running_here} {
    e.outer = outer_;
    e.depth = outer_ == nullptr ? 0 : outer_->depth + 1;
    running_here = &e;
  }
  execution_scope(const execution_scope&) = delete;
  execution_scope& operator=(const execution_scope&) = delete;
  ~execution_scope() { running_here = outer_; }

 private:
  execution* outer_;
};

}  // namespace peeper::detail
