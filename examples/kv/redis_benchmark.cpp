// SPDX-License-Identifier: Apache-2.0
#include "redis_benchmark.hpp"

#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstring>
#include <string_view>

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

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

using pipe_ends = std::array<int, 2>;

/// What the child does before it is another program. Between fork and exec only functions that take
/// no locks: other threads of the parent may have held some.
/// RETURNS: only if it failed: the errno.
int become(char* const* arguments, const char* input_file, const pipe_ends& output, pid_t parent) {
  // Dies with its parent, however that ends. If that has happened already, nobody will tell.
  if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) return errno;
  if (getppid() != parent) _exit(EXIT_FAILURE);
  // Ctrl-C is for the parent, who then ends it; and signals that the parent blocks are not blocked.
  if (setpgid(0, 0) != 0) return errno;
  sigset_t none;
  sigemptyset(&none);
  if (sigprocmask(SIG_SETMASK, &none, nullptr) != 0) return errno;
  const int input = open(input_file, O_RDONLY | O_CLOEXEC);
  if (input < 0 || dup2(input, STDIN_FILENO) < 0 || dup2(output[1], STDOUT_FILENO) < 0 ||
      dup2(output[1], STDERR_FILENO) < 0) {
    return errno;
  }
  execvp(arguments[0], arguments);
  return errno;
}

std::string read_all(int from) {
  std::string text;
  std::array<char, 4096> buffer{};
  while (true) {
    const ssize_t bytes = ::read(from, buffer.data(), buffer.size());
    if (bytes > 0) text.append(buffer.data(), static_cast<std::size_t>(bytes));
    if (bytes == 0 || (bytes < 0 && errno != EINTR)) return text;
  }
}

void close_both(const pipe_ends& ends) {
  ::close(ends[0]);
  ::close(ends[1]);
}

}  // namespace

void child_ender::end() {
  const std::lock_guard lock(mutex_);
  ended_ = true;
  if (child_ > 0) ::kill(child_, SIGTERM);
}

void child_ender::started(pid_t child) {
  const std::lock_guard lock(mutex_);
  child_ = child;
  if (ended_) ::kill(child_, SIGTERM);
}

int child_ender::wait() {
  siginfo_t info;
  // Not reaped yet: until child_ is forgotten, its number must not be given to another OS process.
  while (waitid(P_PID, static_cast<id_t>(child_), &info, WEXITED | WNOWAIT) < 0 && errno == EINTR) {
  }
  const std::lock_guard lock(mutex_);
  int status = 0;
  while (waitpid(child_, &status, 0) < 0 && errno == EINTR) {
  }
  child_ = 0;
  return status;
}

std::expected<child_result, std::string> run_child(const std::vector<std::string>& arguments,
                                                   const std::string& input_file,
                                                   child_ender* ender) {
  std::vector<char*> pointers;
  for (const std::string& argument : arguments) {
    pointers.push_back(const_cast<char*>(argument.c_str()));  // execvp does not write to them
  }
  pointers.push_back(nullptr);
  const auto failed = [&arguments](int error) {
    return std::unexpected(fmt::format("cannot start {}: {}", arguments[0], std::strerror(error)));
  };
  pipe_ends output{};
  pipe_ends trouble{};  // closed by exec; else the errno comes through
  if (pipe2(output.data(), O_CLOEXEC) != 0) return failed(errno);
  if (pipe2(trouble.data(), O_CLOEXEC) != 0) {
    const int error = errno;
    close_both(output);
    return failed(error);
  }
  const pid_t parent = getpid();
  const pid_t child = fork();
  if (child == 0) {
    const int error = become(pointers.data(), input_file.c_str(), output, parent);
    const ssize_t told = ::write(trouble[1], &error, sizeof error);
    _exit(told == sizeof error ? EXIT_FAILURE : 2);
  }
  if (child < 0) {
    const int error = errno;
    close_both(output);
    close_both(trouble);
    return failed(error);
  }
  child_ender own;
  child_ender& started = ender == nullptr ? own : *ender;
  started.started(child);
  ::close(output[1]);
  ::close(trouble[1]);
  const std::string error = read_all(trouble[0]);
  ::close(trouble[0]);
  child_result result;
  result.output = read_all(output[0]);
  ::close(output[0]);
  const int status = started.wait();
  if (error.size() == sizeof(int)) {
    int number = 0;
    std::memcpy(&number, error.data(), sizeof number);
    return failed(number);
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
    const benchmark_round& round, child_ender* ender) {
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
  auto ran = run_child(arguments, "/dev/null", ender);
  if (!ran) return std::unexpected(ran.error());
  auto lines = parse_csv(ran->output);
  if (ran->exit_code != 0 || lines.size() != round.tests.size()) {
    return std::unexpected(
        fmt::format("redis-benchmark ended with exit code {}:\n{}", ran->exit_code, ran->output));
  }
  return lines;
}

}  // namespace kv
