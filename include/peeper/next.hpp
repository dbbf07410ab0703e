// SPDX-License-Identifier: Apache-2.0
/// \file
/// What a callback may return, and what is to happen next. The plain cases are plain: a reply type
/// or void. The rest of GenServer's set:
///
///     handle_call      R | reply(v [, next]) | noreply([next]) | stop(reason, v) | stop(reason)
///     handle_cast      void | noreply([next]) | stop(reason)
///     handle_info      as handle_cast
///     handle_continue  as handle_cast
///     init             State | ok(State [, next])
///
/// where `next` is timeout(d), hibernate, or continue_with(message). A handler that returns one
/// shape on one path and another on the other names the common type: `call_result<R>` or
/// `noreply_result<>`.
///
///     peeper::call_result<int> handle_call(take m, state& s) {
///       if (s.left < m.n) return peeper::stop(peeper::exit_reason::stopped("empty"), 0);
///       s.left -= m.n;
///       return peeper::reply(s.left, peeper::timeout(30s));
///     }
#pragma once

#include <concepts>
#include <optional>
#include <type_traits>
#include <utility>
#include <variant>

#include <peeper/exit_reason.hpp>
#include <peeper/time.hpp>

namespace peeper {

/// timeout(d): if no message comes within d, handle_info(timeout_message) runs. Any message that
/// arrives first cancels it; zero means "as soon as the mailbox is empty" (OTP).
struct timeout {
  explicit constexpr timeout(duration d) noexcept : after{d} {}
  duration after;
};

/// hibernate: give back the memory that can be given back until the next message.
struct hibernate_t {
  explicit constexpr hibernate_t(int) noexcept {}
};
inline constexpr hibernate_t hibernate{0};

/// What handle_info gets when a timeout(d) has passed.
struct timeout_message {};

namespace detail {
template <class M>
struct continuation {
  M message;
};
struct no_next {};
}  // namespace detail

/// continue_with(m): handle_continue(m) runs next, before any queued message.
template <class M>
[[nodiscard]] detail::continuation<std::decay_t<M>> continue_with(M&& message) {
  return {std::forward<M>(message)};
}

namespace detail {

template <class T, class Next>
struct reply_shape {
  T value;
  Next next;
};
template <class Next>
struct noreply_shape {
  Next next;
};
template <class T>
struct stop_with_reply_shape {
  exit_reason reason;
  T value;
};
struct stop_shape {
  exit_reason reason;
};
template <class State, class Next>
struct ok_shape {
  using state_type = State;
  State state;
  Next next;
};

}  // namespace detail

/// The reply of a handle_call, given at its commit (P1), and what is next.
template <class T>
[[nodiscard]] detail::reply_shape<std::decay_t<T>, detail::no_next> reply(T&& value) {
  return {std::forward<T>(value), {}};
}
template <class T, class Next>
[[nodiscard]] detail::reply_shape<std::decay_t<T>, Next> reply(T&& value, Next next) {
  return {std::forward<T>(value), std::move(next)};
}
/// No reply from here. In a handle_call without a from<R> its caller is told not_answered.
[[nodiscard]] inline detail::noreply_shape<detail::no_next> noreply() { return {}; }
template <class Next>
[[nodiscard]] detail::noreply_shape<Next> noreply(Next next) {
  return {std::move(next)};
}
/// Ends the server for good (unlike a crash): terminate runs, then it is gone.
[[nodiscard]] inline detail::stop_shape stop(exit_reason reason = exit_reason::normal()) {
  return {std::move(reason)};
}
/// As stop(reason); the caller still gets `value`, even if terminate throws (OTP).
template <class T>
[[nodiscard]] detail::stop_with_reply_shape<std::decay_t<T>> stop(exit_reason reason, T&& value) {
  return {std::move(reason), std::forward<T>(value)};
}
/// What init returns where a bare state is not enough.
template <class State>
[[nodiscard]] detail::ok_shape<std::decay_t<State>, detail::no_next> ok(State&& state) {
  return {std::forward<State>(state), {}};
}
template <class State, class Next>
[[nodiscard]] detail::ok_shape<std::decay_t<State>, Next> ok(State&& state, Next next) {
  return {std::forward<State>(state), std::move(next)};
}

namespace detail {

/// A `next` whose kind is known at run time only.
template <class... Continues>
struct any_next {
  any_next() = default;
  explicit any_next(no_next /*none*/) noexcept {}
  explicit any_next(peeper::timeout t) noexcept : what{t} {}
  explicit any_next(hibernate_t tag) noexcept : what{tag} {}
  explicit any_next(exit_reason r) noexcept : what{std::move(r)} {}
  template <class M>
    requires(std::same_as<M, Continues> || ...)
  explicit any_next(continuation<M> c) : what{std::move(c)} {}

  std::variant<no_next, peeper::timeout, hibernate_t, exit_reason, continuation<Continues>...> what;
};

}  // namespace detail

/// What a handler without a reply returns when it is not the same on all paths. The messages that
/// it may continue with are named: `noreply_result<load>`; without any: `noreply_result<>`.
template <class... Continues>
class noreply_result {
 public:
  using next_type = detail::any_next<Continues...>;
  noreply_result() = default;
  template <class Next>
    requires std::constructible_from<next_type, Next>
  // NOLINTNEXTLINE(google-explicit-constructor): the shapes are the vocabulary.
  noreply_result(detail::noreply_shape<Next> s) : next_{std::move(s.next)} {}
  // NOLINTNEXTLINE(google-explicit-constructor)
  noreply_result(detail::stop_shape s) : next_{std::move(s.reason)} {}
  [[nodiscard]] next_type& next() noexcept { return next_; }

 private:
  next_type next_;
};

/// What a handle_call returns when it is not the same on all paths.
template <class R, class... Continues>
class call_result {
 public:
  using reply_type = R;
  using next_type = detail::any_next<Continues...>;
  // NOLINTNEXTLINE(google-explicit-constructor)
  call_result(R value) : value_{std::move(value)} {}
  template <class T, class Next>
    requires std::constructible_from<R, T> && std::constructible_from<next_type, Next>
  // NOLINTNEXTLINE(google-explicit-constructor)
  call_result(detail::reply_shape<T, Next> s)
      : value_{std::in_place, std::move(s.value)}, next_{std::move(s.next)} {}
  template <class Next>
    requires std::constructible_from<next_type, Next>
  // NOLINTNEXTLINE(google-explicit-constructor)
  call_result(detail::noreply_shape<Next> s) : next_{std::move(s.next)} {}
  // NOLINTNEXTLINE(google-explicit-constructor)
  call_result(detail::stop_shape s) : next_{std::move(s.reason)} {}
  template <class T>
    requires std::constructible_from<R, T>
  // NOLINTNEXTLINE(google-explicit-constructor)
  call_result(detail::stop_with_reply_shape<T> s)
      : value_{std::in_place, std::move(s.value)}, next_{std::move(s.reason)} {}
  [[nodiscard]] std::optional<R>& value() noexcept { return value_; }
  [[nodiscard]] next_type& next() noexcept { return next_; }

 private:
  std::optional<R> value_;
  next_type next_;
};

}  // namespace peeper
