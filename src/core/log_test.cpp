// SPDX-License-Identifier: Apache-2.0
#include "core/log.hpp"

#include <memory>
#include <sstream>
#include <string>

#include <gtest/gtest.h>
#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>

namespace peeper::detail {
namespace {

/// A program's logging, as it is at the start of `main`, and as it was afterwards.
class log : public testing::Test {
 protected:
  log() {
    spdlog::drop("peeper");
    spdlog::set_level(spdlog::level::info);
  }
  ~log() override {
    spdlog::drop("peeper");
    spdlog::set_automatic_registration(true);
    spdlog::set_level(before_);
  }
  log(const log&) = delete;
  log& operator=(const log&) = delete;

  struct written {
    std::string out;
    std::string err;
  };
  template <class Fn>
  static written what_is_written(Fn fn) {
    testing::internal::CaptureStdout();
    testing::internal::CaptureStderr();
    fn();
    spdlog::default_logger()->flush();
    return {.out = testing::internal::GetCapturedStdout(),
            .err = testing::internal::GetCapturedStderr()};
  }

 private:
  spdlog::level::level_enum before_ = spdlog::get_level();
};

TEST_F(log, GoesToStandardErrorAndNeverToStandardOutput) {
  const auto [out, err] = what_is_written([] { log_error("disk {} is full", 7); });
  EXPECT_EQ(out, "");
  EXPECT_NE(err.find("[peeper] [error] disk 7 is full"), std::string::npos) << err;
}

TEST_F(log, GoesToTheProgramsOwnLoggerOfThatNameOnly) {
  std::ostringstream own;
  spdlog::register_logger(std::make_shared<spdlog::logger>(
      "peeper", std::make_shared<spdlog::sinks::ostream_sink_mt>(own)));
  const auto [out, err] = what_is_written([] { log_error("for the program"); });
  EXPECT_NE(own.str().find("for the program"), std::string::npos);
  EXPECT_EQ(out + err, "");
}

TEST_F(log, FollowsTheLevelForAllLoggersSetBeforeAndAfterItsFirstLine) {
  spdlog::set_level(spdlog::level::err);
  auto both = what_is_written([] {
    log_warning("below the level");
    log_error("at the level");
  });
  EXPECT_EQ(both.err.find("below"), std::string::npos);
  EXPECT_NE(both.err.find("at the level"), std::string::npos);
  EXPECT_FALSE(log_enabled(log_level::warning));
  spdlog::set_level(spdlog::level::off);
  EXPECT_FALSE(log_enabled(log_level::error));
  spdlog::set_level(spdlog::level::debug);
  EXPECT_TRUE(log_enabled(log_level::debug));
}

TEST_F(log, IsOneLoggerAlsoWhereTheProgramRegistersItsLoggersByHand) {
  spdlog::set_automatic_registration(false);
  const auto [out, err] = what_is_written([] { log_error("still there"); });
  EXPECT_NE(err.find("still there"), std::string::npos);
  EXPECT_EQ(out, "");
  const auto made = spdlog::get("peeper");
  ASSERT_TRUE(made);
  EXPECT_TRUE(log_enabled(log_level::error));
  EXPECT_EQ(spdlog::get("peeper"), made);
}

}  // namespace
}  // namespace peeper::detail
