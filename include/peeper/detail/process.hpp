// SPDX-License-Identifier: Apache-2.0
/// \file
/// `process`: an actor of the runtime: one mailbox, run by at most one thread at a time.
///
/// The inbox is one word, a stack of messages pushed by any thread, newest first. It also says who
/// may run the process:
///
///     idle_tag --push: the pusher schedules it--> list --take--> empty --try_go_idle()--> idle_tag
///     idle_tag --try_claim(): the claimer runs it--> empty
///     any      --close()--> closed_tag: nothing is taken any more
///
/// INVARIANT: while the inbox is not idle_tag, exactly one thread or run queue has the claim.
/// THREADS: push(), try_claim(), add_ref(), release(): any. Everything else: the claim's holder.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include <peeper/detail/message.hpp>
#include <peeper/pid.hpp>

namespace peeper::detail {

class runtime_core;
struct process_extras;
struct locked_mailbox;
struct timer;

/// Where a dead letter's reservation, a staged message or a handle keeps a process in memory.
class process {
 public:
  process(const process&) = delete;
  process& operator=(const process&) = delete;

  void add_ref() noexcept {
    // ORDER: relaxed: the caller holds a reference already.
    refs_.fetch_add(1, std::memory_order_relaxed);
  }
  void release() noexcept {
    // ORDER: acq_rel: the last one sees what the others did before they let go.
    if (refs_.fetch_sub(1, std::memory_order_acq_rel) == 1) destroy();
  }

  /// Takes the message and schedules the process if it was idle.
  /// RETURNS: false, the message is still the caller's, if the process has ended.
  [[nodiscard]] [[gnu::hot]] bool push(message* m) noexcept;

  /// As push() of a row of messages, linked from `newest` to `oldest`.
  /// REQUIRES: one message only if one_by_one(); a reference of the caller's.
  [[nodiscard]] [[gnu::hot]] bool push_row(message* newest, message& oldest) noexcept;
  /// Its mailbox must see each message for itself.
  [[nodiscard]] bool one_by_one() const noexcept { return locked_ != nullptr; }

  /// As push(), and lets the process know that it should look before its next message.
  [[nodiscard]] bool push_urgent(message* m) noexcept {
    // ORDER: release pairs with the acquire exchange in take_urgent(): seen before or with `m`;
    // seeing it early costs one look.
    urgent_.store(true, std::memory_order_release);
    return push(m);
  }

  /// Takes the claim of an idle process: the caller must end with release_claim() or hand it to
  /// the scheduler.
  [[nodiscard]] bool try_claim() noexcept {
    message* expected = idle_tag();
    // ORDER: acquire pairs with the release in try_go_idle(): we see the last holder's writes.
    return inbox_.load(std::memory_order_relaxed) == expected &&
           inbox_.compare_exchange_strong(expected, nullptr, std::memory_order_acquire,
                                          std::memory_order_relaxed);
  }
  /// It has ended: nothing is taken any more.
  [[nodiscard]] bool closed() const noexcept {
    // ORDER: relaxed: a hint; push() decides.
    return inbox_.load(std::memory_order_relaxed) == closed_tag();
  }

  /// Handles up to `budget` messages; called by the scheduler with the claim.
  /// RETURNS: true if it wants to go on (it keeps the claim), false if it went idle or ended.
  [[nodiscard]] virtual bool run(unsigned budget) noexcept = 0;

  /// The incarnation that a pid with this role would have now.
  [[nodiscard]] virtual std::uint32_t generation_of(process_role role) const noexcept = 0;
  /// For logs: its name or its pid.
  [[nodiscard]] virtual std::string display_name() const = 0;
  /// kill(pid): that incarnation is dead from now on. RETURNS: false if it was dead already.
  virtual bool kill(pid which) noexcept = 0;

  [[nodiscard]] pid make_pid(process_role role) const noexcept {
    return {slot_, role, generation_of(role)};
  }
  [[nodiscard]] runtime_core& runtime() const noexcept { return *runtime_; }

  /// Made on first use; any thread.
  [[nodiscard]] process_extras& extras();
  /// Null if nobody has used them yet.
  [[nodiscard]] process_extras* extras_if_any() const noexcept {
    // ORDER: seq_cst, as are extras(), close() and closed_for_good(): who ends either finds the
    // extras that somebody has just made, or that one finds the process closed.
    return extras_.load();
  }
  /// As closed(), but certain, for who has called extras() before.
  [[nodiscard]] bool closed_for_good() const noexcept {
    return inbox_.load() == closed_tag();  // ORDER: seq_cst: see extras_if_any()
  }

  /// What it has taken out of its inbox and not handled yet. For the claim's holder.
  [[nodiscard]] std::size_t queue_length() const noexcept { return queued_; }

 protected:
  /// Born claimed by its creator, with one reference (its life).
  explicit process(runtime_core& rt);
  virtual ~process();
  virtual void destroy() noexcept = 0;

  [[gnu::hot]] static message* idle_tag() noexcept;
  [[gnu::hot]] static message* closed_tag() noexcept;

  /// RETURNS: true if idle now: the claim is gone and *this may be, too.
  [[nodiscard]] [[gnu::hot]] bool try_go_idle() noexcept;
  /// Puts a row of messages, linked from the newest on, at the end of the private queue.
  [[gnu::hot]] void queue_arrived(message* newest) noexcept;
  /// Moves what has arrived into the private queue. RETURNS: false if nothing had.
  [[gnu::hot]] bool take_arrived() noexcept;
  [[nodiscard]] bool take_urgent() noexcept {
    // The plain load keeps the common case free of a locked instruction.
    // ORDER: acquire pairs with push_urgent().
    return urgent_.load(std::memory_order_relaxed) &&
           urgent_.exchange(false, std::memory_order_acquire);
  }
  /// Closes the inbox; all that is queued is moved to the private queue for the caller to fail.
  void close() noexcept;

  static bool is_library(const message& m) noexcept {
    return m.type->kind == message_kind::system || m.type->kind == message_kind::urgent;
  }
  void queue_push_back(message* m) noexcept {
    m->next = nullptr;
    if (queue_tail_ == nullptr) {
      queue_head_ = m;
    } else {
      queue_tail_->next = m;
    }
    queue_tail_ = m;
    ++queued_;
    if (is_library(*m)) ++system_queued_;
  }
  void queue_push_front(message* m) noexcept {
    m->next = queue_head_;
    queue_head_ = m;
    if (queue_tail_ == nullptr) queue_tail_ = m;
    ++queued_;
    if (is_library(*m)) ++system_queued_;
  }
  [[nodiscard]] message* queue_pop_front() noexcept {
    message* m = queue_head_;
    if (m == nullptr) return nullptr;
    queue_head_ = m->next;
    if (queue_head_ == nullptr) queue_tail_ = nullptr;
    --queued_;
    if (is_library(*m)) --system_queued_;
    return m;
  }
  /// The first library message, out of turn. O(queue) if there is one, else O(1).
  [[nodiscard]] message* queue_pop_system(bool urgent_only) noexcept;

  /// In a worker's OS process it stands for one of the program's.
  void stand_for(pid other) noexcept {
    slot_ = other.slot();
    first_generation_ = other.generation();
  }

  // The order of what follows is for the cache: senders write inbox_ while the claim's holder
  // works, so what that one uses for each message is a cache line away from it on either side,
  // wherever the object lies.

  runtime_core* runtime_;
  std::uint32_t slot_;
  // owned by the claim's holder
  std::uint32_t queued_ = 0;  ///< length of the private queue
  message* queue_head_ = nullptr;
  message* queue_tail_ = nullptr;
  std::uint32_t system_queued_ = 0;  ///< library messages among them

 private:
  std::atomic<bool> urgent_{false};

 protected:
  bool accepts_user_messages_ = true;  ///< false while suspended, awaiting or backing off

 private:
  [[nodiscard]] [[gnu::cold]] bool push_locked(message* m) noexcept;
  /// Links and monitors: made for those who use them.
  std::atomic<process_extras*> extras_{nullptr};

 public:
  timer* pending_timers = nullptr;  ///< its pending timers; guarded by the timer service's mutex
  process* run_link = nullptr;      ///< owned by the run queue it is in

 protected:
  /// Only with a mailbox that drops its oldest: messages wait here instead, under its lock.
  std::unique_ptr<locked_mailbox> locked_;
  std::uint32_t first_generation_;

 private:
  [[maybe_unused]] std::array<std::byte, 20> apart_{};
  std::atomic<message*> inbox_;
  std::atomic<std::uint32_t> refs_{1};
};

template <class Process>
class process_ptr {
 public:
  process_ptr() noexcept = default;
  /// Shares: takes a reference of its own.
  explicit process_ptr(Process* p) noexcept : process_{p} {
    if (process_ != nullptr) process_->add_ref();
  }
  static process_ptr adopt(Process* p) noexcept {
    process_ptr result;
    result.process_ = p;
    return result;
  }
  process_ptr(const process_ptr& other) noexcept : process_ptr{other.process_} {}
  process_ptr(process_ptr&& other) noexcept : process_{std::exchange(other.process_, nullptr)} {}
  process_ptr& operator=(process_ptr other) noexcept {
    std::swap(process_, other.process_);
    return *this;
  }
  ~process_ptr() {
    if (process_ != nullptr) process_->release();
  }
  Process* get() const noexcept { return process_; }
  Process* operator->() const noexcept { return process_; }
  Process& operator*() const noexcept { return *process_; }
  explicit operator bool() const noexcept { return process_ != nullptr; }

 private:
  Process* process_ = nullptr;
};

/// The process whose current incarnation `id` names; null if it is dead. O(1), one short spin lock.
[[nodiscard]] process_ptr<process> find_process(pid id) noexcept;

}  // namespace peeper::detail
