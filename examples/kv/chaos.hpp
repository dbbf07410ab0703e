// SPDX-License-Identifier: Apache-2.0
/// Crashes a kv server again and again, in every way it can be crashed, and measures how long each
/// time it takes until it answers again.
///
/// THREADS: start() and stop() by one thread; the observers by any.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <sys/types.h>

#include "kv_server.hpp"

namespace kv {

enum class crash_kind : std::uint8_t {
  exception,  ///< a handler throws in the middle of an update (the CRASH command)
  worker,     ///< kill(worker_of(server))
  keeper,     ///< kill(keeper_of(server))
  both,       ///< worker and keeper, one right after the other

  // Only where the server is isolated. The first six are the CRASH command's.
  segv,
  abort,
  kill,
  hang,
  leak,
  stack,
  worker_process,    ///< its OS process is sent SIGKILL
  follower_process,  ///< the same for who would take its place
};
inline constexpr std::size_t crash_kinds = 12;
[[nodiscard]] std::string_view to_string(crash_kind kind);
/// RETURNS: it ends the OS process of the worker, whatever happens.
[[nodiscard]] bool kills_worker_process(crash_kind kind);

class chaos {
 public:
  struct options {
    std::uint16_t port = 0;                 ///< where the server listens
    std::chrono::microseconds pause{5000};  ///< between a recovery and the next crash
    std::uint64_t seed = 1;
    isolation where = isolation::in_program;  ///< of the server: what it can be made to survive
  };
  /// What came of one kind.
  struct tally {
    std::uint64_t crashes = 0;
    /// Microseconds from a crash to the next answer over TCP, for each.
    std::vector<std::uint32_t> recoveries_us;
  };

  chaos(peeper::ref<kv_server> target, options wanted);
  chaos(const chaos&) = delete;
  chaos& operator=(const chaos&) = delete;
  /// As stop().
  ~chaos();

  void start();
  void stop();

  [[nodiscard]] std::array<tally, crash_kinds> tallies() const;
  [[nodiscard]] std::uint64_t crashes() const;
  /// OS processes of workers and followers that are seen to be gone: at most one for each crash.
  [[nodiscard]] std::uint64_t deaths() const;
  /// Of all kinds.
  [[nodiscard]] std::vector<std::uint32_t> recoveries_us() const;
  /// The same without a crash, asked before each: what the load alone costs.
  [[nodiscard]] std::vector<std::uint32_t> answers_us() const;
  /// What went wrong with chaos itself, or empty.
  [[nodiscard]] std::string failure() const;

 private:
  void run();
  crash_kind next_kind(std::uint64_t crashes);
  void crash(crash_kind kind, class tcp_client& client);
  void cause(crash_kind kind, class tcp_client& client);
  bool count_death(crash_kind kind, class tcp_client& client);
  std::uint32_t ask(class tcp_client& client, std::chrono::steady_clock::time_point since);

  peeper::ref<kv_server> target_;
  options options_;
  std::atomic<bool> stopping_{false};
  std::mt19937_64 random_;
  pid_t worker_ = 0;    ///< its OS process; the program's where it is not isolated
  pid_t follower_ = 0;  ///< the one that was sent SIGKILL
  std::thread thread_;

  mutable std::mutex mutex_;
  std::array<tally, crash_kinds> tallies_{};  // guarded by mutex_
  std::uint64_t deaths_ = 0;                  // guarded by mutex_
  std::vector<std::uint32_t> answers_us_;     // guarded by mutex_
  std::string failure_;                       // guarded by mutex_
};

/// RETURNS: the value below which `share` of the values lie; 0 if there are none.
[[nodiscard]] std::uint32_t percentile(std::vector<std::uint32_t> values, double share);

}  // namespace kv
