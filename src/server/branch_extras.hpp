// SPDX-License-Identifier: Apache-2.0
/// \file
/// What only some servers need, made on first use, and the seats of a limited mailbox.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <vector>

#include <peeper/detail/branch.hpp>
#include <peeper/detail/companion.hpp>
#include <peeper/dictionary.hpp>
#include <peeper/environment.hpp>

#include "core/log_limit.hpp"
#include "server/restart_window.hpp"

namespace peeper::detail {

class table_shelf;

struct poison_entry {
  poison_info info;
  message* original;  ///< owned; null if its handler had moved from it
};

/// Owned by the claim's holder.
struct branch_extras {
  restart_window restarts;
  std::deque<poison_entry> poison;
  std::uint64_t next_poison_id = 1;
  std::uint64_t next_await_id = 1;
  trace_sink sink;
  duration backoff{0};
  exit_reason last_crash;
  std::unique_ptr<dictionary_store> dictionary;
  std::vector<companion*> enlisted;  ///< what the running callback has changed beside the state
  std::vector<std::shared_ptr<companion>> attached;
  table_shelf* tables = nullptr;   ///< one of `attached`, if the server has ever had a table
  companion* listeners = nullptr;  ///< one of the attached
  time_point tick_at = time_point::max();  ///< the earliest armed tick
  time_point hibernate_at = time_point::max();
  log_limit log_lines;
};

inline void branch::commit_companions() noexcept {
  if (!more_ || more_->enlisted.empty()) return;
  for (companion* c : more_->enlisted) c->commit();
  more_->enlisted.clear();
}

inline void branch::rollback_companions() noexcept {
  if (!more_) return;
  for (; !more_->enlisted.empty(); more_->enlisted.pop_back()) more_->enlisted.back()->rollback();
}

/// Seats of a mailbox that rejects, blocks or drops the newest. THREADS: any.
struct mailbox_limit {
  explicit mailbox_limit(mailbox_options o) noexcept : options{o} {}
  const mailbox_options options;
  std::atomic<std::uint32_t> taken{0};
  std::atomic<std::uint64_t> dropped{0};
  std::atomic<std::uint32_t> waiting_count{0};
  std::mutex mutex;
  std::vector<parker*> waiting;  // guarded by mutex

  [[nodiscard]] bool try_take() noexcept {
    std::uint32_t n = taken.load(std::memory_order_relaxed);
    // ORDER: seq_cst with give_back() and a waiter's announcement: one of them sees the other.
    while (n < options.max_length) {
      if (taken.compare_exchange_weak(n, n + 1)) return true;
    }
    return false;
  }
};

}  // namespace peeper::detail
