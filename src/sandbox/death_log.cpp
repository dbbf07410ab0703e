// SPDX-License-Identifier: Apache-2.0
#include "sandbox/death_log.hpp"

#include <algorithm>
#include <utility>

#include "sandbox/ring_wait.hpp"

namespace peeper::sandbox {

void death_log::note(known_death known, const crash_block& block,
                     std::shared_ptr<const void> memory, descriptor pidfd) {
  // What those before had not written yet when we heard of their deaths.
  for (const auto& one : deaths_) one->look();
  if (deaths_.size() == kept) deaths_.pop_front();
  deaths_.push_back(std::make_shared<worker_death>(std::move(known), block, std::move(memory),
                                                   std::move(pidfd), *ends_));
  new_ = std::min(new_ + 1, kept);
}

std::vector<std::shared_ptr<worker_death>> death_log::take_new() {
  return {deaths_.end() - static_cast<std::ptrdiff_t>(std::exchange(new_, 0)), deaths_.end()};
}

void death_log::wait(crash_block::phase phase, time_point until) {
  worker_death& last = *deaths_.back();
  for (;;) {
    // ORDER: acquire pairs with the thread that hears of ends.
    const std::uint32_t seen = ends_->changes().load(std::memory_order_acquire);
    if (last.has_said(phase) || last.known().by_hub() ||
        !sleep_on({&ends_->changes(), seen}, until)) {
      return;
    }
  }
}

exit_reason death_log::last_reason(time_point until) {
  if (deaths_.empty()) return {};
  wait(crash_block::phase::told, until);
  return deaths_.back()->reason();
}

crash_report death_log::last_crash(std::string_view server, time_point until) {
  if (deaths_.empty()) return {};
  wait(crash_block::phase::complete, until);
  return deaths_.back()->report(server);
}

std::vector<crash_report> death_log::all(std::string_view server) {
  std::vector<crash_report> reports;
  reports.reserve(deaths_.size());
  for (const auto& one : deaths_) {
    one->look();
    reports.push_back(one->report(server));
  }
  return reports;
}

}  // namespace peeper::sandbox
