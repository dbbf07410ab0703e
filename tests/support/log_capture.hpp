// SPDX-License-Identifier: Apache-2.0
/// \file
/// Catches what the library logs while it lives.
#pragma once

#include <memory>
#include <mutex>
#include <sstream>
#include <string>

#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>

namespace peeper::test {

class log_capture {
 public:
  log_capture() {
    auto sink = std::make_shared<spdlog::sinks::ostream_sink_mt>(text_);
    auto logger = std::make_shared<spdlog::logger>("peeper", std::move(sink));
    logger->set_level(spdlog::level::debug);
    spdlog::drop("peeper");  // the one that the library makes when there is none
    spdlog::register_logger(std::move(logger));
  }
  log_capture(const log_capture&) = delete;
  log_capture& operator=(const log_capture&) = delete;
  ~log_capture() { spdlog::drop("peeper"); }  // the library makes its own again

  /// REQUIRES: nobody logs just now.
  [[nodiscard]] std::string text() const { return text_.str(); }
  [[nodiscard]] std::size_t count(std::string_view what) const {
    const std::string all = text_.str();
    std::size_t n = 0;
    for (std::size_t at = all.find(what); at != std::string::npos; at = all.find(what, at + 1)) {
      ++n;
    }
    return n;
  }

 private:
  std::ostringstream text_;
};

}  // namespace peeper::test
