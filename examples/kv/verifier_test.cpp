// SPDX-License-Identifier: Apache-2.0
// The demo's verdict is worth something only if a server that loses or repeats a write is caught.
#include "verifier.hpp"

#include <functional>
#include <map>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "store_session.hpp"

namespace kv {
namespace {

/// A store that can be told to cheat with the n-th command of one kind.
class cheating_store {
 public:
  enum class cheat { none, lose, repeat, keep_crashed, vanish };

  std::vector<reply> operator()(std::span<const words> commands) {
    std::vector<reply> replies;
    for (const words& command : commands) replies.push_back(run(command));
    return replies;
  }

  void arm(cheat how, std::string verb, int nth) {
    how_ = how;
    verb_ = std::move(verb);
    left_ = nth;
  }
  [[nodiscard]] bool cheated() const { return cheated_; }

 private:
  reply run(const words& command) {
    const bool crash = command[0] == "CRASH";
    const words inner = crash ? words(command.begin() + 2, command.end()) : command;
    const bool matches = inner[0] == verb_ && crash == (how_ == cheat::keep_crashed);
    if (how_ == cheat::none || !matches || --left_ != 0) return session_.run(command);
    cheated_ = true;
    switch (how_) {
      case cheat::lose: {
        // Replies as if it had been done, and forgets it.
        const store before = session_.data();
        reply answer = session_.run(command);
        session_.kept().begin();
        session_.kept().value() = before;
        session_.kept().prepare();
        session_.kept().commit();
        return answer;
      }
      case cheat::repeat: {
        reply answer = session_.run(command);
        session_.run(command);
        return answer;
      }
      case cheat::keep_crashed: {
        session_.run(inner);
        return session_.run(command);
      }
      case cheat::vanish: {
        reply answer = session_.run(command);
        session_.run({"DEL", command[1]});
        return answer;
      }
      case cheat::none: break;
    }
    return {};
  }

  store_session session_;
  cheat how_ = cheat::none;
  std::string verb_;
  int left_ = 0;
  bool cheated_ = false;
};

findings verify(cheating_store& server) {
  verifier client({.prefix = "t:", .seed = 5, .crashes_per_10000 = 2000});
  const auto send = [&](std::span<const words> commands) { return server(commands); };
  for (std::size_t i = 0; i < 100; ++i) client.write(1 + i % 30, send);
  client.read_back(send);
  return client.found();
}

TEST(verifier, FindsNothingWrongWithAnHonestServer) {
  cheating_store server;
  const findings found = verify(server);
  EXPECT_TRUE(found.clean()) << testing::PrintToString(found.examples);
  EXPECT_GT(found.acknowledged, 500U);
  EXPECT_GT(found.crashed, 100U);
}

class cheats : public testing::TestWithParam<const char*> {};

TEST_P(cheats, ALostWriteIsFound) {
  cheating_store server;
  server.arm(cheating_store::cheat::lose, GetParam(), 20);
  const findings found = verify(server);
  ASSERT_TRUE(server.cheated());
  EXPECT_EQ(found.lost, 1U) << testing::PrintToString(found.examples);
  EXPECT_EQ(found.duplicated, 0U);
}

TEST_P(cheats, AWriteThatWasToBeRolledBackIsFound) {
  cheating_store server;
  server.arm(cheating_store::cheat::keep_crashed, GetParam(), 3);
  const findings found = verify(server);
  ASSERT_TRUE(server.cheated());
  EXPECT_EQ(found.duplicated, 1U) << testing::PrintToString(found.examples);
  EXPECT_EQ(found.lost, 0U);
}

TEST_P(cheats, AKeyThatVanishesIsFound) {
  cheating_store server;
  server.arm(cheating_store::cheat::vanish, GetParam(), 20);
  const findings found = verify(server);
  ASSERT_TRUE(server.cheated());
  EXPECT_GE(found.lost, 1U);
}

INSTANTIATE_TEST_SUITE_P(every_kind, cheats,
                         testing::Values("SET", "INCR", "APPEND", "RPUSH", "LPUSH", "SADD", "HSET",
                                         "ZADD"),
                         [](const auto& tested) { return std::string(tested.param); });

class repeatable : public testing::TestWithParam<const char*> {};

TEST_P(repeatable, AWriteDoneTwiceIsFound) {
  cheating_store server;
  server.arm(cheating_store::cheat::repeat, GetParam(), 20);
  const findings found = verify(server);
  ASSERT_TRUE(server.cheated());
  EXPECT_EQ(found.duplicated, 1U) << testing::PrintToString(found.examples);
  EXPECT_EQ(found.lost, 0U);
}

// The others are idempotent: doing them twice is doing them once.
INSTANTIATE_TEST_SUITE_P(every_kind, repeatable,
                         testing::Values("INCR", "APPEND", "RPUSH", "LPUSH"),
                         [](const auto& tested) { return std::string(tested.param); });

}  // namespace
}  // namespace kv
