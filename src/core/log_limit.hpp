// SPDX-License-Identifier: Apache-2.0
/// \file
/// `log_limit`: a few lines a second; a storm must not drown the log. What was left out is said.
#pragma once

#include <chrono>
#include <utility>

#include <peeper/time.hpp>

namespace peeper::detail {

class log_limit {
 public:
  struct verdict {
    bool write;         ///< this line
    unsigned left_out;  ///< lines since the last one that was written; say so first
  };
  [[nodiscard]] verdict next(time_point now) noexcept {
    unsigned left_out = 0;
    if (lines_ == 0 || now - window_start_ > std::chrono::seconds{1}) {
      left_out = lines_ > lines_max ? lines_ - lines_max : 0;
      window_start_ = now;
      lines_ = 0;
    }
    return {++lines_ <= lines_max, left_out};
  }

 private:
  static constexpr unsigned lines_max = 5;
  time_point window_start_;
  unsigned lines_ = 0;  ///< in this window, written or not
};

}  // namespace peeper::detail
