// SPDX-License-Identifier: Apache-2.0
/// Every shape a callback may return, and what is to happen next: timeout, hibernate, continue.
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "support/counter.hpp"
#include "support/sim_test.hpp"

namespace peeper {
namespace {

using namespace std::chrono_literals;
using test::outcome;

using strings = std::vector<std::string>;

/// What a handler is to return.
enum class shape : std::uint8_t {
  plain,
  reply,
  reply_timeout,
  reply_hibernate,
  reply_continue,
  noreply,
  stop_with_reply,
  stop_without_reply,
};
enum class one_way_shape : std::uint8_t { noreply, timeout, hibernate, continues, stop };

struct second_step {
  int n;
};
struct call_any {
  using reply = std::string;
  shape as;
};
struct cast_any {
  one_way_shape as;
};
struct info_any {
  one_way_shape as;
};
struct step {
  one_way_shape as;
};
struct mark {
  std::string text;
};
struct look {
  using reply = strings;
};
struct say {
  using reply = std::string;
};
template <int N>
struct fixed {
  using reply = std::string;
};

struct shapes {
  using state = strings;
  int* hibernated = nullptr;
  std::string* terminated = nullptr;

  void hibernate() {
    if (hibernated != nullptr) ++*hibernated;
  }
  void terminate(const exit_reason& reason, const state& s) {
    if (terminated != nullptr) *terminated = reason.to_string() + " " + std::to_string(s.size());
  }

  // One shape on all paths: named directly.
  std::string handle_call(say, const state&) { return "plain"; }
  auto handle_call(fixed<1>, const state&) { return reply("fixed"); }
  auto handle_call(fixed<2>, const state&) { return reply(std::string{"t"}, timeout(1s)); }
  auto handle_call(fixed<3>, const state&) { return reply("h", peeper::hibernate); }
  auto handle_call(fixed<4>, state& s) {
    s.emplace_back("call");
    return reply("c", continue_with(second_step{4}));
  }
  auto handle_call(fixed<5>, const state&) { return noreply(timeout(1s)); }
  auto handle_call(fixed<6>, const state&) { return peeper::stop(exit_reason::stopped("six")); }
  auto handle_call(fixed<7>, const state&) { return peeper::stop({}, "seven"); }

  // Different ones: named by the common type.
  call_result<std::string, second_step> handle_call(call_any m, state& s) {
    s.emplace_back("call");
    switch (m.as) {
      case shape::plain: return std::string{"plain"};
      case shape::reply: return reply("reply");
      case shape::reply_timeout: return reply("reply", timeout(2s));
      case shape::reply_hibernate: return reply("reply", peeper::hibernate);
      case shape::reply_continue: return reply("reply", continue_with(second_step{1}));
      case shape::noreply: return noreply();
      case shape::stop_with_reply: return peeper::stop(exit_reason::stopped("why"), "last words");
      case shape::stop_without_reply: break;
    }
    return peeper::stop(exit_reason::stopped("why"));
  }
  noreply_result<second_step> one_way(one_way_shape as, const char* what, state& s) {
    s.emplace_back(what);
    switch (as) {
      case one_way_shape::noreply: return noreply();
      case one_way_shape::timeout: return noreply(timeout(2s));
      case one_way_shape::hibernate: return noreply(peeper::hibernate);
      case one_way_shape::continues: return noreply(continue_with(second_step{2}));
      case one_way_shape::stop: break;
    }
    return peeper::stop();
  }
  noreply_result<second_step> handle_cast(cast_any m, state& s) { return one_way(m.as, "cast", s); }
  noreply_result<second_step> handle_info(info_any m, state& s) { return one_way(m.as, "info", s); }
  noreply_result<second_step> handle_continue(step m, state& s) { return one_way(m.as, "step", s); }
  void handle_continue(second_step m, state& s) { s.push_back("second " + std::to_string(m.n)); }
  void handle_info(timeout_message, state& s) { s.emplace_back("timeout"); }
  void handle_cast(const mark& m, state& s) { s.push_back(m.text); }
  state handle_call(look, const state& s) { return s; }
};

PEEPER_SIM_TEST(returns, OfACallInEveryShape) {
  int hibernated = 0;
  const auto s = start<shapes>(rt, {}, &hibernated).value();
  EXPECT_EQ(s.call(say{}), "plain");
  EXPECT_EQ(s.call(fixed<1>{}), "fixed");
  EXPECT_EQ(s.call(call_any{shape::plain}), "plain");
  EXPECT_EQ(s.call(call_any{shape::reply}), "reply");
  EXPECT_EQ(hibernated, 0);
  EXPECT_EQ(s.call(fixed<3>{}), "h");
  EXPECT_EQ(s.call(call_any{shape::reply_hibernate}), "reply");
  sim.run();
  EXPECT_EQ(hibernated, 2);
  EXPECT_EQ(s.call(look{})->size(), 3U);
}

PEEPER_SIM_TEST(returns, NoReplyWithoutAFromTellsTheCallerAtOnce) {
  const auto s = start<shapes>(rt).value();
  const time_point before = sim.now();
  EXPECT_EQ(outcome(s.call(call_any{shape::noreply})), "not_answered");
  EXPECT_EQ(outcome(s.call(fixed<5>{})), "not_answered");
  EXPECT_EQ(sim.now(), before);
  EXPECT_EQ(s.call(look{}), strings{"call"});  // both were handled
}

PEEPER_SIM_TEST(returns, StopWithAReplyAnswersAfterTerminate) {
  std::string terminated;
  const auto s = start<shapes>(rt, {}, nullptr, &terminated).value();
  EXPECT_EQ(s.call(call_any{shape::stop_with_reply}), "last words");
  EXPECT_EQ(terminated, "stopped: why 1");  // terminate saw the committed state
  sim.run();
  EXPECT_FALSE(s.alive());
  const auto t = start<shapes>(rt, {}, nullptr, &terminated).value();
  EXPECT_EQ(t.call(fixed<7>{}), "seven");
  EXPECT_EQ(terminated, "normal 0");
}

PEEPER_SIM_TEST(returns, StopWithoutAReplySaysStopped) {
  for (const bool fixed_shape : {false, true}) {
    std::string terminated;
    const auto s = start<shapes>(rt, {}, nullptr, &terminated).value();
    const auto r = fixed_shape ? s.call(fixed<6>{}) : s.call(call_any{shape::stop_without_reply});
    ASSERT_EQ(outcome(r), "stopped");
    EXPECT_EQ(r.error().reason(), exit_reason::stopped(fixed_shape ? "six" : "why"));
    EXPECT_TRUE(terminated.starts_with("stopped: "));
    sim.run();
    EXPECT_FALSE(s.alive());
  }
}

PEEPER_SIM_TEST(returns, OfCastsInfosAndContinuesInEveryShape) {
  int hibernated = 0;
  std::string terminated;
  const auto s = start<shapes>(rt, {}, &hibernated, &terminated).value();
  s.cast(cast_any{one_way_shape::noreply});
  s.send(info_any{one_way_shape::noreply});
  s.cast(cast_any{one_way_shape::hibernate});
  s.send(info_any{one_way_shape::hibernate});
  s.cast(cast_any{one_way_shape::continues});
  s.send(info_any{one_way_shape::continues});
  EXPECT_EQ(s.call(look{}),
            (strings{"cast", "info", "cast", "info", "cast", "second 2", "info", "second 2"}));
  EXPECT_EQ(hibernated, 2);
  sim.choose(2) == 0 ? s.cast(cast_any{one_way_shape::stop})
                     : s.send(info_any{one_way_shape::stop});
  sim.run();
  EXPECT_FALSE(s.alive());
  EXPECT_EQ(terminated, "normal 9");
  EXPECT_EQ(rt.server_count(), 0U);
}

// --- continue ------------------------------------------------------------------------------------

PEEPER_SIM_TEST(continues, BeforeAnythingThatIsQueued) {
  const auto s = start<shapes>(rt).value();
  ASSERT_TRUE(suspend(s));
  s.cast(cast_any{one_way_shape::continues});
  s.cast(mark{"queued before the continue"});
  s.cast(mark{"and another"});
  auto r = s.ask(call_any{shape::reply_continue});
  s.cast(mark{"last"});
  ASSERT_TRUE(resume(s));
  EXPECT_EQ(r.get(), "reply");
  EXPECT_EQ(s.call(look{}), (strings{"cast", "second 2", "queued before the continue",
                                     "and another", "call", "second 1", "last"}));
  EXPECT_EQ(s.call(fixed<4>{}), "c");
}

struct begin {
  int steps;
};
struct stepping {
  using state = strings;
  auto handle_cast(begin m, state& s) {
    s.emplace_back("begin");
    return noreply(continue_with(m));
  }
  noreply_result<begin> handle_continue(begin m, state& s) {
    s.push_back(std::to_string(m.steps));
    if (m.steps == 0) return noreply();
    return noreply(continue_with(begin{m.steps - 1}));
  }
  void handle_cast(const mark& m, state& s) { s.push_back(m.text); }
  state handle_call(look, const state& s) { return s; }
};

PEEPER_SIM_TEST(continues, AsOftenAsEachContinueSaysSo) {
  const auto s = start<stepping>(rt).value();
  s.cast(begin{3});
  s.cast(mark{"after"});
  EXPECT_EQ(s.call(look{}), (strings{"begin", "3", "2", "1", "0", "after"}));
}

struct crashing_step {
  std::unique_ptr<int> payload;
};
struct crashes_in_continue {
  using state = strings;
  auto handle_cast(begin, state& s) {
    s.emplace_back("begin");
    return noreply(continue_with(crashing_step{std::make_unique<int>(1)}));
  }
  void handle_continue(const crashing_step&, state& s) {
    s.emplace_back("never kept");
    throw std::runtime_error{"in continue"};
  }
  void handle_cast(const mark& m, state& s) { s.push_back(m.text); }
  state handle_call(look, const state& s) { return s; }
};

PEEPER_SIM_TEST(continues, AndACrashInItRollsBackOnlyIt) {
  const auto s = start<crashes_in_continue>(rt).value();
  s.cast(begin{});
  s.cast(mark{"after"});
  EXPECT_EQ(s.call(look{}), (strings{"begin", "after"}));
  EXPECT_EQ(statistics_of(s)->crashes, 1U);
}

PEEPER_SIM_TEST(continues, AlsoWhenTheWorkerIsKilledInBetween) {
  const auto s = start<stepping>(rt).value();
  sim.kill_at("published");  // of the cast that asks for the continue
  s.cast(begin{2});
  s.cast(mark{"after"});
  EXPECT_EQ(s.call(look{}), (strings{"begin", "2", "1", "0", "after"}));
  EXPECT_EQ(statistics_of(s)->restarts, 1U);
}

PEEPER_SIM_TEST(continues, NotOnceTheServerHasStopped) {
  const auto s = start<stepping>(rt).value();
  ASSERT_TRUE(suspend(s));
  s.cast(begin{2});
  EXPECT_TRUE(stop(s));
  sim.run();
  EXPECT_EQ(rt.server_count(), 0U);
}

// --- timeout -------------------------------------------------------------------------------------

struct wait {
  duration d;
};
struct waiting {
  using state = strings;
  environment* env;
  auto handle_cast(wait m, const state&) { return noreply(timeout(m.d)); }
  auto handle_call(say, const state&) { return reply(std::string{"said"}, timeout(1s)); }
  void handle_cast(const mark& m, state& s) { s.push_back(m.text); }
  auto handle_info(timeout_message, state& s) {
    s.push_back("timeout at " +
                std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(
                                   env->now().time_since_epoch())
                                   .count()));
  }
  state handle_call(look, const state& s) { return s; }
};

PEEPER_SIM_TEST(timeouts, FireOnceAfterTheirTime) {
  const auto s = start<waiting>(rt, {}, &sim.env()).value();
  s.cast(wait{50ms});
  sim.run();
  sim.advance(49ms);
  EXPECT_EQ(inspect(s, [](const auto& x) { return x.size(); }), 0U);
  sim.advance(1ms);
  EXPECT_EQ(inspect(s, [](const auto& x) { return x; }), strings{"timeout at 50"});
  sim.advance(10s);
  EXPECT_EQ(s.call(look{})->size(), 1U);
}

PEEPER_SIM_TEST(timeouts, AreCancelledByAnyMessageThatComesFirst) {
  const auto s = start<waiting>(rt, {}, &sim.env()).value();
  const auto with_and_then = [&](auto interrupt) {
    s.cast(wait{50ms});
    sim.run();
    sim.advance(49ms);
    interrupt();
    sim.advance(10s);
  };
  with_and_then([&] { s.cast(mark{"cast"}); });
  with_and_then([&] { EXPECT_TRUE(s.call(look{})); });
  with_and_then([&] { EXPECT_TRUE(send(s.pid(), std::string{"unexpected"})); });
  EXPECT_EQ(s.call(look{}), strings{"cast"});
}

PEEPER_SIM_TEST(timeouts, AreNotCancelledBySystemMessages) {
  const auto s = start<waiting>(rt, {}, &sim.env()).value();
  s.cast(wait{50ms});
  sim.run();
  sim.advance(20ms);
  EXPECT_TRUE(statistics_of(s));
  EXPECT_TRUE(inspect(s, [](const auto&) { return 0; }));
  sim.advance(30ms);
  EXPECT_EQ(s.call(look{}), strings{"timeout at 50"});
}

PEEPER_SIM_TEST(timeouts, ANewOneReplacesTheOldWhetherSoonerOrLater) {
  const auto s = start<waiting>(rt, {}, &sim.env()).value();
  s.cast(wait{50ms});
  s.cast(wait{500ms});
  sim.run();
  sim.advance(499ms);
  EXPECT_EQ(inspect(s, [](const auto& x) { return x.size(); }), 0U);
  s.cast(wait{20ms});  // due at 519
  sim.run();
  sim.advance(5s);
  EXPECT_EQ(s.call(look{}), strings{"timeout at 519"});
}

PEEPER_SIM_TEST(timeouts, OfZeroFireWhenTheMailboxIsEmpty) {
  for (const duration none : {duration{0}, duration{-5s}}) {
    const auto s = start<waiting>(rt, {}, &sim.env()).value();
    s.cast(wait{none});
    sim.run();
    EXPECT_EQ(s.call(look{})->size(), 1U);
    EXPECT_TRUE(stop(s));
  }
}

PEEPER_SIM_TEST(timeouts, OfZeroAreCancelledByWhatIsQueued) {
  const auto s = start<waiting>(rt, {}, &sim.env()).value();
  ASSERT_TRUE(suspend(s));
  s.cast(wait{0ms});
  s.cast(mark{"queued"});
  ASSERT_TRUE(resume(s));
  sim.advance(1s);
  EXPECT_EQ(s.call(look{}), strings{"queued"});
}

PEEPER_SIM_TEST(timeouts, OfZeroAfterACallComeAfterItsReply) {
  const auto s = start<waiting>(rt, {}, &sim.env()).value();
  s.cast(wait{infinity});
  EXPECT_EQ(s.call(say{}), "said");
  sim.advance(1s);
  EXPECT_EQ(inspect(s, [](const auto& x) { return x; }), strings{"timeout at 1000"});
}

PEEPER_SIM_TEST(timeouts, OfInfinityNeverFire) {
  const auto s = start<waiting>(rt, {}, &sim.env()).value();
  s.cast(wait{infinity});
  sim.advance(1000h);
  EXPECT_EQ(s.call(look{}), strings{});
}

PEEPER_SIM_TEST(timeouts, DoNotOutliveACrash) {
  const auto s = start<waiting>(rt, {}, &sim.env()).value();
  s.cast(wait{50ms});
  sim.run();
  EXPECT_TRUE(kill(worker_of(s)));
  sim.advance(10s);
  EXPECT_EQ(s.call(look{}), strings{});
}

PEEPER_SIM_TEST(timeouts, OfAServerThatDoesNotHandleThemAreUnexpected) {
  struct deaf {
    using state = int;
    auto handle_cast(wait m, const state&) { return noreply(timeout(m.d)); }
  };
  const auto s = start<deaf>(rt).value();
  s.cast(wait{1ms});
  sim.advance(1s);
  EXPECT_EQ(statistics_of(s)->unexpected, 1U);
}

// --- hibernate -----------------------------------------------------------------------------------

PEEPER_SIM_TEST(hibernates, AfterTheTimeWithoutAMessage) {
  int hibernated = 0;
  const auto s = start<shapes>(rt, {.hibernate_after = 10s}, &hibernated).value();
  sim.advance(9s);
  EXPECT_EQ(hibernated, 0);
  EXPECT_EQ(s.call(say{}), "plain");
  sim.advance(9s);
  EXPECT_EQ(hibernated, 0);
  sim.advance(1s);
  EXPECT_EQ(hibernated, 1);
  sim.advance(1h);
  EXPECT_EQ(hibernated, 1);
  EXPECT_EQ(s.call(say{}), "plain");  // and answers as ever
}

}  // namespace
}  // namespace peeper
