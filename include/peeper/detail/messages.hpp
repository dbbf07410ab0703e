// SPDX-License-Identifier: Apache-2.0
/// \file
/// The typed messages of a server class, and the members of ref and server_cell that make them.
#pragma once

#include <memory>
#include <type_traits>
#include <utility>

#include <peeper/detail/crossing.hpp>
#include <peeper/detail/handlers.hpp>
#include <peeper/server.hpp>
#include <peeper/table/types.hpp>

namespace peeper::detail {

template <class Message>
inline const numbered_crossing crossing_of{Message::make_crossing()};
/// Null where S says nothing of it.
template <class S, class Message>
consteval const numbered_crossing* cross_of() {
  if constexpr (isolatable<S>) {
    return &crossing_of<Message>;
  } else {
    return nullptr;
  }
}
// --- casts, infos, continuations: nobody waits ---------------------------------------------------

/// `Stored`: M, or, where one payload serves many messages, std::shared_ptr<const M>.
template <class S, class M, class Probe, message_kind Kind, class Stored = M>
class one_way final : public message, public pooled<one_way<S, M, Probe, Kind, Stored>> {
 public:
  explicit one_way(Stored payload) noexcept(std::is_nothrow_move_constructible_v<Stored>)
      : message{type_object}, payload_{std::move(payload)} {}

  static crossing make_crossing() noexcept {
    explain_crossing<S, M>();
    return {.server = &typeid(S),
            .write =
                [](message& m, cbor_writer& scratch) {
                  return to_bytes<M>(std::as_const(of(m)).shown(), scratch);
                },
            .read = [](std::span<const std::byte> bytes) -> message* {
              return new one_way<S, M, Probe, Kind>{from_bytes<M>(bytes)};
            }};
  }

 private:
  using form = typename handler_form<Probe, S, M>::form;
  using argument = std::conditional_t<handler_form<Probe, S, M>::intact, const M&, M&&>;

  static one_way& of(message& m) noexcept { return static_cast<one_way&>(m); }
  /// RETURNS: false if its monitor is over. (In a worker's OS process: the program has looked.)
  static bool stop_watching(branch& watcher, std::uint64_t id) noexcept {
    return the_program != nullptr || watcher.stop_watching(id);
  }

  [[gnu::hot]] static void run(process& self, message& m) {
    auto& cell = static_cast<server_cell<S>&>(static_cast<branch&>(self));
    if constexpr (std::same_as<M, down>) {
      // A monitor that was taken back meanwhile: flushed (OTP's demonitor with flush).
      if (m.attempts == 0 && !stop_watching(cell, of(m).payload_.id.value)) return;
    }
    if constexpr (isolatable<S>) {
      if (cell.handled_elsewhere(m)) return;
    }
    cell.template with_state<form::access>([&](S& worker, state_of<S>& kept) {
      using returned = decltype(form::invoke(worker, of(m).payload(), kept));
      using shape = typename without_task<returned>::type;
      static_assert(is_noreply<shape>,
                    "handle_cast, handle_info and handle_continue return void, noreply(...), "
                    "stop(...) or noreply_result<...>");
      if constexpr (is_task<returned>) {
        suspended_callback& waiting = cell.suspended();
        auto body = std::make_shared<returned>(form::invoke(worker, of(m).payload(), kept));
        waiting.leaf = body->handle();
        waiting.resume = [body, &cell, &waiting] {
          std::exchange(waiting.leaf, nullptr).resume();
          if (!body->done()) return false;
          finish<shape>(*body, waiting.ex.next);
          cell.template state_ready<form::access>();
          return true;
        };
      } else if constexpr (std::is_void_v<returned>) {
        form::invoke(worker, of(m).payload(), kept);
      } else {
        noreply_reader<S>{current_execution()->next}.read(
            form::invoke(worker, of(m).payload(), kept));
      }
      if constexpr (!is_task<returned>) cell.template state_ready<form::access>();
    });
  }
  template <class Shape, class Task>
  static void finish(Task& body, next_step& next) {
    if constexpr (std::is_void_v<Shape>) {
      body.take();
    } else {
      noreply_reader<S>{next}.read(body.take());
    }
  }
  [[gnu::hot]] static void release_it(message* m) noexcept { delete &of(*m); }
  static message* revive_it(message& m) {
    auto* fresh = new one_way{std::move(of(m).payload_)};
    fresh->attempts = 1;
    return fresh;
  }
  argument payload() {
    if constexpr (std::same_as<Stored, M>) {
      return static_cast<argument>(payload_);
    } else {
      return *payload_;
    }
  }

  [[nodiscard]] const M& shown() const noexcept {
    if constexpr (std::same_as<Stored, M>) {
      return payload_;
    } else {
      return *payload_;
    }
  }

  static constexpr bool coroutine = is_task<decltype(form::invoke(
      std::declval<S&>(), std::declval<argument>(), std::declval<state_of<S>&>()))>;
  static_assert(!isolatable<S> || !coroutine,
                "peeper: a handler of an isolatable server class cannot be a coroutine: use call() "
                "and wait, or take a from<R> and answer later");
  static constexpr message_type type_object{.kind = Kind,
                                            .intact_after_crash = handler_form<Probe, S, M>::intact,
                                            .name = &type_name_of<M>,
                                            .run = &run,
                                            .release = &release_it,
                                            .fail = nullptr,
                                            .revive = &revive_it,
                                            .coroutine = coroutine,
                                            .cross = cross_of<S, one_way>()};
  Stored payload_;
};

template <class S, class M>
using cast_message = one_way<S, M, handle_cast_probe, message_kind::cast>;
template <class S, class M>
using info_message = one_way<S, M, handle_info_probe, message_kind::info>;
template <class S, class M>
using continue_message = one_way<S, M, handle_continue_probe, message_kind::continuation>;

template <class S>
template <class M>
void next_reader<S>::read(next_step& to, continuation<M> c) {
  static_assert(handles_continue<S, M>,
                "continue_with(m): the server class has no handle_continue for that message");
  if constexpr (handles_continue<S, M>) {
    to.continuation = new continue_message<S, M>{std::move(c.message)};
  }
}

/// An info that the server class has no handler for.
template <class S, class M>
class unexpected_message final : public message {
 public:
  unexpected_message() noexcept : message{type_object} {}

 private:
  static void run(process& self, message& /*m*/) {
    static_cast<branch&>(self).unexpected_info(type_name_of<M>());
  }
  static void release_it(message* m) noexcept { delete static_cast<unexpected_message*>(m); }
  static constexpr message_type type_object{.kind = message_kind::info,
                                            .intact_after_crash = true,
                                            .name = &type_name_of<M>,
                                            .run = &run,
                                            .release = &release_it,
                                            .fail = nullptr};
};

template <class S, class M>
[[nodiscard]] message* make_info(M value) {
  if constexpr (handles_info<S, M>) {
    return new info_message<S, M>{std::move(value)};
  } else {
    return new unexpected_message<S, M>;
  }
}

/// What a handle_call returns.
template <bool Later, class Form, class S, class Argument, class R>
struct handler_return {
  using type = decltype(Form::invoke(std::declval<S&>(), std::declval<Argument>(),
                                     std::declval<state_of<S>&>()));
};
template <class Form, class S, class Argument, class R>
struct handler_return<true, Form, S, Argument, R> {
  using type = decltype(Form::invoke(std::declval<S&>(), std::declval<Argument>(),
                                     std::declval<from<R>>(), std::declval<state_of<S>&>()));
};

// --- calls ---------------------------------------------------------------------------------------

template <class S, class M>
class call_message final : public message,
                           public typed_request<reply_of<M>>,
                           public pooled<call_message<S, M>> {
 public:
  using reply_type = reply_of<M>;
  using request_type = typed_request<reply_type>;

  /// Two references: the caller's and the one that travels.
  explicit call_message(M payload) : call_message{std::move(payload), 2} {}

  static crossing make_crossing() noexcept {
    explain_crossing<S, M>();
    explain_reply_crossing<S, reply_type>();
    crossing c{.server = &typeid(S),
               .write = [](message& m,
                           cbor_writer& scratch) { return to_bytes<M>(of(m).payload_, scratch); },
               .read = [](std::span<const std::byte> bytes) -> message* {
                 return new call_message{from_bytes<M>(bytes)};
               },
               .request_of = [](message& m) -> request& { return of(m); },
               .error = [](message& m) -> const call_error* {
                 auto& result = of(m).result();
                 return result ? nullptr : &result.error();
               },
               .write_reply = &write_reply,
               .set_reply = &set_reply};
    if constexpr (later) c.hold = &hold;
    return c;
  }

 private:
  using handler = call_handler<S, M>;
  static constexpr bool later = handler::answers_later;
  using form_finder =
      std::conditional_t<later, typename handler::with_from, typename handler::plain>;
  using form = typename form_finder::form;
  using argument = std::conditional_t<form_finder::intact, const M&, M&&>;

  call_message(M payload, std::uint32_t references)
      : message{type_object}, request_type{references}, payload_{std::move(payload)} {}

  static call_message& of(message& m) noexcept { return static_cast<call_message&>(m); }

  using returned = typename handler_return<later, form, S, argument, reply_type>::type;
  using shape = typename without_task<returned>::type;
  static_assert(!isolatable<S> || !is_task<returned>,
                "peeper: a handler of an isolatable server class cannot be a coroutine: use call() "
                "and wait, or take a from<R> and answer later");

  static returned invoke(S& worker, call_message& call, state_of<S>& kept) {
    if constexpr (later) {
      call.callback_begins();
      call.request::add_ref();
      return form::invoke(worker, static_cast<argument>(call.payload_),
                          from<reply_type>{request_ptr<request_type>{&call}}, kept);
    } else {
      return form::invoke(worker, static_cast<argument>(call.payload_), kept);
    }
  }
  static_assert(!later || is_noreply<shape>,
                "a handle_call that takes a from<R> answers through it: it returns void, "
                "noreply(...) or stop(...)");
  static_assert(later || is_noreply<shape> || is_reply<shape, reply_type>,
                "handle_call returns something that is not the reply type of the message "
                "(M::reply), nor reply(v), noreply(), stop(...) or call_result<M::reply>");
  static_assert(later || !std::is_void_v<shape> || std::is_void_v<reply_type>,
                "handle_call returns void, but the message has a reply type: return the reply, or "
                "take a from<R> and answer later");

  [[gnu::hot]] static void run(process& self, message& m) {
    auto& cell = static_cast<server_cell<S>&>(static_cast<branch&>(self));
    call_message& call = of(m);
    if constexpr (isolatable<S>) {
      if (cell.handled_elsewhere(m)) return;
    }
    cell.template with_state<form::access>([&](S& worker, state_of<S>& kept) {
      if constexpr (is_task<returned>) {
        suspended_callback& waiting = cell.suspended();
        auto body = std::make_shared<returned>(invoke(worker, call, kept));
        waiting.leaf = body->handle();
        waiting.resume = [body, &cell, &waiting, &call] {
          std::exchange(waiting.leaf, nullptr).resume();
          if (!body->done()) return false;
          if constexpr (std::is_void_v<shape>) {
            body->take();
            take_return(call, waiting.ex.next);
          } else {
            take_return(call, waiting.ex.next, body->take());
          }
          cell.template state_ready<form::access>();
          return true;
        };
      } else {
        if constexpr (std::is_void_v<shape>) {
          invoke(worker, call, kept);
          take_return(call, current_execution()->next);
        } else {
          take_return(call, current_execution()->next, invoke(worker, call, kept));
        }
        cell.template state_ready<form::access>();
      }
    });
  }
  template <class... Value>
  static void take_return(call_message& call, next_step& next, Value&&... value) {
    if constexpr (later) {
      if constexpr (sizeof...(Value) == 1) {
        noreply_reader<S>{next}.read(std::forward<Value>(value)...);
      }
    } else if constexpr (sizeof...(Value) == 0) {
      reply_reader<S, reply_type, request_type>{call, next}.read_void();
    } else {
      reply_reader<S, reply_type, request_type>{call, next}.read(std::forward<Value>(value)...);
    }
  }

  // --- to and from the worker's OS process
  static std::span<const std::byte> write_reply(message& m, cbor_writer& scratch) {
    if constexpr (std::is_void_v<reply_type>) {
      return {};
    } else {
      return to_bytes<reply_type>(*of(m).result(), scratch);
    }
  }
  static void set_reply(message& m, std::span<const std::byte> bytes) {
    if constexpr (std::is_void_v<reply_type>) {
      if (!bytes.empty()) refuse_crossing(type_name_of<M>());
      of(m).set_value();
    } else {
      of(m).set_value(from_bytes<reply_type>(bytes));
    }
  }
  static std::unique_ptr<open_call> hold(message& m) {
    struct held final : open_call {
      explicit held(from<reply_type> f) noexcept : caller{std::move(f)} {}
      void answer(std::span<const std::byte> bytes) override {
        if constexpr (std::is_void_v<reply_type>) {
          caller.reply();
        } else {
          caller.reply(from_bytes<reply_type>(bytes));
        }
      }
      from<reply_type> caller;
    };
    call_message& call = of(m);
    call.callback_begins();
    call.request::add_ref();
    return std::make_unique<held>(from<reply_type>{request_ptr<request_type>{&call}});
  }

  static void release_one(message* m) noexcept { of(*m).request::release(); }
  static void fail_it(message& m, call_error error) noexcept {
    if constexpr (later) {
      if (!of(m).claim_answer()) return;  // its from<R> was faster
    }
    of(m).request::fail(std::move(error));
  }
  /// The callback is committed: its answer leaves, or may come later.
  static void finish_it(message& m) noexcept {
    if constexpr (!later) {
      of(m).request::finish();
    } else if (of(m).callback_committed()) {
      of(m).request::fail(call_error{call_errc::not_answered});
    }
  }
  [[gnu::hot]] static void finish_it_here(message& m) noexcept { of(m).request::finish_here(); }
  /// Nobody waits for the answer of a replay.
  static message* revive_it(message& m) { return new call_message{std::move(of(m).payload_), 1}; }
  [[gnu::hot]] void destroy() noexcept override { delete this; }

  static constexpr message_type type_object{.kind = message_kind::call,
                                            .intact_after_crash = form_finder::intact,
                                            .name = &type_name_of<M>,
                                            .run = &run,
                                            .release = &release_one,
                                            .fail = &fail_it,
                                            .finish = &finish_it,
                                            .finish_here = later ? nullptr : &finish_it_here,
                                            .revive = &revive_it,
                                            .answers_later = later,
                                            .coroutine = is_task<returned>,
                                            .cross = cross_of<S, call_message>()};
  M payload_;
};

// --- what the library sends ----------------------------------------------------------------------

template <class S>
void server_cell<S>::deliver(const down& info) noexcept {
  this->push_or_release(make_info<S>(info));
}
template <class S>
void server_cell<S>::deliver(const exit_signal& info) noexcept {
  this->push_or_release(make_info<S>(info));
}
template <class S>
[[nodiscard]] message* server_cell<S>::make_timeout_message() {
  return make_info<S>(timeout_message{});
}

template <class S, class... T>
[[nodiscard]] message* make_known_info(const any_message& info, types<T...> /*known*/) {
  message* made = nullptr;
  [[maybe_unused]] const auto try_one = [&]<class U>(std::type_identity<U>) {
    if (const U* value = info.get<U>()) {
      static_assert(handles_info<S, U>, "a type in `infos` has no handle_info");
      made = make_info<S>(U{*value});
    }
  };
  (try_one(std::type_identity<T>{}), ...);
  return made;
}

template <class S>
void server_cell<S>::deliver(any_message info) noexcept {
  message* made = nullptr;
  try {
    if constexpr (requires { typename S::infos; }) {
      made = make_known_info<S>(info, typename S::infos{});
    }
    if constexpr (handles_info<S, table_transfer>) {
      if (made == nullptr) made = make_known_info<S>(info, types<table_transfer>{});
    }
    if (made == nullptr) made = make_info<S>(info);
  } catch (...) {  // the message's own copy threw, on its sender's thread
    this->lost_info(type_name(info.type()));
    return;
  }
  this->push_or_release(made);
}

}  // namespace peeper::detail

namespace peeper {

template <class S>
template <class M>
std::expected<detail::reply_of<M>, call_error> ref<S>::call_until(M message, time_point deadline,
                                                                  bool patient) const {
  static_assert(detail::call_message_type<M>,
                "this message is not a call: give it `using reply = ...;`, or cast it");
  static_assert(!detail::call_message_type<M> || detail::handles_call<S, M>,
                "the server has no handle_call for this message: add "
                "`R handle_call(M, state&)` to the server class");
  if constexpr (detail::call_message_type<M>) {
    if constexpr (detail::handles_call<S, M>) {
      if (!cell_) return std::unexpected{call_error{call_errc::noproc, name()}};
      auto* sent = new detail::call_message<S, M>{std::move(message)};
      const detail::request_ptr<detail::typed_request<detail::reply_of<M>>> r{sent};
      sent->deadline = deadline;
      if (!cell_->call(*sent, *r, patient)) {
        return std::unexpected{call_error{call_errc::timed_out, name()}};
      }
      return std::move(r->result());
    }
  }
}

template <class S>
template <class M>
std::expected<void, cast_error> ref<S>::try_cast(M message) const {
  static_assert(detail::handles_cast<S, M>,
                "the server has no handle_cast for this message: add "
                "`void handle_cast(M, state&)` to the server class");
  if constexpr (detail::handles_cast<S, M>) {
    if (!cell_) return std::unexpected{cast_error::gone};
    return cell_->send(new detail::cast_message<S, M>{std::move(message)});
  }
}

template <class S>
template <class M>
void ref<S>::cast(M message) const {
  std::ignore = try_cast(std::move(message));
}

template <class S>
template <class M>
pending<detail::reply_of<M>> ref<S>::ask_until(M message, time_point deadline) const {
  static_assert(detail::call_message_type<M>,
                "this message is not a call: give it `using reply = ...;`, or cast it");
  static_assert(!detail::call_message_type<M> || detail::handles_call<S, M>,
                "the server has no handle_call for this message: add "
                "`R handle_call(M, state&)` to the server class");
  if constexpr (detail::call_message_type<M>) {
    if constexpr (detail::handles_call<S, M>) {
      auto* sent = new detail::call_message<S, M>{std::move(message)};
      detail::request_ptr<detail::typed_request<detail::reply_of<M>>> r{sent};
      sent->deadline = deadline;
      if (cell_) {
        cell_->ask(*sent);
      } else {
        sent->type->fail(*sent, call_error{call_errc::noproc, name()});
        sent->type->release(sent);
      }
      return {std::move(r), cell_, sent, deadline};
    }
  }
}

template <class S>
template <class M>
void ref<S>::send(M message) const {
  static_assert(detail::handles_info<S, M>,
                "the server has no handle_info for this message: add "
                "`void handle_info(M, state&)` to the server class");
  if constexpr (detail::handles_info<S, M>) {
    if (cell_) std::ignore = cell_->send(new detail::info_message<S, M>{std::move(message)});
  }
}

}  // namespace peeper
