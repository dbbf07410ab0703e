// SPDX-License-Identifier: Apache-2.0
/// \file
/// `death_log`: what the workers of a pair died of: a bounded history in the hub's own memory.
///
/// THREADS: one at a time.
#pragma once

#include <cstddef>
#include <deque>
#include <memory>
#include <string_view>
#include <vector>

#include <peeper/crash_report.hpp>
#include <peeper/time.hpp>

#include "sandbox/worker_death.hpp"

namespace peeper::sandbox {

class death_log {
 public:
  /// So many deaths are remembered.
  static constexpr std::size_t kept = 16;

  /// `ends`: must outlive this.
  explicit death_log(ended_processes& ends) noexcept : ends_{&ends} {}

  /// See worker_death.
  void note(known_death known, const crash_block& block,
            std::shared_ptr<const void> memory = nullptr, descriptor pidfd = {});
  [[nodiscard]] bool empty() const noexcept { return deaths_.empty(); }
  /// REQUIRES: not empty.
  [[nodiscard]] const known_death& last() const noexcept { return deaths_.back()->known(); }
  /// Those since the last call; at most the last `kept`.
  [[nodiscard]] std::vector<std::shared_ptr<worker_death>> take_new();

  /// Of the last one. See process_pair.
  [[nodiscard]] exit_reason last_reason(time_point until);
  [[nodiscard]] crash_report last_crash(std::string_view server, time_point until);
  [[nodiscard]] std::vector<crash_report> all(std::string_view server);

 private:
  void wait(crash_block::phase phase, time_point until);

  ended_processes* ends_;
  std::deque<std::shared_ptr<worker_death>> deaths_;
  std::size_t new_ = 0;
};

}  // namespace peeper::sandbox
