// SPDX-License-Identifier: Apache-2.0
/// \file
/// `death_log`: what the workers of a pair died of: a bounded history in the hub's own memory.
///
/// Three say why a worker is dead. The hub, if it was hung or killed by the hub itself. The dying
/// OS process, in its crash block: if it could. The kernel, by the wait status, which the zygote
/// tells once the memory has been torn down. The hub's word alone is not worth more than theirs: a
/// worker may have crashed just before it was killed.
///
/// THREADS: one at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include <sys/types.h>

#include <peeper/crash_report.hpp>
#include <peeper/time.hpp>

#include "sandbox/crash_block.hpp"
#include "sandbox/ended_processes.hpp"

namespace peeper::sandbox {

/// What the hub knows by itself of a worker that has died.
struct known_death {
  pid_t pid = 0;
  std::uint32_t generation = 0;
  /// ended_processes::mark() from before it was forked.
  std::uint64_t since = 0;
  bool killed = false;                  ///< since somebody wanted that
  std::optional<duration> hung_for{};   ///< it was killed for that
  std::optional<int> forbidden_call{};  ///< it was killed for that system call
};

class death_log {
 public:
  /// So many deaths are remembered.
  static constexpr std::size_t kept = 16;

  /// `ends`: must outlive this.
  explicit death_log(ended_processes& ends) noexcept : ends_{&ends} {}

  /// `block`: shared with it, and readable until the next note().
  void note(const known_death& known, const crash_block& block);
  [[nodiscard]] bool empty() const noexcept { return deaths_.empty(); }
  /// REQUIRES: not empty.
  [[nodiscard]] const known_death& last() const noexcept { return deaths_.back().known; }

  /// Of the last one. See process_pair.
  [[nodiscard]] exit_reason last_reason(time_point until);
  [[nodiscard]] crash_report last_crash(std::string_view server, time_point until);
  [[nodiscard]] std::vector<crash_report> all(std::string_view server);

 private:
  struct death {
    known_death known;
    std::unique_ptr<crash_block> said;  ///< a copy: a later worker may overwrite the block
  };
  /// Copies what it has written by now.
  void take_what_it_said();
  void wait(crash_block::phase phase, time_point until);
  [[nodiscard]] crash_report report_of(const death& of, std::string_view server) const;

  ended_processes* ends_;
  const crash_block* last_block_ = nullptr;
  std::deque<death> deaths_;
};

}  // namespace peeper::sandbox
