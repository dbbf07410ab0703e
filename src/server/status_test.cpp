// SPDX-License-Identifier: Apache-2.0
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <peeper/peeper.hpp>
#include <peeper/sim.hpp>

namespace {

struct account {
  std::string owner;
  peeper::secret<std::string> pin;
};

struct charge {
  int by = 1;
};

struct bank {
  struct state {
    int charged = 0;
    peeper::kept_map<std::string, account> accounts;
  };
  static void handle_cast(charge c, state& s) { s.charged += c.by; }
};

struct vault {
  using state = std::string;
  static std::string redact(const state& s) { return std::to_string(s.size()) + " characters"; }
};

TEST(status, ShowsProcessesCountsAndStateButNoSecret) {
  peeper::simulation sim;
  peeper::runtime rt{{.env = &sim.env()}};
  bank::state first;
  first.accounts.insert({"a", account{"ann", {"1234"}}});
  const auto server = peeper::start<bank>(rt, {.name = "bank", .state = first}).value();
  server.cast(charge{41});
  const auto status = peeper::status_of(server);
  ASSERT_TRUE(status);
  EXPECT_EQ(status->name, "bank");
  EXPECT_EQ(status->phase, "running");
  EXPECT_EQ(status->worker, peeper::worker_of(server));
  EXPECT_EQ(status->counts.handled, 1U);
  EXPECT_EQ(status->state, R"({41, [{"a", {"ann", <secret>}}]})");
  EXPECT_EQ(status->to_string().find("1234"), std::string::npos);
  EXPECT_NE(status->to_string().find("bank"), std::string::npos);
  ASSERT_TRUE(peeper::suspend(server));
  EXPECT_EQ(peeper::status_of(server)->phase, "suspended");
}

TEST(status, AClassThatRedactsShowsOnlyWhatItReturns) {
  peeper::simulation sim;
  peeper::runtime rt{{.env = &sim.env()}};
  const auto server = peeper::start<vault>(rt, {.state = "the password"}).value();
  EXPECT_EQ(peeper::status_of(server)->state, "\"12 characters\"");
}

TEST(describe, CutsWhatIsLongAndSaysSo) {
  EXPECT_EQ(peeper::describe(std::vector<int>(20, 7)),
            "[7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, ... (20 in all)]");
  const std::string text = peeper::describe(std::string(1000, 'x'));
  EXPECT_LT(text.size(), 300U);
  EXPECT_NE(text.find("1000 characters"), std::string::npos);
  EXPECT_EQ(peeper::describe(std::string{"a\n\"b\""}), R"("a\x0a\"b\"")");
}

TEST(describe, ASecretComesBackAfterACrashButIsNeverShown) {
  const peeper::secret<std::string> pin{"1234"};
  EXPECT_EQ(peeper::describe(pin), "<secret>");
  EXPECT_EQ(fmt::format("{}", pin), "<secret>");
  const auto again = peeper::decode<peeper::secret<std::string>>(peeper::encode(pin));
  ASSERT_TRUE(again);
  EXPECT_EQ(again->value, "1234");
}

}  // namespace
