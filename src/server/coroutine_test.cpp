// SPDX-License-Identifier: Apache-2.0
/// Handlers that are coroutines: they suspend the server, not a thread.
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "support/counter.hpp"
#include "support/sim_test.hpp"

namespace peeper {
namespace {

using namespace std::chrono_literals;
using test::add;
using test::add_and_get;
using test::counter;
using test::crash_call;
using test::get;
using test::outcome;
using strings = std::vector<std::string>;

struct fetch {
  using reply = std::string;
  duration limit = 5s;
};
struct fetch_by_cast {};
struct fetch_by_info {};
struct fetch_in_continue {};
struct fetch_two {
  using reply = int;
};
struct fetch_nested {
  using reply = int;
  int depth;
};
struct fetch_and_throw {
  using reply = int;
};
struct fetch_crashing {
  using reply = std::string;
};
struct nested_throw {
  using reply = std::string;
};
struct fetch_later {
  using reply = int;
};
struct fetch_and_stop {
  using reply = int;
};
struct no_waiting {
  using reply = int;
};
struct mark {
  std::string text;
};
struct look {
  using reply = strings;
};

/// Tells when it goes: the frame of a coroutine that is destroyed where it waits.
struct probe {
  int* gone;
  explicit probe(int* g) : gone{g} {}
  probe(const probe&) = delete;
  probe& operator=(const probe&) = delete;
  ~probe() {
    if (gone != nullptr) ++*gone;
  }
};

struct client {
  using state = strings;
  ref<counter> source;
  int* frames_gone = nullptr;

  task<std::string> handle_call(fetch m, state& s) {
    const probe p{frames_gone};
    s.emplace_back("asked");
    const auto r = co_await source.ask(add_and_get{}, m.limit);
    s.push_back(r ? "got " + std::to_string(*r) : outcome(r));
    co_return r ? std::to_string(*r) : outcome(r);
  }
  task<void> handle_cast(fetch_by_cast, state& s) {
    const probe p{frames_gone};
    s.emplace_back("cast");
    const auto r = co_await source.ask(add_and_get{});
    s.push_back(outcome(r));
  }
  task<noreply_result<fetch_in_continue>> handle_info(fetch_by_info, state& s) {
    s.emplace_back("info");
    std::ignore = co_await source.ask(add_and_get{});
    co_return noreply(continue_with(fetch_in_continue{}));
  }
  task<void> handle_continue(fetch_in_continue, state& s) {
    std::ignore = co_await source.ask(add_and_get{});
    s.emplace_back("continued");
  }
  task<int> handle_call(fetch_two, const state&) {
    auto a = source.ask(add_and_get{});
    auto b = source.ask(add_and_get{});
    const auto second = co_await std::move(b);
    const auto first = co_await std::move(a);
    co_return first.value() * 10 + second.value();
  }
  task<int> descend(int depth) {
    const auto here = co_await source.ask(add_and_get{});
    if (depth == 0) co_return here.value();
    co_return co_await descend(depth - 1);
  }
  task<int> handle_call(fetch_nested m, const state&) { co_return co_await descend(m.depth); }
  task<int> handle_call(fetch_and_throw, state& s) {
    const probe p{frames_gone};
    s.emplace_back("never kept");
    std::ignore = co_await source.ask(add_and_get{});
    throw std::runtime_error{"after the await"};
  }
  task<std::string> handle_call(fetch_crashing, const state&) {
    co_return outcome(co_await source.ask(crash_call{}));
  }
  task<int> throwing() {
    std::ignore = co_await source.ask(get{});
    throw std::runtime_error{"inside"};
  }
  task<std::string> handle_call(nested_throw, const state&) {
    try {
      co_return std::to_string(co_await throwing());
    } catch (const std::runtime_error& e) {
      co_return std::string{"caught "} + e.what();
    }
  }
  task<void> handle_call(fetch_later, from<int> caller, const state&) {
    const auto r = co_await source.ask(add_and_get{});
    caller.reply(r.value());
  }
  task<call_result<int>> handle_call(fetch_and_stop, const state&) {
    const auto r = co_await source.ask(add_and_get{});
    co_return peeper::stop(exit_reason::stopped("done"), r.value());
  }
  task<int> handle_call(no_waiting, state& s) {
    s.emplace_back("no waiting");
    co_return 1;
  }
  void handle_cast(const mark& m, state& s) { s.push_back(m.text); }
  state handle_call(look, const state& s) { return s; }
};

PEEPER_SIM_TEST(coroutine, AnswersWhatItWasAnswered) {
  const auto source = start<counter>(rt).value();
  const auto c = start<client>(rt, {}, source).value();
  EXPECT_EQ(c.call(fetch{}), "1");
  EXPECT_EQ(c.call(fetch_two{}), 23);
  EXPECT_EQ(c.call(fetch_later{}), 4);
  EXPECT_EQ(c.call(no_waiting{}), 1);
  EXPECT_EQ(c.call(look{}), (strings{"asked", "got 1", "no waiting"}));
}

PEEPER_SIM_TEST(coroutine, WorksInCastsInfosAndContinues) {
  const auto source = start<counter>(rt).value();
  const auto c = start<client>(rt, {}, source).value();
  c.cast(fetch_by_cast{});
  c.send(fetch_by_info{});
  c.cast(mark{"after"});
  EXPECT_EQ(c.call(look{}), (strings{"cast", "ok", "info", "continued", "after"}));
  EXPECT_EQ(source.call(get{}), 3);
}

PEEPER_SIM_TEST(coroutine, TakesNoOtherMessageWhileItWaits) {
  const auto source = start<counter>(rt).value();
  const auto c = start<client>(rt, {}, source).value();
  ASSERT_TRUE(suspend(source));
  auto fetched = c.ask(fetch{1h});
  c.cast(mark{"queued"});
  auto looked = c.ask(look{}, 1h);
  sim.advance(1min);
  EXPECT_FALSE(fetched.done());
  EXPECT_FALSE(looked.done());
  ASSERT_TRUE(resume(source));
  EXPECT_EQ(looked.get(), (strings{"asked", "got 1", "queued"}));
  EXPECT_EQ(fetched.get(), "1");
}

PEEPER_SIM_TEST(coroutine, DoesNotHoldAThreadWhileItWaits) {
  // One after the other they would take more threads than the simulation ever has.
  const auto source = start<counter>(rt).value();
  ASSERT_TRUE(suspend(source));
  std::vector<ref<client>> all;
  std::vector<pending<std::string>> asked;
  for (int i = 0; i < 500; ++i) {
    all.push_back(start<client>(rt, {}, source).value());
    asked.push_back(all.back().ask(fetch{1h}, infinity));
  }
  sim.run();
  ASSERT_TRUE(resume(source));
  for (auto& a : asked) EXPECT_TRUE(a.get());
  EXPECT_EQ(source.call(get{}), 500);
}

PEEPER_SIM_TEST(coroutine, TimesOutAndGoesOn) {
  const auto source = start<counter>(rt).value();
  const auto c = start<client>(rt, {}, source).value();
  ASSERT_TRUE(suspend(source));
  const time_point before = sim.now();
  EXPECT_EQ(c.call(fetch{300ms}), "timed_out");
  EXPECT_EQ(sim.now() - before, 300ms);
  EXPECT_EQ(c.call(fetch{0ms}), "timed_out");
  EXPECT_EQ(c.call(fetch{-1s}), "timed_out");
  EXPECT_EQ(sim.now() - before, 300ms);
  ASSERT_TRUE(resume(source));
  EXPECT_EQ(c.call(fetch{}), "1");  // what had expired was skipped
}

PEEPER_SIM_TEST(coroutine, IsToldWhenWhomItAskedCrashesOrStopsOrIsNotThere) {
  const auto source = start<counter>(rt).value();
  const auto c = start<client>(rt, {}, source).value();
  EXPECT_EQ(c.call(fetch_crashing{}), "crashed");
  ASSERT_TRUE(suspend(source));
  auto waiting = c.ask(fetch{});
  sim.run();
  ASSERT_TRUE(stop(source));
  EXPECT_EQ(waiting.get(), "stopped");
  EXPECT_EQ(c.call(fetch{}), "noproc");
  const auto nobody = start<client>(rt, {}, ref<counter>{}).value();
  EXPECT_EQ(nobody.call(fetch{}), "noproc");
}

PEEPER_SIM_TEST(coroutine, MayAwaitOtherTasksToAnyDepth) {
  const auto source = start<counter>(rt).value();
  const auto c = start<client>(rt, {}, source).value();
  EXPECT_EQ(c.call(fetch_nested{0}), 1);
  EXPECT_EQ(c.call(fetch_nested{20}), 22);
  EXPECT_EQ(c.call(nested_throw{}), "caught inside");
}

PEEPER_SIM_TEST(coroutine, ThatThrowsIsRolledBackWhole) {
  int gone = 0;
  const auto source = start<counter>(rt).value();
  const auto c = start<client>(rt, {}, source, &gone).value();
  const auto r = c.call(fetch_and_throw{});
  EXPECT_EQ(outcome(r), "crashed");
  EXPECT_EQ(r.error().reason().detail(), "after the await");
  EXPECT_EQ(gone, 1);
  EXPECT_EQ(c.call(look{}), strings{});
  EXPECT_EQ(source.call(get{}), 1);  // an awaited call has left
  EXPECT_EQ(c.call(fetch{}), "2");
}

PEEPER_SIM_TEST(coroutine, WhoseWorkerIsKilledWhileItWaitsIsDestroyedAndRolledBack) {
  int gone = 0;
  const auto source = start<counter>(rt).value();
  const auto c = start<client>(rt, {}, source, &gone).value();
  ASSERT_TRUE(suspend(source));
  auto asked = c.ask(fetch{1h}, infinity);
  c.cast(mark{"queued"});
  sim.run();
  EXPECT_EQ(gone, 0);
  ASSERT_TRUE(kill(worker_of(c)));
  const auto r = asked.get();
  ASSERT_EQ(outcome(r), "crashed");
  EXPECT_EQ(r.error().reason().kind(), exit_kind::killed);
  EXPECT_EQ(gone, 1);
  EXPECT_EQ(c.call(look{}), strings{"queued"});
  ASSERT_TRUE(resume(source));
  sim.run();
  EXPECT_EQ(c.call(look{}), strings{"queued"});  // the answer that came late woke nobody
  EXPECT_EQ(c.call(fetch{}), "2");
}

PEEPER_SIM_TEST(coroutine, IsEndedByAStopOnlyWhenItIsOverButByAnEndAtOnce) {
  int gone = 0;
  const auto source = start<counter>(rt).value();
  const auto c = start<client>(rt, {}, source, &gone).value();
  ASSERT_TRUE(suspend(source));
  auto asked = c.ask(fetch{1h}, infinity);
  sim.run();
  // stop is a message: it waits its turn, as in OTP.
  const auto stopped = stop(c, exit_reason::normal(), 1s);
  ASSERT_FALSE(stopped);
  EXPECT_EQ(stopped.error().code, stop_errc::timed_out);
  ASSERT_TRUE(kill(c.pid()));
  const auto r = asked.get();
  EXPECT_EQ(outcome(r), "stopped");
  EXPECT_EQ(gone, 1);
  EXPECT_FALSE(c.alive());
  ASSERT_TRUE(resume(source));
  sim.run();
}

PEEPER_SIM_TEST(coroutine, IsEndedByTheRuntimesShutdown) {
  int gone = 0;
  const auto source = start<counter>(rt).value();
  const auto c = start<client>(rt, {}, source, &gone).value();
  ASSERT_TRUE(suspend(source));
  auto asked = c.ask(fetch{1h}, infinity);
  sim.run();
  EXPECT_TRUE(rt.shutdown());
  EXPECT_EQ(outcome(asked.get()), "stopped");
  EXPECT_EQ(gone, 1);
}

PEEPER_SIM_TEST(coroutine, ThatIsCutOffByAShutdownIsUndoneBeforeTerminateLooks) {
  struct trapping {
    using state = int;
    ref<counter> source;
    int* last_seen;
    task<int> handle_call(get, state& n) {
      n = -1;
      co_return (co_await source.ask(add_and_get{}, infinity)).value_or(0);
    }
    void handle_cast(add, const state&) { trap_exit(true); }
    void terminate(const exit_reason&, const state& n) { *last_seen = n; }
  };
  const auto source = start<counter>(rt).value();
  int last_seen = 0;
  const auto t = start<trapping>(rt, {.state = 7}, source, &last_seen).value();
  t.cast(add{});
  ASSERT_TRUE(suspend(source));
  auto asked = t.ask(get{}, infinity);
  sim.run();
  EXPECT_TRUE(rt.shutdown());
  EXPECT_EQ(last_seen, 7);
  EXPECT_EQ(outcome(asked.get()), "stopped");
}

PEEPER_SIM_TEST(coroutine, MayStopItsServer) {
  const auto source = start<counter>(rt).value();
  const auto c = start<client>(rt, {}, source).value();
  EXPECT_EQ(c.call(fetch_and_stop{}), 1);
  sim.run();
  EXPECT_FALSE(c.alive());
}

PEEPER_SIM_TEST(coroutine, IsRolledBackByACrashAtAnyOfItsPoints) {
  for (const char* point : {"callback.done", "committed", "published"}) {
    const auto source = start<counter>(rt).value();
    const auto c = start<client>(rt, {}, source).value();
    EXPECT_EQ(c.call(fetch{}), "1");
    // The second time from here: the first is the counter's callback.
    sim.choose(2) == 0 ? sim.crash_at(point, 2) : sim.kill_at(point, 2);
    const auto r = c.call(fetch{});
    const bool before_commit = std::string{point} == "callback.done";
    EXPECT_EQ(outcome(r), before_commit ? "crashed" : "ok") << point;
    EXPECT_EQ(c.call(look{}), before_commit ? (strings{"asked", "got 1"})
                                            : (strings{"asked", "got 1", "asked", "got 2"}));
    EXPECT_EQ(statistics_of(c)->restarts, 1U);
  }
}

PEEPER_SIM_TEST(coroutine, ThatIsRetriedStartsAfresh) {
  struct twice {
    using state = int;
    ref<counter> source;
    int* tries;
    task<int> handle_call(const get&, state& n) {
      ++n;
      const auto r = co_await source.ask(add_and_get{});
      if (++*tries < 3) throw std::runtime_error{"again"};
      co_return n * 100 + r.value();
    }
  };
  int tries = 0;
  const auto source = start<counter>(rt).value();
  const auto t = start<twice>(rt, {.on_crash = on_crash::retry(5)}, source, &tries).value();
  EXPECT_EQ(t.call(get{}), 103);
}

}  // namespace
}  // namespace peeper
