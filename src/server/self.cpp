// SPDX-License-Identifier: Apache-2.0
#include <peeper/self.hpp>

#include <atomic>

#include <fmt/format.h>

#include <peeper/detail/system_call.hpp>

#include "core/runtime_core.hpp"

namespace peeper {
namespace detail {

branch& require_current(const char* what) {
  branch* b = current_branch();
  if (b == nullptr) {
    throw std::logic_error{
        fmt::format("peeper::{} needs a running callback: call it from inside a server", what)};
  }
  return *b;
}

std::uint64_t start_timer(branch& target, duration after, message* m, duration period,
                          message* (*copy)(message&)) {
  std::unique_ptr<message, message_deleter> owned{m};
  if (the_program != nullptr) {
    const std::uint64_t id = the_program->new_id();
    the_program->stage_timer(id, target.server_pid(), after, owned.release(), period);
    return id;
  }
  const std::uint64_t id = target.runtime().timers().new_id();
  start_timer(id, target, after, owned.release(), period, copy);
  return id;
}

void start_timer(std::uint64_t timer, branch& target, duration after, message* m, duration period,
                 message* (*copy)(message&)) {
  std::unique_ptr<message, message_deleter> owned{m};
  at_commit([server = process_ptr<branch>{&target}, timer, after, period, copy,
             owned = std::move(owned)]() mutable {
    server->mark_timers_used();
    if (server->closed()) return;
    runtime_core& rt = server->runtime();
    rt.timers().start(timer, *server, deadline_after(rt.env().now(), after), owned.release(),
                      period, copy);
  });
}

bool cancel_timer(branch& target, std::uint64_t id) {
  bool was_pending = true;
  if (the_program != nullptr) {
    the_program->stage_cancel(id);
    return was_pending;
  }
  if (current_execution() == nullptr) return target.runtime().timers().cancel(id);
  at_commit([server = process_ptr<branch>{&target}, id] {
    std::ignore = server->runtime().timers().cancel(id);
  });
  return was_pending;
}

std::uint64_t start_monitor(branch* target, pid watched) {
  static std::atomic<std::uint64_t> next{1};
  std::ignore = require_current("monitor").server_pid();
  if (the_program != nullptr) {
    const std::uint64_t id = the_program->new_id();
    the_program->stage_monitor(id, watched);
    return id;
  }
  // ORDER: relaxed: only uniqueness matters.
  const std::uint64_t id = next.fetch_add(1, std::memory_order_relaxed);
  start_monitor(id, target, watched);
  return id;
}

void start_monitor(std::uint64_t id, branch* target, pid watched) {
  branch& self = require_current("monitor");
  at_commit(
      [watcher = process_ptr<branch>{&self}, server = process_ptr<branch>{target}, watched, id] {
        watcher->start_watching(id, watched);
        if (server) {
          server->watch(id, watched, *watcher);
        } else {
          watcher->deliver(down{monitor_id{id}, watched, exit_kind::noproc});
        }
      });
}

void stop_monitor(std::uint64_t id) noexcept {
  branch* self = current_branch();
  if (self == nullptr) return;
  if (the_program != nullptr) {
    the_program->stage_demonitor(id);
    return;
  }
  at_commit([watcher = process_ptr<branch>{self}, id] {
    const auto watched = watcher->stop_watching(id);
    if (!watched) return;
    if (const process_ptr<process> p = find_process(*watched)) {
      static_cast<branch&>(*p).unwatch(id);
    }
  });
}

process_ptr<branch> find_server_here(const std::string& name, const std::type_info& server,
                                     bool& same_class) {
  const branch& self = require_current("whereis");
  if (the_program != nullptr) return the_program->find(name, server, same_class);
  auto found = self.runtime().find_name(name);
  same_class = !found || found->server_type() == server;
  return found;
}

void change_link(branch* target, bool linked) {
  branch& self = require_current(linked ? "link" : "unlink");
  if (target == nullptr) return;
  if (the_program != nullptr) {
    the_program->stage_link(target->server_pid(), linked);
    return;
  }
  at_commit([a = process_ptr<branch>{&self}, b = process_ptr<branch>{target}, linked] {
    linked ? branch::link(*a, *b) : branch::unlink(*a, *b);
  });
}

namespace {
struct exit_deed {
  pid from;
  exit_reason reason;
  void operator()(branch& self) const noexcept { self.system_exit_signal(from, reason); }
};
}  // namespace

}  // namespace detail

std::uint64_t restart_count() { return detail::require_current("restart_count").restarts(); }

exit_reason last_crash() { return detail::require_current("last_crash").last_crash(); }

monitor_id monitor(pid target) {
  if (detail::the_program != nullptr) return {detail::start_monitor(nullptr, target)};
  const auto p = detail::find_process(target);
  return {detail::start_monitor(static_cast<detail::branch*>(p.get()), target)};
}

void trap_exit(bool on) {
  detail::branch& self = detail::require_current("trap_exit");
  if (detail::the_program != nullptr) {
    detail::the_program->stage_trap(on);
    return;
  }
  detail::at_commit([b = detail::process_ptr<detail::branch>{&self}, on] { b->trap_exits(on); });
}

void exit(pid target, exit_reason reason) {
  if (detail::the_program != nullptr) {
    detail::the_program->stage_exit(target, reason);
    return;
  }
  detail::at_commit([target, from = self_pid(), reason = std::move(reason)] {
    const auto p = detail::find_process(target);
    if (!p) return;
    static_cast<detail::branch&>(*p).push_or_release(
        new detail::system_notice<detail::exit_deed>{detail::message_kind::urgent, {from, reason}});
  });
}

bool send_any(pid target, any_message value) {
  const auto p = detail::find_process(target);
  if (!p) return false;
  detail::at_commit([p, value = std::move(value)]() mutable {
    static_cast<detail::branch&>(*p).deliver(std::move(value));
  });
  return true;
}

}  // namespace peeper
