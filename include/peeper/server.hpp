// SPDX-License-Identifier: Apache-2.0
/// \file
/// Starting servers, and the typed cell that holds one: any class with a `state` and handlers.
///
///     struct get { using reply = int; };
///     struct inc { int by = 1; };
///     struct counter {
///       using state = int;
///       int  handle_call(get, const state& n) { return n; }
///       void handle_cast(inc m, state& n)     { n += m.by; }
///     };
///     auto c = peeper::start<counter>(rt, {.name = "counter", .state = 41}).value();
///
/// Handlers (see next.hpp for what they may return; each may be a coroutine, see task.hpp):
///
///     handle_call(M, [from<R>,] [state& | const state&])   M::reply names the reply type
///     handle_cast(M, ...)  handle_info(M, ...)  handle_continue(M, ...)
///     init(args...) -> state or ok(state, next)            runs on every start; on a restart its
///                                                          state is dropped for the kept one
///     terminate(const exit_reason&, const state&)
///     static bool valid(const state&)                      checked before each commit
///     void hibernate()                                     gives back what can be rebuilt; what
///                                                          it throws is a crash like any other
///     static auto redact(const state&)                     what status_of shows instead
///     using infos = types<...>                             infos that arrive typed by pid, too
///
/// A member of the class is the worker's own (a socket, a cache): made anew on every start.
/// THREADS: one callback of a server at a time, on any thread.
/// CRASH: see docs/guarantees.md.
#pragma once

#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>

#include <peeper/detail/branch.hpp>
#include <peeper/detail/crossing.hpp>
#include <peeper/detail/handlers.hpp>
#include <peeper/detail/isolated.hpp>
#include <peeper/detail/pool.hpp>
#include <peeper/kept/keepable.hpp>
#include <peeper/kept/state.hpp>
#include <peeper/listener.hpp>
#include <peeper/options.hpp>
#include <peeper/ref.hpp>
#include <peeper/runtime.hpp>

namespace peeper {

template <class S>
using options = start_options<detail::state_of<S>, S>;

/// Message types that a server takes when they are sent to its pid, where only the run time knows
/// them: `using infos = peeper::types<tick, packet>;`
template <class... T>
struct types {};

namespace detail {

/// Gives pooled memory to messages: no general heap on the path of a message.
template <class Message>
struct pooled {
  static void* operator new(std::size_t bytes) { return pool_allocate(bytes); }
  static void operator delete(void* p, std::size_t bytes) noexcept { pool_free(p, bytes); }
};

/// Checked at commit: a state that says it is not valid is rolled back.
template <class S>
void check_valid(S& worker, const state_of<S>& s) {
  if constexpr (requires {
                  { worker.valid(s) } -> std::convertible_to<bool>;
                }) {
    if (!worker.valid(s)) throw invariant_violated{"valid(state) is false"};
  } else if constexpr (std::is_class_v<state_of<S>> && requires {
                         { valid(s) } -> std::convertible_to<bool>;
                       }) {
    if (!valid(s)) throw invariant_violated{"valid(state) is false"};
  }
}

template <class S>
class server_cell : public branch {
 public:
  using state = state_of<S>;

  [[nodiscard]] S& worker() noexcept { return *worker_; }
  [[nodiscard]] kept_state<state>& kept() noexcept { return *kept_; }

  /// For system calls, between callbacks. Throws if there is none: init has not succeeded yet.
  /// Of a server whose callbacks run elsewhere it is a copy, as of now.
  [[nodiscard]] const state& committed_state() {
    if constexpr (isolatable<S>) {
      if (elsewhere() != nullptr) fetch_state();
    }
    if (!kept_) throw std::logic_error{"the server has no state yet"};
    return std::as_const(*kept_).value();
  }
  [[nodiscard]] state& lent_state() noexcept { return kept_->value(); }

  // --- its listeners; the claim's holder
  /// Throws std::bad_alloc, and what copies throw: it is not added.
  listener_id add_listener(const listener<state>& l) {
    if (listeners() == nullptr) set_listeners(std::make_shared<state_hub<state>>());
    const listener_id id = hub().next_id();
    hub().add(l.make(runtime(), {.server = display_name(), .id = id, .options = {}}));
    try {
      watch_state();
    } catch (...) {
      std::ignore = remove_listener(id);
      throw;
    }
    return id;
  }
  bool remove_listener(listener_id id) {
    if (listeners() == nullptr || !hub().remove(id)) return false;
    watch_state();
    return true;
  }
  [[nodiscard]] std::vector<listener_info> list_listeners() {
    return listeners() == nullptr ? std::vector<listener_info>{} : hub().list();
  }

  /// Its worker has an OS process of its own, and there `m` has been handled. Throws the
  /// exit_reason of a crash.
  [[nodiscard]] bool handled_elsewhere(message& m) {
    if (elsewhere() == nullptr) return false;
    elsewhere()->handle(m);
    return true;
  }

  void deliver(const down& info) noexcept override;
  void deliver(const exit_signal& info) noexcept override;
  void deliver(any_message info) noexcept override;
  [[nodiscard]] const std::type_info& server_type() const noexcept override { return typeid(S); }

  /// Runs `step(worker, state&)` with the state lent as `access` says.
  template <state_access Access, class Step>
  decltype(auto) with_state(Step&& step) {
    if constexpr (Access == state_access::write) {
      branch::lend_state();
      kept_->begin();
    }
    return std::forward<Step>(step)(*worker_, kept_->value());
  }
  /// After the callback, before the commit.
  template <state_access Access>
  void state_ready() {
    if constexpr (Access == state_access::write) state_prepare();
  }

 protected:
  server_cell(runtime_core& rt, std::shared_ptr<const branch_options> o, std::optional<state> first)
      : branch{rt, std::move(o)}, first_state_{std::move(first)} {
    if (options().listeners) {
      using all = std::vector<listener<state>>;
      for (const auto& l : *static_cast<const all*>(options().listeners.get())) add_listener(l);
    }
  }
  ~server_cell() override = default;

  void worker_destroy() noexcept override {
    if (elsewhere() != nullptr) return elsewhere()->end_worker();
    worker_.reset();
  }
  void worker_terminate(const exit_reason& reason) override {
    if (elsewhere() != nullptr) return elsewhere()->terminate(reason);
    if (!worker_ || !kept_) return;
    if constexpr (requires(S& s) { s.terminate(reason, std::as_const(kept_->value())); }) {
      worker_->terminate(reason, std::as_const(kept_->value()));
    } else if constexpr (requires(S& s) { s.terminate(reason); }) {
      worker_->terminate(reason);
    } else {
      static_assert(
          !requires { &S::terminate; },
          "terminate must take (const peeper::exit_reason&, const state&)");
    }
  }
  void state_begin() override {
    if constexpr (isolatable<S>) {
      if (elsewhere() != nullptr) fetch_state();
    }
    kept_->begin();
  }
  void state_prepare() override {
    if constexpr (isolatable<S>) {
      if (elsewhere() != nullptr) {  // there it is checked, and committed
        kept_->prepare();
        return elsewhere()->replace_state(encode(kept_->value()));
      }
    }
    check_valid(*worker_, std::as_const(kept_->value()));
    kept_->prepare();
  }
  [[gnu::hot]] void state_commit() noexcept override {
    if constexpr (isolatable<S>) {
      if (elsewhere() != nullptr && !follows()) {
        kept_.reset();
        return;
      }
    }
    const bool changed = listened() ? hub().commit_state(*kept_) : kept_->commit();
    // A number or a struct of numbers is never too large; what owns memory may be.
    if constexpr (!std::is_trivially_copyable_v<state>) {
      if (changed && !told_oversized()) look_for_oversized();
    }
  }
  void state_rollback() noexcept override { kept_->rollback(); }
  void state_destroy() noexcept override { kept_.reset(); }
  void worker_hibernate() override {
    if (elsewhere() != nullptr) return elsewhere()->hibernate();
    if constexpr (requires(S& s) { s.hibernate(); }) worker_->hibernate();
  }
  [[nodiscard]] message* make_timeout_message() override;

  /// Runs init and takes what it returned: a state, or ok(state, next).
  template <class Init>
  void start_with(bool first, Init&& init) {
    using returned = std::invoke_result_t<Init>;
    if constexpr (is_ok_shape<returned>) {
      returned shape = std::forward<Init>(init)();
      if (first) take_first(std::move(shape.state));
      next_reader<S>::read(current_execution()->next, std::move(shape.next));
    } else {
      state made = std::forward<Init>(init)();
      if (first) take_first(std::move(made));
    }
  }
  void take_first(state s) {
    check_valid(*worker_, std::as_const(s));
    kept_.emplace(std::move(s));
    watch_state();
  }
  friend struct isolated_functions;
  /// What listeners hear comes from this state from now on.
  void watch_state() {
    if constexpr (isolatable<S>) {
      if (listeners() != nullptr && !kept_ && worker_lives() && elsewhere() != nullptr) {
        fetch_state();
      }
    }
    if (listeners() != nullptr && kept_) listened(hub().watch(*kept_));
  }

  /// The state is elsewhere, and each change of it is made in kept_, too.
  [[nodiscard]] bool follows() const noexcept { return listened() || elsewhere()->keeps_copy(); }
  void fetch_state() {
    if (kept_ && follows()) return;  // it is as new as can be
    auto copy = decode<state>(elsewhere()->state());
    if (!copy) throw bad_crossing{copy.error().text};
    kept_.emplace(std::move(*copy));
  }

  /// A large plain field is compared and copied as a whole: said once, naming the way out.
  void look_for_oversized() noexcept {
    try {
      if (const auto found = oversized_plain_field(std::as_const(kept_->value()))) {
        tell_oversized(found->name, found->bytes, found->instead);
      }
    } catch (const std::bad_alloc&) {  // a hint is not worth a failure
      return;
    }
  }

  std::optional<S> worker_;
  std::optional<state> first_state_;

 private:
  [[nodiscard]] state_hub<state>& hub() noexcept {
    return static_cast<state_hub<state>&>(*listeners());
  }

  std::optional<kept_state<state>> kept_;
};

/// The cell with the arguments of init (or, without an init, of the constructor): they are kept for
/// every start to come.
template <class S, class... Args>
class server_cell_with final : public server_cell<S>, public pooled<server_cell_with<S, Args...>> {
 public:
  using state = state_of<S>;

  server_cell_with(runtime_core& rt, std::shared_ptr<const branch_options> o,
                   std::optional<state> first, Args... args)
      : server_cell<S>{rt, std::move(o), std::move(first)}, args_{std::move(args)...} {
    if constexpr (isolatable<S>) {
      if (const auto& host = this->options().isolation) {
        this->run_elsewhere(host->open(*this, isolated_class_of<S, Args...>,
                                       write_set_up<S>(this->first_state_, args_)));
      }
    }
  }

  /// The next server in the place of one of this class that has ended: its options, arguments and
  /// first state, nothing else of it.
  [[nodiscard]] static process_ptr<branch> successor(const branch& ended) {
    const auto& self = static_cast<const server_cell_with&>(ended);
    return std::apply(
        [&self](const Args&... args) {
          return process_ptr<branch>{new server_cell_with{self.runtime(), self.shared_options(),
                                                          self.first_state_, args...}};
        },
        self.args_);
  }

 private:
  static constexpr bool has_init = requires(S& s, const Args&... args) { s.init(args...); };

  void worker_start(bool first) override {
    if (this->elsewhere() != nullptr) return this->elsewhere()->start(first);
    if constexpr (has_init) {
      static_assert(std::is_default_constructible_v<S>,
                    "a server class with init is made without arguments: they go to init");
      using returned = decltype(std::declval<S&>().init(std::declval<const Args&>()...));
      static_assert(is_ok_shape<returned> || std::is_convertible_v<returned, state>,
                    "init must return the state, or peeper::ok(state[, next]) (nothing else, as "
                    "Peeper's init)");
      this->worker_.emplace();
      this->start_with(first, [this] {
        return std::apply([this](const Args&... args) { return this->worker_->init(args...); },
                          args_);
      });
    } else {
      static_assert(
          !requires { &S::init; },
          "the arguments given to start() do not fit this server class's init: they follow the "
          "options, and init takes them by value or const&");
      static_assert(std::is_constructible_v<S, const Args&...>,
                    "the arguments given to start() fit neither init nor the constructor of this "
                    "server class");
      std::apply([this](const Args&... args) { this->worker_.emplace(args...); }, args_);
      if (!first) return;
      if (this->first_state_) {
        if (this->place() != nullptr) {  // successor() needs it
          this->take_first(*this->first_state_);
          return;
        }
        this->take_first(std::move(*this->first_state_));
        this->first_state_.reset();
      } else if constexpr (std::is_default_constructible_v<state>) {
        this->take_first(state{});
      } else {
        throw std::logic_error{"no first state: this server class has no init, so give .state"};
      }
    }
  }
  void destroy() noexcept override { delete this; }

  [[no_unique_address]] std::tuple<Args...> args_;
};

/// One object serves all servers that were started with the defaults.
[[nodiscard]] std::shared_ptr<const branch_options> shared_options(branch_options&& o);
[[nodiscard]] process_ptr<branch> find_server(runtime_core& rt, const std::string& name);
[[nodiscard]] process_ptr<branch> find_server_here(const std::string& name,
                                                   const std::type_info& server, bool& same_class);

template <class State, class S>
std::shared_ptr<const branch_options> branch_options_of(start_options<State, S>& o) {
  branch_options b{.name = std::move(o.name),
                   .on_crash = o.on_crash,
                   .max_restarts = o.max_restarts,
                   .max_seconds = o.max_seconds,
                   .backoff = o.backoff,
                   .mailbox = o.mailbox,
                   .init_timeout = o.init_timeout,
                   .shutdown = o.shutdown,
                   .hibernate_after = o.hibernate_after,
                   .keep_poison = o.keep_poison,
                   .run_on_caller = o.run_on_caller,
                   .keep_tables = std::move(o.keep_tables),
                   .via = std::move(o.via),
                   .listeners = nullptr,
                   .isolation = o.isolation.take_host()};
  if (!o.listeners.empty()) {
    using all = std::vector<listener<State>>;
    b.listeners = std::make_shared<const all>(std::move(o.listeners));
  }
  return shared_options(std::move(b));
}

}  // namespace detail

/// Starts a server under the runtime's root supervisor and waits until its init has returned.
///
/// `o`: see start_options; every field has a default. `args`: for S::init, or, without one, for S's
/// constructor; copied and used again on every restart.
/// RETURNS: its ref; or why it did not start, with nothing left behind. Throws only what copying
/// `args` throws.
/// THREADS: any, also inside a callback (what is started there stays, even if the callback
/// crashes).
template <class S, class... Args>
[[nodiscard]] std::expected<ref<S>, start_error> start(runtime& rt, options<S> o = {},
                                                       Args&&... args) {
  detail::explain_keepable<detail::state_of<S>>();
  using cell = detail::server_cell_with<S, std::decay_t<Args>...>;
  try {
    std::optional<detail::state_of<S>> first = std::move(o.state);
    auto* made = new cell{rt.core(), detail::branch_options_of(o), std::move(first),
                          std::forward<Args>(args)...};
    const detail::process_ptr<detail::branch> server{made};
    if (auto started = made->start(); !started) return std::unexpected{std::move(started.error())};
    return ref<S>{server};
  } catch (const std::bad_alloc&) {
    return std::unexpected{start_error{start_errc::no_memory, "no memory for another server"}};
  }
}

/// The server that has this name now; the ref stays good when the server restarts.
/// RETURNS: noproc, or name_mismatch if the name's server is of another class. Looks into the
/// runtime's own names only, not into a `via`. THREADS: any.  COMPLEXITY: O(1), a shared lock.
template <class S>
[[nodiscard]] std::expected<ref<S>, call_error> whereis(runtime& rt, const std::string& name) {
  auto found = detail::find_server(rt.core(), name);
  if (!found) return std::unexpected{call_error{call_errc::noproc, name}};
  if (found->server_type() != typeid(S)) {
    return std::unexpected{call_error{call_errc::name_mismatch, name}};
  }
  return ref<S>{std::move(found)};
}

/// The same inside a callback, in the runtime of its server. REQUIRES: a running callback, else
/// std::logic_error.
template <class S>
[[nodiscard]] std::expected<ref<S>, call_error> whereis(const std::string& name) {
  bool same_class = true;
  auto found = detail::find_server_here(name, typeid(S), same_class);
  if (!same_class) return std::unexpected{call_error{call_errc::name_mismatch, name}};
  if (!found) return std::unexpected{call_error{call_errc::noproc, name}};
  return ref<S>{std::move(found)};
}

}  // namespace peeper

#include <peeper/detail/messages.hpp>  // IWYU pragma: export
