// SPDX-License-Identifier: Apache-2.0
/// \file
/// The asking side of a branch: waiting, cycles, seats in a limited mailbox.
#include <algorithm>
#include <exception>
#include <utility>

#include <peeper/detail/branch.hpp>
#include <peeper/detail/system_call.hpp>
#include <peeper/pending.hpp>

#include "core/log.hpp"
#include "core/runtime_core.hpp"
#include "server/branch_extras.hpp"
#include "server/current.hpp"
#include "server/thread_waiter.hpp"

namespace peeper::detail {
namespace {

/// Longer chains of servers waiting for each other are not looked at.
constexpr int cycle_length_max = 1000;

}  // namespace

bool wait_attached(runtime_core& rt, request& r, thread_waiter& w, time_point deadline) noexcept {
  if (rt.sched().block(w.sleeper, deadline)) return true;
  // OTP: an answer that is there when the time runs out is still taken.
  if (r.detach(w)) return false;
  rt.env().park(w.sleeper, time_point::max());  // `w` must outlive the wake-up that is under way
  return true;
}

bool wait_for_request(runtime_core& rt, request& r, time_point deadline) noexcept {
  if (r.done()) return true;
  thread_waiter w{rt.env(), current_branch()};
  return !r.attach(w) || wait_attached(rt, r, w, deadline);
}

void report_lost_exception(std::string_view where) noexcept {
  log_error("{}: its function threw ({})", where,
            exit_reason::from_exception(std::current_exception()).to_string());
}

branch::wait_outcome branch::wait(request& r, const message* asked, time_point deadline) noexcept {
  execution* ex = current_execution();
  if (ex == nullptr) {
    return wait_for_request(*runtime_, r, deadline) ? wait_outcome::done : wait_outcome::timed_out;
  }
  if (const wait_outcome o = prepare_await(r); o != wait_outcome::timed_out) return o;
  // Attached before it is let go: its answer must find the waiter, and end the wait.
  thread_waiter w{runtime_->env(), ex->self};
  bool answered = !r.attach(w);
  if (!answered) {
    let_go(asked);
    answered = wait_attached(*runtime_, r, w, deadline);
  }
  ex->self->end_await();
  return answered ? wait_outcome::done : wait_outcome::timed_out;
}

branch::wait_outcome branch::prepare_await(const request& r) noexcept {
  execution* ex = current_execution();
  if (r.done()) return wait_outcome::done;
  if (ex == nullptr) return wait_outcome::timed_out;
  branch& caller = *ex->self;
  // ORDER: relaxed: see find_cycle().
  caller.waits_for_.store(server_pid().raw(), std::memory_order_relaxed);
  std::string path;
  if (&caller == this || find_cycle(caller, path)) {
    caller.end_await();
    return wait_outcome::cycle;
  }
  return wait_outcome::timed_out;
}

void branch::let_go(const message* asked) noexcept {
  if (execution* ex = current_execution(); ex != nullptr && asked != nullptr) {
    ex->flush_to(*this, asked);
  }
  runtime_->sched().announce();
}

void branch::end_await() noexcept {
  // ORDER: release: who reads a stale value finds a path that was true.
  waits_for_.store(0, std::memory_order_release);
}

/// Each server notes whom it waits for; if it is to wait without doing the work itself, it then
/// looks along the chain. ORDER: a seq_cst fence stands between note and look, so of those who
/// close a cycle, the one whose fence comes last sees the notes of all others (also those that a
/// thread made on its way, for callbacks that it runs for their callers: they come before its
/// fence).
///
/// The notes are not read at one moment, so what looks like a cycle is looked at again, once for
/// each server in it: `caller` answers nothing meanwhile, so who waits for it goes on waiting, so
/// who waits for that one does, and so on: each look makes one more of the notes certain. (A note
/// ends with the answer, in thread_waiter::wake(), and not when its thread has woken up: a server
/// that has answered may call the one that it has answered.)
bool branch::find_cycle(const branch& caller, std::string& path) const noexcept {
  std::atomic_thread_fence(std::memory_order_seq_cst);
  const std::uint64_t end = caller.server_pid().raw();
  const int length = cycle_length(end);
  for (int i = 0; i < length; ++i) {
    if (cycle_length(end) != length) return false;
  }
  if (length == 0) return false;
  describe_cycle(caller, path);
  return true;
}

/// RETURNS: how many servers wait in a row from this one to `end`; 0 if the row does not get there.
int branch::cycle_length(std::uint64_t end) const noexcept {
  // The usual case costs one load: the server called waits for nobody.
  std::uint64_t at = waits_for_.load();
  for (int length = 1; length <= cycle_length_max && at != 0; ++length) {
    if (at == end) return length;
    const process_ptr<process> p = find_process(pid::from_raw(at));
    if (!p) return 0;
    at = static_cast<const branch&>(*p).waits_for_.load();
  }
  return 0;
}

void branch::describe_cycle(const branch& caller, std::string& path) const noexcept {
  try {
    path = caller.display_name();
    std::uint64_t at = server_pid().raw();
    for (int i = 0; i < cycle_length_max && at != caller.server_pid().raw(); ++i) {
      const process_ptr<process> p = find_process(pid::from_raw(at));
      if (!p) break;
      path += " -> " + p->display_name();
      at = static_cast<const branch&>(*p).waits_for_.load();
    }
    path += " -> " + caller.display_name();
  } catch (...) {
    path.clear();
  }
}

std::string branch::cycle_with_current() const {
  std::string path;
  if (const branch* caller = current_branch()) describe_cycle(*caller, path);
  return path;
}

environment& env_of(const branch& b) noexcept { return b.runtime().env(); }

time_point deadline_for(const branch* target, duration limit) noexcept {
  if (limit == infinity || target == nullptr) return time_point::max();
  const runtime_core& rt = target->runtime();
  // The coarse clock lags by milliseconds, so only where nobody can tell.
  const time_point now = limit >= std::chrono::seconds{1} ? rt.coarse_now() : rt.env().now();
  return deadline_after(now, limit);
}

default_limit::default_limit(const branch* target) noexcept {
  if (target == nullptr) return;
  // The coarse clock lags by milliseconds, which nobody can tell in 5 s.
  const time_point now = target->runtime().coarse_now();
  deadline = deadline_after(now, default_call_timeout);
  const execution* e = running_here;
  if (e == nullptr || e->current == nullptr || e->current->deadline >= deadline) return;
  deadline = e->current->deadline;
  patient = deadline - now >= patience_min;
}

// --- a limited mailbox ---------------------------------------------------------------------------

std::expected<void, branch::place_error> branch::reserve_place(time_point deadline,
                                                               message& m) noexcept {
  if (locked_) {
    m.counted = true;
    return {};
  }
  mailbox_limit& limit = *limit_;
  if (limit.try_take()) {
    m.counted = true;
    return {};
  }
  switch (limit.options.when_full) {
    case overflow::drop_newest:
      limit.dropped.fetch_add(1, std::memory_order_relaxed);
      return std::unexpected{place_error::dropped};
    case overflow::block:
      // A server that waits for room in its own mailbox would wait for ever.
      if (current_branch() == this) {
        limit.dropped.fetch_add(1, std::memory_order_relaxed);
        return std::unexpected{place_error::full};
      }
      // A callback that holds places until its commit could wait for itself, or for another that
      // waits for it: it goes over the limit instead, by what one callback sends.
      if (const execution* ex = current_execution(); ex != nullptr && ex->holds_places()) return {};
      break;
    case overflow::reject:
    case overflow::drop_oldest:
      limit.dropped.fetch_add(1, std::memory_order_relaxed);
      return std::unexpected{place_error::full};
  }
  parker sleeper;
  for (;;) {
    {
      const std::lock_guard lock{limit.mutex};
      limit.waiting.push_back(&sleeper);
      // ORDER: seq_cst: announced before the last try; give_place_back() gives, then looks.
      limit.waiting_count.fetch_add(1);
    }
    const auto leave = [&]() noexcept {
      const std::lock_guard lock{limit.mutex};
      if (std::erase(limit.waiting, &sleeper) == 0) return false;
      limit.waiting_count.fetch_sub(1);
      return true;
    };
    const bool taken = limit.try_take();
    if (taken || closed()) {
      if (!leave()) runtime_->env().park(sleeper, time_point::max());
      if (!taken) return std::unexpected{place_error::gone};
      m.counted = true;
      return {};
    }
    if (!runtime_->sched().block(sleeper, deadline)) {
      if (leave()) return std::unexpected{place_error::full};
      runtime_->env().park(sleeper, time_point::max());
    }
    if (limit.try_take()) {
      m.counted = true;
      return {};
    }
    if (closed()) return std::unexpected{place_error::gone};
  }
}

void branch::give_place_back(message& m) noexcept {
  m.counted = false;
  if (!limit_) return;
  mailbox_limit& limit = *limit_;
  limit.taken.fetch_sub(1);  // ORDER: seq_cst, before the look at waiting_count
  if (limit.waiting_count.load() == 0) return;
  const std::lock_guard lock{limit.mutex};
  if (limit.waiting.empty()) return;
  parker* first = limit.waiting.front();
  limit.waiting.erase(limit.waiting.begin());
  limit.waiting_count.fetch_sub(1);
  runtime_->env().unpark(*first);
}

}  // namespace peeper::detail
