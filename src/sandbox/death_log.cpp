// SPDX-License-Identifier: Apache-2.0
#include "sandbox/death_log.hpp"

#include <chrono>
#include <csignal>
#include <utility>

#include <fmt/format.h>

#include "sandbox/pair_member.hpp"
#include "sandbox/read_crash.hpp"
#include "sandbox/ring_wait.hpp"
#include "sandbox/system_call_filter.hpp"

namespace peeper::sandbox {

void death_log::note(const known_death& known, const crash_block& block) {
  // What the one before had not written yet when we heard of its death.
  take_what_it_said();
  if (deaths_.size() == kept) deaths_.pop_front();
  deaths_.push_back({known, std::make_unique<crash_block>()});
  last_block_ = &block;
  take_what_it_said();
}

void death_log::take_what_it_said() {
  if (deaths_.empty()) return;
  const death& last = deaths_.back();
  // Else the block is another's by now, or that one had not come to be the worker yet.
  if (last_block_->generation.load(std::memory_order_relaxed) == last.known.generation) {
    copy_crash(*last.said, *last_block_);
  }
}

void death_log::wait(crash_block::phase phase, time_point until) {
  const death& last = deaths_.back();
  for (;;) {
    // ORDER: acquire pairs with the thread that hears of ends.
    const std::uint32_t seen = ends_->changes().load(std::memory_order_acquire);
    take_what_it_said();
    if (last.said->state.load(std::memory_order_relaxed) >= phase || last.known.killed ||
        last.known.hung_for || last.known.forbidden_call ||
        ends_->status_of(last.known.pid, last.known.since) ||
        !sleep_on({&ends_->changes(), seen}, until)) {
      return;
    }
  }
}

crash_report death_log::report_of(const death& of, std::string_view server) const {
  const known_death& known = of.known;
  crash_report report =
      read_crash(*of.said, known.pid, ends_->status_of(known.pid, known.since), server);
  report.generation = known.generation;
  if (report.kind == crash_kind::exited) report.what = text_of_exit(report.exit_status);
  // What it died of before the hub's signal came counts.
  if (report.kind != crash_kind::signalled || (report.signal != 0 && report.signal != SIGKILL)) {
    return report;
  }
  if (known.forbidden_call) {
    report.kind = crash_kind::forbidden;
    report.system_call = system_call_name(*known.forbidden_call);
  } else if (known.hung_for) {
    const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(*known.hung_for).count();
    report.kind = crash_kind::hung;
    report.what = fmt::format("message {} took more than {} ms", report.message_number, ms);
  } else if (known.killed) {
    report.kind = crash_kind::killed;
  }
  return report;
}

exit_reason death_log::last_reason(time_point until) {
  if (deaths_.empty()) return {};
  wait(crash_block::phase::told, until);
  // Without looking for symbols.
  std::uint32_t& frames = deaths_.back().said->frame_count;
  const std::uint32_t count = std::exchange(frames, 0);
  exit_reason reason = report_of(deaths_.back(), {}).reason();
  frames = count;
  return reason;
}

crash_report death_log::last_crash(std::string_view server, time_point until) {
  if (deaths_.empty()) return {};
  wait(crash_block::phase::complete, until);
  return report_of(deaths_.back(), server);
}

std::vector<crash_report> death_log::all(std::string_view server) {
  take_what_it_said();
  std::vector<crash_report> reports;
  reports.reserve(deaths_.size());
  for (const death& one : deaths_) reports.push_back(report_of(one, server));
  return reports;
}

}  // namespace peeper::sandbox
