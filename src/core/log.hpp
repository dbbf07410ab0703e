// SPDX-License-Identifier: Apache-2.0
/// \file
/// The library's log lines: through spdlog's logger "peeper". If the program has not registered
/// one, the first line does: it writes to standard error. Logging never throws.
#pragma once

#include <string_view>
#include <utility>

#include <fmt/format.h>

namespace peeper::detail {

enum class log_level : unsigned char { debug, info, warning, error };
[[nodiscard]] bool log_enabled(log_level level) noexcept;
void log_line(log_level level, std::string_view text) noexcept;

template <class... Args>
void log_at(log_level level, fmt::format_string<Args...> format, Args&&... args) noexcept {
  if (!log_enabled(level)) return;
  try {
    log_line(level, fmt::format(format, std::forward<Args>(args)...));
  } catch (...) {
    log_line(level, "a log line could not be formatted");
  }
}
template <class... Args>
void log_error(fmt::format_string<Args...> format, Args&&... args) noexcept {
  log_at(log_level::error, format, std::forward<Args>(args)...);
}
template <class... Args>
void log_warning(fmt::format_string<Args...> format, Args&&... args) noexcept {
  log_at(log_level::warning, format, std::forward<Args>(args)...);
}

}  // namespace peeper::detail
