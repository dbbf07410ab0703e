// SPDX-License-Identifier: Apache-2.0
#include <peeper/detail/execution.hpp>

#include <peeper/detail/branch.hpp>

namespace peeper::detail {
namespace {
thread_local execution* the_current = nullptr;

void deliver(message* m) noexcept {
  process* target = m->target;
  m->target = nullptr;
  if (!target->push(m)) {
    if (m->type->fail != nullptr) {
      m->type->fail(*m, call_error{call_errc::noproc, target->display_name()});
    }
    m->type->release(m);
  }
  target->release();
}
}  // namespace

execution* current_execution() noexcept { return the_current; }
void set_current_execution(execution* e) noexcept { the_current = e; }

void execution::publish() noexcept {
  while (message* m = staged_) {
    staged_ = m->next;
    if (m->type->kind == message_kind::effect) {
      m->type->run(*self, *m);
      m->type->release(m);
    } else {
      deliver(m);
    }
  }
  staged_end_ = &staged_;
}

void execution::discard() noexcept {
  while (message* m = staged_) {
    staged_ = m->next;
    process* target = m->target;
    m->target = nullptr;
    // It took a place in a limited mailbox when it was staged, and will never get there.
    if (m->counted) static_cast<branch*>(target)->give_place_back(*m);
    if (m->type->kind != message_kind::effect && m->type->fail != nullptr) {
      m->type->fail(*m, call_error{call_errc::crashed, self->display_name()});
    }
    m->type->release(m);
    if (target != nullptr) target->release();
  }
  staged_end_ = &staged_;
  if (next.continuation != nullptr) {
    next.continuation->type->release(next.continuation);
    next.continuation = nullptr;
  }
}

void execution::flush_to(process& target, const message* last) noexcept {
  message** link = &staged_;
  while (message* m = *link) {
    if (m->target != &target) {
      link = &m->next;
      continue;
    }
    *link = m->next;
    if (staged_end_ == &m->next) staged_end_ = link;
    const bool was_last = m == last;
    deliver(m);
    if (was_last) break;
  }
}

}  // namespace peeper::detail
