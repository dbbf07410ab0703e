// SPDX-License-Identifier: Apache-2.0
/// \file
/// What both ends of an isolated server need of the branch that stands for it.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>

#include <peeper/detail/branch.hpp>
#include <peeper/detail/companion.hpp>

#include "server/branch_extras.hpp"

namespace peeper::detail {

struct elsewhere_access {
  // --- in the program
  [[nodiscard]] static std::uint32_t running_generation(const branch& b) noexcept {
    return b.running_generation_;
  }
  /// P5: somebody has killed the worker that runs this callback.
  [[nodiscard]] static bool fenced(const branch& b) noexcept {
    // ORDER: acquire pairs with kill().
    return b.worker_generation_.load(std::memory_order_acquire) != b.running_generation_;
  }

  // --- in the worker's OS process
  static void stand_for(branch& b, pid server, std::uint32_t generation) noexcept {
    b.stand_for(server);
    b.running_generation_ = generation;
    b.worker_generation_.store(generation, std::memory_order_relaxed);
  }
  static void now_running(branch& b, std::uint64_t restarts, exit_reason last_crash) {
    b.restarts_ = static_cast<std::uint32_t>(restarts);
    b.more().last_crash = std::move(last_crash);
  }
  static void start_worker(branch& b, bool first) { b.worker_start(first); }
  static void destroy_worker(branch& b, const exit_reason& reason) noexcept {
    b.worker_destroy();
    if (!b.more_) return;
    for (const auto& c : b.more_->attached) c->worker_died(reason);
  }
  static void terminate(branch& b, const exit_reason& reason) { b.worker_terminate(reason); }
  static void hibernate(branch& b) { b.worker_hibernate(); }
  static void commit(branch& b, bool state) noexcept {
    if (state) b.state_commit();
    b.commit_companions();
  }
  static void rollback(branch& b, bool state) noexcept {
    if (state) b.state_rollback();
    b.rollback_companions();
  }
};

}  // namespace peeper::detail
