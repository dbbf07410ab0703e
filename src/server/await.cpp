// SPDX-License-Identifier: Apache-2.0
#include <peeper/detail/await.hpp>

#include <memory>

#include <peeper/detail/system_call.hpp>

#include "core/runtime_core.hpp"

namespace peeper::detail {
namespace {

struct go_on {
  std::uint64_t await_id;
  void operator()(branch& self) const noexcept { self.resume_suspended(await_id); }
};

std::uint64_t new_await_id() noexcept {
  static std::atomic<std::uint64_t> next{1};
  // ORDER: relaxed: only uniqueness matters.
  return next.fetch_add(1, std::memory_order_relaxed);
}

}  // namespace

/// Lives until the request is done or has been left; then it deletes itself.
struct await_step::server_waiter : waiter {
  explicit server_waiter(branch& b, std::uint64_t id)
      : waiter{&tell},
        self{&b},
        notice{new system_notice<go_on>{message_kind::urgent, go_on{id}}} {}
  static void tell(waiter* w) noexcept {
    const std::unique_ptr<server_waiter> me{static_cast<server_waiter*>(w)};
    me->self->end_await();  // as thread_waiter::wake() does
    me->self->push_or_release(me->notice.release());
  }
  process_ptr<branch> self;
  std::unique_ptr<message, message_deleter> notice;  // made beforehand: telling cannot fail
};

bool await_step::suspend(std::coroutine_handle<> h, branch& server, const message* asked,
                         time_point deadline) {
  self_ = current_branch();
  PEEPER_ASSERT(self_ != nullptr);
  // Not waited for: its time is over already.
  if (deadline != time_point::max() && deadline <= self_->runtime().env().now()) {
    server.let_go(asked);
    return false;
  }
  suspended_callback& waiting = self_->suspended();
  waiting.leaf = h;
  waiting.await_id = new_await_id();
  auto w = std::make_unique<server_waiter>(*self_, waiting.await_id);
  if (deadline != time_point::max()) {
    timer_service& timers = self_->runtime().timers();
    timer_ = timers.new_id();
    self_->mark_timers_used();
    timers.start(timer_, *self_, deadline,
                 new system_notice<go_on>{message_kind::urgent, go_on{waiting.await_id}});
  }
  if (!request_->attach(*w)) {
    stop_waiting();
    self_->end_await();
    return false;
  }
  waiter_ = w.release();
  server.let_go(asked);
  return true;
}

bool await_step::resumed() noexcept {
  stop_waiting();
  if (self_ != nullptr) self_->end_await();
  return request_->done();
}

void await_step::stop_waiting() noexcept {
  if (timer_ != 0) {
    self_->runtime().timers().cancel(timer_);
    timer_ = 0;
  }
  if (waiter_ != nullptr) {
    // If the answer has come, or comes just now, the waiter has told or will, and deletes itself.
    if (request_->detach(*waiter_)) delete waiter_;
    waiter_ = nullptr;
  }
}

await_step::~await_step() { stop_waiting(); }

}  // namespace peeper::detail
