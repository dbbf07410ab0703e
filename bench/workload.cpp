// SPDX-License-Identifier: Apache-2.0
#include "workload.hpp"

#include <filesystem>
#include <string>

#include <time.h>

namespace bench {

std::int64_t sleeps_of_other_threads() {
  namespace fs = std::filesystem;
  const std::string me = std::to_string(gettid());
  std::int64_t total = 0;
  for (const auto& task : fs::directory_iterator{"/proc/self/task"}) {
    if (task.path().filename() == me) continue;
    std::ifstream status{task.path() / "status"};
    const std::string_view key = "voluntary_ctxt_switches:";
    for (std::string line; std::getline(status, line);) {
      if (line.starts_with(key)) total += std::stoll(line.substr(key.size()));
    }
  }
  return total;
}

double cpu_ns_of_other_threads() {
  const auto read = [](clockid_t id) {
    timespec t{};
    require(clock_gettime(id, &t) == 0, "the processor time can be read");
    return static_cast<double>(t.tv_sec) * 1e9 + static_cast<double>(t.tv_nsec);
  };
  return read(CLOCK_PROCESS_CPUTIME_ID) - read(CLOCK_THREAD_CPUTIME_ID);
}

}  // namespace bench
