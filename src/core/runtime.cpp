// SPDX-License-Identifier: Apache-2.0
#include <peeper/runtime.hpp>

#include <algorithm>
#include <chrono>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "core/log.hpp"
#include "core/runtime_core.hpp"
#include "core/server_end.hpp"
#include "sim/sim_scheduler.hpp"

namespace peeper {
namespace detail {
runtime_core::runtime_core(const runtime_options& options)
    : env_{options.env == nullptr ? &real_environment() : options.env},
      on_real_machine_{env_ == &real_environment()},
      timers_{*env_} {
  if (env_->simulated()) {
    scheduler_ = make_sim_scheduler(*env_, timers_);
  } else {
    scheduler_ = make_pool_scheduler(*env_, options.threads);
    timers_.start_thread();
  }
}

runtime_core::runtime_core(environment& env, std::unique_ptr<scheduler> sched)
    : env_{&env},
      on_real_machine_{env_ == &real_environment()},
      timers_{*env_},
      scheduler_{std::move(sched)} {}

void runtime_core::stop() noexcept {
  timers_.stop_thread();
  scheduler_->stop();
}

std::expected<void, pid> runtime_core::register_name(const branch_options& o, branch& b) {
  if (o.via) {
    if (o.via->register_name(o.name, b.server_pid())) return {};
    return std::unexpected{o.via->whereis_name(o.name)};
  }
  const std::lock_guard lock{names_mutex_};
  const auto [at, fresh] = names_.try_emplace(o.name, process_ptr<branch>{&b});
  if (fresh) return {};
  return std::unexpected{at->second->server_pid()};
}

void runtime_core::unregister_name(const branch_options& o, branch& b) noexcept {
  if (o.name.empty()) return;
  if (o.via) {
    o.via->unregister_name(o.name);
    return;
  }
  process_ptr<branch> last;  // released without the lock
  const std::lock_guard lock{names_mutex_};
  const auto found = names_.find(o.name);
  if (found == names_.end() || found->second.get() != &b) return;
  last = std::move(found->second);
  names_.erase(found);
}

process_ptr<branch> runtime_core::find_name(const std::string& name) const noexcept {
  const std::shared_lock lock{names_mutex_};
  const auto found = names_.find(name);
  return found == names_.end() ? process_ptr<branch>{} : found->second;
}

runtime_core::shard& runtime_core::shard_of(const branch& b) noexcept {
  return shards_[b.server_pid().slot() % shard_count];
}

bool runtime_core::adopt(branch& child) noexcept {
  shard& s = shard_of(child);
  const std::lock_guard lock{s.mutex};
  if (shutting_down()) return false;
  // ORDER: relaxed: only the order of numbers matters.
  child.start_order_ = next_start_order_.fetch_add(1, std::memory_order_relaxed);
  s.children.push_back(child);
  return true;
}

void runtime_core::child_ended(branch& child) noexcept {
  {
    shard& s = shard_of(child);
    const std::lock_guard lock{s.mutex};
    s.children.erase(s.children.iterator_to(child));
  }
  if (shutting_down()) env_->unpark(child_has_ended_);
}

std::size_t runtime_core::child_count() const noexcept {
  std::size_t n = 0;
  for (const shard& s : shards_) {
    const std::lock_guard lock{s.mutex};
    n += s.children.size();
  }
  return n;
}

std::expected<void, shutdown_error> runtime_core::shutdown(duration limit) {
  // ORDER: release pairs with the acquire in shutting_down(); the shard locks order it with
  // adopt().
  shutting_down_.store(true, std::memory_order_release);
  std::vector<process_ptr<branch>> children;
  for (shard& s : shards_) {
    const std::lock_guard lock{s.mutex};
    for (branch& b : s.children) {
      if (b.place() == nullptr) children.emplace_back(&b);  // others are their supervisors' to end
    }
  }
  std::ranges::sort(children, std::greater{}, [](const auto& b) { return b->start_order(); });
  const time_point give_up = deadline_after(env_->now(), limit);
  shutdown_error stuck;
  for (const auto& child : children) {
    if (server_end{child, child->options().shutdown}.wait(give_up)) continue;
    stuck.servers.push_back(child->display_name());
  }
  // Who has taken nothing more, or answered at its end, may still be putting its things away, and
  // its listeners hear of it.
  const auto anything_left = [this] {
    // ORDER: acquire pairs with listener_went().
    return child_count() != 0 || listeners_.load(std::memory_order_acquire) != 0;
  };
  while (stuck.servers.empty() && anything_left()) {
    if (sched().block(child_has_ended_, give_up)) continue;
    for (const auto& child : children) {
      if (child->closed()) continue;
      stuck.servers.push_back(child->display_name());
    }
    if (stuck.servers.empty() && anything_left()) {
      stuck.servers.emplace_back("a server that is ending, or a listener");
    }
    break;
  }
  env_->unpark(child_has_ended_);  // for another shutdown() that waits, too
  if (stuck.servers.empty()) return {};
  return std::unexpected{std::move(stuck)};
}

}  // namespace detail

runtime::runtime(const runtime_options& options)
    : core_{new detail::runtime_core{options}}, shutdown_limit_{options.shutdown_limit} {}

runtime::~runtime() {
  for (;;) {
    const auto done = shutdown(shutdown_limit_);
    if (done) break;
    detail::log_error("the runtime cannot be destroyed yet: {}", done.error().what());
  }
  core_->stop();
  core_->release();
}

std::expected<void, shutdown_error> runtime::shutdown(duration limit) {
  return core_->shutdown(limit);
}
std::size_t runtime::server_count() const noexcept { return core_->child_count(); }
environment& runtime::env() const noexcept { return core_->env(); }

}  // namespace peeper
