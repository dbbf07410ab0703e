// SPDX-License-Identifier: Apache-2.0
/// \file
/// `child_spec<S>`: how a supervisor starts, restarts and ends one child (OTP's child spec).
///
///     peeper::child_spec<counter>({.id = "hits"}, {.name = "hits", .state = 0})
///     peeper::child_spec<session>({.id = "once", .restart = peeper::restart::temporary}, {},
///     socket)
///
/// A child that ends *for good* (stop, P7, an exit signal, a kill of the server) is what a
/// supervisor hears of. The crashes before that are its own branch's affair: it restarts with its
/// state. What a supervisor starts again is a new server: fresh state, new pid, the same name.
/// THREADS: values; any.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>

#include <peeper/exit_reason.hpp>
#include <peeper/options.hpp>
#include <peeper/pid.hpp>
#include <peeper/server.hpp>
#include <peeper/time.hpp>

namespace peeper {

/// When a child that has ended by itself is started again.
enum class restart : std::uint8_t {
  permanent,  ///< always
  transient,  ///< unless it ended normally (normal, shutdown)
  temporary,  ///< never; its spec is dropped
};

namespace detail {
/// Named for the compiler's message.
void a_permanent_child_never_ends_by_itself_so_it_cannot_be_significant();
}  // namespace detail

/// A `restart`, and whether the child's end may end its supervisor (see auto_shutdown).
class restart_type {
 public:
  // NOLINTNEXTLINE(google-explicit-constructor): a bare restart is one.
  constexpr restart_type(restart when) noexcept : when_{when} {}
  [[nodiscard]] constexpr restart when() const noexcept { return when_; }
  [[nodiscard]] constexpr bool significant() const noexcept { return significant_; }
  friend consteval restart_type significant(restart when);

 private:
  restart when_;
  bool significant_ = false;
};

/// OTP's `significant => true`. A permanent one does not compile, as OTP refuses it.
consteval restart_type significant(restart when) {
  if (when == restart::permanent) {
    detail::a_permanent_child_never_ends_by_itself_so_it_cannot_be_significant();
  }
  restart_type type{when};
  type.significant_ = true;
  return type;
}

enum class child_type : std::uint8_t { worker, supervisor };

/// What on_exit gets to know.
struct child_exit {
  std::string_view id;
  pid process;             ///< the server that has ended
  exit_reason reason;      ///< why the server ended
  exit_reason last_crash;  ///< why its last worker ended; normal if none ever crashed
  unsigned restarts;       ///< how often its supervisor has restarted it so far
};
enum class restart_decision : std::uint8_t {
  restart,   ///< as its restart type says
  leave,     ///< not now: it stays ended, restart_child() starts it
  escalate,  ///< as if the intensity were reached: the supervisor ends
};

struct child_options {
  /// Unique under its supervisor. Default: the server's name, else its class.
  std::string id{};
  /// Or significant(restart::transient).
  restart_type restart = peeper::restart::permanent;
  /// How long it may take to end before it is killed; brutal_kill, infinity. Default: the server's
  /// own `shutdown` option (5 s); infinity for supervisors.
  std::optional<duration> shutdown{};
  /// A pause before each restart, doubled while restarts follow each other, with jitter. Default:
  /// none, as OTP. Children that are to be restarted with it are ended before the pause.
  backoff_options backoff{};
  /// Asked before each restart that the restart type calls for. What it throws is logged, and
  /// means restart. Runs on the supervisor's thread: it must not call the supervisor.
  std::function<restart_decision(const child_exit&)> on_exit{};
};

namespace detail {

using server_ptr = process_ptr<branch>;

struct child_data {
  child_options options;
  child_type type = child_type::worker;
  /// A new one, not yet started. Throws what copying start's arguments throws.
  std::function<server_ptr(runtime_core&)> make;
  /// It has been started; null: it is forgotten. Whoever keeps the server until then holds its
  /// supervisor, too.
  std::function<void(const server_ptr&)> started;
};

template <class S, class... Args>
void explain_supervised() {
  explain_keepable<state_of<S>>();
  static_assert((std::is_copy_constructible_v<std::decay_t<Args>> && ...),
                "the arguments of a supervised server must be copyable: each restart uses a copy");
}

}  // namespace detail

/// How one child is started, made by child_spec<S>(), supervisor_spec() and their like.
class child {
 public:
  [[nodiscard]] const std::string& id() const noexcept { return data_->options.id; }
  [[nodiscard]] child_type type() const noexcept { return data_->type; }

  // --- for the library's own headers
  explicit child(std::shared_ptr<const detail::child_data> data) noexcept
      : data_{std::move(data)} {}
  [[nodiscard]] const std::shared_ptr<const detail::child_data>& data() const noexcept {
    return data_;
  }

 private:
  std::shared_ptr<const detail::child_data> data_;
};

/// A server of class S as a child. `o`, `args`: as for start(); each restart uses a copy.
template <class S, class... Args>
[[nodiscard]] child child_spec(child_options how = {}, options<S> o = {}, Args&&... args) {
  detail::explain_supervised<S, Args...>();
  if (how.id.empty()) how.id = o.name.empty() ? detail::type_name_of<S>() : o.name;
  auto shared = detail::branch_options_of(o);
  return child{std::make_shared<const detail::child_data>(
      detail::child_data{std::move(how),
                         child_type::worker,
                         [shared = std::move(shared), state = std::move(o.state),
                          kept = std::tuple<std::decay_t<Args>...>{std::forward<Args>(args)...}](
                             detail::runtime_core& rt) {
                           return std::apply(
                               [&](const std::decay_t<Args>&... each) {
                                 using cell = detail::server_cell_with<S, std::decay_t<Args>...>;
                                 return detail::server_ptr{new cell{rt, shared, state, each...}};
                               },
                               kept);
                         },
                         {}})};
}

}  // namespace peeper
