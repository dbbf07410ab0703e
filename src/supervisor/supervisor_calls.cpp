// SPDX-License-Identifier: Apache-2.0
/// \file
/// What supervisor.hpp and dynamic_supervisor.hpp ask for: the supervisor's side, then the
/// caller's.
#include <utility>

#include <fmt/format.h>

#include <peeper/partition_supervisor.hpp>

#include "core/log.hpp"
#include "core/runtime_core.hpp"
#include "core/server_end.hpp"
#include "supervisor/supervisor_cell.hpp"

namespace peeper {
namespace detail {

// --- the supervisor's side, with its claim -----------------------------------------------------

server_ptr make_supervisor(runtime_core& rt, std::shared_ptr<const branch_options> options,
                           std::shared_ptr<const supervisor_plan> plan) {
  return server_ptr{new supervisor_cell{rt, std::move(options), std::move(plan)}};
}

namespace {

child_error did_not_start(std::string_view id, const start_error& why) {
  return {child_errc::start_failed, fmt::format("child '{}' did not start: {}", id, why.what()),
          why.reason()};
}

/// Only one that has ended can be started or forgotten. RETURNS: why this one cannot.
std::optional<child_error> not_ended(const child_entry& e) {
  const std::string& id = e.data->options.id;
  if (e.status == child_status::running) {
    return child_error{child_errc::running,
                       fmt::format("child '{}' runs: terminate_child() it first", id)};
  }
  if (e.status == child_status::restarting) {
    return child_error{child_errc::restarting, fmt::format("child '{}' is being restarted", id)};
  }
  return std::nullopt;
}

}  // namespace

std::expected<pid, child_error> supervisor_cell::start_child(const child& spec) {
  if (!plan_->dynamic) {
    if (const child_entry* e = find(spec.id())) {
      if (e->status == child_status::undefined) {
        return std::unexpected{child_error{
            child_errc::already_present,
            fmt::format("child '{}' is there and has ended: restart_child() or delete_child() it",
                        spec.id())}};
      }
      return std::unexpected{child_error{child_errc::already_started,
                                         fmt::format("a child '{}' runs already", spec.id())}};
    }
    supervisor_plan alone{.options = plan_->options, .children = {spec}, .extra = {}};
    if (auto mistake = mistake_in(alone)) {
      return std::unexpected{child_error{child_errc::bad_spec, std::move(*mistake)}};
    }
  }
  child_entry* e = add(spec.data());
  if (e == nullptr) return std::unexpected{full()};
  if (auto started = start_entry(*e); !started) {
    forget(*e);
    return std::unexpected{did_not_start(spec.id(), started.error())};
  }
  return e->server->server_pid();
}

std::expected<void, child_error> supervisor_cell::start_child(const server_ptr& fresh,
                                                              std::shared_ptr<const child_data> how,
                                                              successor_function again) {
  child_entry* e = add(std::move(how), again);
  if (e == nullptr) {
    fresh->never_start();
    return std::unexpected{full()};
  }
  if (auto started = start_fresh(*e, fresh); !started) {
    forget(*e);
    return std::unexpected{did_not_start(fresh->display_name(), started.error())};
  }
  return {};
}

child_error supervisor_cell::full() const {
  return {child_errc::max_children,
          fmt::format("supervisor '{}' has {} children, and may not have more", display_name(),
                      plan_->max_children)};
}

std::expected<void, child_error> supervisor_cell::terminate_child(std::string_view id) {
  child_entry* e = find(id);
  if (e == nullptr) return std::unexpected{not_found(id)};
  end_entry(*e);
  if (e->data->options.restart.when() == restart::temporary) forget(*e);
  return {};
}

std::expected<void, child_error> supervisor_cell::terminate_child(pid server) {
  const process_ptr<process> found = find_process(server);
  auto* e = found ? static_cast<child_entry*>(static_cast<branch&>(*found).place()) : nullptr;
  {
    const std::lock_guard lock{children_mutex_};
    // ORDER: relaxed: if it is ours, it is under our lock.
    if (e == nullptr || e->parent.load(std::memory_order_relaxed) != this ||
        e->status != child_status::running || e->server.get() != found.get()) {
      return std::unexpected{not_found(to_string(server))};
    }
    e->status = child_status::undefined;
  }
  const server_ptr child = std::exchange(e->server, {});
  if (server_end end{child, e->time_to_end(*child)}; !end.wait()) abandon_child(*child);
  forget(*e);
  return {};
}

std::expected<pid, child_error> supervisor_cell::restart_child(std::string_view id) {
  child_entry* e = find(id);
  if (e == nullptr) return std::unexpected{not_found(id)};
  if (auto why = not_ended(*e)) return std::unexpected{std::move(*why)};
  if (auto started = start_entry(*e); !started) {
    return std::unexpected{did_not_start(id, started.error())};
  }
  return e->server->server_pid();
}

std::expected<void, child_error> supervisor_cell::delete_child(std::string_view id) {
  child_entry* e = find(id);
  if (e == nullptr) return std::unexpected{not_found(id)};
  if (auto why = not_ended(*e)) return std::unexpected{std::move(*why)};
  forget(*e);
  return {};
}

std::expected<server_ptr, child_error> supervisor_cell::running_child(std::string_view id) {
  const child_entry* e = find(id);
  if (e == nullptr) return std::unexpected{not_found(id)};
  if (e->status == child_status::running) return e->server;
  if (e->status == child_status::restarting) {
    return std::unexpected{
        child_error{child_errc::restarting, fmt::format("child '{}' is being restarted", id)}};
  }
  return std::unexpected{child_error{child_errc::not_found,
                                     fmt::format("child '{}' has ended: restart_child() it", id)}};
}

std::vector<std::pair<child_info, server_ptr>> supervisor_cell::which_children() {
  std::vector<std::pair<child_info, server_ptr>> all;
  const std::lock_guard lock{children_mutex_};
  all.reserve(children_.size());
  for (const child_entry& e : children_) {
    const bool running = e.status == child_status::running;
    all.emplace_back(child_info{.id = e.data->options.id,
                                .process = running ? e.server->server_pid() : pid{},
                                .status = e.status,
                                .type = e.data->type,
                                .restart = e.data->options.restart,
                                .restarts = e.restarts},
                     running ? e.server : server_ptr{});
  }
  return all;
}

child_counts supervisor_cell::count_children() {
  child_counts n;
  const std::lock_guard lock{children_mutex_};
  for (const child_entry& e : children_) {
    ++n.specs;
    n.active += e.status == child_status::running ? 1U : 0U;
    ++(e.data->type == child_type::supervisor ? n.supervisors : n.workers);
  }
  return n;
}

// --- the caller's side -------------------------------------------------------------------------

namespace {

/// Of children of dynamic supervisors that were started without options: one for all of them.
const std::shared_ptr<const child_data>& default_child() {
  static const auto data = std::make_shared<const child_data>();
  return data;
}

template <class T>
inline constexpr bool is_child_result = false;
template <class T>
inline constexpr bool is_child_result<std::expected<T, child_error>> = true;

child_error of_call(const any_supervisor& s, const call_error& e) {
  switch (e.code()) {
    case call_errc::calling_self:
    case call_errc::cycle: return {child_errc::calling_self, e.what()};
    case call_errc::crashed: return {child_errc::start_failed, e.what(), e.reason()};
    default: break;
  }
  return {child_errc::noproc, fmt::format("supervisor '{}' does not run", s.name())};
}

/// Runs `step(supervisor_cell&)` on the supervisor. OTP: supervisors are waited for without limit.
template <class Step>
auto ask(const any_supervisor& s, Step step) {
  using result = std::invoke_result_t<Step&, supervisor_cell&>;
  using outcome =
      std::conditional_t<is_child_result<result>, result, std::expected<result, child_error>>;
  auto done = ask_system<result>(
      s.cell(),
      [step = std::move(step)](branch& b) mutable {
        const outside_callbacks own_steps;
        return step(static_cast<supervisor_cell&>(b));
      },
      infinity, message_kind::system);
  if (!done) return outcome{std::unexpected{of_call(s, done.error())}};
  return outcome{std::move(*done)};
}

/// A supervisor's options as those of its branch.
std::shared_ptr<const branch_options> branch_options_for(const supervisor_options& o) {
  branch_options b;
  b.name = o.name;
  b.shutdown = infinity;  // its children have limits of their own
  b.via = o.via;
  return shared_options(std::move(b));
}

std::expected<server_ptr, start_error> start_planned(runtime& rt, supervisor_plan plan) {
  auto options = branch_options_for(plan.options);
  server_ptr made = make_supervisor(rt.core(), std::move(options),
                                    std::make_shared<const supervisor_plan>(std::move(plan)));
  auto started = static_cast<supervisor_cell&>(*made).start_tree();
  if (!started) return std::unexpected{std::move(started.error())};
  return made;
}

child spec_of(child_options how, supervisor_plan plan) {
  if (how.id.empty()) how.id = plan.options.name;
  auto options = branch_options_for(plan.options);
  auto shared = std::make_shared<const supervisor_plan>(std::move(plan));
  return child{std::make_shared<const child_data>(
      child_data{std::move(how),
                 child_type::supervisor,
                 [options = std::move(options), shared = std::move(shared)](runtime_core& rt) {
                   return make_supervisor(rt, options, shared);
                 },
                 {}})};
}

supervisor_plan plan_of(dynamic_supervisor_options&& o, extra_arguments extra) {
  return {.options = {.name = std::move(o.name),
                      .max_restarts = o.max_restarts,
                      .max_seconds = o.max_seconds,
                      .via = std::move(o.via)},
          .children = {},
          .dynamic = true,
          .max_children = o.max_children,
          .extra = std::move(extra)};
}

const supervisor_plan* plan_of(const process_ptr<branch>& found) noexcept {
  const auto* cell = dynamic_cast<const supervisor_cell*>(found.get());
  return cell == nullptr ? nullptr : &cell->plan();
}

}  // namespace

std::expected<server_ptr, child_error> child_of(const any_supervisor& s, std::string_view id) {
  return ask(s, [id](supervisor_cell& c) { return c.running_child(id); });
}

child_error wrong_class(std::string_view id) {
  return {child_errc::wrong_class, fmt::format("child '{}' is a server of another class", id)};
}

std::expected<void, child_error> start_dynamic_child(const any_supervisor& s,
                                                     const server_ptr& fresh,
                                                     std::shared_ptr<const child_data> how,
                                                     successor_function again) {
  bool taken = false;
  auto done = ask(s, [&](supervisor_cell& c) {
    taken = true;
    return c.start_child(fresh, how ? how : default_child(), again);
  });
  if (!taken) fresh->never_start();
  return done;
}

std::expected<pid, child_error> start_dynamic_child(const any_supervisor& s, const child& spec) {
  return ask(s, [&spec](supervisor_cell& c) { return c.start_child(spec); });
}

std::expected<void, child_error> terminate_dynamic_child(const any_supervisor& s, pid child) {
  if (const branch* b = current_branch(); b != nullptr && b->server_pid() == child) {
    return std::unexpected{
        child_error{child_errc::calling_self,
                    "a server cannot wait for its own end: return peeper::stop(...)"}};
  }
  return ask(s, [child](supervisor_cell& c) { return c.terminate_child(child); });
}

child partition_spec(const child& spec, std::shared_ptr<partition_slots> slots, std::size_t index) {
  child_data data = *spec.data();
  data.started = [slots = std::move(slots), index](const server_ptr& server) {
    slots->set(index, server);
  };
  return child{std::make_shared<const child_data>(std::move(data))};
}

std::expected<server_ptr, start_error> start_dynamic(runtime& rt,
                                                     dynamic_supervisor_options options,
                                                     extra_arguments extra) {
  return start_planned(rt, plan_of(std::move(options), std::move(extra)));
}

const std::shared_ptr<const void>& extra_of(const server_ptr& cell) noexcept {
  return static_cast<const supervisor_cell&>(*cell).plan().extra.values;
}

std::expected<server_ptr, call_error> find_dynamic(runtime& rt, const std::string& name,
                                                   const std::type_info& extra) {
  auto found = find_server(rt.core(), name);
  if (!found) return std::unexpected{call_error{call_errc::noproc, name}};
  const supervisor_plan* plan = plan_of(found);
  if (plan == nullptr || !plan->dynamic || *plan->extra.type != extra) {
    return std::unexpected{call_error{call_errc::name_mismatch, name}};
  }
  return found;
}

}  // namespace detail

// --- any_supervisor, supervisor ----------------------------------------------------------------

using detail::ask;
using detail::supervisor_cell;

std::expected<std::vector<child_info>, child_error> any_supervisor::which_children() const {
  return ask(*this, [](supervisor_cell& c) {
    std::vector<child_info> infos;
    for (auto& [info, server] : c.which_children()) infos.push_back(std::move(info));
    return infos;
  });
}

std::expected<child_counts, child_error> any_supervisor::count_children() const {
  return ask(*this, [](supervisor_cell& c) { return c.count_children(); });
}

std::expected<void, stop_error> any_supervisor::stop(const exit_reason& reason,
                                                     duration limit) const {
  const auto stopped = detail::ask_system<void>(
      cell_, [reason](detail::branch& b) { b.system_stop(reason); }, limit,
      detail::message_kind::system);
  return detail::to_stop_result(stopped, reason);
}

std::expected<pid, child_error> supervisor::start_child(const peeper::child& spec) const {
  return ask(*this, [&spec](supervisor_cell& c) { return c.start_child(spec); });
}
std::expected<void, child_error> supervisor::terminate_child(std::string_view id) const {
  return ask(*this, [id](supervisor_cell& c) { return c.terminate_child(id); });
}
std::expected<pid, child_error> supervisor::restart_child(std::string_view id) const {
  return ask(*this, [id](supervisor_cell& c) { return c.restart_child(id); });
}
std::expected<void, child_error> supervisor::delete_child(std::string_view id) const {
  return ask(*this, [id](supervisor_cell& c) { return c.delete_child(id); });
}

std::expected<supervisor, child_error> supervisor::child_supervisor(std::string_view id) const {
  auto found = detail::child_of(*this, id);
  if (!found) return std::unexpected{std::move(found.error())};
  const detail::supervisor_plan* plan = detail::plan_of(*found);
  if (plan == nullptr || plan->dynamic) return std::unexpected{detail::wrong_class(id)};
  return supervisor{std::move(*found)};
}

std::expected<supervisor, start_error> start_supervisor(runtime& rt, supervisor_options options,
                                                        std::vector<child> children) {
  auto started = detail::start_planned(
      rt, {.options = std::move(options), .children = std::move(children), .extra = {}});
  if (!started) return std::unexpected{std::move(started.error())};
  return supervisor{std::move(*started)};
}

child supervisor_spec(child_options how, supervisor_options options, std::vector<child> children) {
  return detail::spec_of(
      std::move(how),
      {.options = std::move(options), .children = std::move(children), .extra = {}});
}

child dynamic_supervisor_spec(child_options how, dynamic_supervisor_options options) {
  return detail::spec_of(
      std::move(how), detail::plan_of(std::move(options), {std::make_shared<const std::tuple<>>(),
                                                           &typeid(std::tuple<>)}));
}

std::expected<supervisor, call_error> whereis_supervisor(runtime& rt, const std::string& name) {
  auto found = detail::find_server(rt.core(), name);
  if (!found) return std::unexpected{call_error{call_errc::noproc, name}};
  const detail::supervisor_plan* plan = detail::plan_of(found);
  if (plan == nullptr || plan->dynamic) {
    return std::unexpected{call_error{call_errc::name_mismatch, name}};
  }
  return supervisor{std::move(found)};
}

std::string_view to_string(child_errc code) noexcept {
  switch (code) {
    case child_errc::not_found: return "not_found";
    case child_errc::running: return "running";
    case child_errc::restarting: return "restarting";
    case child_errc::already_started: return "already_started";
    case child_errc::already_present: return "already_present";
    case child_errc::max_children: return "max_children";
    case child_errc::start_failed: return "start_failed";
    case child_errc::bad_spec: return "bad_spec";
    case child_errc::wrong_class: return "wrong_class";
    case child_errc::calling_self: return "calling_self";
    case child_errc::timed_out: return "timed_out";
    case child_errc::noproc: break;
  }
  return "noproc";
}

std::string_view to_string(child_status status) noexcept {
  switch (status) {
    case child_status::running: return "running";
    case child_status::restarting: return "restarting";
    case child_status::undefined: break;
  }
  return "undefined";
}

}  // namespace peeper
