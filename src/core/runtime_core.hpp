// SPDX-License-Identifier: Apache-2.0
/// \file
/// What the servers of one runtime share: scheduler, timers, names, the root supervisor's children.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <expected>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <unordered_map>

#include <boost/intrusive/list.hpp>

#include <peeper/detail/branch.hpp>
#include <peeper/runtime.hpp>

#include "core/real_clock.hpp"
#include "core/scheduler.hpp"
#include "core/timer_service.hpp"
#include "table/table_names.hpp"

namespace peeper::detail {

class runtime_core {
 public:
  /// Born with one reference: the runtime's. Every process holds one: references to servers may
  /// outlive the runtime, and then still find somebody to tell them that it has stopped.
  explicit runtime_core(const runtime_options& options);
  /// In a worker's OS process: no threads, no timers.
  runtime_core(environment& env, std::unique_ptr<scheduler> sched);
  void add_ref() noexcept {
    // ORDER: relaxed: the caller holds a reference already.
    refs_.fetch_add(1, std::memory_order_relaxed);
  }
  void release() noexcept {
    // ORDER: acq_rel: the last one sees what the others did.
    if (refs_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
  }
  /// Stops and joins the threads. REQUIRES: shutdown() has succeeded.
  void stop() noexcept;
  runtime_core(const runtime_core&) = delete;
  runtime_core& operator=(const runtime_core&) = delete;

  [[nodiscard]] environment& env() const noexcept { return *env_; }
  /// env().coarse_now(); on the real machine without the way through its virtual function: each
  /// call reads it, and after a pause every cache line that it touches is far away.
  [[nodiscard]] time_point coarse_now() const noexcept {
    return on_real_machine_ ? real_coarse_now() : env_->coarse_now();
  }
  /// Should an idle server's call be run by its caller? (The simulation tries both.)
  [[nodiscard]] bool may_run_on_caller() noexcept {
    return on_real_machine_ || scheduler_->may_run_on_caller();
  }
  [[nodiscard]] scheduler& sched() noexcept { return *scheduler_; }
  [[nodiscard]] timer_service& timers() noexcept { return timers_; }

  /// The runnable process (its claim with it) is handed to the scheduler.
  void submit(process& p) noexcept { scheduler_->submit(p); }

  // --- names
  /// RETURNS: the pid that has the name already, or nothing if it is now registered.
  [[nodiscard]] std::expected<void, pid> register_name(const branch_options& o, branch& b);
  void unregister_name(const branch_options& o, branch& b) noexcept;
  [[nodiscard]] process_ptr<branch> find_name(const std::string& name) const noexcept;

  [[nodiscard]] table_names& tables() noexcept { return tables_; }

  // --- the root supervisor's children
  /// RETURNS: false if the runtime is shutting down.
  [[nodiscard]] bool adopt(branch& child) noexcept;
  void child_ended(branch& child) noexcept;
  [[nodiscard]] bool shutting_down() const noexcept {
    // ORDER: acquire pairs with shutdown(): whoever sees it may rely on no child being adopted.
    return shutting_down_.load(std::memory_order_acquire);
  }
  [[nodiscard]] std::size_t child_count() const noexcept;
  /// Listeners are nobody's children, but shutdown() waits until they have heard all.
  void listener_came() noexcept {
    // ORDER: relaxed: who makes it has a child, or is one, so shutdown() looks later.
    listeners_.fetch_add(1, std::memory_order_relaxed);
  }
  void listener_went() noexcept {
    // ORDER: release: shutdown() sees what it did.
    listeners_.fetch_sub(1, std::memory_order_release);
    if (shutting_down()) env_->unpark(child_has_ended_);
  }
  [[nodiscard]] std::expected<void, shutdown_error> shutdown(duration limit);

 private:
  static constexpr std::size_t shard_count = 16;
  /// Children in start order; sharded so that cores start servers without meeting.
  struct alignas(64) shard {
    mutable std::mutex mutex;
    boost::intrusive::list<branch> children;
  };
  [[nodiscard]] shard& shard_of(const branch& b) noexcept;

  ~runtime_core() = default;

  std::atomic<std::uint64_t> refs_{1};
  environment* env_;
  const bool on_real_machine_;
  timer_service timers_;
  std::unique_ptr<scheduler> scheduler_;
  std::atomic<bool> shutting_down_{false};
  std::atomic<std::size_t> listeners_{0};
  parker child_has_ended_;  ///< while shutting down
  std::atomic<std::uint64_t> next_start_order_{1};
  std::array<shard, shard_count> shards_;

  mutable std::shared_mutex names_mutex_;
  std::unordered_map<std::string, process_ptr<branch>> names_;  // guarded by names_mutex_
  table_names tables_;
};

}  // namespace peeper::detail
