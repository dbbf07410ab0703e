// SPDX-License-Identifier: Apache-2.0
/// How a server ends, and when its terminate runs.
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
using test::add;
using test::crash;
using test::get;
using test::outcome;
using strings = std::vector<std::string>;

struct stop_me {
  using reply = int;
  bool with_reply;
};
struct stop_yourself_by_control {
  using reply = std::string;
};
struct trap {
  bool on;
};

/// Writes down each of its ends.
struct mortal {
  using state = int;
  strings* diary;
  bool terminate_throws;
  ref<test::counter> heir;

  call_result<int> handle_call(stop_me m, state& n) {
    n += 100;
    if (m.with_reply) return peeper::stop(exit_reason::stopped("asked"), n);
    return peeper::stop(exit_reason::stopped("asked"));
  }
  std::string handle_call(stop_yourself_by_control, const state&) {
    const auto r = peeper::stop(self<mortal>());
    return r ? "ok" : r.error().what();
  }
  int handle_call(get, const state& n) { return n; }
  void handle_cast(add m, state& n) { n += m.by; }
  void handle_cast(crash, state& n) {
    n = -1;
    throw std::runtime_error{"unlucky"};
  }
  void handle_cast(trap m, const state&) { trap_exit(m.on); }
  void terminate(const exit_reason& reason, const state& n) {
    diary->push_back(reason.to_string() + " " + std::to_string(n));
    heir.cast(add{n});
    if (terminate_throws) throw std::runtime_error{"in terminate"};
  }
};

ref<mortal> start_mortal(runtime& rt, strings& diary, bool terminate_throws = false,
                         const ref<test::counter>& heir = {}) {
  return start<mortal>(rt, {.name = "mortal", .state = 7}, &diary, terminate_throws, heir).value();
}

PEEPER_SIM_TEST(stop, WaitsForTheEndAndFreesEverything) {
  strings diary;
  const auto m = start_mortal(rt, diary);
  const pid worker = worker_of(m);
  EXPECT_TRUE(stop(m));
  EXPECT_EQ(diary, strings{"normal 7"});
  EXPECT_FALSE(m.alive());
  EXPECT_FALSE(alive(worker));
  EXPECT_FALSE(alive(keeper_of(m)));
  EXPECT_FALSE(alive(m.pid()));
  EXPECT_EQ(rt.server_count(), 0U);
  EXPECT_FALSE(whereis<mortal>(rt, "mortal"));
  EXPECT_EQ(outcome(m.call(get{})), "noproc");
}

PEEPER_SIM_TEST(stop, GivesAnyReasonAndIsNotRestarted) {
  strings diary;
  const auto m = start_mortal(rt, diary);
  EXPECT_TRUE(stop(m, exit_reason::stopped("maintenance")));
  sim.advance(1h);
  EXPECT_EQ(diary, strings{"stopped: maintenance 7"});
  EXPECT_EQ(rt.server_count(), 0U);
}

PEEPER_SIM_TEST(stop, HandlesWhatWasSentBeforeIt) {
  strings diary;
  const auto m = start_mortal(rt, diary);
  m.cast(add{1});
  m.cast(add{2});
  EXPECT_TRUE(stop(m));
  EXPECT_EQ(diary, strings{"normal 10"});
}

PEEPER_SIM_TEST(stop, OfAStoppedServerSaysNoproc) {
  strings diary;
  const auto m = start_mortal(rt, diary);
  EXPECT_TRUE(stop(m));
  EXPECT_EQ(stop(m).error().code, stop_errc::noproc);
  EXPECT_EQ(stop(ref<mortal>{}).error().code, stop_errc::noproc);
  EXPECT_EQ(diary.size(), 1U);
}

PEEPER_SIM_TEST(stop, ThatIsBeatenToItSaysWhetherTheReasonIsTheSame) {
  for (const bool same : {true, false}) {
    strings diary;
    const auto m = start_mortal(rt, diary);
    ASSERT_TRUE(suspend(m));
    std::string told;
    {
      const auto other = sim.thread([&] {
        const auto r = stop(m, same ? exit_reason::normal() : exit_reason::stopped("second"));
        told = r ? "ok" : (r.error().code == stop_errc::noproc ? "noproc" : r.error().what());
      });
      EXPECT_TRUE(stop(m));
    }
    if (told != "noproc" && told != "ok") {
      EXPECT_FALSE(same);
      EXPECT_EQ(told, "the server ended for another reason: normal");
    }
    EXPECT_EQ(diary.size(), 1U);
  }
}

PEEPER_SIM_TEST(stop, TimesOutIfTheServerIsBusyButStillEndsIt) {
  struct waits {
    using state = int;
    ref<test::counter> on;
    int handle_call(get, const state&) { return on.call(get{}, 1h).value(); }
  };
  const auto c = start<test::counter>(rt, {.state = 5}).value();
  const auto w = start<waits>(rt, {}, c).value();
  ASSERT_TRUE(suspend(c));
  auto asked = w.ask(get{}, 1h);
  sim.run();
  const time_point before = sim.now();
  const auto r = stop(w, exit_reason::normal(), 2s);
  ASSERT_FALSE(r);
  EXPECT_EQ(r.error().code, stop_errc::timed_out);
  EXPECT_EQ(sim.now() - before, 2s);
  EXPECT_TRUE(w.alive());
  ASSERT_TRUE(resume(c));
  EXPECT_EQ(asked.get(), 5);
  sim.run();
  EXPECT_FALSE(w.alive());
}

PEEPER_SIM_TEST(stop, OfASuspendedOrRestartingServerEndsIt) {
  strings diary;
  auto m = start_mortal(rt, diary);
  ASSERT_TRUE(suspend(m));
  EXPECT_TRUE(stop(m));
  EXPECT_EQ(diary, strings{"normal 7"});
  const auto c = start<test::counter>(rt, {.backoff = {.min = 1h, .max = 1h}}).value();
  ASSERT_TRUE(kill(worker_of(c)));
  sim.run();
  const time_point before = sim.now();
  EXPECT_TRUE(stop(c));
  EXPECT_EQ(sim.now(), before);
}

PEEPER_SIM_TEST(stop, OfItselfIsReturnedNotCalled) {
  strings diary;
  const auto m = start_mortal(rt, diary);
  EXPECT_EQ(m.call(stop_yourself_by_control{}),
            "a server stops itself by returning peeper::stop(...)");
  EXPECT_TRUE(m.alive());
  EXPECT_EQ(m.call(stop_me{true}), 107);
  sim.run();
  EXPECT_FALSE(m.alive());
  EXPECT_EQ(diary, strings{"stopped: asked 107"});
}

PEEPER_SIM_TEST(stop, ReturnedWithAReplyAnswersEvenIfTerminateThrows) {
  strings diary;
  const auto heir = start<test::counter>(rt).value();
  auto m = start_mortal(rt, diary, true, heir);
  EXPECT_EQ(m.call(stop_me{true}), 107);
  sim.run();
  EXPECT_EQ(diary, strings{"stopped: asked 107"});
  EXPECT_EQ(rt.server_count(), 1U);
  EXPECT_EQ(heir.call(get{}), 0);  // what a terminate that throws has sent never left
  m = start_mortal(rt, diary, true, heir);
  const auto r = m.call(stop_me{false});
  EXPECT_EQ(outcome(r), "stopped");
  EXPECT_EQ(r.error().reason(), exit_reason::stopped("asked"));
}

PEEPER_SIM_TEST(stop, LeavesNothingUnansweredInTheMailbox) {
  strings diary;
  const auto m = start_mortal(rt, diary);
  ASSERT_TRUE(suspend(m));
  std::vector<pending<int>> waiting;
  for (int i = 0; i < 10; ++i) waiting.push_back(m.ask(get{}, infinity));
  m.cast(add{});
  ASSERT_TRUE(stop(m));
  for (auto& w : waiting) EXPECT_EQ(outcome(w.get()), "stopped");
  EXPECT_EQ(diary, strings{"normal 7"});
}

// --- terminate -----------------------------------------------------------------------------------

PEEPER_SIM_TEST(terminate, RunsOnACrashWithTheStateFromBeforeIt) {
  strings diary;
  const auto m = start_mortal(rt, diary);
  m.cast(add{1});
  m.cast(crash{});
  EXPECT_EQ(m.call(get{}), 8);
  EXPECT_EQ(diary, strings{"exception: unlucky 8"});
}

PEEPER_SIM_TEST(terminate, MaySendItsLastMessages) {
  strings diary;
  const auto heir = start<test::counter>(rt).value();
  const auto m = start_mortal(rt, diary, false, heir);
  EXPECT_TRUE(stop(m));
  EXPECT_EQ(heir.call(get{}), 7);
}

PEEPER_SIM_TEST(terminate, ThatThrowsChangesNothing) {
  strings diary;
  const auto m = start_mortal(rt, diary, true);
  m.cast(crash{});
  EXPECT_EQ(m.call(get{}), 7);
  EXPECT_EQ(diary.size(), 1U);
  EXPECT_EQ(statistics_of(m)->crashes, 1U);
  EXPECT_TRUE(stop(m));
  EXPECT_EQ(diary.size(), 2U);
}

PEEPER_SIM_TEST(terminate, DoesNotRunOnKill) {
  strings diary;
  const auto m = start_mortal(rt, diary);
  EXPECT_TRUE(kill(worker_of(m)));
  EXPECT_EQ(m.call(get{}), 7);
  EXPECT_TRUE(kill(supervisor_of(m)));
  EXPECT_EQ(m.call(get{}), 7);
  EXPECT_TRUE(kill(keeper_of(m)));
  EXPECT_EQ(m.call(get{}), 7);
  EXPECT_TRUE(kill(m.pid()));
  sim.run();
  EXPECT_FALSE(m.alive());
  EXPECT_EQ(diary, strings{});
}

PEEPER_SIM_TEST(terminate, RunsOnShutdownOnlyWhereExitsAreTrapped) {
  strings diary;
  strings trapping_diary;
  const auto m = start_mortal(rt, diary);
  const auto t =
      start<mortal>(rt, {.state = 8}, &trapping_diary, false, ref<test::counter>{}).value();
  t.cast(trap{true});
  sim.run();
  EXPECT_TRUE(rt.shutdown());
  EXPECT_EQ(diary, strings{});
  EXPECT_EQ(trapping_diary, strings{"shutdown 8"});
  EXPECT_FALSE(m.alive());
  EXPECT_EQ(rt.server_count(), 0U);
}

PEEPER_SIM_TEST(terminate, DoesNotRunWhereInitFailed) {
  struct never_starts {
    using state = int;
    strings* diary = nullptr;
    state init(strings*) { throw std::runtime_error{"no"}; }
    void terminate(const exit_reason&, const state&) { std::abort(); }
  };
  strings diary;
  EXPECT_FALSE(start<never_starts>(rt, {}, &diary));
  EXPECT_EQ(diary, strings{});
}

PEEPER_SIM_TEST(terminate, MayDoWithoutTheState) {
  struct short_form {
    using state = int;
    strings* diary;
    void terminate(const exit_reason& reason) { diary->push_back(reason.to_string()); }
  };
  strings diary;
  const auto s = start<short_form>(rt, {}, &diary).value();
  EXPECT_TRUE(stop(s, exit_reason::shutdown()));
  EXPECT_EQ(diary, strings{"shutdown"});
}

// --- shutdown ------------------------------------------------------------------------------------

PEEPER_SIM_TEST(shutdown, EndsServersInTheReverseOrderOfTheirStart) {
  strings order;
  struct one {
    using state = int;
    strings* order;
    std::string name;
    one(strings* o, std::string n) : order{o}, name{std::move(n)} {}
    one(one&&) = delete;
    ~one() { order->push_back(name); }
  };
  for (int i = 0; i < 40; ++i) {
    ASSERT_TRUE(start<one>(rt, {}, &order, std::to_string(i)));
  }
  EXPECT_TRUE(rt.shutdown());
  ASSERT_EQ(order.size(), 40U);
  for (std::size_t i = 0; i < order.size(); ++i) EXPECT_EQ(order[i], std::to_string(39 - i));
  EXPECT_TRUE(rt.shutdown());  // again: nothing left to do
}

PEEPER_SIM_TEST(shutdown, NamesTheServersWhoseCallbacksDoNotReturn) {
  struct waits {
    using state = int;
    ref<test::counter> on;
    int handle_call(get, const state&) { return on.call(get{}, infinity).value_or(-1); }
  };
  const auto on = start<test::counter>(rt).value();
  const auto stuck = start<waits>(rt, {.name = "stuck", .shutdown = 1s}, on).value();
  const auto fine = start<test::counter>(rt, {.name = "fine"}).value();
  ASSERT_TRUE(suspend(on));
  auto asked = stuck.ask(get{}, infinity);
  sim.run();
  // The one that is waited for was started first, so it is asked last.
  const auto r = rt.shutdown(1h);
  ASSERT_FALSE(r);
  EXPECT_EQ(r.error().servers, strings{"stuck"});
  EXPECT_NE(r.error().what().find("stuck"), std::string::npos);
  EXPECT_FALSE(on.alive());
  EXPECT_FALSE(fine.alive());
  // Its end has let the other go on.
  EXPECT_TRUE(rt.shutdown());
  EXPECT_EQ(rt.server_count(), 0U);
  EXPECT_TRUE(asked.done());
}

PEEPER_SIM_TEST(shutdown, EndsSuspendedAndRestartingServers) {
  const auto suspended = start<test::counter>(rt).value();
  ASSERT_TRUE(suspend(suspended));
  auto asked = suspended.ask(get{}, infinity);
  const auto backing_off = start<test::counter>(rt, {.backoff = {.min = 1h, .max = 1h}}).value();
  backing_off.cast(crash{});
  sim.run();
  const time_point before = sim.now();
  EXPECT_TRUE(rt.shutdown());
  EXPECT_EQ(sim.now(), before);
  EXPECT_EQ(outcome(asked.get()), "stopped");
}

TEST(a_ref, OutlivesItsRuntime) {
  ref<test::counter> c;
  pending<int> asked;
  {
    runtime rt{{.threads = 1}};
    c = start<test::counter>(rt, {.name = "ended"}).value();
    ASSERT_TRUE(suspend(c));
    asked = c.ask(get{}, infinity);
  }
  EXPECT_EQ(outcome(asked.get()), "stopped");
  EXPECT_EQ(outcome(c.call(get{})), "noproc");
  EXPECT_EQ(outcome(c.ask(get{}).get()), "noproc");
  EXPECT_EQ(c.try_cast(add{}).error(), cast_error::gone);
  EXPECT_EQ(stop(c).error().code, stop_errc::noproc);
  EXPECT_FALSE(c.alive());
  EXPECT_FALSE(alive(c.pid()));
  EXPECT_FALSE(kill(worker_of(c)));
  EXPECT_EQ(c.name(), "ended");
}

}  // namespace
}  // namespace peeper
