// SPDX-License-Identifier: Apache-2.0
/// \file
/// Listeners: who hears of each change that a server commits, and of each end of its workers and
/// of its own.
///
///     struct audit {
///       void on_state_changed(const peeper::change<room>& c) { write(peeper::describe(c)); }
///       void on_terminate(const peeper::end_event<room>& e)  { write(e.reason().to_string()); }
///     };
///     auto r = peeper::start<room_server>(rt, {.listeners = {audit{}}}).value();
///
/// Either function may be left out. control.hpp attaches and detaches listeners at run time.
/// THREADS: a listener is run by one thread at a time, any one, never by its server: a slow one
/// delays nobody. It may call servers, also its own.
/// ORDER: of the commits, each event once (P6). Its queue is bounded; what did not fit is counted.
/// CRASH: what it throws is logged and counted, and it hears the next event. It belongs to the
/// server: crashes and kills of the worker leave it alone. A crashed callback is not heard of.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include <peeper/change.hpp>
#include <peeper/detail/listening.hpp>
#include <peeper/exit_reason.hpp>

namespace spdlog {
class logger;
}  // namespace spdlog

namespace peeper {

/// One commit that has changed the state. Valid while on_state_changed runs.
/// See changes<State> (change.hpp) for what the functions return.
template <class State>
class change {
 public:
  template <auto Member>
  [[nodiscard]] auto field() const noexcept {
    return event_->what.template field<Member>();
  }
  template <auto Member>
  [[nodiscard]] auto of() const noexcept {
    return event_->what.template of<Member>();
  }
  template <auto Member>
  [[nodiscard]] auto inside() const noexcept {
    return event_->what.template inside<Member>();
  }
  [[nodiscard]] auto value() const noexcept
    requires requires(const changes<State>& c) { c.value(); }
  {
    return event_->what.value();
  }
  [[nodiscard]] auto operations() const noexcept
    requires requires(const changes<State>& c) { c.operations(); }
  {
    return event_->what.operations();
  }
  template <class Visit>
  void for_each_field(Visit&& visit) const {
    event_->what.for_each(std::forward<Visit>(visit));
  }
  [[nodiscard]] const changes<State>& all() const noexcept { return event_->what; }

  /// The whole state before and after. Null unless this listener asked for it
  /// (listener_options::wants_state).
  [[nodiscard]] const State* old_state() const noexcept {
    return about_->wants_state ? event_->old_state.get() : nullptr;
  }
  [[nodiscard]] const State* new_state() const noexcept {
    return about_->wants_state ? event_->new_state.get() : nullptr;
  }

  /// Events that this listener has missed right before this one: its queue was full, or there was
  /// no memory to tell it.
  [[nodiscard]] std::uint64_t missed() const noexcept { return about_->missed; }
  /// The server's name, or its pid in words.
  [[nodiscard]] std::string_view server() const noexcept { return about_->server; }

  /// For the library itself.
  change(const detail::change_event<State>& event, const detail::about_event& about) noexcept
      : event_{&event}, about_{&about} {}

 private:
  const detail::change_event<State>* event_;
  const detail::about_event* about_;
};

/// A worker, or the server, has ended. Valid while on_terminate runs.
template <class State>
class end_event {
 public:
  [[nodiscard]] const exit_reason& reason() const noexcept { return event_->reason; }
  /// True: it was a worker, and the next one takes its place, unless the server now gives up
  /// (P7): its own end is an event then, too. False: the server has ended; the last event.
  [[nodiscard]] bool server_goes_on() const noexcept { return event_->goes_on; }
  /// The state as last committed. Null unless this listener asked for it
  /// (listener_options::wants_state), or if there was none yet.
  [[nodiscard]] const State* final_state() const noexcept {
    return about_->wants_state ? event_->final_state.get() : nullptr;
  }
  /// As change::missed(), change::server().
  [[nodiscard]] std::uint64_t missed() const noexcept { return about_->missed; }
  [[nodiscard]] std::string_view server() const noexcept { return about_->server; }

  /// For the library itself.
  end_event(const detail::ended_event<State>& event, const detail::about_event& about) noexcept
      : event_{&event}, about_{&about} {}

 private:
  const detail::ended_event<State>* event_;
  const detail::about_event* about_;
};

namespace detail {

template <class L, class State>
concept change_listener =
    requires(L& listener, const change<State>& c) { listener.on_state_changed(c); };
template <class L, class State>
concept end_listener =
    requires(L& listener, const end_event<State>& e) { listener.on_terminate(e); };

template <class State, class L>
class typed_listener final : public listener_process {
 public:
  typed_listener(runtime_core& rt, about_listener about, L listener)
      : listener_process{rt, std::move(about), change_listener<L, State>, end_listener<L, State>},
        listener_{std::move(listener)} {}

 private:
  void handle(const listener_event& e, const about_event& about) override {
    if (e.is_end) {
      if constexpr (end_listener<L, State>) {
        const end_event<State> event{static_cast<const ended_event<State>&>(e), about};
        listener_.on_terminate(event);
      }
    } else {
      if constexpr (change_listener<L, State>) {
        const change<State> event{static_cast<const change_event<State>&>(e), about};
        listener_.on_state_changed(event);
      }
    }
  }
  void destroy() noexcept override { delete this; }

  L listener_;
};

}  // namespace detail

/// Any listener for servers with this State; each server that it is given to gets a copy.
template <class State>
class listener {
 public:
  /// `o`: default: L's `static constexpr peeper::listener_options options`, if it has that.
  template <class L>
    requires(!std::same_as<std::remove_cvref_t<L>, listener>)
  listener(L object, listener_options o = detail::listener_options_of<L>())  // NOLINT
      : listener{std::move(object), o, nullptr} {
    static_assert(
        detail::change_listener<L, State> || detail::end_listener<L, State>,
        "peeper: a listener has void on_state_changed(const peeper::change<State>&) or void "
        "on_terminate(const peeper::end_event<State>&), with the state of the server it listens "
        "to");
    static_assert(
        !detail::change_listener<L, State> ||
            !requires { typename detail::kept_state<State>::tells_no_changes; },
        "peeper: a listener of an upgradable server hears of its ends only: leave "
        "on_state_changed out");
    static_assert(
        !requires { &L::on_state_changed; } || detail::change_listener<L, State>,
        "peeper: on_state_changed must take (const peeper::change<State>&), with the "
        "state of the server it listens to");
    static_assert(
        !requires { &L::on_terminate; } || detail::end_listener<L, State>,
        "peeper: on_terminate must take (const peeper::end_event<State>&), with the "
        "state of the server it listens to");
  }

  /// For the library itself. RETURNS: a process, claimed by its creator.
  [[nodiscard]] detail::listener_process* make(detail::runtime_core& rt,
                                               detail::about_listener about) const {
    about.options = options_;
    return make_(object_.get(), rt, std::move(about));
  }

 private:
  template <class L>
  listener(L object, listener_options o, std::nullptr_t /*checked*/)
      : object_{std::make_shared<const L>(std::move(object))},
        make_{[](const void* stored, detail::runtime_core& rt,
                 detail::about_listener about) -> detail::listener_process* {
          static_assert(std::copy_constructible<L>,
                        "peeper: a listener is copied for each server that it is given to: hold "
                        "what cannot be copied in a std::shared_ptr");
          return new detail::typed_listener<State, L>{rt, std::move(about),
                                                      L(*static_cast<const L*>(stored))};
        }},
        options_{o} {}

  std::shared_ptr<const void> object_;
  detail::listener_process* (*make_)(const void*, detail::runtime_core&, detail::about_listener);
  listener_options options_;
};

/// Writes what it hears through spdlog: changes at level info, ends of workers as warnings, ends
/// of the server at info, or as an error where it has failed. Secrets are not shown, long values
/// are cut (see describe.hpp).
///
///     peeper::start<counter>(rt, {.name = "c", .listeners = {peeper::log_listener{}}});
///     // [info] server 'c' changed: 1 -> 2
struct log_listener {
  /// Null: the library's own, "peeper".
  std::shared_ptr<spdlog::logger> logger{};

  template <class State>
  void on_state_changed(const change<State>& c) const;
  template <class State>
  void on_terminate(const end_event<State>& e) const {
    detail::log_end(logger.get(), e.server(), e.reason(), e.server_goes_on(), e.missed());
  }
};

}  // namespace peeper

#include <peeper/detail/describe_changes.hpp>  // IWYU pragma: export
