// SPDX-License-Identifier: Apache-2.0
#include <peeper/detail/process.hpp>

#include <peeper/detail/assert.hpp>

#include "core/extras.hpp"
#include "core/locked_mailbox.hpp"
#include "core/pid_table.hpp"
#include "core/runtime_core.hpp"

namespace peeper::detail {
namespace {

/// Addresses that no message can have.
constexpr message_type tag_type{message_kind::system, true, nullptr, nullptr, nullptr, nullptr};
struct tag final : message {
  tag() noexcept : message{tag_type} {}
};
tag the_idle_tag;
tag the_closed_tag;

}  // namespace

message* process::idle_tag() noexcept { return &the_idle_tag; }
message* process::closed_tag() noexcept { return &the_closed_tag; }

process::process(runtime_core& rt) : runtime_{&rt}, inbox_{nullptr} {
  rt.add_ref();
  const pid_table::allocation place = pid_table::allocate();
  slot_ = place.slot;
  first_generation_ = place.first_generation;
}

process::~process() {
  PEEPER_ASSERT(queue_head_ == nullptr);
  delete extras_.load(std::memory_order_relaxed);
  runtime_->release();
}

process_extras& process::extras() {
  // ORDER: acquire/release: who finds the object finds it constructed; seq_cst for who makes it:
  // see extras_if_any().
  if (process_extras* e = extras_.load(std::memory_order_acquire)) return *e;
  auto fresh = std::make_unique<process_extras>();
  process_extras* expected = nullptr;
  if (extras_.compare_exchange_strong(expected, fresh.get())) {
    return *fresh.release();
  }
  return *expected;
}

bool process::push(message* m) noexcept { return push_row(m, *m); }

bool process::push_row(message* newest, message& oldest) noexcept {
  if (locked_ && newest->counted) return push_locked(newest);
  // ORDER: relaxed: the compare-exchange below checks it.
  message* old = inbox_.load(std::memory_order_relaxed);
  do {
    if (old == closed_tag()) {
      oldest.next = nullptr;
      return false;
    }
    oldest.next = old == idle_tag() ? nullptr : old;
    // ORDER: release publishes the message to take_arrived(); acquire, when it was idle, takes
    // over what the last holder of the claim wrote (try_go_idle()).
  } while (!inbox_.compare_exchange_weak(old, newest, std::memory_order_acq_rel,
                                         std::memory_order_relaxed));
  // Not idle: someone has the claim, will see the message, and *this may be gone by now.
  if (old == idle_tag()) runtime_->submit(*this);
  return true;
}

bool process::push_locked(message* m) noexcept {
  message* victim = nullptr;
  {
    const std::lock_guard lock{locked_->mutex};
    if (locked_->closed) return false;
    victim = locked_->append(m);
  }
  if (victim != nullptr) {
    if (victim->type->fail != nullptr) {
      victim->type->fail(*victim, call_error{call_errc::mailbox_full, display_name()});
    }
    victim->type->release(victim);
  }
  // The holder of the claim looks into the locked part after it has gone idle (try_go_idle), so
  // either it sees the message or we see it idle.
  if (try_claim()) runtime_->submit(*this);
  return true;
}

bool process::try_go_idle() noexcept {
  if (!locked_) {
    message* expected = nullptr;
    // ORDER: release hands our writes to the next holder (try_claim, push).
    return inbox_.compare_exchange_strong(expected, idle_tag(), std::memory_order_release,
                                          std::memory_order_relaxed);
  }
  const auto something_waits = [this] {
    const std::lock_guard lock{locked_->mutex};
    return locked_->head != nullptr;
  };
  const bool wanted = accepts_user_messages_;  // ours to read only while we have the claim
  if (wanted && something_waits()) return false;
  // Once idle, another thread may end and free the process; we still have to look.
  const process_ptr<process> alive{this};
  message* expected = nullptr;
  if (!inbox_.compare_exchange_strong(expected, idle_tag(), std::memory_order_acq_rel,
                                      std::memory_order_relaxed)) {
    return false;
  }
  return !(wanted && something_waits() && try_claim());
}

void process::queue_arrived(message* newest) noexcept {
  if (newest == nullptr) return;
  message* const last = newest;
  message* in_order = nullptr;
  while (newest != nullptr) {
    message* const older = newest->next;
    newest->next = in_order;
    in_order = newest;
    ++queued_;
    if (is_library(*newest)) ++system_queued_;
    newest = older;
  }
  (queue_tail_ == nullptr ? queue_head_ : queue_tail_->next) = in_order;
  queue_tail_ = last;
}

bool process::take_arrived() noexcept {
  message* list = nullptr;
  // ORDER: the relaxed look spares the exchange; acquire pairs with push()'s release.
  if (inbox_.load(std::memory_order_relaxed) != nullptr) {
    list = inbox_.exchange(nullptr, std::memory_order_acquire);
  }
  bool any = list != nullptr;
  queue_arrived(list);
  if (locked_ && queue_head_ == nullptr) {
    const std::lock_guard lock{locked_->mutex};
    if (message* m = locked_->pop()) {
      queue_push_back(m);
      any = true;
    }
  }
  return any;
}

void process::close() noexcept {
  // ORDER: acquire pairs with push()'s release; nothing is pushed any more after this. seq_cst: see
  // extras_if_any().
  message* list = inbox_.exchange(closed_tag());
  if (list != idle_tag()) queue_arrived(list);
  if (locked_) {
    const std::lock_guard lock{locked_->mutex};
    locked_->closed = true;
    while (message* m = locked_->pop()) queue_push_back(m);
  }
}

message* process::queue_pop_system(bool urgent_only) noexcept {
  if (system_queued_ == 0) return nullptr;
  message* before = nullptr;
  for (message* m = queue_head_; m != nullptr; before = m, m = m->next) {
    const bool wanted = m->type->kind == message_kind::urgent ||
                        (!urgent_only && m->type->kind == message_kind::system);
    if (!wanted) continue;
    (before == nullptr ? queue_head_ : before->next) = m->next;
    if (queue_tail_ == m) queue_tail_ = before;
    --queued_;
    --system_queued_;
    return m;
  }
  return nullptr;
}

}  // namespace peeper::detail
