// SPDX-License-Identifier: Apache-2.0
#include "server/restart_window.hpp"

#include <cstddef>
#include <list>
#include <random>

#include <gtest/gtest.h>

namespace peeper::detail {
namespace {

using namespace std::chrono_literals;

/// OTP's supervisor:add_restart/1 and in_period/3, word for word: newest first; the list is cut at
/// the first that is too old.
class otp_supervisor {
 public:
  otp_supervisor(unsigned intensity, duration period) : intensity_{intensity}, period_{period} {}
  bool add_restart(time_point now) {
    restarts_.push_front(now);
    auto at = restarts_.begin();
    while (at != restarts_.end() && now <= *at + period_) ++at;
    restarts_.erase(at, restarts_.end());
    return restarts_.size() <= intensity_;
  }
  [[nodiscard]] std::size_t length() const { return restarts_.size(); }

 private:
  unsigned intensity_;
  duration period_;
  std::list<time_point> restarts_;
};

TEST(restart_window, DecidesAsOTPsSupervisorForRandomTimes_P7) {
  std::mt19937_64 random{20260701};
  for (int run = 0; run < 500; ++run) {
    const auto max_restarts = static_cast<unsigned>(random() % 6);
    const duration period{static_cast<duration::rep>(random() % 1000)};
    restart_window window;
    otp_supervisor model{max_restarts, period};
    time_point now{};
    for (int i = 0; i < 200; ++i) {
      // Often at the same moment, often exactly a period later: the edges.
      switch (random() % 4) {
        case 0: break;
        case 1: now += period; break;
        default: now += duration{static_cast<duration::rep>(random() % 400)};
      }
      ASSERT_EQ(window.add(now, max_restarts, period), model.add_restart(now))
          << "run " << run << ", restart " << i << ", at most " << max_restarts << " in "
          << period.count();
      ASSERT_EQ(window.in_window(), model.length());
    }
  }
}

TEST(restart_window, AllowsExactlyAsManyAsItSays_P7) {
  restart_window window;
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(window.add(time_point{1s}, 3, 5s));
  EXPECT_FALSE(window.add(time_point{1s}, 3, 5s));
}

TEST(restart_window, CountsARestartAPeriodAgoAndForgetsAnOlderOne_P7) {
  restart_window window;
  EXPECT_TRUE(window.add(time_point{1s}, 1, 5s));
  EXPECT_FALSE(window.add(time_point{6s}, 1, 5s)) << "exactly a period ago still counts";
  restart_window other;
  EXPECT_TRUE(other.add(time_point{1s}, 1, 5s));
  EXPECT_TRUE(other.add(time_point{6s + 1ns}, 1, 5s));
}

TEST(restart_window, OfNoneAllowsNone_P7) {
  restart_window window;
  EXPECT_FALSE(window.add(time_point{}, 0, 5s));
}

}  // namespace
}  // namespace peeper::detail
