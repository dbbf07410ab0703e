// SPDX-License-Identifier: Apache-2.0
/// \file
/// Monitors, links, and the system calls of control.hpp on the server's side.
#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include <peeper/detail/branch.hpp>
#include <peeper/detail/fault_point.hpp>
#include <peeper/detail/system_call.hpp>

#include "core/extras.hpp"
#include "core/locked_mailbox.hpp"
#include "core/log.hpp"
#include "core/runtime_core.hpp"
#include "server/branch_extras.hpp"
#include "server/current.hpp"

namespace peeper::detail {
namespace {

void send_down(const watcher_entry& w, pid dead, const exit_reason& reason) noexcept {
  if (const process_ptr<process> p = find_process(w.watcher)) {
    static_cast<branch&>(*p).deliver(down{monitor_id{w.monitor_id}, dead, reason});
  }
}

struct exit_notice {
  pid from;
  exit_reason reason;
  void operator()(branch& self) const noexcept { self.system_exit_signal(from, reason); }
};

void send_exit(pid to, pid from, const exit_reason& reason) noexcept {
  if (const process_ptr<process> p = find_process(to)) {
    auto* notice = new system_notice<exit_notice>{message_kind::urgent, {from, reason}};
    if (!p->push_urgent(notice)) notice->type->release(notice);
  }
}

}  // namespace

void branch::watch(std::uint64_t id, pid watched, branch& watcher) noexcept {
  process_extras& e = extras();
  {
    const std::lock_guard lock{e.mutex};
    const bool alive =
        !e.ended && !closed_for_good() && generation_of(watched.role()) == watched.generation();
    if (alive) {
      e.watchers.push_back({id, watched, watcher.server_pid()});
      return;
    }
  }
  watcher.deliver(down{monitor_id{id}, watched, exit_kind::noproc});
}

void branch::unwatch(std::uint64_t id) noexcept {
  process_extras* e = extras_if_any();
  if (e == nullptr) return;
  const std::lock_guard lock{e->mutex};
  std::erase_if(e->watchers, [id](const watcher_entry& w) { return w.monitor_id == id; });
}

void branch::start_watching(std::uint64_t id, pid watched) {
  process_extras& e = extras();
  const std::lock_guard lock{e.mutex};
  e.watching.emplace_back(id, watched);
}

std::optional<pid> branch::stop_watching(std::uint64_t id) noexcept {
  process_extras* e = extras_if_any();
  if (e == nullptr) return std::nullopt;
  const std::lock_guard lock{e->mutex};
  const auto found = std::ranges::find(e->watching, id, &std::pair<std::uint64_t, pid>::first);
  if (found == e->watching.end()) return std::nullopt;
  const pid watched = found->second;
  e->watching.erase(found);
  return watched;
}

void branch::notify_watchers(pid dead, const exit_reason& reason) noexcept {
  process_extras* e = extras_if_any();
  if (e == nullptr) return;
  std::vector<watcher_entry> told;
  {
    const std::lock_guard lock{e->mutex};
    if (dead.role() == process_role::server) e->ended = true;
    std::erase_if(e->watchers, [&](const watcher_entry& w) {
      if (w.watched != dead) return false;
      told.push_back(w);
      return true;
    });
  }
  for (const watcher_entry& w : told) send_down(w, dead, reason);
}

void branch::link(branch& a, branch& b) noexcept {
  if (&a == &b) return;
  const auto add = [](branch& to, pid other) {
    process_extras& e = to.extras();
    const std::lock_guard lock{e.mutex};
    if (e.ended || to.closed_for_good()) return false;
    if (std::ranges::find(e.links, other) == e.links.end()) e.links.push_back(other);
    return true;
  };
  if (!add(b, a.server_pid())) {
    send_exit(a.server_pid(), b.server_pid(), exit_kind::noproc);
    return;
  }
  if (!add(a, b.server_pid())) b.remove_link(a.server_pid());
}

void branch::unlink(branch& a, branch& b) noexcept {
  a.remove_link(b.server_pid());
  b.remove_link(a.server_pid());
}

void branch::remove_link(pid other) noexcept {
  process_extras* e = extras_if_any();
  if (e == nullptr) return;
  const std::lock_guard lock{e->mutex};
  std::erase(e->links, other);
}

void branch::notify_links(const exit_reason& reason) noexcept {
  process_extras* e = extras_if_any();
  if (e == nullptr) return;
  std::vector<pid> linked;
  {
    const std::lock_guard lock{e->mutex};
    e->ended = true;
    linked.swap(e->links);
  }
  for (const pid other : linked) send_exit(other, server_pid(), reason);
}

void branch::unexpected_info(std::string_view type) noexcept {
  ++unexpected_;
  log_warning("server '{}' got an unexpected info of type {}; dropped", display_name(), type);
}

void branch::lost_info(std::string_view type) const noexcept {
  log_warning("server '{}' cannot be given an info of type {} ({}); dropped", display_name(), type,
              exit_reason::from_exception(std::current_exception()).to_string());
}

exit_reason branch::last_crash() const noexcept {
  return more_ ? more_->last_crash : exit_reason::normal();
}

statistics branch::system_statistics() const noexcept {
  statistics s;
  s.handled = handled_;
  s.crashes = crashes_;
  s.restarts = restarts_;
  // Each of them is replaced in the moment it dies, so its generation is the count.
  s.keeper_restarts = generation_of(process_role::keeper) - first_generation_;
  s.supervisor_restarts = generation_of(process_role::supervisor) - first_generation_;
  s.poison = more_ ? more_->poison.size() : 0;
  s.expired = expired_;
  s.unexpected = unexpected_;
  s.queued = queued_;
  if (limit_) s.dropped = limit_->dropped.load(std::memory_order_relaxed);
  if (locked_) {
    const std::lock_guard lock{locked_->mutex};
    s.dropped = locked_->dropped;
    s.queued += locked_->length;
  }
  s.suspended = suspended_;
  return s;
}

status branch::system_status() const {
  status s;
  s.name = display_name();
  s.server = type_name(server_type());
  s.supervisor = make_pid(process_role::supervisor);
  s.keeper = make_pid(process_role::keeper);
  s.worker = make_pid(process_role::worker);
  s.phase = phase_ != phase::running ? "restarting" : (suspended_ ? "suspended" : "running");
  s.counts = system_statistics();
  return s;
}

std::vector<poison_info> branch::system_poison() const {
  std::vector<poison_info> list;
  if (!more_) return list;
  list.reserve(more_->poison.size());
  for (const poison_entry& p : more_->poison) list.push_back(p.info);
  return list;
}

bool branch::system_replay(std::uint64_t id) {
  if (!more_) return false;
  auto& poison = more_->poison;
  const auto found = std::ranges::find(poison, id, [](const poison_entry& p) { return p.info.id; });
  if (found == poison.end() || found->original == nullptr) return false;
  message* original = found->original;
  queue_push_back(original->type->revive(*original));
  original->type->release(original);
  poison.erase(found);
  return true;
}

bool branch::system_discard(std::uint64_t id) noexcept {
  if (!more_) return false;
  auto& poison = more_->poison;
  const auto found = std::ranges::find(poison, id, [](const poison_entry& p) { return p.info.id; });
  if (found == poison.end()) return false;
  if (found->original != nullptr) found->original->type->release(found->original);
  poison.erase(found);
  return true;
}

void branch::system_trace(trace_sink sink) {
  traced_ = static_cast<bool>(sink);
  more().sink = std::move(sink);
}

void branch::trace(trace_point point, const message* m) noexcept {
  if (!traced_) return;
  try {
    more_->sink({point, pid{slot_, process_role::worker, running_generation_},
                 m == nullptr ? std::string_view{"init"} : m->type->name()});
  } catch (...) {
    traced_ = false;
    log_error("the trace of server '{}' threw and is switched off", display_name());
  }
}

std::expected<void, exit_reason> branch::system_edit(const std::function<void()>& body) noexcept {
  if (phase_ != phase::running) return std::unexpected{exit_reason{exit_kind::noproc}};
  execution ex{*this, nullptr, running_generation_};
  exit_reason failure;
  bool failed = false;
  {
    const execution_scope scope{ex};
    try {
      ex.mutating = true;
      state_begin();
      body();
      state_prepare();
      fault_point("edit.done", true);
    } catch (...) {
      failure = exit_reason::from_exception(std::current_exception());
      failed = true;
    }
  }
  // ORDER: acquire pairs with kill(): P5.
  if (!failed && worker_generation_.load(std::memory_order_acquire) != ex.generation &&
      !ex.committed) {
    failure = exit_kind::killed;
    failed = true;
  }
  if (failed) {
    ex.discard();
    state_rollback();
    rollback_companions();
    return std::unexpected{failure};
  }
  state_commit();
  commit_companions();
  ex.publish();
  if (ex.next.what != next_step::kind::none || ex.next.continuation != nullptr) apply_next(ex.next);
  return {};
}

}  // namespace peeper::detail
