// SPDX-License-Identifier: Apache-2.0
#include <peeper/request_set.hpp>

#include <peeper/detail/system_call.hpp>

#include "core/runtime_core.hpp"

namespace peeper::detail {

/// Outlives the set if an answer is on its way when the set gives up.
struct any_done::shared {
  environment* env;
  process_ptr<branch> asker;  ///< the server whose callback waits, if it is one
  parker sleeper;
};

struct any_done::one : waiter {
  explicit one(std::shared_ptr<shared> s) noexcept : waiter{&tell}, set{std::move(s)} {}
  static void tell(waiter* w) noexcept {
    const std::unique_ptr<one> me{static_cast<one*>(w)};
    if (me->set->asker) me->set->asker->end_await();  // as thread_waiter::wake() does
    me->set->env->unpark(me->set->sleeper);
  }
  std::shared_ptr<shared> set;
};

bool any_done::add(request& r) {
  if (!shared_)
    shared_ = std::make_shared<shared>(&runtime_->env(), process_ptr<branch>{current_branch()});
  auto w = std::make_unique<one>(shared_);
  if (!r.attach(*w)) return false;
  waiting_.emplace_back(&r, w.release());
  return true;
}

bool any_done::wait(time_point deadline) noexcept {
  return runtime_->sched().block(shared_->sleeper, deadline);
}

any_done::~any_done() {
  // Whoever cannot be detached has told or is just telling, and deletes itself.
  for (auto& [r, w] : waiting_) {
    if (r->detach(*w)) delete w;
  }
}

}  // namespace peeper::detail
