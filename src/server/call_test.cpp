// SPDX-License-Identifier: Apache-2.0
/// What a call may answer: the reply, or one error for each outcome a caller can tell apart (P8).
#include <chrono>
#include <limits>
#include <memory>
#include <string>
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

// --- handlers in all their forms -----------------------------------------------------------------

struct by_value {
  using reply = std::string;
  std::string text;
};
struct by_const_ref {
  using reply = std::string;
  std::string text;
};
struct by_rvalue {
  using reply = std::string;
  std::unique_ptr<std::string> text;
};
struct without_state {
  using reply = int;
};
struct nothing_to_say {
  using reply = void;
};
struct boxed {
  using reply = std::unique_ptr<int>;
  int n;
};
struct convertible {
  using reply = std::string;
};

struct forms {
  using state = int;
  std::string handle_call(by_value m, state& n) { return m.text + std::to_string(++n); }
  std::string handle_call(const by_const_ref& m, const state& n) {
    return m.text + std::to_string(n);
  }
  std::string handle_call(by_rvalue&& m, state& n) { return *m.text + std::to_string(++n); }
  int handle_call(without_state) { return 7; }
  void handle_call(nothing_to_say, state& n) { n = 100; }
  std::unique_ptr<int> handle_call(boxed m, const state&) { return std::make_unique<int>(m.n); }
  const char* handle_call(convertible, const state&) { return "a literal"; }
};

PEEPER_SIM_TEST(call, AnswersFromHandlersOfEveryForm) {
  const auto s = start<forms>(rt).value();
  EXPECT_EQ(s.call(by_value{"a"}), "a1");
  EXPECT_EQ(s.call(by_const_ref{"b"}), "b1");
  EXPECT_EQ(s.call(by_rvalue{std::make_unique<std::string>("c")}), "c2");
  EXPECT_EQ(s.call(without_state{}), 7);
  EXPECT_TRUE(s.call(nothing_to_say{}).has_value());
  EXPECT_EQ(s.call(by_const_ref{"d"}), "d100");
  EXPECT_EQ(*s.call(boxed{5}).value(), 5);
  EXPECT_EQ(s.call(convertible{}), "a literal");
}

PEEPER_SIM_TEST(call, ComesAfterTheSendersEarlierCasts) {
  const auto c = start<counter>(rt).value();
  for (int i = 1; i <= 50; ++i) {
    c.cast(add{});
    if (sim.choose(3) == 0) {
      EXPECT_EQ(c.call(get{}), i);
    }
  }
  EXPECT_EQ(c.call(get{}), 50);
}

// --- nobody there --------------------------------------------------------------------------------

TEST(call, OfARefThatNamesNothingSaysNoproc) {
  const ref<counter> none;
  EXPECT_EQ(outcome(none.call(get{})), "noproc");
  EXPECT_EQ(outcome(none.call(get{}, 0ms)), "noproc");
  EXPECT_EQ(outcome(none.ask(get{}).get()), "noproc");
  auto asked = none.ask(get{});
  ASSERT_TRUE(asked.done());
  EXPECT_EQ(outcome(asked.wait_for(1s).value()), "noproc");
  bool told = false;
  none.ask(get{}).then([&](const auto& r) { told = outcome(r) == "noproc"; });
  EXPECT_TRUE(told);
  EXPECT_EQ(none.try_cast(add{}).error(), cast_error::gone);
  none.cast(add{});
  EXPECT_FALSE(none.alive());
  EXPECT_FALSE(none.pid());
}

PEEPER_SIM_TEST(call, OfAStoppedServerSaysNoprocAtOnce) {
  const auto c = start<counter>(rt, {.name = "gone"}).value();
  ASSERT_TRUE(stop(c));
  const time_point before = sim.now();
  const auto r = c.call(get{});
  EXPECT_EQ(outcome(r), "noproc");
  EXPECT_TRUE(r.error().not_delivered());
  EXPECT_NE(r.error().what().find("'gone'"), std::string::npos) << r.error().what();
  EXPECT_EQ(sim.now(), before);
  EXPECT_FALSE(c.alive());
}

PEEPER_SIM_TEST(call, ThatWaitsInTheQueueOfAServerThatStopsSaysStoppedAndWhy) {
  const auto c = start<counter>(rt).value();
  ASSERT_TRUE(suspend(c));
  auto waiting = c.ask(get{}, infinity);
  ASSERT_TRUE(stop(c, exit_reason::stopped("closing time")));
  const auto r = waiting.get();
  ASSERT_EQ(outcome(r), "stopped");
  EXPECT_EQ(r.error().reason(), exit_reason::stopped("closing time"));
  EXPECT_TRUE(r.error().not_delivered());
}

PEEPER_SIM_TEST(call, OfARestartingServerWaitsForItToComeBack) {
  const auto c = start<counter>(rt, {.state = 3, .backoff = {.min = 500ms, .max = 500ms}}).value();
  EXPECT_EQ(outcome(c.call(crash_call{})), "crashed");
  EXPECT_TRUE(c.alive());
  const time_point before = sim.now();
  EXPECT_EQ(c.call(get{}), 3);
  EXPECT_GE(sim.now() - before, 250ms);  // jitter takes at most half of the pause away
  EXPECT_LE(sim.now() - before, 500ms);
}

PEEPER_SIM_TEST(call, OfARestartingServerMayTimeOutAndIsThenSkipped) {
  const auto c = start<counter>(rt, {.backoff = {.min = 10s, .max = 10s}}).value();
  EXPECT_EQ(outcome(c.call(crash_call{})), "crashed");
  EXPECT_EQ(outcome(c.call(add_and_get{}, 1s)), "timed_out");
  EXPECT_EQ(c.call(get{}, infinity), 0);
  EXPECT_EQ(statistics_of(c)->expired, 1U);
}

// --- time ----------------------------------------------------------------------------------------

PEEPER_SIM_TEST(call, WithAZeroOrNegativeTimeOutIsNotWaitedFor) {
  const auto c = start<counter>(rt).value();
  for (const duration limit : {duration{0}, duration{-1}, -duration{5s}, duration::min()}) {
    const time_point before = sim.now();
    const auto r = c.call(get{}, limit);
    EXPECT_EQ(outcome(r), "timed_out");
    EXPECT_FALSE(r.error().not_delivered());
    EXPECT_EQ(sim.now(), before);
  }
  EXPECT_EQ(c.call(get{}), 0);
}

PEEPER_SIM_TEST(call, TimesOutAtItsDeadlineAndNotBefore) {
  const auto c = start<counter>(rt, {.name = "slow"}).value();
  ASSERT_TRUE(suspend(c));
  const time_point before = sim.now();
  const auto r = c.call(get{});
  EXPECT_EQ(outcome(r), "timed_out");
  EXPECT_EQ(sim.now() - before, default_call_timeout);
  EXPECT_NE(r.error().what().find("'slow'"), std::string::npos);
}

PEEPER_SIM_TEST(call, WhoseDeadlinePassedInTheQueueIsSkipped) {
  const auto c = start<counter>(rt).value();
  ASSERT_TRUE(suspend(c));
  EXPECT_EQ(outcome(c.call(add_and_get{}, 100ms)), "timed_out");
  EXPECT_EQ(outcome(c.call(add_and_get{}, 0ms)), "timed_out");
  auto patient = c.ask(add_and_get{10}, 1h);
  ASSERT_TRUE(resume(c));
  EXPECT_EQ(patient.get(), 10);  // the two others were not handled
  const auto s = statistics_of(c).value();
  EXPECT_EQ(s.expired, 2U);
  EXPECT_EQ(s.handled, 1U);
}

PEEPER_SIM_TEST(call, ThatExpiredTellsAWaiterWithoutATimeOutOfItsOwn) {
  const auto c = start<counter>(rt).value();
  ASSERT_TRUE(suspend(c));
  std::string told;
  c.ask(add_and_get{}, 100ms).then([&told](const auto& r) { told = outcome(r); });
  sim.advance(1s);
  EXPECT_EQ(told, "");
  ASSERT_TRUE(resume(c));
  sim.run();
  EXPECT_EQ(told, "expired");
}

PEEPER_SIM_TEST(call, WithInfinityWaitsForDays) {
  const auto c = start<counter>(rt).value();
  ASSERT_TRUE(suspend(c));
  const auto helper = sim.thread([&, woken = sim.now() + 48h] {
    parker nobody;
    sim.env().park(nobody, woken);
    ASSERT_TRUE(resume(c));
  });
  EXPECT_EQ(c.call(get{}, infinity), 0);
  EXPECT_EQ(sim.now(), time_point{48h});
}

PEEPER_SIM_TEST(call, TakesAReplyThatIsThereWhenTheTimeHasRunOut) {
  const auto c = start<counter>(rt, {.state = 4}).value();
  auto asked = c.ask(get{}, 10ms);
  sim.run();
  sim.advance(1s);
  EXPECT_EQ(asked.get(), 4);
  auto again = c.ask(get{}, 10ms);
  sim.run();
  EXPECT_EQ(again.wait_for(0ms).value(), 4);
}

// --- deadlines travel ----------------------------------------------------------------------------

struct time_left {
  using reply = duration;
};
struct ask_next_by_call {
  using reply = duration;
};
struct ask_next_by_call_for_an_hour {
  using reply = duration;
};
struct ask_next_by_ask {
  using reply = duration;
};
struct ask_next_by_await {
  using reply = duration;
};
struct send_next_off {};

struct clockwork {
  using state = std::int64_t;
  environment* env;
  ref<clockwork> next;

  duration handle_call(time_left, const state&) {
    return current_deadline() == time_point::max() ? infinity : current_deadline() - env->now();
  }
  duration handle_call(ask_next_by_call, const state&) { return next.call(time_left{}).value(); }
  duration handle_call(ask_next_by_call_for_an_hour, const state&) {
    return next.call(time_left{}, 1h).value();
  }
  duration handle_call(ask_next_by_ask, const state&) {
    return next.ask(time_left{}).get().value();
  }
  task<duration> handle_call(ask_next_by_await, const state&) {
    co_return (co_await next.ask(time_left{})).value();
  }
  void handle_cast(send_next_off, state& n) { n = next.call(time_left{}).value().count(); }
};

PEEPER_SIM_TEST(call, PassesOnWhatIsLeftOfTheCallersTime) {
  environment* const env = &sim.env();
  const auto b = start<clockwork>(rt, {}, env, ref<clockwork>{}).value();
  const auto a = start<clockwork>(rt, {}, env, b).value();
  EXPECT_EQ(a.call(time_left{}), default_call_timeout);
  EXPECT_EQ(a.call(time_left{}, 2s), 2s);
  EXPECT_EQ(a.call(time_left{}, infinity), infinity);
  EXPECT_EQ(a.call(ask_next_by_call{}, 2s), 2s);
  EXPECT_EQ(a.call(ask_next_by_ask{}, 2s), 2s);
  EXPECT_EQ(a.call(ask_next_by_await{}, 2s), 2s);
  // The caller has more than the default: then the default it is.
  EXPECT_EQ(a.call(ask_next_by_call{}, 1h), default_call_timeout);
  // Said is said.
  EXPECT_EQ(a.call(ask_next_by_call_for_an_hour{}, 2s), 1h);
  a.cast(send_next_off{});
  EXPECT_EQ(inspect(a, [](const auto& n) { return duration{n}; }), default_call_timeout);
}

// --- oneself, and circles ------------------------------------------------------------------------

struct style {
  enum kind : std::uint8_t { call, ask, await };
};
struct hop {
  using reply = std::string;
  std::vector<style::kind> left;
};
struct hop_in_coroutine {
  using reply = std::string;
  std::vector<style::kind> left;
};
struct relay;
struct set_next {
  ref<relay> next;
};

/// Passes a call along a chain, each hop by a call, an ask, or a co_await.
struct relay {
  using state = int;
  ref<relay> next;

  static std::string tell(const std::expected<std::string, call_error>& r) {
    if (r) return *r;
    return outcome(r) + " " + std::string{r.error().path()};
  }
  static std::vector<style::kind> rest(const std::vector<style::kind>& left) {
    return {left.begin() + 1, left.end()};
  }
  void handle_cast(const set_next& m, const state&) { next = m.next; }
  std::string handle_call(const hop& m, state& n) {
    ++n;
    if (m.left.empty()) return "reached the end";
    const bool await_next = m.left.size() > 1 && m.left[1] == style::await;
    if (m.left[0] == style::ask) {
      return tell(await_next ? next.ask(hop_in_coroutine{rest(m.left)}).get()
                             : next.ask(hop{rest(m.left)}).get());
    }
    return tell(await_next ? next.call(hop_in_coroutine{rest(m.left)})
                           : next.call(hop{rest(m.left)}));
  }
  task<std::string> handle_call(const hop_in_coroutine& m, state& n) {
    ++n;
    if (m.left.empty()) co_return "reached the end";
    const bool await_next = m.left.size() > 1 && m.left[1] == style::await;
    auto asked =
        await_next ? next.ask(hop_in_coroutine{rest(m.left)}) : next.ask(hop{rest(m.left)});
    co_return tell(co_await std::move(asked));
  }
};

std::vector<ref<relay>> circle_of(runtime& rt, int n) {
  std::vector<ref<relay>> all;
  for (int i = 0; i < n; ++i) {
    all.push_back(start<relay>(rt, {.name = std::string(1, static_cast<char>('a' + i))}).value());
  }
  for (int i = 0; i < n; ++i) {
    all[static_cast<std::size_t>(i)].cast(set_next{all[static_cast<std::size_t>((i + 1) % n)]});
  }
  return all;
}

std::string run_hops(const ref<relay>& first, const std::vector<style::kind>& hops) {
  return relay::tell(hops.front() == style::await ? first.call(hop_in_coroutine{hops}, infinity)
                                                  : first.call(hop{hops}, infinity));
}

PEEPER_SIM_TEST(call, OfOneselfIsRefused) {
  const auto a = circle_of(rt, 1).front();
  for (const auto how : {style::call, style::ask, style::await}) {
    const time_point before = sim.now();
    EXPECT_EQ(run_hops(a, {how}), "calling_self ");
    EXPECT_EQ(sim.now(), before);
  }
}

PEEPER_SIM_TEST(call, ThatClosesACircleIsRefusedWithThePath) {
  for (const auto one : {style::call, style::ask, style::await}) {
    for (const auto two : {style::call, style::ask, style::await}) {
      const auto servers = circle_of(rt, 2);
      const time_point before = sim.now();
      EXPECT_EQ(run_hops(servers[0], {one, two}), "cycle b -> a -> b") << one << ' ' << two;
      EXPECT_EQ(sim.now(), before);
      for (const auto& s : servers) EXPECT_TRUE(stop(s));
    }
  }
}

PEEPER_SIM_TEST(call, ThatClosesACircleOfThreeIsRefusedWithThePath) {
  const auto servers = circle_of(rt, 3);
  for (int i = 0; i < 27; ++i) {
    const std::vector<style::kind> hops{static_cast<style::kind>(i % 3),
                                        static_cast<style::kind>(i / 3 % 3),
                                        static_cast<style::kind>(i / 9)};
    const time_point before = sim.now();
    EXPECT_EQ(run_hops(servers[0], hops), "cycle c -> a -> b -> c") << i;
    EXPECT_EQ(sim.now(), before);
  }
  // Nobody is left waiting for anybody.
  EXPECT_EQ(run_hops(servers[0], {style::call, style::await}), "reached the end");
}

PEEPER_SIM_TEST(call, ThatClosesACircleFromSeveralSidesIsRefusedForOneOfThem) {
  const auto servers = circle_of(rt, 3);
  std::vector<std::string> told(3);
  {
    std::vector<std::unique_ptr<environment::thread>> threads;
    for (std::size_t i = 0; i < 3; ++i) {
      threads.push_back(sim.thread([&, i, how = static_cast<style::kind>(sim.choose(3))] {
        told[i] = run_hops(servers[i], {how});
      }));
    }
  }
  // One hop each: whether they meet is up to the seed; nobody may wait for ever, and who is
  // refused is told a real circle.
  for (const auto& t : told) {
    EXPECT_TRUE(t == "reached the end" || t.starts_with("cycle ")) << t;
  }
  EXPECT_LT(sim.now(), time_point{default_call_timeout});
}

PEEPER_SIM_TEST(call, OverManyPathsToTheSameServerIsNoCircle) {
  // a -> b -> d, a -> c -> d, and clients at every node.
  const auto d = start<relay>(rt, {.name = "d"}).value();
  const auto b = start<relay>(rt, {.name = "b"}).value();
  const auto c = start<relay>(rt, {.name = "c"}).value();
  const auto a1 = start<relay>(rt, {.name = "a1"}).value();
  const auto a2 = start<relay>(rt, {.name = "a2"}).value();
  b.cast(set_next{d});
  c.cast(set_next{d});
  a1.cast(set_next{b});
  a2.cast(set_next{c});
  std::vector<std::unique_ptr<environment::thread>> threads;
  for (int t = 0; t < 6; ++t) {
    threads.push_back(sim.thread([&, t] {
      for (int i = 0; i < 5; ++i) {
        const auto first = static_cast<style::kind>((t + i) % 3);
        const auto second = static_cast<style::kind>((t / 2 + i) % 3);
        EXPECT_EQ(run_hops(t % 2 == 0 ? a1 : a2, {first, second}), "reached the end");
        EXPECT_EQ(run_hops(t % 2 == 0 ? b : c, {second}), "reached the end");
      }
    }));
  }
}

PEEPER_SIM_TEST(call, AlongAHundredServersIsAnswered) {
  std::vector<ref<relay>> all(100);
  for (std::size_t i = all.size(); i-- > 0;) {
    all[i] = start<relay>(rt).value();
    if (i + 1 < all.size()) all[i].cast(set_next{all[i + 1]});
  }
  EXPECT_EQ(run_hops(all.front(), std::vector<style::kind>(all.size() - 1, style::call)),
            "reached the end");
}

// --- crashes -------------------------------------------------------------------------------------

struct not_an_exception {
  int code;
};
struct throw_int {
  using reply = int;
};
struct throw_text {
  using reply = int;
};
struct throw_string {
  using reply = int;
};
struct throw_custom {
  using reply = int;
};
struct throw_reason {
  using reply = int;
};
struct throw_null {
  using reply = int;
};

struct thrower {
  using state = int;
  int handle_call(throw_int, state& n) { ++n, throw 42; }
  int handle_call(throw_text, state& n) { ++n, throw "a literal"; }
  int handle_call(throw_string, state& n) { ++n, throw std::string{"a string"}; }
  int handle_call(throw_custom, state& n) { ++n, throw not_an_exception{3}; }
  int handle_call(throw_reason, state& n) { ++n, throw exit_reason::stopped("my reason"); }
  int handle_call(throw_null, state& n) { ++n, throw static_cast<const char*>(nullptr); }
  int handle_call(get, const state& n) { return n; }
};

PEEPER_SIM_TEST(call, WhoseHandlerThrowsAnythingSaysCrashedAndWhat) {
  const auto s = start<thrower>(rt, {.name = "thrower"}).value();
  const auto reason_of = [&](auto message) {
    const auto r = s.call(message);
    EXPECT_EQ(outcome(r), "crashed");
    if (r) return std::string{};
    EXPECT_FALSE(r.error().not_delivered());
    EXPECT_NE(r.error().what().find("'thrower'"), std::string::npos);
    return r.error().reason().to_string();
  };
  EXPECT_EQ(reason_of(throw_int{}), "exception: int");
  EXPECT_EQ(reason_of(throw_text{}), "exception: a literal");
  EXPECT_EQ(reason_of(throw_string{}), "exception: a string");
  EXPECT_NE(reason_of(throw_custom{}).find("not_an_exception"), std::string::npos);
  EXPECT_EQ(reason_of(throw_reason{}), "stopped: my reason");
  EXPECT_EQ(reason_of(throw_null{}), "exception: null");
  EXPECT_EQ(s.call(get{}), 0);
}

/// Throws from the nth move or copy on.
struct touchy {
  using reply = int;
  explicit touchy(int n) : left{n} {}
  touchy(const touchy& other) : left{other.left} { count(); }
  touchy(touchy&& other) : left{other.left} { count(); }  // NOLINT(performance-noexcept-move-*)
  touchy& operator=(const touchy&) = delete;
  ~touchy() = default;
  void count() {
    if (--left < 0) throw std::runtime_error{"moved too often"};
  }
  int left;
};
struct touchy_by_rvalue : touchy {
  using touchy::touchy;
};
struct touchy_server {
  using state = int;
  int handle_call(touchy, state& n) { return ++n; }
  int handle_call(touchy_by_rvalue&& m, state& n) {
    const touchy_by_rvalue taken{std::move(m)};
    return ++n;
  }
  void handle_cast(touchy, state& n) { ++n; }
  void handle_info(touchy, state& n) { ++n; }
  int handle_call(get, const state& n) { return n; }
};

PEEPER_SIM_TEST(call, OfAMessageThatThrowsWhenMovedThrowsAtTheCallerOrCrashesTheHandler) {
  const auto s = start<touchy_server>(rt).value();
  int thrown = 0;
  int crashed = 0;
  int answered = 0;
  for (int n = 0; n < 8; ++n) {
    try {
      const auto r = s.call(touchy{n});
      r ? ++answered : ++crashed;
    } catch (const std::runtime_error&) {
      ++thrown;
    }
    try {
      const auto r = s.call(touchy_by_rvalue{n});
      r ? ++answered : ++crashed;
    } catch (const std::runtime_error&) {
      ++thrown;
    }
    try {
      s.cast(touchy{n});
      s.send(touchy{n});
    } catch (const std::runtime_error&) {
      ++thrown;
    }
  }
  sim.run();
  EXPECT_GT(thrown, 0);
  EXPECT_GT(crashed, 0);
  EXPECT_GT(answered, 0);
  const auto statistics = statistics_of(s).value();
  EXPECT_EQ(s.call(get{}), static_cast<int>(statistics.handled));
  EXPECT_EQ(statistics.queued, 0U);
}

/// A reply that cannot be made.
struct brittle_reply {
  brittle_reply() = default;
  brittle_reply(const brittle_reply&) { throw std::runtime_error{"no copies"}; }
};
struct get_brittle {
  using reply = brittle_reply;
};
struct brittle_server {
  using state = int;
  brittle_reply handle_call(get_brittle, state& n) {
    n = 1;
    return {};
  }
  int handle_call(get, const state& n) { return n; }
};

PEEPER_SIM_TEST(call, WhoseReplyThrowsWhenMovedCrashesTheHandler) {
  const auto s = start<brittle_server>(rt).value();
  EXPECT_EQ(outcome(s.call(get_brittle{})), "crashed");
  EXPECT_EQ(s.call(get{}), 0);
}

}  // namespace
}  // namespace peeper
