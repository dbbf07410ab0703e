// SPDX-License-Identifier: Apache-2.0
/// hibernate(): a callback without a message.
#include <stdexcept>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "support/counter.hpp"
#include "support/sim_test.hpp"

namespace peeper {
namespace {

using namespace std::chrono_literals;
using test::add;
using test::counter;
using test::get;
using strings = std::vector<std::string>;

/// What its hibernate() is to do, and what was called.
struct script {
  ref<counter> tells;
  bool throws = false;
  strings seen{};
};
struct rest {
  using reply = int;
};
struct remembered {
  using reply = int;
};

struct sleepy {
  using state = int;

  state init(script* given) {
    given_ = given;
    given_->seen.emplace_back("init");
    return 0;
  }
  auto handle_call(rest, state& n) { return reply(++n, peeper::hibernate); }
  int handle_call(get, const state& n) { return n; }
  int handle_call(remembered, const state&) { return dictionary().get<int>("nights").value_or(0); }
  void handle_cast(const add& m, state& n) { n += m.by; }
  void terminate(const exit_reason& why, const state& n) {
    given_->seen.push_back("terminate " + std::to_string(n) + ", " + why.to_string());
  }
  void hibernate() {
    given_->seen.emplace_back("hibernate");
    given_->tells.cast(add{1});
    dictionary().put("nights", dictionary().get<int>("nights").value_or(0) + 1);
    if (given_->throws) throw std::runtime_error{"no sleep"};
  }

 private:
  script* given_ = nullptr;
};

PEEPER_SIM_TEST(hibernate, IsACallbackWhoseEffectsLeaveAtItsEnd) {
  script s{.tells = start<counter>(rt).value()};
  const auto c = start<sleepy>(rt, {}, &s).value();
  EXPECT_EQ(c.call(rest{}), 1);
  sim.run();
  EXPECT_EQ(s.seen, (strings{"init", "hibernate"}));
  EXPECT_EQ(s.tells.call(get{}), 1);
  EXPECT_EQ(c.call(remembered{}), 1);
}

PEEPER_SIM_TEST(hibernate, ThatThrowsIsACrashOfTheWorkerAfterTheCommit_P1_P2_P3) {
  script s{.tells = start<counter>(rt).value(), .throws = true};
  const auto c = start<sleepy>(rt, {}, &s).value();
  ASSERT_TRUE(suspend(c));
  auto answer = c.ask(rest{});
  c.cast(add{10});
  ASSERT_TRUE(resume(c));
  EXPECT_EQ(answer.get(), 1) << "its callback is committed, its reply sent";
  EXPECT_EQ(c.call(get{}), 11) << "the message behind it has its turn";
  EXPECT_EQ(s.seen, (strings{"init", "hibernate", "terminate 1, exception: no sleep", "init"}));
  EXPECT_EQ(s.tells.call(get{}), 0) << "what it sent has not left";
  EXPECT_EQ(c.call(remembered{}), 0);
  const statistics counted = statistics_of(c).value();
  EXPECT_EQ(counted.crashes, 1U);
  EXPECT_EQ(counted.restarts, 1U);
  EXPECT_EQ(counted.poison, 0U);
}

PEEPER_SIM_TEST(hibernate, ThatThrowsAfterAQuietTimeIsACrashToo) {
  script s{.tells = start<counter>(rt).value(), .throws = true};
  const auto c = start<sleepy>(rt, {.hibernate_after = 1s}, &s).value();
  c.cast(add{5});
  sim.advance(1500ms);
  EXPECT_EQ(statistics_of(c).value().crashes, 1U);
  s.throws = false;
  EXPECT_EQ(c.call(get{}), 5);
}

PEEPER_SIM_TEST(hibernate, ThatIsKilledSendsNothingAndIsOneCrash_P5) {
  script s{.tells = start<counter>(rt).value(), .throws = true};
  const auto c = start<sleepy>(rt, {}, &s).value();
  sim.kill_at("published");
  EXPECT_EQ(c.call(rest{}), 1);
  sim.run();
  EXPECT_EQ(s.tells.call(get{}), 0);
  EXPECT_EQ(statistics_of(c).value().crashes, 1U);
  EXPECT_EQ(c.call(get{}), 1);
}

struct sleepless {
  using state = int;
  auto init() { return ok(0, peeper::hibernate); }
  void hibernate() { throw std::runtime_error{"no sleep"}; }
};

PEEPER_SIM_TEST(hibernate, ThatThrowsAfterEachInitEndsTheServer_P7) {
  const auto c = start<sleepless>(rt, {.max_restarts = 30}).value();
  sim.run();
  EXPECT_FALSE(c.alive());
}

struct visit {
  ref<sleepy> who;
};
struct visitor {
  using state = int;
  void handle_cast(const visit& m, state& n) {
    n = m.who.call(rest{}).value();
    throw std::runtime_error{"crashes after it has asked"};
  }
};

PEEPER_SIM_TEST(hibernate, SendsWhateverBecomesOfTheCallbackThatCalledItsServer_P2) {
  script s{.tells = start<counter>(rt).value()};
  const auto c = start<sleepy>(rt, {}, &s).value();
  const auto v = start<visitor>(rt).value();
  v.cast(visit{c});
  sim.run();
  EXPECT_EQ(s.seen, (strings{"init", "hibernate"}));
  EXPECT_EQ(s.tells.call(get{}), 1);
}

}  // namespace
}  // namespace peeper
