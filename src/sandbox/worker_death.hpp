// SPDX-License-Identifier: Apache-2.0
/// \file
/// `worker_death`: one death of a worker's OS process, and all that is known of it by now.
///
/// Three say why a worker is dead. The hub, if it was hung or killed by the hub itself. The dying
/// OS process, in its crash block: if it could. The kernel, by the wait status: as soon as it is
/// exiting, in /proc; and once its memory has been torn down, through the zygote. The hub's word
/// alone is not worth more than theirs: a worker may have crashed just before it was killed.
///
/// THREADS: any.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include <sys/types.h>

#include <peeper/crash_report.hpp>
#include <peeper/time.hpp>

#include "sandbox/crash_block.hpp"
#include "sandbox/descriptor.hpp"
#include "sandbox/ended_processes.hpp"

namespace peeper::sandbox {

/// What the hub knows by itself of a worker that has died.
struct known_death {
  pid_t pid = 0;
  std::uint32_t generation = 0;
  /// ended_processes::mark() from before it was forked.
  std::uint64_t since = 0;
  bool killed = false;                  ///< since somebody wanted that
  std::string why{};                    ///< it was killed: what it wrote is not to be believed
  std::optional<duration> hung_for{};   ///< it was killed for that
  std::optional<int> forbidden_call{};  ///< it was killed for that system call

  /// Nobody else need say why.
  [[nodiscard]] bool by_hub() const noexcept { return killed || hung_for || forbidden_call; }
};

/// The message that a worker had been sent, and had not handled when it died.
struct unhandled_message {
  std::uint64_t number = 0;  ///< in the pair; 0: there was none
  std::uint64_t shown = 0;   ///< in reports
  std::string type{};
};

class worker_death {
 public:
  /// `block`: its own, in `memory`, which stays mapped as long as it may be written to. `pidfd`:
  /// its own, or none. `ends`: must outlive this.
  worker_death(known_death known, const crash_block& block, std::shared_ptr<const void> memory,
               descriptor pidfd, ended_processes& ends);
  worker_death(const worker_death&) = delete;
  worker_death& operator=(const worker_death&) = delete;
  /// Ends the OS process, if it only said that it was dying.
  ~worker_death();

  /// A constant.
  [[nodiscard]] const known_death& known() const noexcept { return known_; }
  /// The hub's word on what the worker was doing. Else reports say what the worker wrote.
  void was_sent(unhandled_message m);

  /// Takes what has been written down or told by now. RETURNS: it is over: there will be no more.
  bool look();
  /// It has written down that much, or there will be no more. Asks /proc, too.
  [[nodiscard]] bool has_said(crash_block::phase phase);
  /// Nothing says that it is over; and something would.
  [[nodiscard]] bool may_live() const;
  /// SIGKILL.
  void end() noexcept;

  /// By what look() has seen. Without looking for symbols.
  [[nodiscard]] exit_reason reason() const { return report({}, false).reason(); }
  /// Looks for symbols: not on a hot path.
  [[nodiscard]] crash_report report(std::string_view server) const { return report(server, true); }

 private:
  [[nodiscard]] crash_report report(std::string_view server, bool with_symbols) const;
  void look_locked();

  const known_death known_;
  ended_processes* const ends_;
  mutable std::mutex mutex_;
  // guarded by mutex_
  const crash_block* block_;  ///< null once it is over
  std::shared_ptr<const void> memory_;
  descriptor pidfd_;
  crash_block said_{};  ///< a copy: a later worker may overwrite the block
  std::optional<int> status_;
  std::optional<unhandled_message> sent_;
};

}  // namespace peeper::sandbox
