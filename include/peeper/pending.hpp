// SPDX-License-Identifier: Apache-2.0
/// \file
/// `pending<R>`: the answer to come of an `ask`. Wait for it here, in a set, in a coroutine
/// handler, or be called back.
///
///     auto a = left.ask(get{});
///     auto b = right.ask(get{});
///     int sum = a.get().value() + b.get().value();
///
/// Inside a callback the request leaves at the commit, or when it is waited for.
/// THREADS: one at a time.  CRASH: of the asked server: the answer is `crashed`.
#pragma once

#include <concepts>
#include <coroutine>
#include <functional>
#include <optional>
#include <string_view>
#include <utility>

#include <peeper/detail/await.hpp>
#include <peeper/detail/branch.hpp>
#include <peeper/detail/request.hpp>
#include <peeper/runtime.hpp>

namespace peeper {

namespace detail {
/// Logs the exception being handled: it left a function that has nobody to tell.
void report_lost_exception(std::string_view where) noexcept;
}  // namespace detail

template <class R>
class [[nodiscard]] pending {
 public:
  using result_type = std::expected<R, call_error>;

  pending() noexcept = default;
  pending(pending&&) noexcept = default;
  pending& operator=(pending&&) noexcept = default;

  /// Waits until the deadline given to `ask` (default 5 s). Gives the request up then: a late
  /// answer is dropped. REQUIRES: not taken before.
  [[nodiscard]] result_type get() {
    if (done()) return take_done();
    const auto outcome = server_->wait(*request_, asked_, deadline_);
    return take(outcome);
  }
  /// Waits for at most `limit` and may be called again (OTP's wait_response).
  /// RETURNS: nothing yet, or the answer.
  [[nodiscard]] std::optional<result_type> wait_for(duration limit) {
    if (done()) return take_done();
    const auto outcome =
        server_->wait(*request_, asked_, deadline_after(detail::env_of(*server_).now(), limit));
    if (outcome == detail::branch::wait_outcome::timed_out) return std::nullopt;
    return take(outcome);
  }
  /// True if get() would not wait. Never true again once the answer has been taken.
  [[nodiscard]] bool done() const noexcept { return request_ && request_->done(); }
  /// Calls fn(result) once, on the thread that completes the request, or now if it is done. Keep it
  /// short and do not block: hand over to your own executor. It is part of no callback: what it
  /// sends leaves at once. There is no time-out. What it throws is logged.
  template <std::invocable<result_type> F>
  void then(F fn) && {
    struct call_back final : detail::waiter {
      call_back(detail::request_ptr<detail::typed_request<R>> r, F f)
          : waiter{&run}, request{std::move(r)}, function{std::move(f)} {}
      static void run(detail::waiter* w) noexcept {
        const detail::outside_callbacks not_of_whoever_runs_here;
        const std::unique_ptr<call_back> self{static_cast<call_back*>(w)};
        try {
          self->function(std::move(self->request->result()));
        } catch (...) {
          detail::report_lost_exception("pending::then");
        }
      }
      detail::request_ptr<detail::typed_request<R>> request;
      F function;
    };
    auto step = std::make_unique<call_back>(std::move(request_), std::move(fn));
    if (step->request->attach(*step)) {
      std::ignore = step.release();
    } else {
      call_back::run(step.release());
    }
  }

  /// co_await in a coroutine handler: std::expected<R, call_error>.
  auto operator co_await() && noexcept {
    class awaiter {
     public:
      explicit awaiter(pending p) noexcept : pending_{std::move(p)}, step_{*pending_.request_} {}
      awaiter(const awaiter&) = delete;
      awaiter& operator=(const awaiter&) = delete;
      ~awaiter() = default;
      [[nodiscard]] bool await_ready() noexcept {
        if (pending_.done()) {
          outcome_ = detail::branch::wait_outcome::done;
          return true;
        }
        outcome_ = pending_.server_->prepare_await(*pending_.request_);
        return outcome_ != detail::branch::wait_outcome::timed_out;
      }
      [[nodiscard]] bool await_suspend(std::coroutine_handle<> h) {
        return step_.suspend(h, *pending_.server_, pending_.asked_, pending_.deadline_);
      }
      [[nodiscard]] result_type await_resume() {
        if (outcome_ == detail::branch::wait_outcome::timed_out) {
          if (step_.resumed()) outcome_ = detail::branch::wait_outcome::done;
        }
        return pending_.take(outcome_);
      }

     private:
      pending pending_;
      detail::await_step step_;
      detail::branch::wait_outcome outcome_ = detail::branch::wait_outcome::timed_out;
    };
    return awaiter{std::move(*this)};
  }

  // --- for ref and request_set
  pending(detail::request_ptr<detail::typed_request<R>> r,
          detail::process_ptr<detail::branch> server, const detail::message* asked,
          time_point deadline) noexcept
      : request_{std::move(r)}, server_{std::move(server)}, asked_{asked}, deadline_{deadline} {}
  [[nodiscard]] detail::typed_request<R>& request() const noexcept { return *request_; }
  [[nodiscard]] detail::branch& server() const noexcept { return *server_; }
  [[nodiscard]] const detail::message* asked() const noexcept { return asked_; }
  [[nodiscard]] result_type take_done() { return take(detail::branch::wait_outcome::done); }
  [[nodiscard]] result_type take(detail::branch::wait_outcome outcome) {
    const auto request = std::move(request_);
    switch (outcome) {
      case detail::branch::wait_outcome::done: return std::move(request->result());
      case detail::branch::wait_outcome::cycle:
        if (detail::current_branch() == server_.get()) {
          return std::unexpected{call_error{call_errc::calling_self, server_->display_name()}};
        }
        return std::unexpected{call_error::cycle(server_->cycle_with_current())};
      case detail::branch::wait_outcome::timed_out: break;
    }
    return std::unexpected{call_error{call_errc::timed_out, server_->display_name()}};
  }

 private:
  detail::request_ptr<detail::typed_request<R>> request_;
  detail::process_ptr<detail::branch> server_;
  const detail::message* asked_ = nullptr;
  time_point deadline_ = time_point::max();
};

}  // namespace peeper
