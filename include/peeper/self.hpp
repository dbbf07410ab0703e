// SPDX-License-Identifier: Apache-2.0
/// \file
/// What a server does from inside its callbacks: timers, monitors, links, its dictionary.
///
///     void handle_cast(connect m, state& s) {
///       s.peer_down = peeper::monitor(m.peer);
///       peeper::send_after(peeper::self<session>(), 5s, ping{});
///     }
///
/// All of it takes effect at the commit of the callback (P2), and lasts through crashes of the
/// worker: timers, monitors, links and the trap flag belong to the server.
/// THREADS: the functions that need a running callback say so; timers may be started from anywhere.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

#include <peeper/detail/branch.hpp>
#include <peeper/detail/messages.hpp>
#include <peeper/info.hpp>
#include <peeper/ref.hpp>

namespace peeper {

/// Names one timer of a server. A plain value: it may be kept in the state, also as a key. The
/// order is one, but says nothing.
struct timer_id {
  std::uint64_t value = 0;
  friend constexpr bool operator==(timer_id, timer_id) noexcept = default;
  friend constexpr auto operator<=>(timer_id, timer_id) noexcept = default;
};

namespace detail {
/// The running server, or std::logic_error naming `what`.
[[nodiscard]] branch& require_current(const char* what);
[[nodiscard]] std::uint64_t start_timer(branch& target, duration after, message* m, duration period,
                                        message* (*copy)(message&));
/// The same for a timer that has its number already.
void start_timer(std::uint64_t timer, branch& target, duration after, message* m, duration period,
                 message* (*copy)(message&));
bool cancel_timer(branch& target, std::uint64_t id);
[[nodiscard]] std::uint64_t start_monitor(branch* target, pid watched);
void start_monitor(std::uint64_t id, branch* target, pid watched);
void stop_monitor(std::uint64_t id) noexcept;
void change_link(branch* target, bool linked);

/// What an interval timer owns; each time it fires it makes a message that shares the payload, so
/// that no code of the user's runs on the timers' thread.
template <class S, class M>
class interval_source final : public message {
 public:
  explicit interval_source(M m)
      : message{type_object}, payload_{std::make_shared<const M>(std::move(m))} {}
  static message* copy(message& m) {
    return new one_way<S, M, handle_info_probe, message_kind::info, std::shared_ptr<const M>>{
        static_cast<interval_source&>(m).payload_};
  }
  static crossing make_crossing() noexcept {
    explain_crossing<S, M>();
    return {.server = &typeid(S),
            .write =
                [](message& m, cbor_writer& scratch) {
                  return to_bytes(*static_cast<interval_source&>(m).payload_, scratch);
                },
            .read = [](std::span<const std::byte> bytes) -> message* {
              return new interval_source{from_bytes<M>(bytes)};
            },
            .copy = &copy};
  }

 private:
  static std::string_view name() { return "interval"; }
  static void release_it(message* m) noexcept { delete static_cast<interval_source*>(m); }
  static constexpr message_type type_object{.kind = message_kind::system,
                                            .intact_after_crash = true,
                                            .name = &name,
                                            .run = nullptr,
                                            .release = &release_it,
                                            .fail = nullptr,
                                            .cross = cross_of<S, interval_source>()};
  std::shared_ptr<const M> payload_;
};
}  // namespace detail

/// The server whose callback runs here. REQUIRES: a running callback of an S, else logic_error.
template <class S>
[[nodiscard]] ref<S> self() {
  detail::branch& b = detail::require_current("self");
  if (b.server_type() != typeid(S)) {
    throw std::logic_error{"peeper::self<S>(): the running server is of another class"};
  }
  return ref<S>{detail::process_ptr<detail::branch>{&b}};
}
/// The running server's pid; empty on a foreign thread.
[[nodiscard]] inline pid self_pid() noexcept {
  const detail::branch* b = detail::current_branch();
  return b == nullptr ? pid{} : b->server_pid();
}
/// How many workers this server had before the one that runs here: 0 on the first start. `init`
/// runs on every start; what it sets for the server, and not for the worker, is there already if
/// this is not 0: timers, monitors, links.
///
///     state init() {
///       state s;
///       if (peeper::restart_count() == 0) s.beat = send_interval(self<heart>(), 1s, beat{});
///       return s;                                      // dropped on a restart for the kept one
///     }
///
/// REQUIRES: a running callback, else logic_error.
[[nodiscard]] std::uint64_t restart_count();
/// Why the worker before this one ended; normal on the first start. REQUIRES: as restart_count().
[[nodiscard]] exit_reason last_crash();
/// How long the caller of the running callback still waits; max if nobody does.
[[nodiscard]] inline time_point current_deadline() noexcept {
  const detail::execution* e = detail::current_execution();
  return e == nullptr || e->current == nullptr ? time_point::max() : e->current->deadline;
}

/// Sends `message` to `target`'s handle_info after `after` (resolution 1 ms; never early). The
/// timer outlives crashes of the worker and ends with the server. RETURNS: its id; an empty one if
/// `target` names nothing. THREADS: any; inside a callback it starts at the commit.  O(1).
template <class S, class M>
timer_id send_after(const ref<S>& target, duration after, M message) {
  static_assert(detail::handles_info<S, M>, "the server has no handle_info for this message");
  if (!target) return {};
  return {detail::start_timer(*target.cell(), after,
                              new detail::info_message<S, M>{std::move(message)}, duration::zero(),
                              nullptr)};
}
/// As send_after(), again and again every `period`, until it is cancelled or the server stops. The
/// handler takes the message as const& or by copy: all of them share it.
template <class S, class M>
timer_id send_interval(const ref<S>& target, duration period, M message) {
  static_assert(detail::handles_info<S, M>, "the server has no handle_info for this message");
  static_assert(detail::handler_form<detail::handle_info_probe, S, M>::intact,
                "send_interval: handle_info must take the message as const& or by copy");
  if (!target) return {};
  if (period <= duration::zero()) {
    throw std::invalid_argument{"peeper::send_interval: the period must be positive"};
  }
  using source = detail::interval_source<S, M>;
  return {detail::start_timer(*target.cell(), period, new source{std::move(message)}, period,
                              &source::copy)};
}
/// RETURNS: true if the timer was pending; inside a callback it is cancelled at the commit, and the
/// answer is always true.
template <class S>
bool cancel_timer(const ref<S>& target, timer_id id) {
  return target && detail::cancel_timer(*target.cell(), id.value);
}

/// Asks for a `down` info when the server has ended for good (P4: not when it restarts). If it is
/// dead already the info comes at once. REQUIRES: a running callback.
template <class S>
monitor_id monitor(const ref<S>& target) {
  return {detail::start_monitor(target.cell().get(), target.pid())};
}
/// The same for one incarnation: a worker, a keeper, a supervisor.
monitor_id monitor(pid target);
/// Takes a monitor back; its `down`, if it is under way, is dropped. REQUIRES: a running callback.
inline void demonitor(monitor_id id) noexcept { detail::stop_monitor(id.value); }

/// A monitor that ends with its scope: for a member of the worker, which watches only while it
/// lives.
class scoped_monitor {
 public:
  scoped_monitor() noexcept = default;
  template <class Target>
  explicit scoped_monitor(const Target& target) : id_{monitor(target)} {}
  scoped_monitor(scoped_monitor&& other) noexcept : id_{std::exchange(other.id_, monitor_id{})} {}
  scoped_monitor& operator=(scoped_monitor&& other) noexcept {
    scoped_monitor moved{std::move(other)};
    std::swap(id_, moved.id_);
    return *this;
  }
  scoped_monitor(const scoped_monitor&) = delete;
  scoped_monitor& operator=(const scoped_monitor&) = delete;
  ~scoped_monitor() {
    if (id_.value != 0) demonitor(id_);
  }
  [[nodiscard]] monitor_id id() const noexcept { return id_; }

 private:
  monitor_id id_;
};

/// Ties two servers: when one ends for another reason than normal, the other's worker crashes with
/// exit_kind::linked, or, if it traps exits, gets an exit_signal. REQUIRES: a running callback.
template <class S>
void link(const ref<S>& other) {
  detail::change_link(other.cell().get(), true);
}
/// Takes a link back. REQUIRES: a running callback.
template <class S>
void unlink(const ref<S>& other) {
  detail::change_link(other.cell().get(), false);
}
/// From the commit on, exit signals come as infos. REQUIRES: a running callback.
void trap_exit(bool on);
/// Sends an exit signal, as a linked server's end would: its worker crashes with exit_kind::linked,
/// or, if it traps exits, gets an exit_signal; `normal` is not noticed by who does not trap.
/// THREADS: any. Inside a callback it leaves at the commit.
void exit(pid target, exit_reason reason);

/// Sends any value to a server known by pid only: it arrives typed if the server's class lists the
/// type in `infos`, else as any_message. RETURNS: false if that incarnation is dead.
bool send_any(pid target, any_message value);
template <class M>
bool send(pid target, M value) {
  return send_any(target, any_message::of(std::move(value)));
}

}  // namespace peeper

template <>
struct std::hash<peeper::timer_id> {
  std::size_t operator()(peeper::timer_id id) const noexcept {
    return std::hash<std::uint64_t>{}(id.value);
  }
};
