// SPDX-License-Identifier: Apache-2.0
/// \file
/// What handlers a server class has, in which form, and what their returns mean: the translation
/// from types to the untyped callback loop, and the compile errors for what does not fit.
#pragma once

#include <concepts>
#include <type_traits>
#include <utility>
#include <variant>

#include <peeper/detail/execution.hpp>
#include <peeper/from.hpp>
#include <peeper/next.hpp>
#include <peeper/task.hpp>

namespace peeper::detail {

// --- the server class ----------------------------------------------------------------------------

template <class S>
concept has_state = requires { typename S::state; };

template <class S>
struct state_of_impl {
  static_assert(
      has_state<S>,
      "this server class has no state: declare `using state = ...;` in it (a plain struct, "
      "a number, a string; `struct state {};` if there is nothing to keep)");
  using type = int;
};
template <has_state S>
struct state_of_impl<S> {
  using type = typename S::state;
};
template <class S>
using state_of = typename state_of_impl<S>::type;

// --- the message classes -------------------------------------------------------------------------

template <class M>
concept call_message_type = requires { typename M::reply; };

template <class M>
struct reply_of_impl {
  static_assert(call_message_type<M>,
                "this message is not a call: give it `using reply = ...;`, or cast it");
  using type = void;
};
template <call_message_type M>
struct reply_of_impl<M> {
  using type = typename M::reply;
};
template <class M>
using reply_of = typename reply_of_impl<M>::type;

// --- in which form is there a handler? -----------------------------------------------------------

// One macro for the four names, since a name cannot be a template parameter.
// `Arg` is const M& where the handler takes that (then the message is intact after a crash), else
// M&&. A handler that takes const State& cannot change the state and costs no commit.
#define PEEPER_HANDLER_FORMS(name)                                               \
  struct name##_probe {                                                          \
    template <class S, class... Args>                                            \
    static constexpr bool takes =                                                \
        requires(S& s, Args&&... args) { s.name(std::forward<Args>(args)...); }; \
    template <class S, class... Args>                                            \
    static decltype(auto) invoke(S& s, Args&&... args) {                         \
      return s.name(std::forward<Args>(args)...);                                \
    }                                                                            \
  }
PEEPER_HANDLER_FORMS(handle_call);
PEEPER_HANDLER_FORMS(handle_cast);
PEEPER_HANDLER_FORMS(handle_info);
PEEPER_HANDLER_FORMS(handle_continue);
#undef PEEPER_HANDLER_FORMS

enum class state_access : unsigned char { none, read, write };

/// How `Probe`'s handler of S takes (Arg, Extra..., State): the first form that fits.
template <class Probe, class S, class Arg, class... Extra>
struct handler_form_with {
  using state = state_of<S>;
  static constexpr bool reads = Probe::template takes<S, Arg, Extra..., const state&>;
  static constexpr bool writes = Probe::template takes<S, Arg, Extra..., state&>;
  static constexpr bool ignores = Probe::template takes<S, Arg, Extra...>;
  static constexpr bool exists = reads || writes || ignores;
  static constexpr state_access access =
      reads ? state_access::read : (writes ? state_access::write : state_access::none);

  static decltype(auto) invoke(S& s, Arg arg, Extra... extra, state& kept) {
    if constexpr (reads) {
      return Probe::invoke(s, std::forward<Arg>(arg), std::move(extra)..., std::as_const(kept));
    } else if constexpr (writes) {
      return Probe::invoke(s, std::forward<Arg>(arg), std::move(extra)..., kept);
    } else {
      return Probe::invoke(s, std::forward<Arg>(arg), std::move(extra)...);
    }
  }
};

template <class Probe, class S, class M, class... Extra>
struct handler_form {
  using by_const = handler_form_with<Probe, S, const M&, Extra...>;
  using by_move = handler_form_with<Probe, S, M&&, Extra...>;
  static constexpr bool exists = by_const::exists || by_move::exists;
  static constexpr bool intact = by_const::exists;
  using form = std::conditional_t<intact, by_const, by_move>;
};

/// handle_call comes with and without from<R>.
template <class S, class M>
struct call_handler {
  using reply_type = reply_of<M>;
  using plain = handler_form<handle_call_probe, S, M>;
  using with_from = handler_form<handle_call_probe, S, M, from<reply_type>>;
  static constexpr bool answers_later = with_from::exists;
  static constexpr bool exists = plain::exists || with_from::exists;
};

template <class S, class M>
inline constexpr bool handles_call = call_handler<S, M>::exists;
template <class S, class M>
inline constexpr bool handles_cast = handler_form<handle_cast_probe, S, M>::exists;
template <class S, class M>
inline constexpr bool handles_info = handler_form<handle_info_probe, S, M>::exists;
template <class S, class M>
inline constexpr bool handles_continue = handler_form<handle_continue_probe, S, M>::exists;

// --- what a return means -------------------------------------------------------------------------

template <class T>
inline constexpr bool is_noreply = false;
template <class N>
inline constexpr bool is_noreply<noreply_shape<N>> = true;
template <class... C>
inline constexpr bool is_noreply<noreply_result<C...>> = true;
template <>
inline constexpr bool is_noreply<stop_shape> = true;
template <>
inline constexpr bool is_noreply<void> = true;

template <class T, class R>
inline constexpr bool is_reply = std::constructible_from<R, T>;
template <class T, class N, class R>
inline constexpr bool is_reply<reply_shape<T, N>, R> = std::constructible_from<R, T>;
template <class T, class R>
inline constexpr bool is_reply<stop_with_reply_shape<T>, R> = std::constructible_from<R, T>;
template <class T, class... C, class R>
inline constexpr bool is_reply<call_result<T, C...>, R> = std::constructible_from<R, T>;
template <class R>
inline constexpr bool is_reply<void, R> = std::is_void_v<R>;

template <class T>
inline constexpr bool is_ok_shape = false;
template <class T, class N>
inline constexpr bool is_ok_shape<ok_shape<T, N>> = true;

template <class T>
struct without_task {
  using type = T;
};
template <class T>
struct without_task<task<T>> {
  using type = T;
};

/// Fills in `next_step` from each kind of `next`. S makes the continuation a message of its own.
template <class S>
struct next_reader {
  static void read(next_step& /*to*/, no_next /*none*/) noexcept {}
  static void read(next_step& to, timeout t) noexcept {
    to.what = next_step::kind::timeout;
    to.timeout = t.after;
  }
  static void read(next_step& to, hibernate_t /*tag*/) noexcept {
    to.what = next_step::kind::hibernate;
  }
  static void read(next_step& to, exit_reason reason) noexcept {
    to.what = next_step::kind::stop;
    to.reason = std::move(reason);
  }
  template <class M>
  static void read(next_step& to, continuation<M> c);  // in server.hpp
  template <class... C>
  static void read(next_step& to, any_next<C...>& n) {
    std::visit([&to](auto& what) { read(to, std::move(what)); }, n.what);
  }
};

/// Stores a handle_call's return: the reply goes to `request`, the rest to `next`.
template <class S, class R, class Request>
struct reply_reader {
  Request& request;
  next_step& next;

  template <class T>
  void read(T&& value) {
    request.set_value(std::forward<T>(value));
    next.reply_ready = true;
  }
  template <class T, class N>
  void read(reply_shape<T, N>&& shape) {
    read(std::move(shape.value));
    next_reader<S>::read(next, std::move(shape.next));
  }
  template <class N>
  void read(noreply_shape<N>&& shape) {
    next_reader<S>::read(next, std::move(shape.next));
  }
  void read(stop_shape&& shape) { next_reader<S>::read(next, std::move(shape.reason)); }
  template <class T>
  void read(stop_with_reply_shape<T>&& shape) {
    read(std::move(shape.value));
    next_reader<S>::read(next, std::move(shape.reason));
  }
  template <class T, class... C>
  void read(call_result<T, C...>&& shape) {
    if (shape.value()) read(std::move(*shape.value()));
    next_reader<S>::read(next, shape.next());
  }
  template <class... C>
  void read(noreply_result<C...>&& shape) {
    next_reader<S>::read(next, shape.next());
  }
  void read_void() {
    if constexpr (std::is_void_v<R>) {
      request.set_value();
      next.reply_ready = true;
    }
  }
};

/// The same for handlers without a reply.
template <class S>
struct noreply_reader {
  next_step& next;
  template <class N>
  void read(noreply_shape<N>&& shape) {
    next_reader<S>::read(next, std::move(shape.next));
  }
  void read(stop_shape&& shape) { next_reader<S>::read(next, std::move(shape.reason)); }
  template <class... C>
  void read(noreply_result<C...>&& shape) {
    next_reader<S>::read(next, shape.next());
  }
  static void read_void() noexcept {}
};

}  // namespace peeper::detail
