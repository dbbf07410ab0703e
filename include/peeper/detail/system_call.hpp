// SPDX-License-Identifier: Apache-2.0
/// \file
/// The library's own messages: a function that runs with the server's claim, answered or not.
#pragma once

#include <exception>
#include <functional>
#include <type_traits>
#include <utility>

#include <peeper/detail/branch.hpp>
#include <peeper/detail/message.hpp>
#include <peeper/detail/request.hpp>

namespace peeper::detail {

template <class F>
decltype(auto) call_with_branch(F& f, branch& self) {
  if constexpr (std::is_invocable_v<F&, branch&>) {
    return f(self);
  } else {
    return f();
  }
}

/// Runs `F` on the server and answers with what it returns; what it throws is `crashed`.
template <class R, class F>
class system_call final : public message, public typed_request<R> {
 public:
  using request_type = typed_request<R>;

  /// Two references: one for who asks, one that travels.
  system_call(message_kind kind, F f)
      : message{kind == message_kind::urgent ? urgent_type : system_type},
        request_type{2},
        f_{std::move(f)} {}

 private:
  static system_call& self_of(message& m) noexcept { return static_cast<system_call&>(m); }
  static std::string_view name() { return "system call"; }
  static void run(process& self, message& m) {
    auto& call = self_of(m);
    auto& server = static_cast<branch&>(self);
    try {
      if constexpr (std::is_void_v<R>) {
        call_with_branch(call.f_, server);
        call.set_value();
      } else {
        call.set_value(call_with_branch(call.f_, server));
      }
    } catch (...) {
      call.set_error(call_error{call_errc::crashed, server.display_name(),
                                exit_reason::from_exception(std::current_exception())});
    }
    call.finish();
  }
  static void release_one(message* m) noexcept { self_of(*m).request::release(); }
  static void fail_it(message& m, call_error error) noexcept {
    self_of(m).request::fail(std::move(error));
  }
  void destroy() noexcept override { delete this; }

  static constexpr message_type system_type{message_kind::system, true,    &name, &run,
                                            &release_one,         &fail_it};
  static constexpr message_type urgent_type{message_kind::urgent, true,    &name, &run,
                                            &release_one,         &fail_it};
  F f_;
};

/// As system_call, but nobody waits.
template <class F>
class system_notice final : public message {
 public:
  system_notice(message_kind kind, F f)
      : message{kind == message_kind::urgent ? urgent_type : system_type}, f_{std::move(f)} {}

 private:
  static std::string_view name() { return "system notice"; }
  static void run(process& self, message& m) {
    static_cast<system_notice&>(m).f_(static_cast<branch&>(self));
  }
  static void release_it(message* m) noexcept { delete static_cast<system_notice*>(m); }
  static constexpr message_type system_type{message_kind::system, true,   &name, &run,
                                            &release_it,          nullptr};
  static constexpr message_type urgent_type{message_kind::urgent, true,   &name, &run,
                                            &release_it,          nullptr};
  F f_;
};

/// Waits for `r` on this thread. RETURNS: false if the deadline passed first.
[[nodiscard]] bool wait_for_request(runtime_core& rt, request& r, time_point deadline) noexcept;

}  // namespace peeper::detail
