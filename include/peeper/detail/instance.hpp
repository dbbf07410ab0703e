// SPDX-License-Identifier: Apache-2.0
/// \file
/// One version of an upgradable server: a server class behind functions that depend on the protocol
/// alone. `instance` holds its worker and its state, `implementation_type` says how each message
/// of the protocol reaches it.
///
/// THREADS: an instance: the claim's holder of its server; an implementation_type: any.
/// CRASH: as for any server: rollback() leaves the last commit.
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <peeper/codec.hpp>
#include <peeper/describe.hpp>
#include <peeper/detail/handlers.hpp>
#include <peeper/detail/messages.hpp>
#include <peeper/server.hpp>

namespace peeper {
template <class Protocol>
struct upgradable;
template <class Protocol>
class implementation;
}  // namespace peeper

namespace peeper::detail {

struct implementation_access;

// --- what a protocol lists -----------------------------------------------------------------------

#define PEEPER_PROTOCOL_LIST(name)          \
  template <class P>                        \
  struct name##_in {                        \
    using type = types<>;                   \
  };                                        \
  template <class P>                        \
    requires requires { typename P::name; } \
  struct name##_in<P> {                     \
    using type = typename P::name;          \
  };                                        \
  template <class P>                        \
  using name##_of = typename name##_in<P>::type
PEEPER_PROTOCOL_LIST(calls);
PEEPER_PROTOCOL_LIST(deferred_calls);
PEEPER_PROTOCOL_LIST(casts);
PEEPER_PROTOCOL_LIST(infos);
PEEPER_PROTOCOL_LIST(continues);
#undef PEEPER_PROTOCOL_LIST

// --- without types -------------------------------------------------------------------------------

/// The worker and the kept state of one version.
class instance {
 public:
  instance() = default;
  instance(const instance&) = delete;
  instance& operator=(const instance&) = delete;
  virtual ~instance() = default;

  /// Makes the worker and runs its init, in the running execution; takes the state that it made if
  /// `first`. Throws what they throw, and invariant_violated.
  virtual void start(bool first) = 0;
  virtual void end_worker() noexcept = 0;
  virtual void terminate(const exit_reason& reason) = 0;
  virtual void hibernate() = 0;

  /// Throws invariant_violated if valid() says no. REQUIRES: a worker, and a state.
  virtual void check() = 0;
  virtual void prepare() = 0;
  virtual bool commit() noexcept = 0;
  virtual void rollback() noexcept = 0;
  [[nodiscard]] virtual std::vector<std::byte> encode() const = 0;
  /// Takes the state of an older version, migrated.
  [[nodiscard]] virtual std::expected<void, decode_error> decode(
      std::span<const std::byte> bytes) = 0;
  [[nodiscard]] virtual std::string describe() const = 0;
};

template <class M>
struct call_entry {
  void (*call)(instance&, const M&, typed_request<reply_of<M>>&);
};
template <class M>
struct deferred_entry {
  void (*defer)(instance&, const M&, from<reply_of<M>>);
};
template <class M>
struct cast_entry {
  void (*cast)(instance&, const M&);
};
template <class M>
struct info_entry {
  void (*info)(instance&, const M&);
};
template <class M>
struct continue_entry {
  void (*go_on)(instance&, const M&);
};

template <template <class> class Entry, class List>
struct entries;
template <template <class> class Entry, class... M>
struct entries<Entry, types<M...>> : Entry<M>... {};

/// A server class as an implementation of P. A constant that lives as long as the code it names.
template <class P>
struct implementation_type {
  std::string_view (*name)();
  std::uint64_t version;  ///< of its state
  std::unique_ptr<instance> (*make)();
  entries<call_entry, calls_of<P>> calls;
  entries<deferred_entry, deferred_calls_of<P>> deferred_calls;
  entries<cast_entry, casts_of<P>> casts;
  entries<info_entry, infos_of<P>> infos;
  entries<continue_entry, continues_of<P>> continues;
};

// --- what must not compile -----------------------------------------------------------------------

template <class Returned>
consteval void refuse_coroutine() {
  static_assert(!is_task<Returned>,
                "peeper: a handler of an upgradable server cannot be a coroutine: use a call in a "
                "deferred_calls list and answer through its from<R>");
}
template <class Class, class Message>
consteval void explain_call() {
  static_assert(!call_handler<Class, Message>::with_from::exists,
                "peeper: this class answers a call of the protocol through a from<R>: list that "
                "message in the protocol's deferred_calls instead of its calls");
  static_assert(handler_form<handle_call_probe, Class, Message>::by_const::exists,
                "peeper: this class does not implement the protocol: add `reply handle_call(const "
                "Message&, state&)` for this message of its calls");
}
template <class Class, class Message>
consteval void explain_deferred() {
  static_assert(call_handler<Class, Message>::with_from::by_const::exists,
                "peeper: this class does not implement the protocol: add `void handle_call(const "
                "Message&, peeper::from<reply>, state&)` for this message of its deferred_calls");
}
template <class Probe, class Class, class Message>
consteval void explain_one_way() {
  static_assert(handler_form<Probe, Class, Message>::by_const::exists,
                "peeper: this class does not implement the protocol: add `void handle_cast(const "
                "Message&, state&)` (handle_info, handle_continue) for this message of its casts "
                "(infos, continues)");
}
/// The library sends these only where the protocol lists them.
template <class P, class Class, class Message>
consteval void explain_unlisted() {
  static_assert(!handles_info<Class, Message> || handles_info<upgradable<P>, Message>,
                "peeper: this class has a handle_info for a message of the library that the "
                "protocol does not list: add it to the protocol's infos");
}

// --- one class -----------------------------------------------------------------------------------

template <class P, class V>
class instance_of final : public instance {
  using state = state_of<V>;
  using outside = upgradable<P>;  ///< what the callback loop sees

  static_assert(std::is_default_constructible_v<V>,
                "peeper: an implementation is made without arguments; what it needs comes from "
                "init or with messages");
  static_assert((explain_keepable<state>(), encodable<state>) && std::default_initializable<state>,
                "peeper: the state of an upgradable server is handed to the next version encoded: "
                "it must be default constructible, of encodable fields");
  static_assert(chain_holds<state>());

 public:
  void start(bool first) override {
    worker_.emplace();
    if constexpr (requires(V& v) { v.init(); }) {
      using returned = decltype(worker_->init());
      if constexpr (is_ok_shape<returned>) {
        returned made = worker_->init();
        if (first) keep(std::move(made.state));
        next_reader<outside>::read(current_execution()->next, std::move(made.next));
      } else {
        state made = worker_->init();
        if (first) keep(std::move(made));
      }
    } else {
      static_assert(
          !requires { &V::init; }, "peeper: the init of an implementation takes no arguments");
      if (first) keep(state{});
    }
  }
  void end_worker() noexcept override { worker_.reset(); }
  void terminate(const exit_reason& reason) override {
    if constexpr (requires(V& v) { v.terminate(reason, std::as_const(kept_->value())); }) {
      worker_->terminate(reason, std::as_const(kept_->value()));
    } else if constexpr (requires(V& v) { v.terminate(reason); }) {
      worker_->terminate(reason);
    } else {
      static_assert(
          !requires { &V::terminate; },
          "terminate must take (const peeper::exit_reason&, const state&)");
    }
  }
  void hibernate() override {
    if constexpr (requires(V& v) { v.hibernate(); }) worker_->hibernate();
  }

  void check() override { check_valid(*worker_, std::as_const(kept_->value())); }
  void prepare() override {
    if (!begun_) return;
    check();
    kept_->prepare();
  }
  bool commit() noexcept override { return std::exchange(begun_, false) && kept_->commit(); }
  void rollback() noexcept override {
    if (std::exchange(begun_, false)) kept_->rollback();
  }
  [[nodiscard]] std::vector<std::byte> encode() const override {
    return peeper::encode(kept_->value());
  }
  [[nodiscard]] std::expected<void, decode_error> decode(
      std::span<const std::byte> bytes) override {
    auto found = peeper::decode<state>(bytes);
    if (!found) return std::unexpected{std::move(found.error())};
    kept_.emplace(std::move(*found));
    return {};
  }
  [[nodiscard]] std::string describe() const override {
    if constexpr (requires { V::redact(kept_->value()); }) {
      return peeper::describe(V::redact(kept_->value()));
    } else {
      return peeper::describe(kept_->value());
    }
  }

  // --- the entries
  static std::unique_ptr<instance> make() { return std::make_unique<instance_of>(); }
  template <class M>
  static void on_call(instance& self, const M& m, typed_request<reply_of<M>>& request) {
    explain_call<V, M>();
    using form = typename handler_form<handle_call_probe, V, M>::by_const;
    using reply = reply_of<M>;
    if constexpr (form::exists && !call_handler<V, M>::with_from::exists) {
      using returned = decltype(form::invoke(std::declval<V&>(), m, std::declval<state&>()));
      refuse_coroutine<returned>();
      static_assert(is_noreply<returned> || is_reply<returned, reply>,
                    "handle_call returns something that is not the reply type of the message "
                    "(M::reply), nor reply(v), noreply(), stop(...) or call_result<M::reply>");
      static_assert(!std::is_void_v<returned> || std::is_void_v<reply>,
                    "handle_call returns void, but the message has a reply type");
      auto [worker, kept] = of(self).template lend<form::access>();
      reply_reader<outside, reply, typed_request<reply>> reader{request, current_execution()->next};
      if constexpr (std::is_void_v<returned>) {
        form::invoke(*worker, m, kept->value());
        reader.read_void();
      } else {
        reader.read(form::invoke(*worker, m, kept->value()));
      }
    }
  }
  template <class M>
  static void on_deferred(instance& self, const M& m, from<reply_of<M>> caller) {
    explain_deferred<V, M>();
    using form = typename call_handler<V, M>::with_from::by_const;
    if constexpr (form::exists) {
      take<form>(of(self), m, std::move(caller));
    }
  }
  template <class Probe, class M>
  static void on_one_way(instance& self, const M& m) {
    explain_one_way<Probe, V, M>();
    using form = typename handler_form<Probe, V, M>::by_const;
    if constexpr (form::exists) take<form>(of(self), m);
  }

 private:
  static instance_of& of(instance& self) noexcept { return static_cast<instance_of&>(self); }

  void keep(state s) {
    check_valid(*worker_, std::as_const(s));
    kept_.emplace(std::move(s));
  }
  struct lent {
    V* worker;
    kept_state<state>* kept;
  };
  /// A handler that reads costs no commit.
  template <state_access Access>
  lent lend() {
    if constexpr (Access == state_access::write) {
      begun_ = true;
      kept_->begin();
    }
    return {&*worker_, &*kept_};
  }
  template <class Form, class M, class... Extra>
  static void take(instance_of& self, const M& m, Extra... extra) {
    using returned = decltype(Form::invoke(std::declval<V&>(), m, std::declval<Extra>()...,
                                           std::declval<state&>()));
    refuse_coroutine<returned>();
    static_assert(is_noreply<returned>,
                  "this handler returns void, noreply(...), stop(...) or noreply_result<...>");
    auto [worker, kept] = self.template lend<Form::access>();
    if constexpr (std::is_void_v<returned>) {
      Form::invoke(*worker, m, std::move(extra)..., kept->value());
    } else {
      noreply_reader<outside>{current_execution()->next}.read(
          Form::invoke(*worker, m, std::move(extra)..., kept->value()));
    }
  }

  std::optional<kept_state<state>> kept_;
  bool begun_ = false;  ///< the running callback may change the state
  std::optional<V> worker_;
};

template <class P, class V, class... Call, class... Deferred, class... Cast, class... Info,
          class... Continue>
constexpr implementation_type<P> make_type(types<Call...> /*c*/, types<Deferred...> /*d*/,
                                           types<Cast...> /*c*/, types<Info...> /*i*/,
                                           types<Continue...> /*c*/) {
  using made = instance_of<P, V>;
  explain_unlisted<P, V, down>();
  explain_unlisted<P, V, exit_signal>();
  explain_unlisted<P, V, timeout_message>();
  return {.name = &type_name_of<V>,
          .version = version_of<state_of<V>>(),
          .make = &made::make,
          .calls = {call_entry<Call>{&made::template on_call<Call>}...},
          .deferred_calls = {deferred_entry<Deferred>{&made::template on_deferred<Deferred>}...},
          .casts = {cast_entry<Cast>{&made::template on_one_way<handle_cast_probe, Cast>}...},
          .infos = {info_entry<Info>{&made::template on_one_way<handle_info_probe, Info>}...},
          .continues = {continue_entry<Continue>{
              &made::template on_one_way<handle_continue_probe, Continue>}...}};
}

/// One object for each class and library: where it lies tells whose code it names.
template <class P, class V>
inline constexpr implementation_type<P> type_of = make_type<P, V>(
    calls_of<P>{}, deferred_calls_of<P>{}, casts_of<P>{}, infos_of<P>{}, continues_of<P>{});

}  // namespace peeper::detail
