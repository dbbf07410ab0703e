// SPDX-License-Identifier: Apache-2.0
#include <peeper/transfer.hpp>

#include <atomic>
#include <memory>
#include <utility>

#include <fmt/format.h>

#include "core/runtime_core.hpp"
#include "supervisor/supervisor_cell.hpp"

namespace peeper::detail {

/// With the child's claim: it neither runs nor ends meanwhile. With both supervisors' locks: one
/// moment, before which it is the source's and after which it is the target's.
std::expected<void, child_error> supervisor_cell::transfer(branch& child, supervisor_cell& target) {
  const auto refuse = [](child_errc code, std::string text) {
    return std::unexpected{child_error{code, std::move(text)}};
  };
  auto* e = static_cast<child_entry*>(child.place());
  // ORDER: relaxed: changed with the child's claim only, which is ours.
  supervisor_cell* source = e == nullptr ? nullptr : e->parent.load(std::memory_order_relaxed);
  if (source == nullptr || !source->plan_->dynamic) {
    return refuse(child_errc::bad_spec, fmt::format("server '{}' is not the child of a dynamic "
                                                    "supervisor: only those can move",
                                                    child.display_name()));
  }
  if (source == &target) return {};
  child.reached("transfer.asked");
  {
    const std::scoped_lock both{source->children_mutex_, target.children_mutex_};
    if (source->ending_ || e->status != child_status::running) {
      return refuse(child_errc::noproc,
                    fmt::format("server '{}' is being ended", child.display_name()));
    }
    if (target.ending_) {
      return refuse(child_errc::noproc,
                    fmt::format("supervisor '{}' does not run", target.display_name()));
    }
    if (target.children_.size() >= target.plan_->max_children) {
      return std::unexpected{target.full()};
    }
    source->children_.erase(source->children_.iterator_to(*e));
    target.children_.push_back(*e);
    target.add_ref();
    // ORDER: relaxed: under the locks of all who look.
    e->parent.store(&target, std::memory_order_relaxed);
  }
  source->release();
  // CRASH: (a kill of either supervisor's processes, here or anywhere) they have no part in it.
  child.reached("transfer.done");
  return {};
}

std::expected<void, child_error> transfer_child(const server_ptr& child,
                                                const any_supervisor& target, duration limit) {
  if (!child || !target.alive()) {
    return std::unexpected{child_error{
        child_errc::noproc, fmt::format("{} does not run", !child ? "the server" : target.name())}};
  }
  if (&child->runtime() != &target.cell()->runtime()) {
    return std::unexpected{child_error{child_errc::bad_spec,
                                       "the target belongs to another runtime: servers cannot "
                                       "leave theirs"}};
  }
  // Whoever comes first decides: the server's turn, or the end of the caller's patience.
  enum class stage : int { asked, moving, given_up };
  const auto at = std::make_shared<std::atomic<stage>>(stage::asked);
  const auto moved = ask_system<std::expected<void, child_error>>(
      child,
      [at, to = target.cell()](branch& b) -> std::expected<void, child_error> {
        stage expected = stage::asked;
        if (!at->compare_exchange_strong(expected, stage::moving)) return {};  // nobody listens
        return supervisor_cell::transfer(b, static_cast<supervisor_cell&>(*to));
      },
      limit, message_kind::system);
  if (moved) return *moved;
  if (moved.error().code() == call_errc::timed_out) {
    stage expected = stage::asked;
    // ORDER: seq_cst, as above: one of the two wins.
    if (at->compare_exchange_strong(expected, stage::given_up)) {
      return std::unexpected{
          child_error{child_errc::timed_out,
                      fmt::format("server '{}' did not come to it in time; it stays where it is",
                                  child->display_name())}};
    }
    return transfer_child(child, target, infinity);  // it is under way: how does it end?
  }
  switch (moved.error().code()) {
    case call_errc::calling_self:
    case call_errc::cycle:
      return std::unexpected{child_error{child_errc::calling_self, moved.error().what()}};
    default: break;
  }
  return std::unexpected{child_error{
      child_errc::noproc, fmt::format("server '{}' does not run", child->display_name())}};
}

}  // namespace peeper::detail
