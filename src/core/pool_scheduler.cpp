// SPDX-License-Identifier: Apache-2.0
/// \file
/// The thread pool. Each worker has a slot for the process that was made runnable last (it runs
/// next, its messages still in cache), a queue of those that were just woken and one of those that
/// used up their budget; whoever has nothing takes from a global queue or steals.
///
/// Sleeping and waking: `counts_` packs how many workers sleep (idle) and how many neither sleep
/// nor are blocked (active). A submitter makes its work visible, then does a read-modify-write on
/// `counts_`; a worker that goes to sleep does one, then looks for work once more. The two are
/// ordered, so either the submitter sees a sleeper or the sleeper sees the work.
#include <algorithm>
#include <array>
#include <atomic>
#include <memory>
#include <mutex>
#include <vector>

#include <fmt/format.h>

#include <peeper/detail/assert.hpp>

#include "core/log.hpp"
#include "core/scheduler.hpp"

namespace peeper::detail {
namespace {

/// How many callbacks a server runs before it is looked whether somebody fresh waits.
constexpr unsigned slice_budget = 4;
/// How long a server may go on while only such wait that have had a turn of that length, too.
constexpr duration slice_length_max = std::chrono::microseconds{50};
/// The same for who has a long queue. With equal shares a sender that is quicker than its receiver
/// would make that queue longer and longer.
constexpr duration long_slice_length_max = std::chrono::milliseconds{1};
constexpr std::size_t long_queue = 256;
/// The clock is read after 1, 2, 4, 8, 8, ... times slice_budget callbacks: short callbacks do not
/// pay for it, long ones do not hold up the others.
constexpr unsigned runs_between_looks_max = 8;
/// Every so many slices the tired go before the fresh, so that neither starves.
constexpr unsigned tired_turn = 8;
constexpr std::size_t threads_max = 1024;

/// A bounded queue: one owner pushes, anyone takes.
class run_queue {
 public:
  [[nodiscard]] bool push(process& p) noexcept {
    // ORDER: acquire pairs with take(): a slot that was taken may be written again.
    const std::uint32_t head = head_.load(std::memory_order_acquire);
    const std::uint32_t tail = tail_.load(std::memory_order_relaxed);  // only the owner writes it
    if (tail - head >= ring_.size()) return false;
    ring_[tail % ring_.size()].store(&p, std::memory_order_relaxed);
    // ORDER: releases the slot to take().
    tail_.store(tail + 1, std::memory_order_release);
    return true;
  }
  [[nodiscard]] process* take() noexcept {
    // ORDER: acquire: a head that another taker moved is seen with its slot's re-use.
    std::uint32_t head = head_.load(std::memory_order_acquire);
    for (;;) {
      // ORDER: acquire pairs with push().
      if (head == tail_.load(std::memory_order_acquire)) return nullptr;
      process* p = ring_[head % ring_.size()].load(std::memory_order_relaxed);
      // ORDER: release: our read of the slot is over before push() may write it.
      if (head_.compare_exchange_weak(head, head + 1, std::memory_order_acq_rel,
                                      std::memory_order_acquire)) {
        return p;
      }
    }
  }
  [[nodiscard]] bool empty() const noexcept {
    return head_.load(std::memory_order_acquire) == tail_.load(std::memory_order_acquire);
  }

 private:
  alignas(64) std::atomic<std::uint32_t> head_{0};
  alignas(64) std::atomic<std::uint32_t> tail_{0};
  std::array<std::atomic<process*>, 256> ring_{};
};

class pool_scheduler;

struct alignas(64) worker {
  pool_scheduler* pool = nullptr;
  std::atomic<process*> next{nullptr};
  run_queue fresh;
  run_queue tired;
  parker sleeper;
  unsigned turn = 0;
  std::size_t index = 0;
  std::unique_ptr<environment::thread> thread;
};

thread_local worker* this_worker = nullptr;

class pool_scheduler final : public scheduler {
 public:
  pool_scheduler(environment& env, unsigned threads) : env_{env}, wanted_{threads} {
    for (unsigned i = 0; i < threads; ++i) add_thread();
  }
  ~pool_scheduler() override { stop(); }

  void submit(process& p) noexcept override {
    worker* w = this_worker;
    if (w == nullptr || w->pool != this) {
      push_global(p);
      announce();
      return;
    }
    // ORDER: release publishes the process to a thief; acquire takes over the displaced one.
    if (process* displaced = w->next.exchange(&p, std::memory_order_acq_rel)) {
      if (!w->fresh.push(*displaced)) push_global(*displaced);
      announce();
    } else {
      something_unannounced = true;
    }
  }

  void announce() noexcept override {
    if (worker* w = this_worker; w != nullptr && w->pool == this) something_unannounced = false;
    // ORDER: acq_rel read-modify-write: see the file comment.
    const std::uint64_t counts = counts_.fetch_add(0, std::memory_order_acq_rel);
    if (idle_of(counts) > 0) {
      wake_one();
    } else if (active_of(counts) < wanted_) {
      add_thread();
    }
  }

  bool block(parker& self, time_point deadline) noexcept override {
    worker* w = this_worker;
    const unsigned spins = env_.spin_limit();
    for (unsigned i = 0; i < spins; ++i) {
      std::uint32_t one = 1;
      // ORDER: acquire pairs with unpark().
      if (self.token.load(std::memory_order_relaxed) == 1 &&
          self.token.compare_exchange_strong(one, 0, std::memory_order_acquire)) {
        return true;
      }
      spin_pause();
    }
    if (w == nullptr) return env_.park(self, deadline);
    // A thread of another runtime's pool: that pool is the one that has to make up for it.
    if (w->pool != this) return w->pool->block(self, deadline);
    blocks(true);
    const bool unparked = env_.park(self, deadline);
    blocks(false);
    return unparked;
  }

  void blocks(bool begins) noexcept override {
    worker* w = this_worker;
    if (w == nullptr) return;
    if (w->pool != this) return w->pool->blocks(begins);
    // ORDER: acq_rel: see the file comment.
    if (!begins) {
      counts_.fetch_add(one_active, std::memory_order_acq_rel);
      return;
    }
    something_unannounced = false;
    counts_.fetch_sub(one_active, std::memory_order_acq_rel);
    if (work_visible()) announce();
  }

  bool may_run_on_caller() noexcept override { return true; }

  void stop() noexcept override {
    {
      const std::lock_guard lock{mutex_};
      if (stopping_.exchange(true)) return;
    }
    // Threads are not added any more; those there are leave when they find nothing to do.
    const std::size_t n = count_.load();
    for (std::size_t i = 0; i < n; ++i) env_.unpark(workers_[i]->sleeper);
    for (std::size_t i = 0; i < n; ++i) workers_[i]->thread.reset();
  }

 private:
  static constexpr std::uint64_t one_idle = 1;
  static constexpr std::uint64_t one_active = std::uint64_t{1} << 32U;
  static std::uint32_t idle_of(std::uint64_t c) { return static_cast<std::uint32_t>(c); }
  static std::uint32_t active_of(std::uint64_t c) { return static_cast<std::uint32_t>(c >> 32U); }

  static void spin_pause() noexcept {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
  }

  void push_global(process& p) noexcept {
    p.run_link = nullptr;
    const std::lock_guard lock{mutex_};
    (global_tail_ == nullptr ? global_head_ : global_tail_->run_link) = &p;
    global_tail_ = &p;
    // ORDER: relaxed: a hint; counts_ orders it where it matters.
    global_length_.fetch_add(1, std::memory_order_relaxed);
  }
  process* take_global() noexcept {
    if (global_length_.load(std::memory_order_relaxed) == 0) return nullptr;
    const std::lock_guard lock{mutex_};
    process* p = global_head_;
    if (p == nullptr) return nullptr;
    global_head_ = p->run_link;
    if (global_head_ == nullptr) global_tail_ = nullptr;
    global_length_.fetch_sub(1, std::memory_order_relaxed);
    return p;
  }

  void wake_one() noexcept {
    worker* w = nullptr;
    {
      const std::lock_guard lock{mutex_};
      if (sleepers_.empty()) return;  // somebody else woke it for us
      w = sleepers_.back();
      sleepers_.pop_back();
      counts_.fetch_add(one_active - one_idle, std::memory_order_acq_rel);
    }
    env_.unpark(w->sleeper);
  }

  void add_thread() noexcept {
    const std::lock_guard lock{mutex_};
    const std::size_t i = count_.load(std::memory_order_relaxed);
    if (stopping_ || active_of(counts_.load()) >= wanted_) return;
    if (i == threads_max) {
      if (!told_limit_) {
        log_error("all {} threads of the pool are blocked in calls: waiting for one to return", i);
      }
      told_limit_ = true;
      return;
    }
    try {
      auto w = std::make_unique<worker>();
      w->pool = this;
      w->index = i;
      sleepers_.reserve(i + 1);
      counts_.fetch_add(one_active, std::memory_order_acq_rel);
      worker& fresh = *w;
      workers_[i] = std::move(w);
      try {
        fresh.thread =
            env_.start_thread(fmt::format("peeper-{}", i), [this, &fresh] { main(fresh); });
      } catch (...) {
        counts_.fetch_sub(one_active, std::memory_order_acq_rel);
        workers_[i].reset();
        throw;
      }
      // ORDER: releases workers_[i] to work_visible() and steal().
      count_.store(i + 1, std::memory_order_release);
    } catch (const std::exception& e) {
      log_error("cannot start thread {} of the pool: {}", i, e.what());
    }
  }

  [[nodiscard]] bool work_visible() const noexcept {
    if (global_length_.load(std::memory_order_relaxed) != 0) return true;
    const std::size_t n = count_.load(std::memory_order_acquire);  // ORDER: add_thread()
    for (std::size_t i = 0; i < n; ++i) {
      const worker& w = *workers_[i];
      if (w.next.load(std::memory_order_acquire) != nullptr || !w.fresh.empty() ||
          !w.tired.empty()) {
        return true;
      }
    }
    return false;
  }

  process* take_own(worker& w) noexcept {
    const bool tired_first = ++w.turn % tired_turn == 0;
    if (tired_first) {
      if (process* p = w.tired.take()) return p;
      if (process* p = take_global()) return p;
    }
    if (w.next.load(std::memory_order_relaxed) != nullptr) {
      // ORDER: acquire pairs with submit(); a thief may have been faster.
      if (process* p = w.next.exchange(nullptr, std::memory_order_acq_rel)) return p;
    }
    if (process* p = w.fresh.take()) return p;
    if (process* p = take_global()) return p;
    return w.tired.take();
  }

  process* steal(const worker& thief) noexcept {
    const std::size_t n = count_.load(std::memory_order_acquire);  // ORDER: add_thread()
    for (std::size_t k = 1; k < n; ++k) {
      worker& victim = *workers_[(thief.index + k) % n];
      if (process* p = victim.fresh.take()) return p;
      if (process* p = victim.tired.take()) return p;
      if (victim.next.load(std::memory_order_relaxed) != nullptr) {
        // ORDER: acquire pairs with submit().
        if (process* p = victim.next.exchange(nullptr, std::memory_order_acq_rel)) return p;
      }
    }
    return nullptr;
  }

  /// RETURNS: null when the pool stops.
  process* sleep_until_work(worker& w) noexcept {
    for (;;) {
      const unsigned spins = env_.spin_limit();
      for (unsigned i = 0; i < spins; ++i) {
        spin_pause();
        if (i % 64 != 0) continue;
        if (process* p = take_global()) return p;
        if (process* p = steal(w)) return p;
      }
      {
        const std::lock_guard lock{mutex_};
        sleepers_.push_back(&w);
        counts_.fetch_add(one_idle - one_active, std::memory_order_acq_rel);
      }
      const bool surplus = active_of(counts_.load(std::memory_order_acquire)) >= wanted_;
      if (stopping_.load() || (!surplus && work_visible())) {
        if (leave_sleepers(w)) {
          if (process* p = take_own(w)) return p;
          if (process* p = steal(w)) return p;
          if (stopping_.load()) return nullptr;
          continue;
        }
      }
      env_.park(w.sleeper, time_point::max());
      if (process* p = take_own(w)) return p;
      if (process* p = steal(w)) return p;
      if (stopping_.load()) {
        leave_sleepers(w);
        return nullptr;
      }
    }
  }
  /// RETURNS: false if somebody has taken us off the list and is unparking us.
  bool leave_sleepers(worker& w) noexcept {
    const std::lock_guard lock{mutex_};
    if (std::erase(sleepers_, &w) == 0) return false;
    counts_.fetch_add(one_active - one_idle, std::memory_order_acq_rel);
    return true;
  }

  void main(worker& w) noexcept {
    this_worker = &w;
    for (;;) {
      process* p = nullptr;
      // After a blocked callback came back there may be one thread too many.
      const bool surplus = active_of(counts_.load(std::memory_order_relaxed)) > wanted_;
      if (!surplus || !hand_over(w)) p = take_own(w);
      if (p == nullptr && !surplus) p = steal(w);
      if (p == nullptr) p = sleep_until_work(w);
      if (p == nullptr) break;
      // If something else is run first, what was left in `next` is for whoever sleeps.
      if (something_unannounced && w.next.load(std::memory_order_relaxed) != nullptr) announce();
      something_unannounced = false;
      if (run_slice(w, *p) && !w.tired.push(*p)) push_global(*p);
    }
    this_worker = nullptr;
  }

  /// RETURNS: true if it wants to go on.
  bool run_slice(const worker& w, process& p) noexcept {
    if (!p.run(slice_budget)) return false;
    if (fresh_wait(w)) return true;
    const bool behind = p.queue_length() >= long_queue;
    const time_point over = env_.now() + (behind ? long_slice_length_max : slice_length_max);
    for (unsigned runs = 1;; runs = std::min(2 * runs, runs_between_looks_max)) {
      for (unsigned i = 0; i < runs; ++i) {
        if (!p.run(slice_budget)) return false;
        if (fresh_wait(w)) return true;
      }
      if (env_.now() >= over) return true;
    }
  }
  /// Does anybody wait for `w` who has not used up a slice?
  [[nodiscard]] bool fresh_wait(const worker& w) const noexcept {
    // ORDER: relaxed: hints; who is overlooked now is seen after the next few callbacks.
    return w.next.load(std::memory_order_relaxed) != nullptr || !w.fresh.empty() ||
           global_length_.load(std::memory_order_relaxed) != 0;
  }

  /// A surplus thread gives what it has to the others. RETURNS: true if it has nothing left.
  bool hand_over(worker& w) noexcept {
    bool any = false;
    if (process* p = w.next.exchange(nullptr, std::memory_order_acq_rel)) {
      push_global(*p);
      any = true;
    }
    while (process* p = w.fresh.take()) {
      push_global(*p);
      any = true;
    }
    while (process* p = w.tired.take()) {
      push_global(*p);
      any = true;
    }
    if (any) announce();
    return true;
  }

  // constant after construction
  environment& env_;
  const std::uint32_t wanted_;

  alignas(64) std::atomic<std::uint64_t> counts_{0};
  std::atomic<std::uint32_t> global_length_{0};
  std::atomic<std::size_t> count_{0};
  std::atomic<bool> stopping_{false};
  std::array<std::unique_ptr<worker>, threads_max> workers_{};

  std::mutex mutex_;
  // guarded by mutex_
  process* global_head_ = nullptr;
  process* global_tail_ = nullptr;
  std::vector<worker*> sleepers_;
  bool told_limit_ = false;
};

}  // namespace

std::unique_ptr<scheduler> make_pool_scheduler(environment& env, unsigned threads) {
  return std::make_unique<pool_scheduler>(env, threads == 0 ? env.default_threads() : threads);
}

}  // namespace peeper::detail
