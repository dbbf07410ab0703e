// SPDX-License-Identifier: Apache-2.0
/// Monitors, links, exit signals.
#include <algorithm>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "support/counter.hpp"
#include "support/sim_test.hpp"

namespace peeper {
namespace {

using namespace std::chrono_literals;
using test::counter;
using test::crash;
using test::get;
using strings = std::vector<std::string>;

struct watch {
  ref<counter> who;
  bool then_crash = false;
};
struct watch_pid {
  pid who;
};
struct unwatch {
  bool then_crash = false;
};
struct watch_and_unwatch {
  ref<counter> who;
};
struct watch_in_scope {
  std::optional<ref<counter>> who;
};
struct tie {
  ref<counter> other;
  bool then_crash = false;
};
struct tie_watchers {
  ref<struct watcher> other;
};
struct untie {
  ref<counter> other;
};
struct trap {
  bool on;
};
struct shoot {
  pid target;
  exit_reason reason;
  bool then_crash = false;
};
struct look {
  using reply = strings;
};

struct watcher {
  struct state {
    strings seen;
    std::uint64_t last = 0;
  };
  scoped_monitor scope;

  void handle_cast(const watch& m, state& s) {
    s.last = monitor(m.who).value;
    if (m.then_crash) throw std::runtime_error{"unlucky"};
  }
  void handle_cast(watch_pid m, state& s) { s.last = monitor(m.who).value; }
  void handle_cast(unwatch m, state& s) {
    demonitor(monitor_id{s.last});
    if (m.then_crash) throw std::runtime_error{"unlucky"};
  }
  void handle_cast(const watch_and_unwatch& m, state&) { demonitor(monitor(m.who)); }
  void handle_cast(const watch_in_scope& m, state&) {
    scope = m.who ? scoped_monitor{*m.who} : scoped_monitor{};
  }
  void handle_cast(const tie& m, state&) {
    link(m.other);
    if (m.then_crash) throw std::runtime_error{"unlucky"};
  }
  void handle_cast(const tie_watchers& m, state&) { link(m.other); }
  void handle_cast(const untie& m, state&) { unlink(m.other); }
  void handle_cast(trap m, state&) { trap_exit(m.on); }
  void handle_cast(const shoot& m, state&) {
    exit(m.target, m.reason);
    if (m.then_crash) throw std::runtime_error{"unlucky"};
  }
  void handle_cast(crash, state&) { throw std::runtime_error{"unlucky"}; }
  void handle_info(const down& d, state& s) {
    s.seen.push_back("down " + d.reason.to_string());
    if (d.id.value == s.last) s.last = 0;
  }
  void handle_info(const exit_signal& e, state& s) {
    s.seen.push_back("exit " + e.reason.to_string());
  }
  strings handle_call(look, const state& s) { return s.seen; }
};

struct pair_of {
  ref<watcher> w;
  ref<counter> c;
};
pair_of start_pair(runtime& rt) { return {start<watcher>(rt).value(), start<counter>(rt).value()}; }

// --- monitors ------------------------------------------------------------------------------------

PEEPER_SIM_TEST(a_monitor, TellsOnceWhenTheServerHasEnded) {
  const auto [w, c] = start_pair(rt);
  w.cast(watch{c});
  sim.run();
  EXPECT_EQ(w.call(look{}), strings{});
  EXPECT_TRUE(stop(c, exit_reason::stopped("enough")));
  sim.run();
  EXPECT_EQ(w.call(look{}), strings{"down stopped: enough"});
  sim.advance(1h);
  EXPECT_EQ(w.call(look{})->size(), 1U);
}

PEEPER_SIM_TEST(a_monitor, OfADeadServerTellsAtOnce) {
  const auto [w, c] = start_pair(rt);
  const pid worker = worker_of(c);
  ASSERT_TRUE(stop(c));
  w.cast(watch{c});
  w.cast(watch_pid{worker});
  w.cast(watch_pid{c.pid()});
  w.cast(watch_pid{pid{}});
  w.cast(watch{ref<counter>{}});
  sim.run();
  EXPECT_EQ(w.call(look{}), strings(5, "down no process"));
}

PEEPER_SIM_TEST(a_monitor, OnTheServerSurvivesItsRestartsAndOnTheWorkerDoesNot) {
  const auto [w, c] = start_pair(rt);
  w.cast(watch{c});
  w.cast(watch_pid{worker_of(c)});
  w.cast(watch_pid{keeper_of(c)});
  w.cast(watch_pid{supervisor_of(c)});
  sim.run();
  c.cast(crash{});
  sim.run();
  EXPECT_EQ(w.call(look{}), strings{"down exception: unlucky"});
  EXPECT_TRUE(kill(keeper_of(c)));
  sim.run();
  EXPECT_EQ(w.call(look{}), (strings{"down exception: unlucky", "down killed"}));
  EXPECT_TRUE(stop(c));
  sim.run();
  EXPECT_EQ(w.call(look{}),
            (strings{"down exception: unlucky", "down killed", "down normal", "down normal"}));
}

PEEPER_SIM_TEST(a_monitor, SurvivesItsWatchersRestart) {
  const auto [w, c] = start_pair(rt);
  w.cast(watch{c});
  w.cast(crash{});
  sim.run();
  EXPECT_TRUE(kill(worker_of(w)));
  EXPECT_TRUE(stop(c));
  sim.run();
  EXPECT_EQ(w.call(look{}), strings{"down normal"});
}

PEEPER_SIM_TEST(a_monitor, MayBePutTwice) {
  const auto [w, c] = start_pair(rt);
  w.cast(watch{c});
  w.cast(watch{c});
  EXPECT_EQ(w.call(look{}), strings{});
  EXPECT_TRUE(stop(c));
  EXPECT_EQ(w.call(look{}), strings(2, "down normal"));
}

PEEPER_SIM_TEST(a_monitor, ThatIsTakenBackTellsNothing) {
  const auto [w, c] = start_pair(rt);
  w.cast(watch{c});
  w.cast(unwatch{});
  w.cast(watch_and_unwatch{c});
  EXPECT_EQ(w.call(look{}), strings{});
  EXPECT_TRUE(stop(c));
  sim.run();
  EXPECT_EQ(w.call(look{}), strings{});
  EXPECT_EQ(statistics_of(w)->unexpected, 0U);
}

PEEPER_SIM_TEST(a_monitor, ThatIsTakenBackFlushesWhatIsUnderWay) {
  const auto [w, c] = start_pair(rt);
  w.cast(watch{c});
  sim.run();
  ASSERT_TRUE(suspend(w));
  w.cast(unwatch{});
  EXPECT_TRUE(stop(c));  // its down is in the mailbox now, behind the demonitor
  sim.run();
  EXPECT_EQ(statistics_of(w)->queued, 2U);
  ASSERT_TRUE(resume(w));
  EXPECT_EQ(w.call(look{}), strings{});
}

PEEPER_SIM_TEST(a_monitor, OfACallbackThatCrashedWasNeverPutNorTakenBack) {
  const auto [w, c] = start_pair(rt);
  w.cast(watch{c, true});
  sim.run();
  w.cast(watch{c});
  w.cast(unwatch{true});
  EXPECT_EQ(w.call(look{}), strings{});
  EXPECT_TRUE(stop(c));
  EXPECT_EQ(w.call(look{}), strings{"down normal"});
}

PEEPER_SIM_TEST(a_monitor, InAScopeEndsWithIt) {
  const auto [w, c] = start_pair(rt);
  const auto d = start<counter>(rt).value();
  w.cast(watch_in_scope{c});
  w.cast(watch_in_scope{d});  // moves over the first
  EXPECT_EQ(w.call(look{}), strings{});
  EXPECT_TRUE(stop(c));
  sim.run();
  EXPECT_EQ(w.call(look{}), strings{});
  w.cast(watch_in_scope{});
  EXPECT_EQ(w.call(look{}), strings{});
  EXPECT_TRUE(stop(d));
  sim.run();
  EXPECT_EQ(w.call(look{}), strings{});
}

PEEPER_SIM_TEST(a_monitor, InAMemberOfTheWorkerEndsWithTheWorker) {
  const auto [w, c] = start_pair(rt);
  w.cast(watch_in_scope{c});
  sim.run();
  sim.choose(2) == 0 ? w.cast(crash{}) : static_cast<void>(kill(worker_of(w)));
  sim.run();
  EXPECT_TRUE(stop(c));
  sim.run();
  EXPECT_EQ(w.call(look{}), strings{});
}

PEEPER_SIM_TEST(a_monitor, OfAServerWithoutHandlerIsUnexpectedButHarmless) {
  struct deaf {
    using state = int;
    void handle_cast(const watch& m, state&) { monitor(m.who); }
  };
  const auto d = start<deaf>(rt).value();
  const auto c = start<counter>(rt).value();
  d.cast(watch{c});
  sim.run();
  EXPECT_TRUE(stop(c));
  sim.run();
  EXPECT_EQ(statistics_of(d)->unexpected, 1U);
}

PEEPER_SIM_TEST(a_monitor, NeedsARunningCallback) {
  const auto c = start<counter>(rt).value();
  EXPECT_THROW(monitor(c), std::logic_error);
  EXPECT_THROW(link(c), std::logic_error);
  EXPECT_THROW(trap_exit(true), std::logic_error);
  demonitor(monitor_id{1});
}

PEEPER_SIM_TEST(a_monitor, AmongManyTellsEachOfTheRightOne) {
  const auto w = start<watcher>(rt).value();
  std::vector<ref<counter>> all;
  for (int i = 0; i < 50; ++i) {
    all.push_back(start<counter>(rt).value());
    w.cast(watch{all.back()});
  }
  sim.run();
  for (int i = 0; i < 50; ++i) {
    EXPECT_TRUE(stop(all[static_cast<std::size_t>(i)], exit_reason::stopped(std::to_string(i))));
  }
  sim.run();
  auto seen = w.call(look{}).value();
  ASSERT_EQ(seen.size(), 50U);
  for (int i = 0; i < 50; ++i) {
    EXPECT_EQ(seen[static_cast<std::size_t>(i)], "down stopped: " + std::to_string(i));
  }
}

// --- links ---------------------------------------------------------------------------------------

PEEPER_SIM_TEST(a_link, CrashesTheOtherWhenOneEndsAbnormally) {
  const auto [w, c] = start_pair(rt);
  w.cast(tie{c});
  sim.run();
  const pid before = worker_of(w);
  EXPECT_TRUE(stop(c, exit_reason::stopped("why")));
  sim.run();
  EXPECT_TRUE(w.alive());  // the server lives on, with its state, in another worker
  EXPECT_NE(worker_of(w), before);
  EXPECT_EQ(statistics_of(w)->crashes, 1U);
  EXPECT_EQ(w.call(look{}), strings{});
}

PEEPER_SIM_TEST(a_link, WorksInBothDirections) {
  const auto [w, c] = start_pair(rt);
  w.cast(tie{c});
  sim.run();
  EXPECT_TRUE(stop(w, exit_reason::stopped("why")));
  sim.run();
  EXPECT_EQ(statistics_of(c)->crashes, 1U);
}

PEEPER_SIM_TEST(a_link, DoesNotMindANormalEndNorARestart) {
  const auto [w, c] = start_pair(rt);
  w.cast(tie{c});
  sim.run();
  c.cast(crash{});
  EXPECT_TRUE(kill(worker_of(c)));
  sim.run();
  EXPECT_EQ(statistics_of(w)->crashes, 0U);
  EXPECT_TRUE(stop(c));
  sim.run();
  EXPECT_EQ(statistics_of(w)->crashes, 0U);
}

PEEPER_SIM_TEST(a_link, IsAMessageWhereExitsAreTrapped) {
  const auto [w, c] = start_pair(rt);
  w.cast(trap{true});
  w.cast(tie{c});
  w.cast(crash{});  // the trap and the link last longer than the worker
  sim.run();
  EXPECT_TRUE(stop(c, exit_reason::stopped("why")));
  sim.run();
  EXPECT_EQ(w.call(look{}), strings{"exit stopped: why"});
  EXPECT_EQ(statistics_of(w)->crashes, 1U);
}

PEEPER_SIM_TEST(a_link, ThatIsTrappedTellsNormalEndsToo) {
  const auto [w, c] = start_pair(rt);
  w.cast(trap{true});
  w.cast(tie{c});
  sim.run();
  EXPECT_TRUE(stop(c));
  sim.run();
  EXPECT_EQ(w.call(look{}), strings{"exit normal"});
}

PEEPER_SIM_TEST(a_link, ToADeadServerIsAnExitWithNoproc) {
  const auto [w, c] = start_pair(rt);
  ASSERT_TRUE(stop(c));
  w.cast(tie{c});
  sim.run();
  EXPECT_EQ(statistics_of(w)->crashes, 1U);
  w.cast(trap{true});
  w.cast(tie{c});
  sim.run();
  EXPECT_EQ(w.call(look{}), strings{"exit no process"});
}

PEEPER_SIM_TEST(a_link, ThatIsTakenBackOrWasOfACrashedCallbackDoesNothing) {
  const auto [w, c] = start_pair(rt);
  w.cast(tie{c});
  w.cast(untie{c});
  w.cast(tie{c, true});
  sim.run();
  const auto before = statistics_of(w)->crashes;
  EXPECT_TRUE(stop(c, exit_reason::stopped("why")));
  sim.run();
  EXPECT_EQ(statistics_of(w)->crashes, before);
}

PEEPER_SIM_TEST(a_link, PutTwiceOrToOneselfTellsOnceOrNever) {
  const auto [w, c] = start_pair(rt);
  w.cast(trap{true});
  w.cast(tie{c});
  w.cast(tie{c});
  w.cast(tie_watchers{w});
  sim.run();
  EXPECT_TRUE(stop(c));
  sim.run();
  EXPECT_EQ(w.call(look{}), strings{"exit normal"});
}

PEEPER_SIM_TEST(a_link, BetweenTwoThatBothEndIsHarmless) {
  const auto a = start<watcher>(rt).value();
  const auto b = start<watcher>(rt).value();
  a.cast(tie_watchers{b});
  b.cast(tie_watchers{a});
  sim.run();
  {
    const auto one = sim.thread([&] { std::ignore = stop(a, exit_reason::stopped("a")); });
    const auto two = sim.thread([&] { std::ignore = stop(b, exit_reason::stopped("b")); });
  }
  sim.run();
  EXPECT_EQ(rt.server_count(), 0U);
}

// --- exit signals --------------------------------------------------------------------------------

PEEPER_SIM_TEST(an_exit_signal, CrashesItsTargetUnlessTrappedOrNormal) {
  const auto [w, c] = start_pair(rt);
  w.cast(shoot{c.pid(), exit_reason::stopped("bang")});
  sim.run();
  EXPECT_EQ(statistics_of(c)->crashes, 1U);
  EXPECT_TRUE(c.alive());
  w.cast(shoot{c.pid(), exit_reason::normal()});
  w.cast(shoot{c.pid(), exit_reason::stopped("not sent"), true});
  sim.run();
  EXPECT_EQ(statistics_of(c)->crashes, 1U);
  w.cast(trap{true});
  w.cast(shoot{w.pid(), exit_reason::normal()});
  w.cast(shoot{w.pid(), exit_reason::stopped("bang")});
  sim.run();
  EXPECT_EQ(w.call(look{}), (strings{"exit normal", "exit stopped: bang"}));
  w.cast(trap{false});
  sim.run();
  exit(w.pid(), exit_reason::stopped("from outside"));
  sim.run();
  EXPECT_EQ(statistics_of(w)->crashes, 2U);
  exit(pid{}, exit_reason::stopped("nobody"));
}

PEEPER_SIM_TEST(an_exit_signal, DoesNotRunTerminateUnlessItIsTrapped) {
  struct diarist {
    using state = int;
    strings* ends;
    void terminate(const exit_reason& r, const state&) { ends->push_back(r.to_string()); }
  };
  strings ends;
  const auto d = start<diarist>(rt, {}, &ends).value();
  exit(d.pid(), exit_reason::stopped("bang"));
  sim.run();
  EXPECT_EQ(statistics_of(d)->crashes, 1U);
  EXPECT_EQ(ends, strings{});
}

}  // namespace
}  // namespace peeper
