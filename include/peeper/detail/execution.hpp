// SPDX-License-Identifier: Apache-2.0
/// \file
/// `execution`: one run of a callback: what it handles, and the effects that wait for its commit.
///
/// THREADS: the one that runs the callback; a suspended coroutine carries its execution along.
#pragma once

#include <cstdint>
#include <utility>

#include <peeper/detail/message.hpp>
#include <peeper/exit_reason.hpp>
#include <peeper/time.hpp>

namespace peeper::detail {

/// What the callback asked to happen next; set by the typed layer from the returned shape.
struct next_step {
  enum class kind : std::uint8_t { none, timeout, hibernate, stop };
  kind what = kind::none;
  bool reply_ready = false;  ///< call: the answer is stored and leaves at commit
  duration timeout{};
  exit_reason reason;               ///< for stop
  message* continuation = nullptr;  ///< owned; runs before anything queued
};

struct execution {
  execution(branch& self_branch, message* handled, std::uint32_t worker_generation) noexcept
      : self{&self_branch}, current{handled}, generation{worker_generation} {}
  execution(const execution&) = delete;
  execution& operator=(const execution&) = delete;
  ~execution() {
    if (staged_ != nullptr || next.continuation != nullptr) discard();
    if (held_target_ != nullptr) let_target_go();
  }

  branch* self;
  message* current;            ///< null in init, terminate and edits
  std::uint32_t generation;    ///< P5: the worker that runs this; fenced at commit
  bool mutating = false;       ///< the state has been lent for writing
  bool innocent = false;       ///< its worker died before it had begun: to be run again
  bool committed = false;      ///< already, by its worker's OS process: no kill can undo it
  std::uint32_t depth = 0;     ///< how many callbacks are below on this stack
  execution* outer = nullptr;  ///< the callback below on this stack
  next_step next;

  /// Appends a message for `target`, which lives at least as long as it is staged.
  void stage_for(process& target, message* m) noexcept;
  /// Appends an effect; it is applied in order at commit, or discarded.
  void stage(message* m) noexcept {
    m->next = nullptr;
    *staged_end_ = m;
    staged_end_ = &m->next;
    if (m->counted) holds_places_ = true;
  }
  /// It has staged messages that have their places in limited mailboxes already, and keeps them
  /// until it ends: it must not wait for places itself. (May stay true after flush_to().)
  [[nodiscard]] bool holds_places() const noexcept { return holds_places_; }
  /// Lets go, now and in order, what was staged for `target` up to and including `last` (all of
  /// it for null): an awaited call takes what was queued before it along (P6).
  void flush_to(process& target, const message* last) noexcept;
  /// The first of what flush_to() would let go, which is the caller's now. RETURNS: null: no more.
  [[nodiscard]] message* take_next_for(const process& target) noexcept;
  /// At commit: everything leaves, in order.
  void publish() noexcept {
    if (staged_ != nullptr) publish_staged();
  }
  /// P2: it never happened.
  void discard() noexcept;
  /// The first of what is staged; each says what comes next. For a worker's OS process, which sends
  /// it to the program.
  [[nodiscard]] message* staged() const noexcept { return staged_; }
  /// As staged(), but the list is the caller's now.
  [[nodiscard]] message* take_staged() noexcept {
    staged_end_ = &staged_;
    return std::exchange(staged_, nullptr);
  }
  [[nodiscard]] bool empty() const noexcept { return staged_ == nullptr; }

 private:
  void publish_staged() noexcept;
  void let_target_go() noexcept;

  message* staged_ = nullptr;
  message** staged_end_ = &staged_;
  /// The first target is held once, whatever is staged for it; others once a message.
  process* held_target_ = nullptr;
  bool holds_places_ = false;
};

/// The callback that runs on this thread; null on a foreign thread.
[[nodiscard]] [[gnu::hot]] execution* current_execution() noexcept;
void set_current_execution(execution* e) noexcept;

/// For code of the user's that a server's thread happens to run, but that is part of no callback:
/// what it sends leaves at once.
class outside_callbacks {
 public:
  outside_callbacks() noexcept : current_{current_execution()} { set_current_execution(nullptr); }
  outside_callbacks(const outside_callbacks&) = delete;
  outside_callbacks& operator=(const outside_callbacks&) = delete;
  ~outside_callbacks() { set_current_execution(current_); }

 private:
  execution* current_;
};

/// An effect that is not a message: `Apply` runs at commit, on the branch's thread.
template <class Apply>
struct effect final : message {
  explicit effect(Apply a) : message{type_object}, apply{std::move(a)} {}
  static void run_effect(process& /*self*/, message& m) { static_cast<effect&>(m).apply(); }
  static void release_effect(message* m) noexcept { delete static_cast<effect*>(m); }
  static constexpr message_type type_object{message_kind::effect, true,   nullptr, &run_effect,
                                            &release_effect,      nullptr};
  Apply apply;
};

/// Runs `apply` (noexcept in effect: it must not fail) at the commit of the running callback, or
/// at once on a foreign thread.
template <class Apply>
void at_commit(Apply apply) {
  if (execution* e = current_execution()) {
    e->stage(new effect<Apply>{std::move(apply)});
  } else {
    apply();
  }
}

}  // namespace peeper::detail
