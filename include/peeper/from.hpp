// SPDX-License-Identifier: Apache-2.0
/// \file
/// `from<R>`: the right to answer one call, once, now or later, from anywhere.
///
///     void handle_call(lookup m, peeper::from<address> caller, state& s) {
///       resolver_.start(m.host, [caller = std::move(caller)](address a) mutable {
///         caller.reply(a);
///       });
///     }
///
/// Dropped unanswered, the caller is told at once (call_errc::not_answered).
/// THREADS: any, one at a time.
/// CRASH: inside a callback the answer leaves at its commit; if the callback crashes, the caller is
/// told so. A from that a worker keeps in a member dies with that worker.
#pragma once

#include <exception>
#include <memory>
#include <type_traits>
#include <utility>

#include <peeper/detail/execution.hpp>
#include <peeper/detail/request.hpp>

namespace peeper {

template <class R>
class from {
 public:
  from() noexcept = default;
  from(from&&) noexcept = default;
  from& operator=(from&& other) noexcept {
    from moved{std::move(other)};
    std::swap(request_, moved.request_);
    return *this;
  }
  from(const from&) = delete;
  from& operator=(const from&) = delete;
  ~from() { drop(request_); }

  /// Answers. RETURNS: false if this from has answered before (or was moved from).
  template <class... Args>
    requires(std::is_void_v<R> ? sizeof...(Args) == 0 : sizeof...(Args) >= 1)
  bool reply(Args&&... args) {
    if (!request_) return false;
    if constexpr (std::is_void_v<R>) {
      answer_at_commit([](detail::typed_request<R>& r) { r.set_value(); });
    } else if constexpr (std::is_nothrow_move_constructible_v<R>) {
      answer_at_commit([value = R(std::forward<Args>(args)...)](
                           detail::typed_request<R>& r) mutable { r.set_value(std::move(value)); });
    } else {
      // Moved once only, at the commit; what it throws there is the caller's error.
      answer_at_commit(
          [value = std::make_unique<R>(std::forward<Args>(args)...)](detail::typed_request<R>& r) {
            try {
              r.set_value(std::move(*value));
            } catch (...) {
              r.set_error(call_error{call_errc::not_answered, "",
                                     exit_reason::from_exception(std::current_exception())});
            }
          });
    }
    return true;
  }
  /// False once answered.
  explicit operator bool() const noexcept { return static_cast<bool>(request_); }

  // --- for the callback loop
  explicit from(detail::request_ptr<detail::typed_request<R>> r) noexcept
      : request_{std::move(r)} {}

 private:
  using pointer = detail::request_ptr<detail::typed_request<R>>;

  static void drop(pointer& r) noexcept {
    if (r && r->from_dropped()) r->fail(call_error{call_errc::not_answered});
    r = pointer{};
  }

  template <class Store>
  void answer_at_commit(Store store) {
    struct deed {
      pointer request;
      Store store;
      deed(pointer r, Store s) : request{std::move(r)}, store{std::move(s)} {}
      deed(deed&&) noexcept = default;
      ~deed() { drop(request); }
      void operator()() noexcept {
        const pointer r = std::move(request);
        if (!r->claim_answer()) return;  // a crash was faster
        store(*r);
        r->finish();
      }
    };
    detail::at_commit(deed{std::move(request_), std::move(store)});
  }

  pointer request_;
};

}  // namespace peeper
