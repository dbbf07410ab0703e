// SPDX-License-Identifier: Apache-2.0
/// Infos: typed by ref, untyped by pid, and those nobody expects.
#include <stdexcept>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "support/counter.hpp"
#include "support/log_capture.hpp"
#include "support/sim_test.hpp"

namespace peeper {
namespace {

using test::counter;
using test::get;

struct tick {
  int n;
};
struct packet {
  std::string text;
};
struct unknown {};
/// Copies of it fail.
struct brittle {
  brittle() = default;
  brittle(brittle&&) = default;
  brittle(const brittle&) { throw std::runtime_error{"no copies"}; }
};
struct seen {
  using reply = std::vector<std::string>;
};

struct listener {
  using state = std::vector<std::string>;
  using infos = types<tick, packet, brittle>;
  void handle_info(tick m, state& s) { s.push_back("tick " + std::to_string(m.n)); }
  void handle_info(const packet& m, state& s) { s.push_back("packet " + m.text); }
  void handle_info(const brittle&, state& s) { s.emplace_back("brittle"); }
  state handle_call(seen, const state& s) { return s; }
};

/// Takes everything, and looks itself.
struct collector {
  using state = std::vector<std::string>;
  void handle_info(const any_message& m, state& s) {
    if (const auto* t = m.get<tick>()) {
      s.push_back("any tick " + std::to_string(t->n));
    } else {
      EXPECT_EQ(m.get<packet>(), nullptr);
      s.emplace_back(m.type() == typeid(unknown) ? "any unknown" : "something");
    }
  }
  state handle_call(seen, const state& s) { return s; }
};

using strings = std::vector<std::string>;

PEEPER_SIM_TEST(info, ArrivesTypedByRefAndByPid) {
  const auto l = start<listener>(rt).value();
  l.send(tick{1});
  EXPECT_TRUE(send(l.pid(), tick{2}));
  EXPECT_TRUE(send(l.pid(), packet{"x"}));
  EXPECT_EQ(l.call(seen{}).value(), (strings{"tick 1", "tick 2", "packet x"}));
}

PEEPER_SIM_TEST(info, OfATypeThatIsNotListedComesAsAnyMessage) {
  const auto c = start<collector>(rt).value();
  EXPECT_TRUE(send(c.pid(), tick{3}));
  EXPECT_TRUE(send(c.pid(), unknown{}));
  EXPECT_EQ(c.call(seen{}).value(), (strings{"any tick 3", "any unknown"}));
  EXPECT_EQ(statistics_of(c)->unexpected, 0U);
}

PEEPER_SIM_TEST(info, ToADeadPidIsRefused) {
  const auto l = start<listener>(rt).value();
  const pid was = l.pid();
  ASSERT_TRUE(stop(l));
  EXPECT_FALSE(send(was, tick{1}));
  EXPECT_FALSE(send(pid{}, tick{1}));
  l.send(tick{1});
}

PEEPER_SIM_TEST(info, ThatNobodyExpectsIsLoggedCountedAndDropped) {
  const test::log_capture log;
  const auto l = start<listener>(rt, {.name = "listener"}).value();
  EXPECT_TRUE(send(l.pid(), unknown{}));
  EXPECT_TRUE(send(l.pid(), unknown{}));
  EXPECT_EQ(l.call(seen{}).value(), strings{});
  const auto s = statistics_of(l).value();
  EXPECT_EQ(s.unexpected, 2U);
  EXPECT_EQ(s.crashes, 0U);
  EXPECT_EQ(log.count("'listener' got an unexpected info"), 2U) << log.text();
}

PEEPER_SIM_TEST(info, ToAServerWithoutHandleInfoIsUnexpected) {
  const auto c = start<counter>(rt, {.state = 1}).value();
  EXPECT_TRUE(send(c.pid(), tick{1}));
  EXPECT_EQ(c.call(get{}), 1);
  EXPECT_EQ(statistics_of(c)->unexpected, 1U);
}

PEEPER_SIM_TEST(info, ThatCannotBeCopiedToItsReceiverIsLoggedAndDropped) {
  const test::log_capture log;
  const auto l = start<listener>(rt, {.name = "listener"}).value();
  EXPECT_TRUE(send(l.pid(), brittle{}));
  EXPECT_EQ(l.call(seen{}).value(), strings{});
  EXPECT_EQ(log.count("'listener'"), 1U) << log.text();
}

struct tell {
  pid to;
  bool then_crash;
};
struct teller {
  using state = int;
  void handle_cast(const tell& m, state&) {
    EXPECT_TRUE(send(m.to, tick{1}));
    EXPECT_TRUE(send(m.to, unknown{}));
    if (m.then_crash) throw std::runtime_error{"unlucky"};
  }
};

PEEPER_SIM_TEST(info, SentByPidInACallbackLeavesAtItsCommit) {
  const auto c = start<collector>(rt).value();
  const auto t = start<teller>(rt).value();
  t.cast(tell{c.pid(), true});
  sim.run();
  EXPECT_EQ(c.call(seen{}).value(), strings{});
  t.cast(tell{c.pid(), false});
  sim.run();
  EXPECT_EQ(c.call(seen{}).value(), (strings{"any tick 1", "any unknown"}));
}

}  // namespace
}  // namespace peeper
