// SPDX-License-Identifier: Apache-2.0
#include "core/log.hpp"

#include <cstdio>
#include <cstdlib>
#include <memory>

#include <spdlog/sinks/stdout_color_sinks.h>
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

/// Looked up each time: the program may register, or drop, a logger at any moment. Log lines are
/// rare. One that we make is registered, so that the program's global level and pattern reach it.
std::shared_ptr<spdlog::logger> logger() {
  static constexpr auto name = "peeper";
  if (auto registered = spdlog::get(name)) return registered;
  // Never standard output: that is the program's own, and may be read by another program.
  auto made = std::make_shared<spdlog::logger>(
      name, std::make_shared<spdlog::sinks::stderr_color_sink_mt>());
  try {
    spdlog::initialize_logger(made);  // registers it, unless the program has switched that off
    if (!spdlog::get(name)) spdlog::register_logger(made);
  } catch (const spdlog::spdlog_ex&) {  // another thread, or the program, has been faster
    if (auto registered = spdlog::get(name)) return registered;
  }
  return made;
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
