// SPDX-License-Identifier: Apache-2.0
/// Runs the real redis-benchmark, from Debian's redis-tools, as a child OS process.
///
/// THREADS: any; run() blocks until the child has ended.
#pragma once

#include <cstdint>
#include <expected>
#include <mutex>
#include <string>
#include <vector>

#include <sys/types.h>

namespace kv {

struct benchmark_round {
  std::uint16_t port = 0;
  std::vector<std::string> tests;   ///< as redis-benchmark's -t
  std::uint64_t requests = 100000;  ///< of each test
  unsigned clients = 20;
  unsigned pipeline = 1;
  std::uint64_t random_keys = 0;  ///< 0: the same key every time
};

struct benchmark_line {
  std::string test;
  double requests_per_second = 0;
};

/// What one run of an OS process left: its output (both streams) and how it ended.
struct child_result {
  int exit_code = -1;  ///< -1: by a signal
  std::string output;
};

/// Ends a child from another thread. THREADS: any. It must outlive the run it is given to.
class child_ender {
 public:
  /// The child that runs now, or the next one, gets SIGTERM.
  void end();

 private:
  friend std::expected<child_result, std::string> run_child(const std::vector<std::string>&,
                                                            const std::string&, child_ender*);
  void started(pid_t child);
  /// Waits until the child has ended; its pid is not signalled any more. RETURNS: its status.
  int wait();

  std::mutex mutex_;
  pid_t child_ = 0;     // guarded by mutex_
  bool ended_ = false;  // guarded by mutex_
};

/// RETURNS: a line for each test; or why there is none: it is not installed, or it ended with an
/// error. It ends so at the first error reply, so that lines mean that every request was answered.
[[nodiscard]] std::expected<std::vector<benchmark_line>, std::string> run_redis_benchmark(
    const benchmark_round& round, child_ender* ender = nullptr);

/// RETURNS: an error with what to install, if redis-benchmark cannot be started.
[[nodiscard]] std::expected<void, std::string> find_redis_benchmark();

/// Starts a program found in PATH, gives it `input_file`, waits for its end by its pid. It does not
/// outlive this OS process, however that ends, and gets no signals from the terminal.
/// RETURNS: why it could not be started.
[[nodiscard]] std::expected<child_result, std::string> run_child(
    const std::vector<std::string>& arguments, const std::string& input_file = "/dev/null",
    child_ender* ender = nullptr);

}  // namespace kv
