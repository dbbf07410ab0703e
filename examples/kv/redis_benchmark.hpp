// SPDX-License-Identifier: Apache-2.0
/// Runs the real redis-benchmark, from Debian's redis-tools, as a child OS process.
///
/// THREADS: any; run() blocks until the child has ended.
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <vector>

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

/// RETURNS: a line for each test; or why there is none: it is not installed, or it ended with an
/// error. It ends so at the first error reply, so that lines mean that every request was answered.
[[nodiscard]] std::expected<std::vector<benchmark_line>, std::string> run_redis_benchmark(
    const benchmark_round& round);

/// RETURNS: an error with what to install, if redis-benchmark cannot be started.
[[nodiscard]] std::expected<void, std::string> find_redis_benchmark();

/// What one run of an OS process left: its output (both streams) and how it ended.
struct child_result {
  int exit_code = -1;  ///< -1: by a signal
  std::string output;
};

/// Starts a program found in PATH, gives it `input`, waits for its end by its pid.
/// RETURNS: why it could not be started.
[[nodiscard]] std::expected<child_result, std::string> run_child(
    const std::vector<std::string>& arguments, const std::string& input_file = "/dev/null");

}  // namespace kv
