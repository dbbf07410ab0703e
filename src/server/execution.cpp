// SPDX-License-Identifier: Apache-2.0
#include <peeper/detail/execution.hpp>

#include <utility>

#include <peeper/detail/branch.hpp>

#include "server/current.hpp"

namespace peeper::detail {
namespace {

/// The target has ended: whoever waits for an answer is told.
void refuse(message* m, const process& target) noexcept {
  if (m->type->fail != nullptr) {
    m->type->fail(*m, call_error{call_errc::noproc, target.display_name()});
  }
  m->type->release(m);
}

}  // namespace

execution* current_execution() noexcept { return running_here; }
void set_current_execution(execution* e) noexcept { running_here = e; }

void execution::stage_for(process& target, message* m) noexcept {
  if (held_target_ != &target) {
    target.add_ref();
    if (held_target_ == nullptr) {
      held_target_ = &target;
    } else {
      m->holds_target = true;
    }
  }
  m->target = &target;
  stage(m);
}

void execution::let_target_go() noexcept { held_target_->release(); }

void execution::publish_staged() noexcept {
  while (message* m = staged_) {
    if (m->type->kind == message_kind::effect) {
      staged_ = m->next;
      m->type->run(*self, *m);
      m->type->release(m);
      continue;
    }
    // A row of messages for one target goes at once. The inbox wants the newest first.
    process& target = *m->target;
    message* const oldest = m;
    message* newest = nullptr;
    bool row_holds_target = false;
    do {
      message* const after = m->next;
      m->target = nullptr;
      if (std::exchange(m->holds_target, false)) {
        // One reference for the row will do; the others go.
        if (std::exchange(row_holds_target, true)) target.release();
      }
      m->next = newest;
      newest = m;
      m = after;
    } while (m != nullptr && m->target == &target && !target.one_by_one());
    staged_ = m;
    if (!target.push_row(newest, *oldest)) {
      // In the order in which they were sent.
      message* in_order = nullptr;
      while (newest != nullptr) {
        message* const older = newest->next;
        newest->next = in_order;
        in_order = newest;
        newest = older;
      }
      while (in_order != nullptr) refuse(std::exchange(in_order, in_order->next), target);
    }
    if (row_holds_target) target.release();
  }
  staged_end_ = &staged_;
}

void execution::discard() noexcept {
  while (message* m = staged_) {
    staged_ = m->next;
    process* target = m->target;
    const bool held = m->holds_target;
    m->target = nullptr;
    // It took a place in a limited mailbox when it was staged, and will never get there.
    if (m->counted) static_cast<branch*>(target)->give_place_back(*m);
    if (m->type->kind != message_kind::effect && m->type->fail != nullptr) {
      m->type->fail(*m, call_error{call_errc::crashed, self->display_name()});
    }
    m->type->release(m);
    if (held) target->release();
  }
  staged_end_ = &staged_;
  if (next.continuation != nullptr) {
    next.continuation->type->release(next.continuation);
    next.continuation = nullptr;
  }
}

message* execution::take_next_for(const process& target) noexcept {
  for (message** link = &staged_; *link != nullptr; link = &(*link)->next) {
    message* const m = *link;
    if (m->target != &target) continue;
    *link = m->next;
    if (staged_end_ == &m->next) staged_end_ = link;
    return m;
  }
  return nullptr;
}

void execution::flush_to(process& target, const message* last) noexcept {
  while (message* m = take_next_for(target)) {
    const bool was_last = m == last;
    const bool held = std::exchange(m->holds_target, false);
    m->target = nullptr;
    if (!target.push(m)) refuse(m, target);
    if (held) target.release();
    if (was_last) break;
  }
}

}  // namespace peeper::detail
