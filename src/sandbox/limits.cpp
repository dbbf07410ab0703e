// SPDX-License-Identifier: Apache-2.0
#include "sandbox/limits.hpp"

#include <cerrno>
#include <new>

#include <sys/resource.h>

#include "sandbox/crash_handler.hpp"

namespace peeper::sandbox {
namespace {

int set_limit(decltype(RLIMIT_DATA) what, rlim_t soft, rlim_t hard) noexcept {
  if (soft == 0) return 0;
  const rlimit both{.rlim_cur = soft, .rlim_max = hard};
  return ::setrlimit(what, &both) == 0 ? 0 : errno;
}

}  // namespace

int apply_limits(const worker_limits& limits) noexcept {
  const auto seconds = static_cast<rlim_t>(limits.cpu_time.count());
  // SIGXCPU, which is reported; a second later SIGKILL, should it be blocked.
  if (const int e = set_limit(RLIMIT_CPU, seconds, seconds + 1)) return e;
  if (const int e = set_limit(RLIMIT_NOFILE, limits.open_files, limits.open_files)) return e;
  if (limits.memory_bytes != 0) std::set_new_handler(end_out_of_memory);
  return set_limit(RLIMIT_DATA, limits.memory_bytes, limits.memory_bytes);
}

}  // namespace peeper::sandbox
