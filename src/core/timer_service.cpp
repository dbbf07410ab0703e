// SPDX-License-Identifier: Apache-2.0
#include "core/timer_service.hpp"

#include <algorithm>
#include <atomic>
#include <bit>
#include <chrono>
#include <unordered_map>
#include <vector>

namespace peeper::detail {
namespace {

using tick = std::uint64_t;
constexpr unsigned levels = 8;
constexpr unsigned level_bits = 6;
constexpr unsigned slots = 1U << level_bits;
constexpr tick never = ~tick{0};

/// Up: a timer never fires early.
tick tick_of(time_point at) noexcept {
  const auto ns = at.time_since_epoch().count();
  return ns <= 0 ? 0 : (static_cast<tick>(ns) + 999'999U) / 1'000'000U;
}
tick tick_at_or_before(time_point now) noexcept {
  const auto ns = now.time_since_epoch().count();
  return ns <= 0 ? 0 : static_cast<tick>(ns) / 1'000'000U;
}
time_point time_of(tick t) noexcept {
  if (t >= static_cast<tick>(time_point::max().time_since_epoch().count()) / 1'000'000U) {
    return time_point::max();
  }
  return time_point{duration{static_cast<duration::rep>(t) * 1'000'000}};
}

using timer_list = boost::intrusive::list<timer>;

}  // namespace

struct timer_service::state {
  mutable std::mutex mutex;
  // guarded by mutex
  tick current = 0;  ///< all timers up to and including this tick have fired
  std::array<std::array<timer_list, slots>, levels> wheel;
  std::array<std::uint64_t, levels> occupied{};
  std::unordered_map<std::uint64_t, std::unique_ptr<timer>> by_id;
  time_point thread_wakes_at = time_point::max();
  bool stopping = false;
  // own synchronisation
  std::atomic<std::uint64_t> next_id{1};
  parker sleeper;
  std::unique_ptr<environment::thread> thread;

  void place(timer& t) noexcept {
    const tick due = std::max(tick_of(t.at), current + 1);
    // The level is that of the highest bit in which due differs from current: then every slot
    // of a level below holds only timers of the running turn.
    const tick differs = due ^ current;
    const unsigned level =
        std::min(levels - 1, (static_cast<unsigned>(std::bit_width(differs)) - 1) / level_bits);
    const unsigned slot = static_cast<unsigned>(due >> (level * level_bits)) % slots;
    t.level = static_cast<std::uint8_t>(level);
    t.slot = static_cast<std::uint8_t>(slot);
    wheel[level][slot].push_back(t);
    occupied[level] |= std::uint64_t{1} << slot;
  }

  void unlink(timer& t) noexcept {
    timer_list& list = wheel[t.level][t.slot];
    list.erase(list.iterator_to(t));
    if (list.empty()) occupied[t.level] &= ~(std::uint64_t{1} << t.slot);
    disown(t);
  }
  /// Into and out of the list of its process, whose head is guarded by our mutex.
  static void own(timer& t) noexcept {
    timer*& head = t.target->pending_timers;
    t.owner_next = head;
    if (head != nullptr) head->owner_link = &t.owner_next;
    head = &t;
    t.owner_link = &head;
  }
  static void disown(timer& t) noexcept {
    *t.owner_link = t.owner_next;
    if (t.owner_next != nullptr) t.owner_next->owner_link = t.owner_link;
  }

  /// The first tick at which a slot must be looked at (due, or to be spread over lower levels).
  [[nodiscard]] tick next_event() const noexcept {
    for (unsigned level = 0; level < levels; ++level) {
      const unsigned here = static_cast<unsigned>(current >> (level * level_bits)) % slots;
      const std::uint64_t ahead =
          here + 1 == slots ? 0 : occupied[level] & (~std::uint64_t{0} << (here + 1));
      if (ahead == 0) continue;
      const auto slot = static_cast<tick>(std::countr_zero(ahead));
      const unsigned shift = level * level_bits;
      const tick turn =
          shift + level_bits >= 64 ? 0 : (current >> (shift + level_bits)) << (shift + level_bits);
      return turn + (slot << shift);
    }
    return never;
  }
};

timer_service::timer_service(environment& env) : env_{env}, state_{std::make_unique<state>()} {
  state_->current = tick_at_or_before(env.now());
}

timer_service::~timer_service() {
  stop_thread();
  for (auto& [id, t] : state_->by_id) {
    state_->unlink(*t);
    t->payload->type->release(t->payload);
  }
}

void timer_service::start_thread() {
  state_->thread = env_.start_thread("peeper-timers", [this] { thread_main(); });
}

void timer_service::stop_thread() noexcept {
  if (!state_->thread) return;
  {
    const std::lock_guard lock{state_->mutex};
    state_->stopping = true;
  }
  env_.unpark(state_->sleeper);
  state_->thread.reset();
}

std::uint64_t timer_service::new_id() noexcept {
  // ORDER: relaxed: only uniqueness matters.
  return state_->next_id.fetch_add(1, std::memory_order_relaxed);
}

void timer_service::start(std::uint64_t id, process& target, time_point at, message* payload,
                          duration period, message* (*copy)(message&)) {
  auto t = std::make_unique<timer>();
  t->id = id;
  t->at = at;
  t->target = process_ptr<process>{&target};
  t->payload = payload;
  t->period = period;
  t->copy = copy;
  bool wake = false;
  {
    const std::lock_guard lock{state_->mutex};
    timer& placed = *t;
    state_->by_id.emplace(id, std::move(t));
    state_->place(placed);
    state::own(placed);
    // The thread sleeps until thread_wakes_at; only an earlier timer needs it sooner.
    if (at < state_->thread_wakes_at) {
      state_->thread_wakes_at = at;
      wake = state_->thread != nullptr;
    }
  }
  if (wake) env_.unpark(state_->sleeper);
}

bool timer_service::cancel(std::uint64_t id) noexcept {
  std::unique_ptr<timer> cancelled;
  {
    const std::lock_guard lock{state_->mutex};
    const auto found = state_->by_id.find(id);
    if (found == state_->by_id.end()) return false;
    cancelled = std::move(found->second);
    state_->by_id.erase(found);
    state_->unlink(*cancelled);
  }
  cancelled->payload->type->release(cancelled->payload);
  return true;
}

void timer_service::cancel_all(process& target) noexcept {
  timer* cancelled = nullptr;
  {
    const std::lock_guard lock{state_->mutex};
    while (timer* t = target.pending_timers) {
      state_->unlink(*t);
      const auto found = state_->by_id.find(t->id);
      std::ignore = found->second.release();
      state_->by_id.erase(found);
      t->owner_next = cancelled;
      cancelled = t;
    }
  }
  while (cancelled != nullptr) {
    const std::unique_ptr<timer> t{cancelled};
    cancelled = t->owner_next;
    t->payload->type->release(t->payload);
  }
}

time_point timer_service::next() const noexcept {
  const std::lock_guard lock{state_->mutex};
  const tick at = state_->next_event();
  return at == never ? time_point::max() : time_of(at);
}

std::size_t timer_service::pending() const noexcept {
  const std::lock_guard lock{state_->mutex};
  return state_->by_id.size();
}

std::size_t timer_service::expire(time_point now) noexcept {
  const tick until = tick_at_or_before(now);
  struct delivery {
    process_ptr<process> target;
    message* payload;
  };
  std::size_t fired = 0;
  std::vector<delivery> due;
  for (;;) {
    due.clear();
    {
      const std::lock_guard lock{state_->mutex};
      const tick event = state_->next_event();
      if (event > until) {
        state_->current = std::max(state_->current, until);
        break;
      }
      state_->current = event;
      // Everything in the slots that begin at this tick is due now or moves to a lower level.
      for (unsigned level = levels; level-- > 0;) {
        const unsigned shift = level * level_bits;
        if (level > 0 && (event & ((tick{1} << shift) - 1)) != 0) continue;
        const auto slot = static_cast<unsigned>(event >> shift) % slots;
        timer_list moving;
        moving.swap(state_->wheel[level][slot]);
        state_->occupied[level] &= ~(std::uint64_t{1} << slot);
        while (!moving.empty()) {
          timer& t = moving.front();
          moving.pop_front();
          if (tick_of(t.at) > event) {
            state_->place(t);
            continue;
          }
          ++fired;
          if (t.period > duration::zero()) {
            due.push_back({t.target, t.copy(*t.payload)});
            t.at += t.period;
            state_->place(t);
          } else {
            state::disown(t);
            due.push_back({std::move(t.target), t.payload});
            state_->by_id.erase(t.id);
          }
        }
      }
    }
    for (delivery& d : due) {
      if (d.payload != nullptr && !d.target->push(d.payload)) d.payload->type->release(d.payload);
    }
  }
  return fired;
}

void timer_service::thread_main() noexcept {
  for (;;) {
    expire(env_.now());
    time_point wake_at;
    {
      const std::lock_guard lock{state_->mutex};
      if (state_->stopping) return;
      const tick at = state_->next_event();
      wake_at = at == never ? time_point::max() : time_of(at);
      state_->thread_wakes_at = wake_at;
    }
    env_.park(state_->sleeper, wake_at);
  }
}

}  // namespace peeper::detail
