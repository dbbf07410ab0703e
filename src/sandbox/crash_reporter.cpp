// SPDX-License-Identifier: Apache-2.0
#include "sandbox/crash_reporter.hpp"

#include <algorithm>
#include <csignal>
#include <exception>
#include <stdexcept>
#include <utility>

#include <pthread.h>
#include <sys/resource.h>

#include "core/log.hpp"
#include "core/real_clock.hpp"
#include "sandbox/futex.hpp"
#include "sandbox/ring_wait.hpp"

namespace peeper::sandbox {
namespace {

constexpr int lowest_priority = 19;

time_point now() noexcept { return peeper::detail::read_clock(CLOCK_MONOTONIC); }

}  // namespace

void crash_records::expect() {
  const std::lock_guard lock{mutex_};
  ++under_way_;
}

void crash_records::add(std::optional<crash_report> report) noexcept {
  const std::lock_guard lock{mutex_};
  --under_way_;
  changed_.notify_all();
  if (!report) return;
  try {
    // The kernel may be done with a large one later than with its successor.
    const auto place =
        std::ranges::upper_bound(reports_, report->generation, {}, &crash_report::generation);
    reports_.insert(place, std::move(*report));
    if (reports_.size() > kept) reports_.pop_front();
  } catch (const std::bad_alloc&) {  // it has been logged
    return;
  }
}

peeper::detail::log_limit::verdict crash_records::log_another(time_point now) {
  const std::lock_guard lock{mutex_};
  return log_lines_.next(now);
}

std::vector<crash_report> crash_records::wait(time_point until) {
  std::unique_lock lock{mutex_};
  changed_.wait_until(lock, until, [this] { return under_way_ == 0; });
  return {reports_.begin(), reports_.end()};
}

crash_reporter::~crash_reporter() {
  {
    const std::lock_guard lock{mutex_};
    over_at_ = now() + last_wait;
  }
  wake();
  if (thread_.joinable()) thread_.join();
}

void crash_reporter::submit(job j) noexcept {
  const auto to = j.to;
  const auto death = j.death;
  try {
    enqueue(std::move(j));
  } catch (const std::exception& e) {
    peeper::detail::log_error("the crash of OS process {} is not reported: {}", death->known().pid,
                              e.what());
    to->add(std::nullopt);
  }
}

void crash_reporter::enqueue(job j) {
  {
    const std::lock_guard lock{mutex_};
    if (jobs_.size() >= jobs_max) throw std::runtime_error{"too many others are waiting"};
    if (!thread_.joinable()) {
      // The program's signals are for the program's threads.
      sigset_t all{};
      sigset_t before{};
      sigfillset(&all);
      ::pthread_sigmask(SIG_SETMASK, &all, &before);
      thread_ = std::thread{[this] { run(); }};
      ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    }
    // Of one that had ended before it came to be the worker nobody but its own parent may know.
    j.ended = !j.death->may_live();
    j.until = now() + (j.ended ? last_wait : dump_limit);
    jobs_.push_back(std::move(j));
  }
  wake();
}

void crash_reporter::wake() noexcept {
  // ORDER: release pairs with run(), which looks at this word, and then for what there is.
  ends_->changes().fetch_add(1, std::memory_order_release);
  detail::wake_all(&ends_->changes());
}

void crash_reporter::run() {
  ::pthread_setname_np(::pthread_self(), "peeper:reports");
  // Of this thread: to look for symbols takes a millisecond, just when the next worker is to
  // answer.
  static_cast<void>(::setpriority(PRIO_PROCESS, 0, lowest_priority));
  for (;;) {
    // ORDER: acquire pairs with wake(), and with the thread that hears of ends.
    const std::uint32_t seen = ends_->changes().load(std::memory_order_acquire);
    time_point again = time_point::max();
    if (const auto one = next(again)) {
      report(*one);
    } else if (again == time_point::min()) {
      return;
    } else {
      static_cast<void>(sleep_on({&ends_->changes(), seen}, again));
    }
  }
}

std::optional<crash_reporter::job> crash_reporter::next(time_point& again) {
  const std::lock_guard lock{mutex_};
  const time_point at = now();
  for (auto one = jobs_.begin(); one != jobs_.end(); ++one) {
    if (one->death->look() || (one->ended && at >= one->until) || (over_at_ && at >= *over_at_)) {
      job found = std::move(*one);
      jobs_.erase(one);
      return found;
    }
    if (at >= one->until) {
      one->death->end();
      one->ended = true;
      one->until = at + last_wait;
    }
    again = std::min(again, one->until);
  }
  if (over_at_) again = jobs_.empty() ? time_point::min() : std::min(again, *over_at_);
  return std::nullopt;
}

void crash_reporter::report(const job& j) noexcept {
  std::optional<crash_report> made;
  try {
    made = j.death->report(j.server);
    made->generation = j.generation;
    if (made->kind == crash_kind::signalled && made->signal == 0) {
      made->what = "nobody is left who could say how it ended";
    }
    const auto [write, left_out] = j.to->log_another(now());
    if (left_out != 0) {
      peeper::detail::log_error("server \"{}\": {} more crashes are not reported here", j.server,
                                left_out);
    }
    if (write) peeper::detail::log_error("{}", made->details());
  } catch (const std::exception& e) {
    peeper::detail::log_error("a crash of server \"{}\" is not reported: {}", j.server, e.what());
  }
  j.to->add(std::move(made));
}

}  // namespace peeper::sandbox
