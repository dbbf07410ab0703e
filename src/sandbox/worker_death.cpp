// SPDX-License-Identifier: Apache-2.0
#include "sandbox/worker_death.hpp"

#include <algorithm>
#include <chrono>
#include <csignal>
#include <utility>

#include <fmt/format.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sandbox/pair_member.hpp"
#include "sandbox/read_crash.hpp"
#include "sandbox/system_call_filter.hpp"

namespace peeper::sandbox {

worker_death::worker_death(known_death known, const crash_block& block,
                           std::shared_ptr<const void> memory, descriptor pidfd,
                           ended_processes& ends)
    : known_{std::move(known)},
      ends_{&ends},
      block_{&block},
      memory_{std::move(memory)},
      pidfd_{std::move(pidfd)} {
  look();
}

worker_death::~worker_death() { end(); }

void worker_death::end() noexcept {
  const std::lock_guard lock{mutex_};
  if (pidfd_) ::syscall(SYS_pidfd_send_signal, pidfd_.get(), SIGKILL, nullptr, 0U);
}

bool worker_death::may_live() const {
  const std::lock_guard lock{mutex_};
  return static_cast<bool>(pidfd_);
}

void worker_death::was_sent(unhandled_message m) {
  const std::lock_guard lock{mutex_};
  sent_ = std::move(m);
}

bool worker_death::look() {
  const std::lock_guard lock{mutex_};
  look_locked();
  return status_.has_value();
}

void worker_death::look_locked() {
  if (!status_) status_ = ends_->status_of(known_.pid, known_.since);
  // After the status: then this was the last of it. With another generation the block is another's
  // by now, or that one had not come to be the worker yet.
  if (block_ != nullptr &&
      said_.state.load(std::memory_order_relaxed) != crash_block::phase::complete &&
      block_->generation.load(std::memory_order_relaxed) == known_.generation) {
    copy_crash(said_, *block_);
  }
  if (!status_) return;
  block_ = nullptr;
  memory_.reset();
  pidfd_.reset();
}

bool worker_death::has_said(crash_block::phase phase) {
  const std::lock_guard lock{mutex_};
  look_locked();
  const auto said = [&] { return said_.state.load(std::memory_order_relaxed); };
  if (status_ || said() >= phase) return true;
  if (said() != crash_block::phase::nothing || known_.by_hub()) return false;
  status_ = status_if_exiting(known_.pid);
  look_locked();
  return status_.has_value();
}

crash_report worker_death::report(std::string_view server, bool with_symbols) const {
  crash_block said{};
  std::optional<int> status;
  std::optional<unhandled_message> sent;
  {
    const std::lock_guard lock{mutex_};
    copy_crash(said, said_);
    status = status_;
    sent = sent_;
  }
  if (!with_symbols) said.frame_count = 0;
  crash_report report = read_crash(said, known_.pid, status, server);
  report.generation = known_.generation;
  if (sent) {
    // It may have died between the record of one message and the beginning of the next one.
    const bool began = sent->number != 0 && report.message_number == sent->number;
    report.message_number = began ? sent->shown : 0;
    if (began) report.message_type = std::move(sent->type);
  }
  // Below that is the zygote, and always the same.
  const auto entry = std::ranges::find_if(report.backtrace, [](const std::string& line) {
    return line.starts_with("peeper::sandbox::run_pair_member(");
  });
  if (entry != report.backtrace.end()) report.backtrace.erase(entry + 1, report.backtrace.end());
  if (report.kind == crash_kind::exited) report.what = text_of_exit(report.exit_status);
  // What it died of before the hub's signal came counts.
  if (report.kind != crash_kind::signalled || (report.signal != 0 && report.signal != SIGKILL)) {
    return report;
  }
  if (known_.forbidden_call) {
    report.kind = crash_kind::forbidden;
    report.system_call = system_call_name(*known_.forbidden_call);
  } else if (known_.hung_for) {
    const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(*known_.hung_for).count();
    const std::string name =
        report.message_type.empty() ? "" : fmt::format(" ({})", report.message_type);
    report.kind = crash_kind::hung;
    report.what = fmt::format("message {}{} took more than {} ms", report.message_number, name, ms);
  } else if (known_.killed) {
    report.kind = crash_kind::killed;
    report.what = known_.why;
  }
  return report;
}

}  // namespace peeper::sandbox
