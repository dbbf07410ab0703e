// SPDX-License-Identifier: Apache-2.0
#include "supervisor/supervisor_cell.hpp"

#include <algorithm>
#include <ranges>
#include <stdexcept>
#include <utility>

#include <fmt/format.h>

#include <peeper/detail/assert.hpp>
#include <peeper/detail/system_call.hpp>

#include "core/log.hpp"
#include "core/runtime_core.hpp"
#include "core/server_end.hpp"
#include "server/backoff.hpp"

namespace peeper::detail {
namespace {

struct ended_notice {
  process_ptr<child_entry> entry;
  pid server;
  exit_reason reason;
  exit_reason last_crash;
  void operator()(branch& self) const noexcept {
    static_cast<supervisor_cell&>(self).child_ended(*entry, server, reason, last_crash);
  }
};
struct again_notice {
  process_ptr<child_entry> entry;
  exit_reason reason;
  bool after_pause;
  void operator()(branch& self) const noexcept {
    static_cast<supervisor_cell&>(self).try_again(*entry, reason, after_pause);
  }
};

}  // namespace

// --- entries -----------------------------------------------------------------------------------

child_entry::child_entry(supervisor_cell& supervisor, std::shared_ptr<const child_data> how,
                         successor_function successor)
    : parent{&supervisor}, data{std::move(how)}, again{successor} {
  supervisor.add_ref();
}

child_entry::~child_entry() { parent.load(std::memory_order_relaxed)->release(); }

void child_entry::ended(branch& child, const exit_reason& reason) noexcept {
  // Its supervisor may have ended before it, if it was abandoned: then nobody is told.
  // ORDER: relaxed: changed with the child's claim only, which is ours.
  parent.load(std::memory_order_relaxed)
      ->push_or_release(new system_notice<ended_notice>{
          message_kind::system,
          {process_ptr<child_entry>{this}, child.server_pid(), reason, child.last_crash()}});
}

child_entry* supervisor_cell::add(std::shared_ptr<const child_data> how, successor_function again) {
  process_ptr<child_entry> e =
      process_ptr<child_entry>::adopt(new child_entry{*this, std::move(how), again});
  const std::lock_guard lock{children_mutex_};
  if (children_.size() >= plan_->max_children) return nullptr;
  if (!plan_->dynamic) by_id_.emplace(e->data->options.id, e.get());
  children_.push_back(*e);
  e->add_ref();  // the list's
  return e.get();
}

void supervisor_cell::forget(child_entry& e) noexcept {
  {
    const std::lock_guard lock{children_mutex_};
    if (!plan_->dynamic) by_id_.erase(e.data->options.id);
    children_.erase(children_.iterator_to(e));
  }
  e.status = child_status::undefined;
  e.server = {};
  if (e.data->started) e.data->started({});
  e.release();
}

child_entry* supervisor_cell::find(std::string_view id) noexcept {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : found->second;
}

child_error supervisor_cell::not_found(std::string_view id) const {
  return {child_errc::not_found,
          fmt::format("supervisor '{}' has no child '{}'", display_name(), id)};
}

std::string supervisor_cell::name_of(const child_entry& e) const {
  if (!e.data->options.id.empty()) return e.data->options.id;
  return e.server ? e.server->display_name() : std::string{"?"};
}

// --- start -------------------------------------------------------------------------------------

std::optional<std::string> supervisor_cell::mistake_in(const supervisor_plan& plan) {
  for (auto c = plan.children.begin(); c != plan.children.end(); ++c) {
    if (c->id().empty()) return "a child has an empty id";
    if (std::any_of(plan.children.begin(), c, [&](const child& d) { return d.id() == c->id(); })) {
      return fmt::format("two children have the id '{}': give one of them another", c->id());
    }
    if (c->data()->options.restart.significant() &&
        plan.options.auto_shutdown == auto_shutdown::never) {
      return fmt::format(
          "child '{}' is significant, but auto_shutdown is never: its end would mean nothing",
          c->id());
    }
  }
  return std::nullopt;
}

std::expected<void, start_error> supervisor_cell::start_tree() {
  if (const auto mistake = mistake_in(*plan_)) {
    std::string text = fmt::format("supervisor '{}' was not started: {}", display_name(), *mistake);
    never_start();
    return std::unexpected{start_error{start_errc::bad_options, std::move(text)}};
  }
  const process_ptr<supervisor_cell> alive{this};  // failure_ is read after its end
  auto started = branch::start();
  if (!started && failure_) return std::unexpected{*failure_};
  return started;
}

void supervisor_cell::worker_start(bool first) {
  if (!first) return;  // its children go on
  const outside_callbacks own_steps;
  for (const child& spec : plan_->children) {
    child_entry* e = add(spec.data());
    if (auto started = start_entry(*e); !started) {
      failure_ = start_error{
          start_errc::child_failed,
          fmt::format("supervisor '{}' was not started: its child '{}' did not start: {}",
                      display_name(), spec.id(), started.error().what()),
          started.error().reason(), started.error().existing()};
      end_all();
      throw std::runtime_error{failure_->what()};
    }
  }
}

std::expected<void, start_error> supervisor_cell::start_entry(child_entry& e) noexcept {
  try {
    return start_fresh(e, e.again == nullptr ? e.data->make(runtime()) : e.again(*e.server));
  } catch (...) {
    auto reason = exit_reason::from_exception(std::current_exception());
    return std::unexpected{start_error{
        start_errc::init_failed,
        fmt::format("its arguments could not be copied ({})", reason.to_string()), reason}};
  }
}

std::expected<void, start_error> supervisor_cell::start_fresh(child_entry& e,
                                                              const server_ptr& fresh) noexcept {
  fresh->become_child(e);
  auto* nested = dynamic_cast<supervisor_cell*>(fresh.get());
  auto started = nested == nullptr ? fresh->start() : nested->start_tree();
  if (!started) return started;
  {
    const std::lock_guard lock{children_mutex_};
    e.server = fresh;
    e.status = child_status::running;
  }
  if (e.data->started) e.data->started(fresh);
  return {};
}

// --- ends on order -----------------------------------------------------------------------------

/// From here on its end is no news, and no transfer takes it. RETURNS: null if it does not run.
server_ptr supervisor_cell::take_running(child_entry& e) noexcept {
  const std::lock_guard lock{children_mutex_};
  const bool running = std::exchange(e.status, child_status::undefined) == child_status::running;
  server_ptr server = std::exchange(e.server, {});
  return running ? server : server_ptr{};
}

void supervisor_cell::end_entry(child_entry& e) noexcept {
  const server_ptr server = take_running(e);
  if (!server) return;
  if (server_end end{server, e.time_to_end(*server)}; !end.wait()) abandon_child(*server);
}

/// It has been killed, and its callback does not return.
void supervisor_cell::abandon_child(branch& child) noexcept {
  child.abandon();
  log_error("supervisor '{}': a callback of its child '{}' does not return; it is left behind",
            display_name(), child.display_name());
}

void supervisor_cell::end_from(child_entry& from, const child_entry* except) noexcept {
  auto at = children_.end();
  for (bool last = false; !last && at != children_.begin();) {
    child_entry& e = *--at;
    last = &e == &from;
    if (&e == except) continue;
    end_entry(e);
    if (e.data->options.restart.when() != restart::temporary) continue;
    ++at;  // it goes, and with it its place
    forget(e);
    if (last) break;
  }
}

void supervisor_cell::end_all() noexcept {
  if (plan_->dynamic) {
    end_all_at_once();
  } else {
    for (child_entry& e : std::views::reverse(children_)) end_entry(e);
  }
  while (!children_.empty()) forget(children_.back());
}

/// Those that are idle here, the others while we wait.
void supervisor_cell::end_all_at_once() noexcept {
  std::vector<std::pair<server_ptr, server_end>> busy;
  for (child_entry& e : children_) {
    server_ptr server = take_running(e);
    if (!server) continue;
    server_end end{server, e.time_to_end(*server)};
    if (!end.done()) busy.emplace_back(std::move(server), std::move(end));
  }
  for (auto& [server, end] : busy) {
    if (!end.wait()) abandon_child(*server);
  }
}

void supervisor_cell::before_end(const exit_reason& /*reason*/) noexcept {
  {
    const std::lock_guard lock{children_mutex_};
    ending_ = true;  // no transfer brings or takes a child from now on
  }
  const outside_callbacks own_steps;
  end_all();
}

// --- ends by themselves ------------------------------------------------------------------------

void supervisor_cell::child_ended(child_entry& e, pid server, const exit_reason& reason,
                                  const exit_reason& last_crash) noexcept {
  // ORDER: relaxed: the child has ended: nothing moves it any more.
  if (e.parent.load(std::memory_order_relaxed) != this || e.status != child_status::running ||
      e.server->server_pid() != server) {
    return;
  }
  const outside_callbacks own_steps;
  const std::string id = name_of(e);
  const child_options& how = e.data->options;
  const bool restarts = how.restart.when() == restart::permanent ||
                        (how.restart.when() == restart::transient && !reason.is_normal());
  e.status = child_status::undefined;
  auto decision = restarts ? restart_decision::restart : restart_decision::leave;
  if (restarts && how.on_exit) {
    try {
      decision = how.on_exit({id, server, reason, last_crash, e.restarts});
    } catch (...) {
      log_error("supervisor '{}': on_exit of child '{}' threw ({}); it is restarted",
                display_name(), id,
                exit_reason::from_exception(std::current_exception()).to_string());
    }
  }
  if (restarts || !reason.is_normal()) {
    const auto [write, left_out] = log_limit_.next(runtime().coarse_now());
    if (left_out != 0) {
      log_warning("supervisor '{}': {} more children ended", display_name(), left_out);
    }
    if (write) {
      log_warning("supervisor '{}': child '{}' ended: {}; {}", display_name(), id,
                  reason.to_string(),
                  decision == restart_decision::restart ? "it is restarted" : "it stays ended");
    }
  }
  if (decision == restart_decision::restart) {
    restart_entry(e, reason);
  } else if (decision == restart_decision::escalate) {
    give_up(id, reason);
  } else {
    e.server = {};
    const bool significant = how.restart.significant();
    if (how.restart.when() == restart::temporary || plan_->dynamic) forget(e);
    look_at_auto_shutdown(significant);
  }
}

void supervisor_cell::look_at_auto_shutdown(bool significant) noexcept {
  if (!significant || plan_->options.auto_shutdown == auto_shutdown::never) return;
  if (plan_->options.auto_shutdown == auto_shutdown::all_significant &&
      std::ranges::any_of(children_, [](const child_entry& e) {
        return e.data->options.restart.significant() && e.status != child_status::undefined;
      })) {
    return;
  }
  system_shutdown();
}

void supervisor_cell::give_up(std::string_view id, const exit_reason& reason) noexcept {
  log_error("supervisor '{}' gives up and ends its children: child '{}' ended: {}", display_name(),
            id, reason.to_string());
  end({exit_kind::shutdown,
       fmt::format("restart intensity reached; child '{}' ended: {}", id, reason.to_string())});
}

void supervisor_cell::restart_entry(child_entry& e, const exit_reason& reason) noexcept {
  const supervisor_options& o = plan_->options;
  if (!window_.add(runtime().env().now(), o.max_restarts, o.max_seconds)) {
    give_up(name_of(e), reason);
    return;
  }
  ++e.restarts;
  e.status = child_status::restarting;
  if (o.strategy == strategy::one_for_all) {
    end_from(children_.front(), &e);
  } else if (o.strategy == strategy::rest_for_one) {
    end_from(e, &e);
  }
  const duration pause =
      backoff_pause(e.data->options.backoff, window_.in_window(), runtime().env());
  if (pause == duration::zero()) {
    start_again(e);
    return;
  }
  mark_timers_used();
  timer_service& timers = runtime().timers();
  timers.start(timers.new_id(), *this, deadline_after(runtime().env().now(), pause),
               new system_notice<again_notice>{message_kind::system,
                                               {process_ptr<child_entry>{&e}, reason, true}});
}

void supervisor_cell::try_again(child_entry& e, const exit_reason& reason,
                                bool after_pause) noexcept {
  if (e.parent.load(std::memory_order_relaxed) != this || e.status != child_status::restarting) {
    return;
  }
  const outside_callbacks own_steps;
  if (after_pause) {
    start_again(e);
  } else {
    restart_entry(e, reason);  // OTP: each failed attempt counts
  }
}

void supervisor_cell::start_again(child_entry& failed) noexcept {
  auto from = children_.iterator_to(failed);
  auto to = std::next(from);
  if (plan_->options.strategy != strategy::one_for_one) to = children_.end();
  if (plan_->options.strategy == strategy::one_for_all) from = children_.begin();
  for (auto at = from; at != to; ++at) {
    child_entry& e = *at;
    if (e.status == child_status::running) continue;
    const auto started = start_entry(e);
    if (started) continue;
    if (started.error().code() == start_errc::shutting_down) {
      e.status = child_status::undefined;  // the runtime ends this supervisor, too
      return;
    }
    log_error("supervisor '{}': child '{}' could not be restarted: {}", display_name(), name_of(e),
              started.error().what());
    if (failed.status == child_status::restarting) failed.status = child_status::undefined;
    e.status = child_status::restarting;
    // Behind what waits for it already: others have their say between two attempts.
    push_or_release(new system_notice<again_notice>{
        message_kind::system, {process_ptr<child_entry>{&e}, started.error().reason(), false}});
    return;
  }
}

// --- what it is not made for -------------------------------------------------------------------

void supervisor_cell::deliver(const down& /*info*/) noexcept { unexpected_info("peeper::down"); }
void supervisor_cell::deliver(const exit_signal& /*info*/) noexcept {
  unexpected_info("peeper::exit_signal");
}
void supervisor_cell::deliver(any_message info) noexcept {
  unexpected_info(type_name(info.type()));
}
message* supervisor_cell::make_timeout_message() {
  throw std::logic_error{"peeper: a supervisor has no timeouts"};
}

}  // namespace peeper::detail
