// SPDX-License-Identifier: Apache-2.0
/// \file
/// Looking into servers and steering them from outside (OTP's sys, plus what keeping a state adds):
/// stop, kill, suspend, inspect, edit, statistics, trace, poison messages.
///
///     peeper::edit(c, [](int& n) { n = 0; });                 // committed like a callback
///     peeper::kill(peeper::worker_of(c));                     // its successor has the state
///     auto n = peeper::inspect(c, [](const int& s) { return s; }).value();
///
/// They are messages: they wait their turn behind what the same sender sent before (kill does not).
/// THREADS: any; not a server on itself (call_errc::calling_self).
/// CRASH: nothing here survives the server; what it committed does.
#pragma once

#include <chrono>
#include <type_traits>
#include <utility>
#include <vector>

#include <peeper/crash_report.hpp>
#include <peeper/describe.hpp>
#include <peeper/detail/branch.hpp>
#include <peeper/detail/system_call.hpp>
#include <peeper/poison.hpp>
#include <peeper/ref.hpp>
#include <peeper/server.hpp>
#include <peeper/statistics.hpp>
#include <peeper/trace.hpp>

namespace peeper {

// --- the three processes of a server -------------------------------------------------------------

/// The pids of the three as of now: to kill() or monitor() that incarnation. After its crash the
/// server has another one. An empty pid if the ref names nothing. THREADS: any.  COMPLEXITY: O(1).
template <class S>
[[nodiscard]] pid worker_of(const ref<S>& r) noexcept {
  return r ? r.cell()->make_pid(process_role::worker) : pid{};
}
template <class S>
[[nodiscard]] pid keeper_of(const ref<S>& r) noexcept {
  return r ? r.cell()->make_pid(process_role::keeper) : pid{};
}
template <class S>
[[nodiscard]] pid supervisor_of(const ref<S>& r) noexcept {
  return r ? r.cell()->make_pid(process_role::supervisor) : pid{};
}
/// True if that very incarnation lives; it may be gone when you look at the answer. O(1).
[[nodiscard]] bool alive(pid id) noexcept;

/// Ends that process, untrappably (OTP's `kill`). From this moment it can commit nothing (P5): a
/// callback that is running is rolled back when it returns. Worker, keeper, supervisor: restarted
/// with the state, each counted by P7. A server's own pid: the server ends, for good. Terminate
/// does not run. THREADS: any, also inside a callback, where it happens at once, not at the commit.
/// RETURNS: false if it was dead already.
bool kill(pid id) noexcept;

namespace detail {

template <class R, class F>
[[nodiscard]] std::expected<R, call_error> ask_system(const process_ptr<branch>& server, F f,
                                                      duration limit, message_kind kind) {
  if (!server) return std::unexpected{call_error{call_errc::noproc, "<no server>"}};
  auto* sent = new system_call<R, F>{kind, std::move(f)};
  const request_ptr<typed_request<R>> r{sent};
  sent->deadline = deadline_for(server.get(), limit);
  if (!server->call(*sent, *r, limit >= patience_min)) {
    return std::unexpected{call_error{call_errc::timed_out, server->display_name()}};
  }
  return std::move(r->result());
}

[[nodiscard]] std::expected<void, stop_error> to_stop_result(
    const std::expected<void, call_error>& stopped, const exit_reason& wanted);

}  // namespace detail

/// Ends the server for good: terminate runs, monitors and links learn `reason`, names are free.
///
/// `reason`: what monitors and links learn; any but `normal` crashes workers linked to it.
/// `limit`: how long to wait for its end (OTP's default: without limit); after it the server still
/// stops when its turn comes.
/// RETURNS: stop_errc::noproc if it had ended already, timed_out, other_reason, calling_self.
template <class S>
std::expected<void, stop_error> stop(const ref<S>& server,
                                     exit_reason reason = exit_reason::normal(),
                                     duration limit = infinity) {
  const auto stopped = detail::ask_system<void>(
      server.cell(), [reason](detail::branch& b) { b.system_stop(reason); }, limit,
      detail::message_kind::system);
  return detail::to_stop_result(stopped, reason);
}

/// From now on messages wait; system calls are answered (sys:suspend). Infos and due timers wait
/// too. Outlives crashes; resume() ends it. RETURNS: as a call; see call_errc.
template <class S>
std::expected<void, call_error> suspend(const ref<S>& server,
                                        duration limit = default_call_timeout) {
  return detail::ask_system<void>(
      server.cell(), [](detail::branch& b) { b.system_suspend(); }, limit,
      detail::message_kind::system);
}
template <class S>
std::expected<void, call_error> resume(const ref<S>& server,
                                       duration limit = default_call_timeout) {
  return detail::ask_system<void>(
      server.cell(), [](detail::branch& b) { b.system_resume(); }, limit,
      detail::message_kind::system);
}

/// Runs look(const state&) between two callbacks, on the server's thread or this one, and returns
/// what it returns, by value. What it throws is call_errc::crashed and hurts nobody. Sees committed
/// states only (P2).
template <class S, class F>
[[nodiscard]] auto inspect(const ref<S>& server, F look, duration limit = default_call_timeout)
    -> std::expected<std::invoke_result_t<F&, const detail::state_of<S>&>, call_error> {
  using result = std::invoke_result_t<F&, const detail::state_of<S>&>;
  static_assert(!std::is_reference_v<result>, "inspect must return a copy, not a reference");
  return detail::ask_system<result>(
      server.cell(),
      [look = std::move(look)](detail::branch& b) mutable -> result {
        return look(std::as_const(static_cast<detail::server_cell<S>&>(b).committed_state()));
      },
      limit, detail::message_kind::system);
}

/// Runs change(state&) as a callback: checked by valid(), committed; if it throws, nothing of it
/// has happened (sys:replace_state keeps the old state on failure) and the worker lives on.
/// RETURNS: call_errc::crashed with the reason if it threw or valid() refused; else as a call.
template <class S, class F>
std::expected<void, call_error> edit(const ref<S>& server, F change,
                                     duration limit = default_call_timeout) {
  auto done = detail::ask_system<std::expected<void, exit_reason>>(
      server.cell(),
      [change = std::move(change)](detail::branch& b) mutable {
        auto& cell = static_cast<detail::server_cell<S>&>(b);
        return b.system_edit([&] { change(cell.lent_state()); });
      },
      limit, detail::message_kind::system);
  if (!done) return std::unexpected{std::move(done.error())};
  if (!*done) return std::unexpected{call_error{call_errc::crashed, server.name(), done->error()}};
  return {};
}

/// A server at a glance (sys:get_status): its processes, counts, and its state as text. A class
/// that has `static auto redact(const state&)` shows what that returns instead (OTP's
/// format_status).
template <class S>
[[nodiscard]] std::expected<status, call_error> status_of(const ref<S>& server,
                                                          duration limit = default_call_timeout) {
  return detail::ask_system<status>(
      server.cell(),
      [](detail::branch& b) {
        status s = b.system_status();
        const auto& kept = static_cast<detail::server_cell<S>&>(b).committed_state();
        if constexpr (requires { S::redact(kept); }) {
          s.state = describe(S::redact(kept));
        } else {
          s.state = describe(kept);
        }
        return s;
      },
      limit, detail::message_kind::system);
}

/// The server's counts since its start, over all its workers. COMPLEXITY: O(1).
template <class S>
[[nodiscard]] std::expected<statistics, call_error> statistics_of(
    const ref<S>& server, duration limit = default_call_timeout) {
  return detail::ask_system<statistics>(
      server.cell(), [](detail::branch& b) { return b.system_statistics(); }, limit,
      detail::message_kind::system);
}

/// What its workers in OS processes of their own died of: the last 16, oldest first, each with its
/// backtrace; what the log has, too. Exceptions, of which no OS process dies, are not in it: see
/// list_poison. Empty for a server in the program. Works for one that has ended, too.
///
/// `limit`: a report comes shortly after the crash, when the kernel is done with the dead: this
/// waits for those that are under way, also inside a callback, but no longer.
/// THREADS: any; not a message: it does not wait for the server.
template <class S>
[[nodiscard]] std::vector<crash_report> crash_history(const ref<S>& server,
                                                      duration limit = std::chrono::seconds{1}) {
  return server ? server.cell()->crash_history(limit) : std::vector<crash_report>{};
}

/// Tells `sink` of every callback's begin and end; an empty sink ends it. Free when off.
template <class S>
std::expected<void, call_error> trace(const ref<S>& server, trace_sink sink,
                                      duration limit = default_call_timeout) {
  return detail::ask_system<void>(
      server.cell(),
      [sink = std::move(sink)](detail::branch& b) mutable { b.system_trace(std::move(sink)); },
      limit, detail::message_kind::system);
}

// --- listeners, see listener.hpp ----------------------------------------------------------------

/// From now on `l` hears of each commit that changes the state, and of each end: what
/// start_options::listeners does from the start. RETURNS: what detach_listener() names it by.
template <class S>
std::expected<listener_id, call_error> attach_listener(const ref<S>& server,
                                                       listener<detail::state_of<S>> l,
                                                       duration limit = default_call_timeout) {
  return detail::ask_system<listener_id>(
      server.cell(),
      [l = std::move(l)](detail::branch& b) {
        return static_cast<detail::server_cell<S>&>(b).add_listener(l);
      },
      limit, detail::message_kind::system);
}
/// It hears what waits in its queue, and nothing more. RETURNS: false if there is no such listener.
template <class S>
std::expected<bool, call_error> detach_listener(const ref<S>& server, listener_id id,
                                                duration limit = default_call_timeout) {
  return detail::ask_system<bool>(
      server.cell(),
      [id](detail::branch& b) {
        return static_cast<detail::server_cell<S>&>(b).remove_listener(id);
      },
      limit, detail::message_kind::system);
}
/// Its listeners, in the order of attaching, and what they have heard and missed.
template <class S>
[[nodiscard]] std::expected<std::vector<listener_info>, call_error> list_listeners(
    const ref<S>& server, duration limit = default_call_timeout) {
  return detail::ask_system<std::vector<listener_info>>(
      server.cell(),
      [](detail::branch& b) { return static_cast<detail::server_cell<S>&>(b).list_listeners(); },
      limit, detail::message_kind::system);
}

// --- poison messages (P3) ------------------------------------------------------------------------

/// What was set aside, oldest first: at most options.keep_poison.
template <class S>
[[nodiscard]] std::expected<std::vector<poison_info>, call_error> list_poison(
    const ref<S>& server, duration limit = default_call_timeout) {
  return detail::ask_system<std::vector<poison_info>>(
      server.cell(), [](detail::branch& b) { return b.system_poison(); }, limit,
      detail::message_kind::system);
}
/// Puts it back at the end of the mailbox; a call's answer then goes to nobody (its caller has been
/// told of the crash). RETURNS: false if there is no such message, or it is not replayable.
template <class S>
std::expected<bool, call_error> replay_poison(const ref<S>& server, std::uint64_t id,
                                              duration limit = default_call_timeout) {
  return detail::ask_system<bool>(
      server.cell(), [id](detail::branch& b) { return b.system_replay(id); }, limit,
      detail::message_kind::system);
}
/// Gives it up for good. RETURNS: false if there is no such message.
template <class S>
std::expected<bool, call_error> discard_poison(const ref<S>& server, std::uint64_t id,
                                               duration limit = default_call_timeout) {
  return detail::ask_system<bool>(
      server.cell(), [id](detail::branch& b) { return b.system_discard(id); }, limit,
      detail::message_kind::system);
}

}  // namespace peeper
