// SPDX-License-Identifier: Apache-2.0
/// \file
/// OTP's restart intensity: keep the time stamps of the last period, add now; too many = give up.
#pragma once

#include <deque>

#include <peeper/time.hpp>

namespace peeper::detail {

class restart_window {
 public:
  /// RETURNS: false if this is the restart that is one too many.
  [[nodiscard]] bool add(time_point now, unsigned max_restarts, duration period) {
    while (!stamps_.empty() && now - stamps_.front() > period) stamps_.pop_front();
    stamps_.push_back(now);
    return stamps_.size() <= max_restarts;
  }
  [[nodiscard]] std::size_t in_window() const noexcept { return stamps_.size(); }

 private:
  std::deque<time_point> stamps_;
};

}  // namespace peeper::detail
