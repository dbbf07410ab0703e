// SPDX-License-Identifier: Apache-2.0
/// sys: suspend, resume, inspect, edit, statistics, trace.
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "support/counter.hpp"
#include "support/log_capture.hpp"
#include "support/sim_test.hpp"

namespace peeper {
namespace {

using namespace std::chrono_literals;
using test::add;
using test::add_and_get;
using test::counter;
using test::crash;
using test::crash_call;
using test::get;
using test::outcome;
using strings = std::vector<std::string>;

// --- suspend -------------------------------------------------------------------------------------

PEEPER_SIM_TEST(suspend, LetsMessagesWaitInOrder) {
  const auto c = start<counter>(rt).value();
  c.cast(add{1});
  ASSERT_TRUE(suspend(c));
  EXPECT_EQ(inspect(c, [](int n) { return n; }), 1);  // what was sent before it is handled
  c.cast(add{10});
  auto asked = c.ask(get{});
  sim.run();
  EXPECT_FALSE(asked.done());
  EXPECT_EQ(inspect(c, [](int n) { return n; }), 1);
  const auto s = statistics_of(c).value();
  EXPECT_TRUE(s.suspended);
  EXPECT_EQ(s.queued, 2U);
  ASSERT_TRUE(suspend(c));  // again: no change
  ASSERT_TRUE(resume(c));
  EXPECT_EQ(asked.get(), 11);
  EXPECT_FALSE(statistics_of(c)->suspended);
  ASSERT_TRUE(resume(c));
}

PEEPER_SIM_TEST(suspend, OutlivesAKilledWorker) {
  const auto c = start<counter>(rt).value();
  ASSERT_TRUE(suspend(c));
  c.cast(add{1});
  ASSERT_TRUE(kill(worker_of(c)));
  sim.run();
  EXPECT_EQ(statistics_of(c)->restarts, 1U);
  EXPECT_EQ(statistics_of(c)->queued, 1U);
  ASSERT_TRUE(resume(c));
  EXPECT_EQ(c.call(get{}), 1);
}

PEEPER_SIM_TEST(suspend, OfAStoppedServerIsAnError) {
  const auto c = start<counter>(rt).value();
  ASSERT_TRUE(stop(c));
  EXPECT_EQ(outcome(suspend(c)), "noproc");
  EXPECT_EQ(outcome(resume(c)), "noproc");
  EXPECT_EQ(outcome(inspect(c, [](int n) { return n; })), "noproc");
  EXPECT_EQ(outcome(edit(c, [](int&) {})), "noproc");
  EXPECT_EQ(outcome(statistics_of(c)), "noproc");
  EXPECT_EQ(outcome(trace(c, {})), "noproc");
  EXPECT_EQ(outcome(statistics_of(ref<counter>{})), "noproc");
}

struct control_yourself {
  using reply = strings;
};
struct introspective {
  using state = int;
  strings handle_call(control_yourself, const state&) {
    const auto me = self<introspective>();
    return {outcome(suspend(me)), outcome(inspect(me, [](int n) { return n; })),
            outcome(edit(me, [](int&) {}))};
  }
};

PEEPER_SIM_TEST(suspend, OfOneselfIsRefused) {
  const auto s = start<introspective>(rt).value();
  EXPECT_EQ(s.call(control_yourself{}), strings(3, "calling_self"));
}

// --- inspect and edit ----------------------------------------------------------------------------

PEEPER_SIM_TEST(inspect, LooksAtTheCommittedStateInItsTurn) {
  const auto c = start<counter>(rt, {.state = 1}).value();
  c.cast(add{2});
  EXPECT_EQ(inspect(c, [](const int& n) { return std::to_string(n); }), "3");
  const auto r = inspect(c, [](int) -> int { throw std::runtime_error{"in the look"}; });
  ASSERT_EQ(outcome(r), "crashed");
  EXPECT_EQ(r.error().reason().detail(), "in the look");
  EXPECT_EQ(statistics_of(c)->crashes, 0U);  // hurts nobody
  EXPECT_EQ(c.call(get{}), 3);
}

PEEPER_SIM_TEST(inspect, WorksWhileTheServerBacksOff) {
  const auto c = start<counter>(rt, {.state = 1, .backoff = {.min = 1h, .max = 1h}}).value();
  c.cast(crash{});
  EXPECT_EQ(inspect(c, [](int n) { return n; }), 1);
  EXPECT_FALSE(edit(c, [](int& n) { n = 2; }));  // no worker, nothing to check it
  EXPECT_EQ(inspect(c, [](int n) { return n; }), 1);
}

struct even {
  using state = int;
  static bool valid(const state& n) { return n % 2 == 0; }
  int handle_call(get, const state& n) { return n; }
};

PEEPER_SIM_TEST(edit, IsCommittedLikeACallback) {
  const auto e = start<even>(rt).value();
  EXPECT_TRUE(edit(e, [](int& n) { n = 4; }));
  EXPECT_EQ(e.call(get{}), 4);
  EXPECT_TRUE(kill(worker_of(e)));
  EXPECT_EQ(e.call(get{}), 4);
}

PEEPER_SIM_TEST(edit, ThatThrowsOrIsNotValidKeepsTheOldState) {
  const auto e = start<even>(rt, {.state = 2}).value();
  auto r = edit(e, [](int& n) {
    n = 100;
    throw std::runtime_error{"in the edit"};
  });
  ASSERT_EQ(outcome(r), "crashed");
  EXPECT_EQ(r.error().reason().detail(), "in the edit");
  EXPECT_EQ(e.call(get{}), 2);
  r = edit(e, [](int& n) { n = 101; });
  ASSERT_EQ(outcome(r), "crashed");
  EXPECT_EQ(r.error().reason().kind(), exit_kind::invariant);
  EXPECT_EQ(e.call(get{}), 2);
  EXPECT_EQ(statistics_of(e)->crashes, 0U);  // the worker lives on
  EXPECT_EQ(statistics_of(e)->restarts, 0U);
}

PEEPER_SIM_TEST(edit, OfASuspendedServerWorks) {
  const auto c = start<counter>(rt).value();
  ASSERT_TRUE(suspend(c));
  c.cast(add{1});
  EXPECT_TRUE(edit(c, [](int& n) { n = 10; }));
  ASSERT_TRUE(resume(c));
  EXPECT_EQ(c.call(get{}), 11);
}

PEEPER_SIM_TEST(edit, LetsGoWhatItSentOnlyIfItCommits) {
  const auto c = start<counter>(rt).value();
  const auto heard = start<counter>(rt).value();
  EXPECT_TRUE(edit(c, [&](int&) { heard.cast(add{1}); }));
  EXPECT_FALSE(edit(c, [&](int&) {
    heard.cast(add{10});
    throw 1;
  }));
  sim.run();
  EXPECT_EQ(heard.call(get{}), 1);
}

// --- statistics ----------------------------------------------------------------------------------

PEEPER_SIM_TEST(statistics, CountWhatHappened) {
  const auto c = start<counter>(rt).value();
  c.cast(add{});
  EXPECT_EQ(c.call(get{}), 1);
  c.cast(crash{});
  EXPECT_EQ(outcome(c.call(crash_call{})), "crashed");
  EXPECT_TRUE(kill(worker_of(c)));
  EXPECT_TRUE(send(c.pid(), 3));
  sim.run();
  const auto s = statistics_of(c).value();
  EXPECT_EQ(s.handled, 3U);  // the cast, the call, the unexpected info
  EXPECT_EQ(s.crashes, 3U);
  EXPECT_EQ(s.restarts, 3U);
  EXPECT_EQ(s.poison, 2U);
  EXPECT_EQ(s.unexpected, 1U);
  EXPECT_EQ(s.expired, 0U);
  EXPECT_EQ(s.queued, 0U);
  EXPECT_EQ(s.dropped, 0U);
  EXPECT_FALSE(s.suspended);
}

// --- trace ---------------------------------------------------------------------------------------

PEEPER_SIM_TEST(trace, TellsOfEachCallbacksBeginAndEnd) {
  const auto c = start<counter>(rt).value();
  strings told;
  pid first;
  EXPECT_TRUE(trace(c, [&](const trace_event& e) {
    const char* point = e.point == trace_point::begin
                            ? "begin "
                            : (e.point == trace_point::commit ? "commit " : "rollback ");
    const std::string name{e.message};
    told.push_back(point + name.substr(name.rfind(':') + 1));
    if (told.size() == 1) first = e.worker;
  }));
  const pid worker = worker_of(c);
  c.cast(add{});
  c.cast(crash{});
  EXPECT_EQ(c.call(get{}), 1);
  EXPECT_EQ(told, (strings{"begin add", "commit add", "begin crash", "rollback crash", "begin init",
                           "commit init", "begin get", "commit get"}));
  EXPECT_EQ(first, worker);
  EXPECT_TRUE(trace(c, {}));
  EXPECT_EQ(c.call(get{}), 1);
  EXPECT_EQ(told.size(), 8U);
}

PEEPER_SIM_TEST(trace, ThatThrowsIsSwitchedOffAndHurtsNobody) {
  const test::log_capture log;
  const auto c = start<counter>(rt).value();
  int told = 0;
  EXPECT_TRUE(trace(c, [&](const trace_event&) {
    ++told;
    throw std::runtime_error{"in the sink"};
  }));
  EXPECT_EQ(c.call(add_and_get{}), 1);
  EXPECT_EQ(c.call(add_and_get{}), 2);
  EXPECT_EQ(told, 1);
  EXPECT_EQ(log.count("trace of server"), 1U);
}

}  // namespace
}  // namespace peeper
