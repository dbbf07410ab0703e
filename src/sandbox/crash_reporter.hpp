// SPDX-License-Identifier: Apache-2.0
/// \file
/// `crash_reporter`: writes a report of each death of a worker to the log and into its server's
/// history, off the server's thread: the failover waits neither for symbols nor for the kernel to
/// say how an OS process ended, which it does once it has torn down its memory.
///
///     records->expect();
///     zygote_link::current()->reporter().submit({.death = death, .to = records, ...});
///     records->wait(until);   // the last crash_records::kept reports
///
/// THREADS: any. One thread for all servers, made at the first death.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <peeper/crash_report.hpp>
#include <peeper/time.hpp>

#include "core/log_limit.hpp"
#include "sandbox/ended_processes.hpp"
#include "sandbox/worker_death.hpp"

namespace peeper::sandbox {

/// The last crashes of one server.
class crash_records {
 public:
  static constexpr std::size_t kept = 16;

  /// One more is under way.
  void expect();
  /// It is there; nothing: it could not be made.
  void add(std::optional<crash_report> report) noexcept;
  /// Whether to log one more.
  [[nodiscard]] peeper::detail::log_limit::verdict log_another(time_point now);
  /// Waits for what is under way. RETURNS: what is there, ordered by generation.
  [[nodiscard]] std::vector<crash_report> wait(time_point until);

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  // guarded by mutex_
  std::size_t under_way_ = 0;
  std::deque<crash_report> reports_;
  peeper::detail::log_limit log_lines_;
};

class crash_reporter {
 public:
  struct job {
    std::shared_ptr<worker_death> death;
    std::shared_ptr<crash_records> to;
    std::string server;
    std::uint64_t generation = 0;  ///< the server's count: a server may have one pair after another
    // set by submit()
    time_point until{};
    bool ended = false;  ///< nobody waits for its end any longer than `until`
  };
  /// So many deaths may wait for their reports.
  static constexpr std::size_t jobs_max = 256;
  /// Who says that it is dying is left so long to dump its core.
  static constexpr duration dump_limit = std::chrono::seconds{60};

  /// `ends`: must outlive this.
  explicit crash_reporter(ended_processes& ends) noexcept : ends_{&ends} {}
  crash_reporter(const crash_reporter&) = delete;
  crash_reporter& operator=(const crash_reporter&) = delete;
  /// Reports what waits, with what is known after `last_wait` at most.
  ~crash_reporter();

  /// REQUIRES: j.to expects it. Where it cannot be reported (too many wait, no memory, no thread)
  /// the log says so, and j.to hears of it.
  void submit(job j) noexcept;

 private:
  static constexpr duration last_wait = std::chrono::milliseconds{200};

  void enqueue(job j);
  void run();
  /// RETURNS: one that can be reported; or when to look again.
  [[nodiscard]] std::optional<job> next(time_point& again);
  static void report(const job& j) noexcept;
  void wake() noexcept;

  ended_processes* ends_;
  std::mutex mutex_;
  // guarded by mutex_
  std::deque<job> jobs_;
  std::optional<time_point> over_at_;
  std::thread thread_;
};

}  // namespace peeper::sandbox
