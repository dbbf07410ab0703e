// SPDX-License-Identifier: Apache-2.0
/// \file
/// Supervisors, to OTP's letter: they start children in order, restart those that end, and end
/// them in reverse.
///
///     auto top = peeper::start_supervisor(rt, {.name = "top", .strategy = strategy::rest_for_one},
///     {
///       peeper::child_spec<store>({.id = "store"}),
///       peeper::supervisor_spec({.id = "pool"}, {.max_restarts = 10}, {
///         peeper::child_spec<worker>({.id = "w1"}), peeper::child_spec<worker>({.id = "w2"}),
///       }),
///     }).value();
///     fmt::print("{}", peeper::describe(top));
///     auto s = top.child<store>("store").value();          // ref<store>, as of now
///
/// A supervisor is a branch like any server: its worker, keeper and supervisor can be killed, and
/// it goes on supervising the same children. They end when it ends for good.
/// THREADS: any. One thing at a time: a call waits while a child is being started or ended.
/// CRASH: of a child's worker: not the supervisor's affair. Of the supervisor's own: children live.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <peeper/child_spec.hpp>
#include <peeper/control.hpp>
#include <peeper/error.hpp>
#include <peeper/ref.hpp>

namespace peeper {

enum class strategy : std::uint8_t {
  one_for_one,   ///< only the child that ended
  one_for_all,   ///< all: the others are ended in reverse order, then all started in order
  rest_for_one,  ///< the same for it and those started after it
};

/// When children that end by themselves end their supervisor (with reason shutdown).
enum class auto_shutdown : std::uint8_t { never, any_significant, all_significant };

struct supervisor_options {
  /// Unique in the runtime (or in `via`). Empty: none.
  std::string name{};
  peeper::strategy strategy = peeper::strategy::one_for_one;
  /// More restarts than this within max_seconds: all children are ended, and the supervisor, with
  /// reason shutdown. Elixir's defaults; OTP's are 1 in 5 s.
  unsigned max_restarts = 3;
  duration max_seconds = std::chrono::seconds{5};
  peeper::auto_shutdown auto_shutdown = peeper::auto_shutdown::never;
  std::shared_ptr<registry> via{};
};

enum class child_errc : std::uint8_t {
  not_found,        ///< no such child
  running,          ///< it runs: end it first
  restarting,       ///< it waits to be restarted
  already_started,  ///< a child with that id runs
  already_present,  ///< a child with that id is there, ended: restart_child() or delete_child() it
  max_children,     ///< no more children than the option says
  start_failed,     ///< it did not start: see what()
  bad_spec,         ///< what the spec asks for cannot be: see what()
  wrong_class,      ///< the child is a server of another class
  calling_self,     ///< a child cannot wait for its own end, or move
  timed_out,        ///< it did not come to it in time, and will not any more
  noproc,           ///< the supervisor does not run (any more)
};
[[nodiscard]] std::string_view to_string(child_errc code) noexcept;

/// Why a supervisor did not do what it was asked to. Nothing has changed, except as the code says.
class child_error {
 public:
  child_error(child_errc code, std::string text, exit_reason reason = {})
      : code_{code}, text_{std::move(text)}, reason_{std::move(reason)} {}
  [[nodiscard]] child_errc code() const noexcept { return code_; }
  [[nodiscard]] const std::string& what() const noexcept { return text_; }
  /// For start_failed: what init threw.
  [[nodiscard]] const exit_reason& reason() const noexcept { return reason_; }

 private:
  child_errc code_;
  std::string text_;
  exit_reason reason_;
};

enum class child_status : std::uint8_t {
  running,
  restarting,  ///< its start failed, or it waits for its back-off
  undefined,   ///< it has ended and is not to be restarted
};
[[nodiscard]] std::string_view to_string(child_status status) noexcept;

struct child_info {
  std::string id;  ///< empty under a dynamic supervisor
  pid process;     ///< empty unless running
  child_status status = child_status::undefined;
  child_type type = child_type::worker;
  restart_type restart = peeper::restart::permanent;
  unsigned restarts = 0;  ///< by this supervisor
};

struct child_counts {
  std::size_t specs = 0;
  std::size_t active = 0;
  std::size_t supervisors = 0;  ///< children that are supervisors, running or not
  std::size_t workers = 0;
  friend bool operator==(const child_counts&, const child_counts&) = default;
};

/// What all kinds of supervisors have in common. Cheap to copy; names the supervisor for good.
class any_supervisor {
 public:
  /// In start order; a dynamic supervisor's in no order. RETURNS: noproc. COMPLEXITY: O(n).
  [[nodiscard]] std::expected<std::vector<child_info>, child_error> which_children() const;
  [[nodiscard]] std::expected<child_counts, child_error> count_children() const;
  /// Ends it and, before that, its children. As peeper::stop().
  std::expected<void, stop_error> stop(const exit_reason& reason = exit_reason::normal(),
                                       duration limit = infinity) const;
  [[nodiscard]] peeper::pid pid() const noexcept {
    return cell_ ? cell_->server_pid() : peeper::pid{};
  }
  [[nodiscard]] std::string name() const {
    return cell_ ? cell_->display_name() : "<no supervisor>";
  }
  [[nodiscard]] bool alive() const noexcept { return cell_ && !cell_->closed(); }
  friend bool operator==(const any_supervisor& a, const any_supervisor& b) noexcept {
    return a.cell_.get() == b.cell_.get();
  }

  // --- for the library's own headers
  any_supervisor() noexcept = default;
  explicit any_supervisor(detail::server_ptr cell) noexcept : cell_{std::move(cell)} {}
  [[nodiscard]] const detail::server_ptr& cell() const noexcept { return cell_; }

 private:
  detail::server_ptr cell_;
};

namespace detail {
[[nodiscard]] std::expected<server_ptr, child_error> child_of(const any_supervisor& s,
                                                              std::string_view id);
[[nodiscard]] child_error wrong_class(std::string_view id);
template <class S>
[[nodiscard]] std::expected<ref<S>, child_error> typed_child(
    std::expected<server_ptr, child_error> found, std::string_view id) {
  if (!found) return std::unexpected{std::move(found.error())};
  if ((*found)->server_type() != typeid(S)) return std::unexpected{wrong_class(id)};
  return ref<S>{std::move(*found)};
}
}  // namespace detail

/// A supervisor whose children have ids.
class supervisor : public any_supervisor {
 public:
  using any_supervisor::any_supervisor;

  /// The running child; after a restart by the supervisor it is another server.
  /// RETURNS: not_found, restarting, wrong_class; not_found also for one that has ended.
  template <class S>
  [[nodiscard]] std::expected<ref<S>, child_error> child(std::string_view id) const {
    return detail::typed_child<S>(detail::child_of(*this, id), id);
  }
  [[nodiscard]] std::expected<supervisor, child_error> child_supervisor(std::string_view id) const;

  /// Adds a child behind the others and starts it. If it does not start, its spec is not kept.
  std::expected<peeper::pid, child_error> start_child(const peeper::child& spec) const;
  /// Ends it as its spec says; the spec stays (a temporary child's goes).
  std::expected<void, child_error> terminate_child(std::string_view id) const;
  /// Starts one that has ended.
  std::expected<peeper::pid, child_error> restart_child(std::string_view id) const;
  /// Forgets one that has ended.
  std::expected<void, child_error> delete_child(std::string_view id) const;
};

/// Starts a supervisor and its children, in order.
/// RETURNS: it; or why it did not start: the ones started before the one that failed have been
/// ended in reverse, and the error names it. Mistakes in specs (an id twice; significant under
/// auto_shutdown::never) are start_errc::bad_options.  THREADS: any.
[[nodiscard]] std::expected<supervisor, start_error> start_supervisor(
    runtime& rt, supervisor_options options, std::vector<child> children = {});
/// A supervisor as a child.
[[nodiscard]] child supervisor_spec(child_options how, supervisor_options options,
                                    std::vector<child> children = {});
/// The supervisor that has this name now. RETURNS: noproc, or name_mismatch for another server.
[[nodiscard]] std::expected<supervisor, call_error> whereis_supervisor(runtime& rt,
                                                                       const std::string& name);

namespace detail {
[[nodiscard]] std::string describe_tree(const any_supervisor& tree, duration limit);
}
/// The tree as text, a line a process: id, pid, state, restarts by its supervisor and by its own
/// branch, waiting messages. Servers that do not answer within `limit` are shown as busy.
template <std::derived_from<any_supervisor> Supervisor>
[[nodiscard]] std::string describe(const Supervisor& tree, duration limit) {
  return detail::describe_tree(tree, limit);
}
/// With a limit of 100 ms a server.
template <std::derived_from<any_supervisor> Supervisor>
[[nodiscard]] std::string describe(const Supervisor& tree) {
  return detail::describe_tree(tree, std::chrono::milliseconds{100});
}

/// As for servers: the pids of now, to kill() or monitor().
[[nodiscard]] inline pid worker_of(const any_supervisor& s) noexcept {
  return s.cell() ? s.cell()->make_pid(process_role::worker) : pid{};
}
[[nodiscard]] inline pid keeper_of(const any_supervisor& s) noexcept {
  return s.cell() ? s.cell()->make_pid(process_role::keeper) : pid{};
}
[[nodiscard]] inline pid supervisor_of(const any_supervisor& s) noexcept {
  return s.cell() ? s.cell()->make_pid(process_role::supervisor) : pid{};
}

}  // namespace peeper
