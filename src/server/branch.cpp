// SPDX-License-Identifier: Apache-2.0
#include <peeper/detail/branch.hpp>

#include <algorithm>
#include <bit>
#include <exception>
#include <utility>

#include <fmt/format.h>

#include <peeper/detail/assert.hpp>
#include <peeper/detail/fault_point.hpp>
#include <peeper/detail/system_call.hpp>

#include "core/extras.hpp"
#include "core/locked_mailbox.hpp"
#include "core/log.hpp"
#include "core/pid_table.hpp"
#include "core/runtime_core.hpp"
#include "server/backoff.hpp"
#include "server/branch_extras.hpp"
#include "server/current.hpp"
#include "server/thread_waiter.hpp"

namespace peeper::detail {

suspended_callback::~suspended_callback() = default;

branch::branch(runtime_core& rt, std::shared_ptr<const branch_options> options)
    : process{rt},
      options_{std::move(options)},
      supervisor_generation_{first_generation_},
      keeper_generation_{first_generation_},
      worker_generation_{first_generation_},
      hibernates_{options_->hibernate_after != infinity},
      run_on_caller_{options_->run_on_caller} {
  const mailbox_options& mailbox = options_->mailbox;
  if (mailbox.max_length == 0) return;
  if (mailbox.when_full == overflow::drop_oldest) {
    locked_ = std::make_unique<locked_mailbox>(mailbox.max_length);
  } else {
    limit_ = std::make_unique<mailbox_limit>(mailbox);
  }
}

branch::~branch() {
  // ORDER: relaxed: whoever let go last has seen it.
  if (child_place* place = place_.load(std::memory_order_relaxed)) place->release();
}

void branch::enlist(companion& c) {
  auto& enlisted = more().enlisted;
  if (std::ranges::find(enlisted, &c) == enlisted.end()) enlisted.push_back(&c);
}

void branch::attach(std::shared_ptr<companion> c) { more().attached.push_back(std::move(c)); }

void branch::detach(const companion& c) noexcept {
  if (!more_) return;
  std::erase_if(more_->attached, [&c](const auto& each) { return each.get() == &c; });
}

companion* branch::listeners() const noexcept { return more_ ? more_->listeners : nullptr; }

void branch::set_listeners(std::shared_ptr<companion> hub) {
  companion* const raw = hub.get();
  attach(std::move(hub));
  more_->listeners = raw;
}

branch_extras& branch::more() {
  if (!more_) more_ = std::make_unique<branch_extras>();
  return *more_;
}

std::uint32_t branch::generation_of(process_role role) const noexcept {
  // ORDER: acquire pairs with kill() and restart(): a pid that is found has its worker behind it.
  switch (role) {
    case process_role::supervisor: return supervisor_generation_.load(std::memory_order_acquire);
    case process_role::keeper: return keeper_generation_.load(std::memory_order_acquire);
    case process_role::worker: return worker_generation_.load(std::memory_order_acquire);
    case process_role::server: break;
  }
  return first_generation_;
}

std::string branch::display_name() const {
  return options_->name.empty() ? to_string(server_pid()) : options_->name;
}

// --- start -----------------------------------------------------------------------------------

std::expected<void, start_error> branch::start() {
  runtime_core& rt = *runtime_;
  const auto refuse = [this](start_error error) -> std::unexpected<start_error> {
    never_start();
    return std::unexpected{std::move(error)};
  };
  pid_table::publish(slot_, *this);
  if (!rt.adopt(*this)) {
    return refuse({start_errc::shutting_down, "the runtime is shutting down"});
  }
  if (!options_->name.empty()) {
    if (const auto registered = rt.register_name(*options_, *this); !registered) {
      rt.child_ended(*this);
      return refuse({start_errc::already_started,
                     fmt::format("the name '{}' is taken by {}: stop that server first, or use "
                                 "another name",
                                 options_->name, to_string(registered.error())),
                     {},
                     registered.error()});
    }
  }
  has_name_ = true;
  const auto first_init = [this]() -> std::expected<void, exit_reason> {
    auto outcome = run_init(true);
    if (!outcome) end(outcome.error());
    return outcome;
  };
  const auto explain = [this](const exit_reason& reason) {
    return start_error{start_errc::init_failed,
                       fmt::format("init of server '{}' failed ({}): nothing was started",
                                   display_name(), reason.to_string()),
                       reason};
  };
  if (options_->init_timeout == infinity) {
    const auto outcome = first_init();
    if (!outcome) {
      auto error = explain(outcome.error());
      release();
      return std::unexpected{std::move(error)};
    }
    give_claim_back();
    return {};
  }
  // With a limit, init must not be on this thread: it could not be left behind.
  const process_ptr<branch> alive{this};
  using start_call = system_call<std::expected<void, exit_reason>, decltype(first_init)>;
  auto* call = new start_call{message_kind::system, first_init};
  const request_ptr<start_call::request_type> r{call};
  queue_push_back(call);
  rt.submit(*this);
  const time_point deadline = deadline_after(rt.env().now(), options_->init_timeout);
  if (!wait_for_request(rt, *r, deadline)) {
    // Its init, when it comes back, finds itself fenced off, and the server ends.
    abandon();
    return std::unexpected{
        start_error{start_errc::init_timeout,
                    fmt::format("init of server '{}' did not return in time", display_name())}};
  }
  if (!r->result()) return std::unexpected{explain(r->result().error().reason())};
  if (!*r->result()) return std::unexpected{explain(r->result()->error())};
  return {};
}

void branch::never_start() noexcept {
  phase_ = phase::ended;
  pid_table::free(slot_, first_generation_ + 1);
  close();
  release();
}

std::expected<void, exit_reason> branch::run_init(bool first) noexcept {
  // ORDER: acquire pairs with kill().
  running_generation_ = worker_generation_.load(std::memory_order_acquire);
  execution ex{*this, nullptr, running_generation_};
  trace(trace_point::begin, nullptr);
  {
    const execution_scope scope{ex};
    try {
      worker_start(first);
      fault_point("init.done", true);
    } catch (...) {
      auto reason = exit_reason::from_exception(std::current_exception());
      ex.discard();
      rollback_companions();
      return std::unexpected{std::move(reason)};
    }
  }
  // ORDER: acquire pairs with kill(): P5.
  if (worker_generation_.load(std::memory_order_acquire) != ex.generation) {
    rollback_companions();
    return std::unexpected{exit_reason{exit_kind::killed}};
  }
  commit_companions();
  phase_ = phase::running;
  accepts_user_messages_ = !suspended_;
  trace(trace_point::commit, nullptr);
  ex.publish();
  apply_next(ex.next);
  return {};
}

// --- the loop: take ----------------------------------------------------------------------------

bool branch::run(unsigned budget) noexcept {
  for (;;) {
    // The end comes first: an urgent message may have come just before it, and nothing may be taken
    // from an inbox that is closed.
    while (phase_ != phase::ended && take_urgent()) {
      take_arrived();
      while (message* m = queue_pop_system(true)) {
        handle(m, runs_on::pool);
        if (phase_ == phase::ended) break;
      }
    }
    if (phase_ == phase::ended) {
      release();
      return false;
    }
    message* m = next_message();
    if (m == nullptr) {
      if (take_arrived()) continue;
      if (timeout_when_empty_ && !blocked()) {
        run_timeout();
      } else if (try_go_idle()) {
        return false;  // *this may be gone
      } else {
        continue;
      }
    } else {
      runtime_->sched().before_callback();
      handle(m, runs_on::pool);
    }
    if (budget-- <= 1 && phase_ != phase::ended) return true;
  }
}

message* branch::next_message() noexcept {
  if (!blocked()) {
    if (continuation_ != nullptr) return std::exchange(continuation_, nullptr);
    return queue_pop_front();
  }
  // While a callback awaits, only what cannot wait is looked at: the callback is not over.
  return queue_pop_system(/*urgent_only=*/awaiting_ != nullptr);
}

bool branch::its_turn(const message& m) const noexcept {
  return queue_head_ == nullptr && continuation_ == nullptr &&
         (is_library(m) ? awaiting_ == nullptr : !blocked());
}

void branch::give_claim_back() noexcept {
  if (phase_ == phase::ended) {
    release();
    return;
  }
  const bool can_go_on =
      blocked() ? system_queued_ != 0 && awaiting_ == nullptr
                : continuation_ != nullptr || queue_head_ != nullptr || timeout_when_empty_;
  if (can_go_on || !try_go_idle()) runtime_->submit(*this);
}

// --- the loop: run -----------------------------------------------------------------------------

void branch::handle(message* m, runs_on where) noexcept {
  if (is_library(*m)) {
    m->type->run(*this, *m);  // does not throw: system_call catches
    m->type->release(m);
  } else {
    run_callback(m, where);
  }
}

void branch::run_callback(message* m, runs_on where) noexcept {
  if (m->counted) give_place_back(*m);
  const message_type& type = *m->type;
  if (type.kind == message_kind::call && where == runs_on::pool &&
      m->deadline != time_point::max() && m->deadline <= runtime_->coarse_now()) {
    ++expired_;
    type.fail(*m, call_error{call_errc::expired, display_name()});
    type.release(m);
    return;
  }
  timeout_at_ = time_point::max();  // whatever arrives first cancels a timeout (OTP)
  timeout_when_empty_ = false;
  if (traced_) trace(trace_point::begin, m);
  if (type.coroutine) {
    run_coroutine(m);
    return;
  }
  execution ex{*this, m, running_generation_};
  exit_reason failure;
  bool failed = false;
  {
    const execution_scope scope{ex};
    try {
      type.run(*this, *m);
      fault_point("callback.done", true);
    } catch (...) {
      failure = exit_reason::from_exception(std::current_exception());
      failed = true;
    }
  }
  if (failed) {
    crashed(&ex, m, failure, true);
  } else {
    finish_callback(ex, m, where);
  }
}

void branch::run_coroutine(message* m) noexcept {
  exit_reason failure;
  try {
    awaiting_ = std::make_unique<suspended_callback>(*this, m, running_generation_);
  } catch (...) {
    failure = exit_reason::from_exception(std::current_exception());
    crashed(nullptr, m, failure, true);
    return;
  }
  continue_coroutine([m, this] {
    m->type->run(*this, *m);  // makes the coroutine, sets awaiting_->resume
    return awaiting_->resume();
  });
}

void branch::resume_suspended(std::uint64_t await_id) noexcept {
  if (!awaiting_ || awaiting_->await_id != await_id) return;  // of a callback that is no more
  continue_coroutine([this] { return awaiting_->resume(); });
}

void branch::continue_coroutine(const std::function<bool()>& step) noexcept {
  execution& ex = awaiting_->ex;
  exit_reason failure;
  bool failed = false;
  bool ended = false;
  {
    const execution_scope scope{ex};
    try {
      ended = step();
      if (ended) fault_point("callback.done", true);
    } catch (...) {
      failure = exit_reason::from_exception(std::current_exception());
      failed = true;
    }
  }
  if (!failed && !ended) {
    accepts_user_messages_ = false;
    return;
  }
  const std::unique_ptr<suspended_callback> over = std::move(awaiting_);
  accepts_user_messages_ = !suspended_;
  destroy_coroutine(*over);
  if (failed) {
    crashed(&over->ex, over->ex.current, failure, true);
  } else {
    finish_callback(over->ex, over->ex.current, runs_on::pool);
  }
}

// --- the loop: commit, publish -----------------------------------------------------------------

void branch::finish_callback(execution& ex, message* m, runs_on where) noexcept {
  // P5. The commit point: a kill that is seen here undoes the callback, one that comes later finds
  // it committed. ORDER: acquire pairs with kill().
  if (worker_generation_.load(std::memory_order_acquire) != ex.generation && !ex.committed) {
    crashed(&ex, m, exit_kind::killed, false);
    return;
  }
  if (ex.mutating) state_commit();
  commit_companions();
  ++handled_;
  // CRASH: (a kill from here on) the callback is committed; everything below still happens.
  const bool hooked = the_fault_hook.load(std::memory_order_relaxed) != nullptr;
  if (hooked) reached("committed");
  if (traced_) trace(trace_point::commit, m);
  ex.publish();
  if (hooked) reached("published");
  const message_type& type = *m->type;
  const bool plain =
      ex.next.what == next_step::kind::none && ex.next.continuation == nullptr && !hibernates_;
  if (plain && ex.next.reply_ready && where == runs_on::caller && type.finish_here != nullptr) {
    type.finish_here(*m);
    return;
  }
  if (ex.next.what == next_step::kind::stop) {
    finish_stopping(ex, m);
    return;
  }
  if (ex.next.reply_ready || type.answers_later) {
    type.finish(*m);
  } else if (type.kind == message_kind::call) {
    type.fail(*m, call_error{call_errc::not_answered, display_name()});
  }
  if (!plain) apply_next(ex.next);
  type.release(m);
}

void branch::finish_stopping(execution& ex, message* m) noexcept {
  const message_type& type = *m->type;
  const exit_reason reason = ex.next.reason;
  run_terminate(reason);  // OTP: terminate first, then the reply
  if (ex.next.reply_ready || type.answers_later) {
    type.finish(*m);
  } else if (type.kind == message_kind::call) {
    type.fail(*m, call_error{call_errc::stopped, display_name(), reason});
  }
  type.release(m);
  end(reason);
}

/// A fault point where exceptions cannot leave: the simulation may kill the worker there.
void branch::reached(std::string_view point) noexcept {
  if (the_fault_hook.load(std::memory_order_relaxed) == nullptr) return;
  execution none{*this, nullptr, running_generation_};
  const execution_scope scope{none};
  fault_point(point, false);
}

void branch::apply_next(next_step& next) noexcept {
  if (next.continuation != nullptr) {
    // One that a killed worker had been told to run: it waits behind that of its successor's init.
    if (continuation_ != nullptr) queue_push_front(continuation_);
    continuation_ = std::exchange(next.continuation, nullptr);
  }
  if (next.what == next_step::kind::timeout) arm_timeout(next.timeout);
  if (next.what == next_step::kind::hibernate) run_hibernate();
  if (options_->hibernate_after != infinity) {
    more().hibernate_at = deadline_after(runtime_->env().now(), options_->hibernate_after);
    arm_tick(more().hibernate_at);
  }
}

void branch::arm_timeout(duration after) noexcept {
  if (after <= duration::zero()) {
    timeout_when_empty_ = true;
    return;
  }
  timeout_at_ = deadline_after(runtime_->env().now(), after);
  if (timeout_at_ != time_point::max()) arm_tick(timeout_at_);
}

namespace {
struct tick {
  void operator()(branch& self) const noexcept { self.system_timeout_tick(); }
};
struct restart_now {
  void operator()(branch& self) const noexcept { self.system_restart_now(); }
};
}  // namespace

void branch::arm_tick(time_point at) noexcept {
  // One tick serves all that is later than it: a server that says timeout(d) after every message
  // costs one timer in d, not one a message.
  branch_extras& extras = more();
  if (at >= extras.tick_at) return;
  extras.tick_at = at;
  has_timers_ = true;
  timer_service& timers = runtime_->timers();
  timers.start(timers.new_id(), *this, at, new system_notice<tick>{message_kind::system, tick{}});
}

void branch::system_timeout_tick() noexcept {
  branch_extras& extras = more();
  extras.tick_at = time_point::max();
  const time_point now = runtime_->env().now();
  if (now >= extras.hibernate_at) {
    extras.hibernate_at = time_point::max();
    if (!blocked()) run_hibernate();
  } else if (extras.hibernate_at != time_point::max()) {
    arm_tick(extras.hibernate_at);
  }
  if (timeout_at_ == time_point::max()) return;
  if (now < timeout_at_) {
    arm_tick(timeout_at_);
  } else {
    timeout_at_ = time_point::max();
    timeout_when_empty_ = true;  // what has arrived meanwhile goes first, and cancels it
  }
}

namespace {
struct hibernate_failed {
  std::uint32_t generation;
  exit_reason reason;
  void operator()(branch& self) const noexcept { self.system_worker_failed(generation, reason); }
};
}  // namespace

/// A callback without a message: what it sends leaves at its end, and what it throws is a crash.
void branch::run_hibernate() noexcept {
  execution ex{*this, nullptr, running_generation_};
  std::exception_ptr thrown;
  try {
    const execution_scope scope{ex};
    worker_hibernate();
  } catch (...) {
    thrown = std::current_exception();
  }
  // ORDER: acquire pairs with kill(): P5.
  if (!thrown &&
      (ex.committed || worker_generation_.load(std::memory_order_acquire) == ex.generation)) {
    commit_companions();
    ex.publish();
    return;
  }
  ex.discard();
  rollback_companions();
  if (!thrown) return;  // killed: its successor is under way
  // The callback before it may not be over yet: the worker is replaced as soon as it is.
  try {
    push_or_release(new system_notice<hibernate_failed>{
        message_kind::urgent, {ex.generation, exit_reason::from_exception(thrown)}});
  } catch (const std::bad_alloc&) {
    log_error("server '{}': hibernate() threw, and there is no memory to replace its worker",
              display_name());
  }
}

void branch::system_worker_failed(std::uint32_t generation, const exit_reason& reason) noexcept {
  if (generation == running_generation_ && phase_ == phase::running) kill_worker(reason, true);
}

void branch::system_look_at_worker() noexcept {
  if (phase_ != phase::running || !elsewhere_) return;
  if (const auto reason = elsewhere_->look()) kill_worker(*reason);
}

void branch::run_timeout() noexcept {
  timeout_when_empty_ = false;
  try {
    run_callback(make_timeout_message(), runs_on::pool);
  } catch (const std::bad_alloc&) {
    log_error("server '{}': no memory for its timeout", display_name());
  }
}

// --- crash -------------------------------------------------------------------------------------

void branch::crashed(execution* ex, message* m, const exit_reason& reason,
                     bool terminate) noexcept {
  if (ex != nullptr) {
    ex->discard();
    if (ex->mutating) state_rollback();
  }
  rollback_companions();
  if (traced_) trace(trace_point::rollback, m);
  ++crashes_;
  // CRASH: (a kill from here on) this worker is over anyway: it is one crash, not two.
  reached("rolled_back");
  log_crash(m, reason);
  const bool innocent = ex != nullptr && ex->innocent;
  if (innocent) queue_push_front(m);
  const bool ends = m != nullptr && !innocent && set_aside(m, reason);
  if (terminate) run_terminate(reason);
  if (ends) {
    end(reason);
  } else {
    restart(reason);
  }
}

void branch::log_crash(const message* m, const exit_reason& reason) noexcept {
  if (!log_enabled(log_level::warning)) return;
  const auto [write, left_out] = more().log_lines.next(runtime_->coarse_now());
  if (left_out != 0) log_warning("server '{}' crashed {} more times", display_name(), left_out);
  if (!write) return;
  log_warning("server '{}' crashed{}{}: {}; rolled back to its last commit", display_name(),
              m == nullptr ? "" : " handling ", m == nullptr ? "" : m->type->name(),
              reason.to_string());
}

void branch::tell_oversized(std::string_view field, std::size_t bytes,
                            std::string_view instead) noexcept {
  told_oversized_ = true;
  log_warning(
      "server '{}': the plain field '{}' of its state has {} bytes, and is compared and copied as "
      "a "
      "whole on every change: use {} to pay for the change only",
      display_name(), field, bytes, instead);
}

/// P3. RETURNS: true if the server is to end.
bool branch::set_aside(message* m, const exit_reason& reason) noexcept {
  const message_type& type = *m->type;
  ++m->attempts;
  const crash_policy& policy = options_->on_crash;
  if (policy.what == crash_policy::kind::retry && type.intact_after_crash &&
      m->attempts <= policy.retries) {
    queue_push_front(m);  // a continuation, too: init's own, if any, goes before it
    return false;
  }
  if (type.fail != nullptr) {
    type.fail(*m, call_error{call_errc::crashed, display_name(), reason});
  }
  const bool keep = type.intact_after_crash && type.revive != nullptr;
  try {
    if (options_->keep_poison > 0) {
      branch_extras& extras = more();
      if (extras.poison.size() >= options_->keep_poison) {
        if (message* oldest = extras.poison.front().original) oldest->type->release(oldest);
        extras.poison.pop_front();
      }
      extras.poison.push_back({poison_info{.id = extras.next_poison_id++,
                                           .message = std::string{type.name()},
                                           .reason = reason,
                                           .when = runtime_->coarse_now(),
                                           .attempts = m->attempts,
                                           .replayable = keep},
                               keep ? m : nullptr});
      if (keep) m = nullptr;
    }
  } catch (const std::bad_alloc&) {
    log_error("server '{}': no memory to set its poison message aside; it is dropped",
              display_name());
  }
  if (m != nullptr) type.release(m);
  return policy.what == crash_policy::kind::stop;
}

void branch::run_terminate(const exit_reason& reason) noexcept {
  execution ex{*this, nullptr, running_generation_};
  const execution_scope scope{ex};
  try {
    worker_terminate(reason);
    fault_point("terminate.done", true);
    commit_companions();
    ex.publish();
  } catch (...) {
    ex.discard();
    rollback_companions();
    log_warning("terminate of server '{}' failed: {}", display_name(),
                exit_reason::from_exception(std::current_exception()).to_string());
  }
}

bool branch::count_restart(const exit_reason& reason) noexcept {
  try {
    branch_extras& extras = more();
    if (extras.restarts.add(runtime_->env().now(), options_->max_restarts, options_->max_seconds)) {
      return true;
    }
  } catch (const std::bad_alloc&) {
    return true;  // a restart that cannot be counted is still better than none
  }
  log_error("server '{}' gives up: more than {} restarts in {} ms; the last crash: {}",
            display_name(), options_->max_restarts,
            std::chrono::duration_cast<std::chrono::milliseconds>(options_->max_seconds).count(),
            reason.to_string());
  end({exit_kind::shutdown,
       fmt::format("restart intensity reached; last crash: {}", reason.to_string())});
  return false;
}

/// Destructors of the worker's members may let things go (a scoped_monitor does).
void branch::destroy_worker() noexcept {
  execution ex{*this, nullptr, running_generation_};
  const execution_scope scope{ex};
  worker_destroy();
  commit_companions();
  ex.publish();
}

/// The frame goes before what it refers to; what its destructors send goes nowhere.
void branch::destroy_coroutine(suspended_callback& over) noexcept {
  const execution_scope scope{over.ex};
  over.resume = nullptr;
}

/// The worker is over: its object goes, its pid dies.
void branch::worker_died(const exit_reason& reason) noexcept {
  phase_ = phase::restarting;
  accepts_user_messages_ = false;
  timeout_when_empty_ = false;
  timeout_at_ = time_point::max();
  // It is an effect of a callback that has committed: it comes before what is queued, and after
  // the continuation of the init that comes now, if that has one.
  if (continuation_ != nullptr) queue_push_front(std::exchange(continuation_, nullptr));
  destroy_worker();
  const pid dead{slot_, process_role::worker, running_generation_};
  std::uint32_t expected = running_generation_;
  // ORDER: acq_rel: from here on the old generation is fenced (P5); a kill may have done it.
  worker_generation_.compare_exchange_strong(expected, running_generation_ + 1,
                                             std::memory_order_acq_rel);
  if (more_) {
    for (const auto& c : more_->attached) c->worker_died(reason);
  }
  notify_watchers(dead, reason);
}

void branch::restart(exit_reason reason) noexcept {
  for (;;) {
    worker_died(reason);
    // CRASH: (a kill from here on) the next worker is dead before it has begun; the one after it
    // starts in its place.
    reached("restarting");
    if (elsewhere_ && elsewhere_->lost()) {
      log_error("server '{}' ends: {}", display_name(), elsewhere_->lost()->to_string());
      end(*elsewhere_->lost());
      return;
    }
    try {
      more().last_crash = reason;  // also for who hears of the end
    } catch (const std::bad_alloc&) {
      log_error("server '{}': no memory to note its crash", display_name());
    }
    if (!count_restart(reason)) return;
    if (const duration pause =
            backoff_pause(options_->backoff, more().restarts.in_window(), runtime_->env());
        pause > duration::zero()) {
      has_timers_ = true;
      timer_service& timers = runtime_->timers();
      timers.start(timers.new_id(), *this, deadline_after(runtime_->env().now(), pause),
                   new system_notice<restart_now>{message_kind::system, restart_now{}});
      return;
    }
    ++restarts_;
    auto outcome = run_init(false);
    if (outcome) return;
    // A crash in init: counted, and tried again (P7 bounds it).
    ++crashes_;
    reason = std::move(outcome.error());
    log_crash(nullptr, reason);
  }
}

void branch::system_restart_now() noexcept {
  if (phase_ != phase::restarting) return;
  ++restarts_;
  auto outcome = run_init(false);
  if (outcome) return;
  ++crashes_;
  log_crash(nullptr, outcome.error());
  restart(std::move(outcome.error()));
}

// --- kill and exits ----------------------------------------------------------------------------

namespace {
struct killed_notice {
  pid which;
  void operator()(branch& self) const noexcept { self.system_killed(which); }
};
}  // namespace

bool branch::kill(pid which) noexcept {
  std::atomic<std::uint32_t>* generation = nullptr;
  switch (which.role()) {
    case process_role::supervisor: generation = &supervisor_generation_; break;
    case process_role::keeper: generation = &keeper_generation_; break;
    case process_role::worker: generation = &worker_generation_; break;
    case process_role::server:
      // The whole of it: it ends, nobody restarts it.
      if (which.generation() != first_generation_) return false;
      if (elsewhere_) elsewhere_->kill();
      return push_or_release(new system_notice<killed_notice>{message_kind::urgent, {which}});
  }
  // Made before the deed: the deed cannot be taken back.
  auto* notice = new system_notice<killed_notice>{message_kind::urgent, {which}};
  std::uint32_t expected = which.generation();
  // ORDER: acq_rel pairs with the acquire at the commit point: from now on this incarnation cannot
  // commit (P5).
  if (!generation->compare_exchange_strong(expected, expected + 1, std::memory_order_acq_rel)) {
    notice->type->release(notice);
    return false;
  }
  if (elsewhere_ && which.role() != process_role::keeper) elsewhere_->kill();
  return push_or_release(notice);
}

bool branch::push_or_release(message* m) noexcept {
  if (m->type->kind == message_kind::urgent ? push_urgent(m) : push(m)) return true;
  m->type->release(m);
  return false;
}

void branch::system_killed(pid which) noexcept {
  const exit_reason reason{exit_kind::killed};
  switch (which.role()) {
    case process_role::worker:
      if (which.generation() == running_generation_ && phase_ == phase::running) {
        kill_worker(reason);
      } else {
        // It has crashed meanwhile, or had not started yet: only its watchers are left.
        notify_watchers(which, reason);
      }
      return;
    case process_role::keeper:
      // The state is handed to the next keeper at once: there is nothing to lose in between (P1).
      notify_watchers(which, reason);
      std::ignore = count_restart(reason);
      return;
    case process_role::supervisor: {
      notify_watchers(which, reason);
      const pid keeper = make_pid(process_role::keeper);
      keeper_generation_.fetch_add(1, std::memory_order_acq_rel);
      notify_watchers(keeper, reason);
      if (phase_ == phase::running) kill_worker(reason);
      return;
    }
    case process_role::server: end(reason); return;
  }
}

/// The claim is ours, so no callback runs; one may be waiting in its coroutine.
void branch::kill_worker(const exit_reason& reason, bool terminate) noexcept {
  if (const std::unique_ptr<suspended_callback> over = std::move(awaiting_)) {
    waits_for_.store(0, std::memory_order_relaxed);
    destroy_coroutine(*over);
    crashed(&over->ex, over->ex.current, reason, terminate);
  } else {
    crashed(nullptr, nullptr, reason, terminate);
  }
}

void branch::system_exit_signal(pid from, const exit_reason& reason) noexcept {
  if (extras_if_any() != nullptr) remove_link(from);
  if (traps_exits_) {
    deliver(exit_signal{from, reason});
  } else if (reason.kind() != exit_kind::normal && phase_ == phase::running) {
    // OTP: an untrapped exit kills; terminate is not called.
    kill_worker({exit_kind::linked, fmt::format("{}: {}", to_string(from), reason.to_string())});
  }
}

void branch::system_shutdown() noexcept {
  const exit_reason reason{exit_kind::shutdown};
  cut_off(reason);  // terminate is shown what is committed
  // OTP: terminate runs for the parent's exit only if exits are trapped.
  if (traps_exits_ && phase_ == phase::running) run_terminate(reason);
  end(reason);
}

void branch::system_stop(const exit_reason& reason) noexcept {
  if (phase_ == phase::running) run_terminate(reason);
  end(reason);
}

void branch::system_suspend() noexcept {
  suspended_ = true;
  accepts_user_messages_ = false;
}
void branch::system_resume() noexcept {
  suspended_ = false;
  accepts_user_messages_ = phase_ == phase::running;
}

// --- the end -----------------------------------------------------------------------------------

void branch::end(const exit_reason& reason) noexcept {
  if (phase_ == phase::ended) return;
  phase_ = phase::ended;
  before_end(reason);
  cut_off(reason);
  destroy_worker();
  release_name();
  // Before it is closed: who finds it closed may start its successor, which makes the same tables.
  if (more_) {
    for (const auto& c : more_->attached) c->server_ended(reason);
    more_->attached.clear();
    more_->listeners = nullptr;
    listened_ = false;
  }
  close();
  if (continuation_ != nullptr) drop(std::exchange(continuation_, nullptr), reason);
  while (message* m = queue_pop_front()) drop(m, reason);
  if (more_) {
    for (poison_entry& p : more_->poison) {
      if (p.original != nullptr) p.original->type->release(p.original);
    }
    more_->poison.clear();
  }
  if (has_timers_) runtime_->timers().cancel_all(*this);
  const pid worker{slot_, process_role::worker, running_generation_};
  const pid keeper = make_pid(process_role::keeper);
  const pid supervisor = make_pid(process_role::supervisor);
  const std::uint32_t next_generation =
      std::max({worker_generation_.load(), keeper.generation(), supervisor.generation()}) + 1;
  pid_table::free(slot_, next_generation);
  for (const pid dead : {worker, keeper, supervisor}) notify_watchers(dead, reason);
  notify_watchers(server_pid(), reason);
  notify_links(reason);
  state_destroy();
  if (elsewhere_) elsewhere_->close();
  runtime_->child_ended(*this);
  if (limit_) {
    const std::lock_guard lock{limit_->mutex};
    for (parker* p : limit_->waiting) runtime_->env().unpark(*p);
    limit_->waiting.clear();
  }
  gone_.store(true, std::memory_order_release);
  if (child_place* p = place()) p->ended(*this, reason);
}

bool branch::try_end_here(bool brutally) noexcept {
  if (!run_on_caller_ || !runtime_->may_run_on_caller() || !try_claim()) return false;
  const bool ends = brutally || !traps_exits_;  // a terminate may take longer than its limit
  if (ends && brutally) {
    end(exit_kind::killed);
  } else if (ends) {
    system_shutdown();
  }
  give_claim_back();
  return ends;
}

void branch::abandon() noexcept {
  std::ignore = kill(make_pid(process_role::worker));
  std::ignore = kill(server_pid());
  release_name();
}

/// A callback that awaits never comes to its commit.
void branch::cut_off(const exit_reason& reason) noexcept {
  if (const std::unique_ptr<suspended_callback> over = std::move(awaiting_)) {
    destroy_coroutine(*over);
    over->ex.discard();
    if (over->ex.mutating) state_rollback();
    rollback_companions();
    drop(over->ex.current, reason);
  }
}

void branch::release_name() noexcept {
  if (has_name_.exchange(false)) runtime_->unregister_name(*options_, *this);
}

void branch::drop(message* m, const exit_reason& reason) noexcept {
  if (m->counted) give_place_back(*m);
  if (m->type->fail != nullptr) {
    m->type->fail(*m, call_error{call_errc::stopped, display_name(), reason});
  }
  m->type->release(m);
}

// --- the client's side ---------------------------------------------------------------------------

std::expected<void, cast_error> branch::send(message* m) noexcept {
  if (limit_ || locked_) {
    if (auto place = reserve_place(m->deadline, *m); !place) {
      m->type->release(m);
      if (place.error() == place_error::dropped) return {};
      return std::unexpected{place.error() == place_error::full ? cast_error::full
                                                                : cast_error::gone};
    }
  }
  if (execution* ex = running_here) {
    if (closed()) {
      m->type->release(m);
      return std::unexpected{cast_error::gone};
    }
    ex->stage_for(*this, m);
    return {};
  }
  if (push(m)) return {};
  m->type->release(m);
  return std::unexpected{cast_error::gone};
}

bool branch::call(message& m, request& r, bool patient) noexcept {
  const auto refuse = [&](call_error error) {
    m.type->fail(m, std::move(error));
    m.type->release(&m);
    return true;
  };
  if (the_program != nullptr) return the_program->call(*this, m, r);
  const time_point deadline = m.deadline;  // `m` may be re-used by a replay once it is answered
  execution* outer = running_here;
  branch* caller = outer == nullptr ? nullptr : outer->self;
  if (closed()) return refuse(call_error{call_errc::noproc, display_name()});
  if (caller == this) return refuse(call_error{call_errc::calling_self, display_name()});
  if ((limit_ || locked_) && !is_library(m)) {
    if (const auto place = reserve_place(m.deadline, m); !place) {
      return refuse(call_error{
          place.error() == place_error::gone ? call_errc::noproc : call_errc::mailbox_full,
          display_name()});
    }
  }
  if (outer != nullptr) {
    outer->flush_to(*this, nullptr);  // P6
    // ORDER: relaxed: see find_cycle().
    caller->waits_for_.store(server_pid().raw(), std::memory_order_relaxed);
  }
  struct waiting_over {
    branch* b;
    ~waiting_over() {
      // ORDER: release: who reads a stale value finds a path that was true.
      if (b != nullptr) b->waits_for_.store(0, std::memory_order_release);
    }
  } const over{caller};
  const bool claimed = patient && run_on_caller_ &&
                       (outer == nullptr || outer->depth < inline_depth_max) &&
                       !(m.counted && locked_) && runtime_->may_run_on_caller() && try_claim();
  if (claimed && its_turn(m)) {
    handle(&m, runs_on::caller);
    // Over before anybody else runs this server, which may then call its caller.
    if (caller != nullptr && r.done()) caller->end_await();
    give_claim_back();
    return r.done() || wait_for_request(*runtime_, r, deadline);
  }
  if (caller != nullptr) {
    if (std::string path; find_cycle(*caller, path)) {
      if (claimed) give_claim_back();
      if (m.counted) give_place_back(m);
      return refuse(call_error::cycle(path));
    }
  }
  // Attached first: its answer must find it, and end its wait.
  thread_waiter waiter{runtime_->env(), caller};
  std::ignore = r.attach(waiter);
  if (claimed) {
    queue_push_back(&m);
    give_claim_back();
  } else if (!push(&m)) {
    return refuse(call_error{call_errc::noproc, display_name()});
  }
  return wait_attached(*runtime_, r, waiter, deadline);
}

void branch::ask(message& m) noexcept {
  if (the_program != nullptr) {  // it cannot be answered later than in this callback
    static_cast<void>(the_program->call(*this, m, m.type->cross->request_of(m)));
    return;
  }
  if (limit_ || locked_) {
    if (const auto place = reserve_place(m.deadline, m); !place) {
      m.type->fail(m, call_error{place.error() == place_error::gone ? call_errc::noproc
                                                                    : call_errc::mailbox_full,
                                 display_name()});
      m.type->release(&m);
      return;
    }
  }
  if (execution* ex = running_here) {
    ex->stage_for(*this, &m);
    return;
  }
  if (!push(&m)) {
    m.type->fail(m, call_error{call_errc::noproc, display_name()});
    m.type->release(&m);
  }
}

}  // namespace peeper::detail

namespace peeper::detail {

std::shared_ptr<const branch_options> shared_options(branch_options&& o) {
  static const auto defaults = std::make_shared<const branch_options>();
  if (o == *defaults) return defaults;
  return std::make_shared<const branch_options>(std::move(o));
}

process_ptr<branch> find_server(runtime_core& rt, const std::string& name) {
  return rt.find_name(name);
}

}  // namespace peeper::detail
