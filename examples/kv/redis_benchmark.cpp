// SPDX-License-Identifier: Apache-2.0
#include "redis_benchmark.hpp"

#include <cerrno>
#include <charconv>
#include <cstring>
#include <string_view>

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

// POSIX leaves its declaration to the program.
extern char** environ;

namespace kv {
namespace {

/// Lines such as "LPUSH","740740.75",... RETURNS: the first two fields of each.
std::vector<benchmark_line> parse_csv(std::string_view output) {
  std::vector<benchmark_line> lines;
  while (!output.empty()) {
    const std::string_view line = output.substr(0, output.find('\n'));
    output.remove_prefix(std::min(line.size() + 1, output.size()));
    const std::size_t middle = line.find("\",\"");
    if (!line.starts_with('"') || middle == std::string_view::npos) continue;
    const std::string_view number = line.substr(middle + 3);
    double rate = 0;
    const auto parsed = std::from_chars(number.begin(), number.end(), rate);
    if (parsed.ec != std::errc{}) continue;  // the head line
    lines.push_back({std::string(line.substr(1, middle - 1)), rate});
  }
  return lines;
}

}  // namespace

std::expected<child_result, std::string> run_child(const std::vector<std::string>& arguments,
                                                   const std::string& input_file) {
  std::vector<char*> pointers;
  for (const std::string& argument : arguments) {
    pointers.push_back(const_cast<char*>(argument.c_str()));  // execve does not write to them
  }
  pointers.push_back(nullptr);
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) {
    return std::unexpected(fmt::format("no pipe for {}: {}", arguments[0], std::strerror(errno)));
  }
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, input_file.c_str(), O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDERR_FILENO);
  pid_t child = 0;
  const int failed =
      posix_spawnp(&child, arguments[0].c_str(), &actions, nullptr, pointers.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  ::close(ends[1]);
  if (failed != 0) {
    ::close(ends[0]);
    return std::unexpected(fmt::format("cannot start {}: {}", arguments[0], std::strerror(failed)));
  }
  child_result result;
  char buffer[4096];
  while (true) {
    const ssize_t bytes = ::read(ends[0], buffer, sizeof buffer);
    if (bytes > 0) result.output.append(buffer, static_cast<std::size_t>(bytes));
    if (bytes == 0 || (bytes < 0 && errno != EINTR)) break;
  }
  ::close(ends[0]);
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status)) result.exit_code = WEXITSTATUS(status);
  return result;
}

std::expected<void, std::string> find_redis_benchmark() {
  const auto ran = run_child({"redis-benchmark", "--version"});
  if (ran && ran->exit_code == 0) return {};
  return std::unexpected(
      "redis-benchmark is needed and cannot be run: install it (apt-get install redis-tools)");
}

std::expected<std::vector<benchmark_line>, std::string> run_redis_benchmark(
    const benchmark_round& round) {
  std::vector<std::string> arguments = {"redis-benchmark",
                                        "-p",
                                        fmt::format("{}", round.port),
                                        "-t",
                                        fmt::format("{}", fmt::join(round.tests, ",")),
                                        "-n",
                                        fmt::format("{}", round.requests),
                                        "-c",
                                        fmt::format("{}", round.clients),
                                        "-P",
                                        fmt::format("{}", round.pipeline),
                                        "--csv"};
  if (round.random_keys > 0) {
    arguments.insert(arguments.end(), {"-r", fmt::format("{}", round.random_keys)});
  }
  auto ran = run_child(arguments);
  if (!ran) return std::unexpected(ran.error());
  auto lines = parse_csv(ran->output);
  if (ran->exit_code != 0 || lines.size() != round.tests.size()) {
    return std::unexpected(
        fmt::format("redis-benchmark ended with exit code {}:\n{}", ran->exit_code, ran->output));
  }
  return lines;
}

}  // namespace kv
