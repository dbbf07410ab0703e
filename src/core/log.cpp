// SPDX-License-Identifier: Apache-2.0
#include "core/log.hpp"

#include <cstdio>
#include <cstdlib>
#include <memory>

#include <spdlog/spdlog.h>

#include <peeper/detail/assert.hpp>

namespace peeper::detail {
namespace {

spdlog::level::level_enum to_spdlog(log_level level) noexcept {
  switch (level) {
    case log_level::debug: return spdlog::level::debug;
    case log_level::info: return spdlog::level::info;
    case log_level::warning: return spdlog::level::warn;
    case log_level::error: break;
  }
  return spdlog::level::err;
}

/// Looked up each time: the program may register its logger at any moment. Log lines are rare.
std::shared_ptr<spdlog::logger> logger() {
  if (auto own = spdlog::get("peeper")) return own;
  return spdlog::default_logger();
}

}  // namespace

bool log_enabled(log_level level) noexcept {
  try {
    const auto target = logger();
    return target && target->should_log(to_spdlog(level));
  } catch (...) {
    return false;
  }
}

void log_line(log_level level, std::string_view text) noexcept {
  try {
    if (const auto target = logger()) target->log(to_spdlog(level), "{}", text);
  } catch (...) {  // a logger that fails must not take the server along
    std::fputs("peeper: the log failed\n", stderr);
  }
}

void assertion_failed(const char* what, const char* file, int line) noexcept {
  std::fprintf(stderr, "peeper: internal error: %s does not hold (%s:%d)\n", what, file, line);
  std::abort();
}

}  // namespace peeper::detail
