// SPDX-License-Identifier: Apache-2.0
/// \file
/// P2, over every kind of callback and every way to crash: a callback that has touched everything
/// it can touch and then crashes leaves no trace. The same callback without the crash leaves all
/// of them, so that the test is known to look.
#include <map>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

#include <gtest/gtest.h>

#include <peeper/kept.hpp>
#include <peeper/peeper.hpp>
#include <peeper/sim.hpp>

#include "core/runtime_core.hpp"
#include "support/sim_test.hpp"

namespace peeper::test {
namespace {

using namespace std::chrono_literals;

enum class way {
  none,
  exception,
  number,
  text,
  nameless,
  no_memory,
  invariant,
  killed,
  killed_with_keeper,
  injected,
  injected_kill,
};
enum class kind { call, cast, info, continuation, timeout, slow_call, slow_cast };

constexpr way all_ways[] = {way::exception, way::number,       way::text,   way::nameless,
                            way::no_memory, way::invariant,    way::killed, way::killed_with_keeper,
                            way::injected,  way::injected_kill};
constexpr kind all_kinds[] = {kind::call,    kind::cast,      kind::info,     kind::continuation,
                              kind::timeout, kind::slow_call, kind::slow_cast};

std::string name_of(way w) {
  static const std::map<way, std::string> names{{way::none, "nothing"},
                                                {way::exception, "exception"},
                                                {way::number, "number"},
                                                {way::text, "text"},
                                                {way::nameless, "nameless"},
                                                {way::no_memory, "no_memory"},
                                                {way::invariant, "invariant"},
                                                {way::killed, "kill"},
                                                {way::killed_with_keeper, "kill_with_keeper"},
                                                {way::injected, "injected_crash"},
                                                {way::injected_kill, "injected_kill"}};
  return names.at(w);
}
std::string name_of(kind k) {
  static const std::map<kind, std::string> names{
      {kind::call, "call"},          {kind::cast, "cast"},
      {kind::info, "info"},          {kind::continuation, "continue"},
      {kind::timeout, "timeout"},    {kind::slow_call, "slow_call"},
      {kind::slow_cast, "slow_cast"}};
  return names.at(k);
}
exit_kind expected_kind(way w) {
  switch (w) {
    case way::invariant: return exit_kind::invariant;
    case way::killed:
    case way::killed_with_keeper:
    case way::injected_kill: return exit_kind::killed;
    default: return exit_kind::exception;
  }
}

// --- who hears of it, if anything leaves
struct note {
  std::string text;
};
struct ping {
  using reply = int;
};
struct witness {
  using state = std::vector<std::string>;
  using infos = types<note>;
  void handle_cast(const note& m, state& s) { s.push_back("cast " + m.text); }
  void handle_info(const note& m, state& s) { s.push_back("info " + m.text); }
  int handle_call(ping, state& s) {
    s.emplace_back("ping");
    return 1;
  }
};
struct helper {
  struct state {};
  int handle_call(ping) { return 1; }
};

// --- who crashes
struct document {
  int plain = 0;
  std::string text = "as it was";
  bool broken = false;
  kept_value<int> value;
  kept_vector<int> list;
  kept_deque<int> queue;
  kept_map<std::string, int> map;
  kept_ordered_map<int, std::string> ordered;
  kept_set<int> set;
  kept_ordered_set<int> ordered_set;
  timer_id standing;
  int ticks = 0;
  int downs = 0;
  int exits = 0;
  friend bool operator==(const document&, const document&) = default;
};
bool valid(const document& d) { return !d.broken; }

struct nobody_knows {};

struct upset {
  way how = way::none;
  ref<witness> other;
  ref<helper> slow;
};
struct upset_call : upset {
  using reply = int;
};
struct upset_slowly : upset {};
struct upset_call_slowly : upset {
  using reply = int;
};
struct then : upset {};
struct arm : upset {};
struct tick {};
struct set_up {};
struct wait_for_answer {
  using reply = std::string;
};
struct words {
  using reply = std::map<std::string, int>;
};

class writer {
 public:
  using state = document;

  void handle_cast(set_up, state& s) {
    s.value = 1;
    s.list.push_back(1);
    s.queue.push_back(1);
    s.map.insert_or_assign("old", 1);
    s.map.insert_or_assign("older", 1);
    s.ordered.insert_or_assign(1, "one");
    s.set.insert(1);
    s.ordered_set.insert(1);
    dictionary().put("old", 1);
    dictionary().put("older", 1);
    s.standing = send_after(self<writer>(), 1h, tick{});
  }
  void handle_call(wait_for_answer, from<std::string> caller, state&) {
    waiting_ = std::move(caller);
  }
  std::map<std::string, int> handle_call(words, const state&) {
    std::map<std::string, int> all;
    for (const std::string& key : dictionary().keys()) {
      all.emplace(key, dictionary().get<int>(key).value());
    }
    return all;
  }

  int handle_call(const upset_call& m, state& s) {
    touch_everything(m, s);
    crash(m.how, s);
    return 1;
  }
  void handle_cast(const upset& m, state& s) {
    touch_everything(m, s);
    crash(m.how, s);
  }
  void handle_info(const upset& m, state& s) {
    touch_everything(m, s);
    crash(m.how, s);
  }
  auto handle_cast(const then& m, state&) { return noreply(continue_with(upset{m})); }
  void handle_continue(const upset& m, state& s) {
    touch_everything(m, s);
    crash(m.how, s);
  }
  auto handle_cast(const arm& m, state&) {
    armed_ = m;
    return noreply(timeout{5ms});
  }
  void handle_info(timeout_message, state& s) {
    touch_everything(armed_, s);
    crash(armed_.how, s);
  }
  task<int> handle_call(const upset_call_slowly& m, state& s) {
    touch_everything(m, s);
    std::ignore = co_await m.slow.ask(ping{});
    ++s.plain;
    s.list.push_back(3);
    crash(m.how, s);
    co_return 1;
  }
  task<void> handle_cast(const upset_slowly& m, state& s) {
    touch_everything(m, s);
    std::ignore = co_await m.slow.ask(ping{});
    ++s.plain;
    s.list.push_back(3);
    crash(m.how, s);
  }

  void handle_info(tick, state& s) { ++s.ticks; }
  void handle_info(const down&, state& s) { ++s.downs; }
  void handle_info(const exit_signal&, state& s) { ++s.exits; }

 private:
  void touch_everything(const upset& m, state& s) {
    const auto me = self<writer>();
    ++s.plain;
    s.text += ", and more";
    s.value = 2;
    s.list.push_back(2);
    s.list[0] = 3;
    s.queue.push_front(2);
    s.map.insert_or_assign("new", 2);
    s.map.insert_or_assign("old", 2);
    s.map.erase("older");
    s.ordered.insert_or_assign(2, "two");
    s.ordered.erase(1);
    s.set.insert(2);
    s.ordered_set.clear();
    dictionary().put("new", 2);
    dictionary().put("old", 2);
    dictionary().erase("older");
    m.other.cast(note{"cast"});
    m.other.send(note{"sent"});
    peeper::send(m.other.pid(), note{"sent to the pid"});
    std::ignore = m.other.ask(ping{});
    send_after(me, 1ms, tick{});
    send_interval(me, 1ms, tick{});
    cancel_timer(me, s.standing);
    monitor(m.other);
    link(m.other);
    trap_exit(true);
    waiting_.reply("answered");
  }
  static void crash(way how, state& s) {
    switch (how) {
      case way::none:
      case way::injected:
      case way::injected_kill: return;
      case way::exception: throw std::runtime_error{"unlucky"};
      case way::number: throw 13;
      case way::text: throw "unlucky";
      case way::nameless: throw nobody_knows{};
      case way::no_memory: throw std::bad_alloc{};
      case way::invariant: s.broken = true; return;
      case way::killed: kill(worker_of(self<writer>())); return;
      case way::killed_with_keeper:
        kill(keeper_of(self<writer>()));
        kill(worker_of(self<writer>()));
        return;
    }
  }
  from<std::string> waiting_;
  upset armed_;
};

const std::map<std::string, int> words_before{{"old", 1}, {"older", 1}};

/// Runs the callback that touches everything and then crashes as `how` says.
/// RETURNS: what its caller was told, for calls.
std::optional<std::expected<int, call_error>> run_it(simulation& sim, const ref<writer>& server,
                                                     kind which, const upset& m) {
  const bool second = which != kind::call && which != kind::cast && which != kind::info;
  if (m.how == way::injected) sim.crash_at("callback.done", second ? 2 : 1);
  if (m.how == way::injected_kill) sim.kill_at("callback.done", second ? 2 : 1);
  std::optional<std::expected<int, call_error>> told;
  switch (which) {
    case kind::call: told = server.call(upset_call{m}); break;
    case kind::cast: server.cast(upset{m}); break;
    case kind::info: server.send(upset{m}); break;
    case kind::continuation: server.cast(then{m}); break;
    case kind::timeout:
      server.cast(arm{m});
      sim.run();
      sim.advance(5ms);
      break;
    case kind::slow_call: told = server.call(upset_call_slowly{m}); break;
    case kind::slow_cast: server.cast(upset_slowly{m}); break;
  }
  sim.run();
  return told;
}

class a_crashed_callback : public testing::TestWithParam<std::tuple<kind, way>> {};

void leaves_no_trace(simulation& sim, runtime& rt, kind which, way how) {
  const auto server = start<writer>(rt, {.name = "writer"}).value();
  const auto other = start<witness>(rt).value();
  const auto slow = start<helper>(rt).value();
  server.cast(set_up{});
  auto waiting = server.ask(wait_for_answer{});
  const auto before = inspect(server, [](const document& d) { return d; }).value();
  ASSERT_EQ(before.list.size(), 1U);
  const std::uint64_t crashes_before = statistics_of(server).value().crashes;
  ASSERT_EQ(rt.core().timers().pending(), 1U);

  const auto told = run_it(sim, server, which, upset{how, other, slow});

  if (which == kind::call || which == kind::slow_call) {
    ASSERT_TRUE(told.has_value());
    ASSERT_FALSE(told->has_value()) << "a reply, though its callback crashed";
    EXPECT_EQ(told->error().code(), call_errc::crashed);
    EXPECT_EQ(told->error().reason().kind(), expected_kind(how));
  }
  const auto statistics = statistics_of(server).value();
  EXPECT_EQ(statistics.crashes, crashes_before + 1);
  EXPECT_EQ(statistics.poison, 1U);
  EXPECT_TRUE(inspect(server, [&](const document& d) { return d == before; }).value());
  EXPECT_EQ(server.call(words{}).value(), words_before);
  EXPECT_EQ(rt.core().timers().pending(), 1U) << "only the standing timer, and that one still";
  sim.advance(1s);
  EXPECT_EQ(inspect(other, [](const auto& s) { return s; }).value(), witness::state{});
  // The from was in a member of the worker that died.
  const auto answer = waiting.get();
  ASSERT_FALSE(answer.has_value());
  EXPECT_EQ(answer.error().code(), call_errc::not_answered);
  // No monitor, no link, no trap flag.
  std::ignore = stop(other, exit_reason::stopped("for the test"));
  sim.advance(1s);
  EXPECT_TRUE(inspect(server, [&](const document& d) { return d == before; }).value());
  EXPECT_EQ(statistics_of(server).value().crashes, crashes_before + 1);
  // And it works on.
  const auto again = start<witness>(rt).value();
  EXPECT_EQ(server.call(upset_call{{way::none, again, slow}}), 1);
  EXPECT_EQ(inspect(server, [](const document& d) { return d.list; }).value(),
            (kept_vector<int>{3, 2}));
}

TEST_P(a_crashed_callback, LeavesNoTrace_P2) {
  static kind which;
  static way how;
  std::tie(which, how) = GetParam();
  under_seeds([](simulation& sim, runtime& rt) { leaves_no_trace(sim, rt, which, how); }, 5);
}

INSTANTIATE_TEST_SUITE_P(of, a_crashed_callback,
                         testing::Combine(testing::ValuesIn(all_kinds),
                                          testing::ValuesIn(all_ways)),
                         [](const auto& instance) {
                           return name_of(std::get<0>(instance.param)) + "_by_" +
                                  name_of(std::get<1>(instance.param));
                         });

class a_committed_callback : public testing::TestWithParam<kind> {};

TEST_P(a_committed_callback, LeavesAllTheTracesThatACrashUndoes) {
  static kind which;
  which = GetParam();
  under_seeds([](simulation& sim, runtime& rt) {
    const auto server = start<writer>(rt).value();
    const auto other = start<witness>(rt).value();
    const auto slow = start<helper>(rt).value();
    server.cast(set_up{});
    auto waiting = server.ask(wait_for_answer{});
    sim.run();
    const auto told = run_it(sim, server, which, upset{way::none, other, slow});
    EXPECT_EQ(told.value_or(1), 1);
    EXPECT_EQ(inspect(other, [](const auto& s) { return s; }).value(),
              (witness::state{"cast cast", "info sent", "info sent to the pid", "ping"}));
    EXPECT_EQ(server.call(words{}).value(), (std::map<std::string, int>{{"old", 2}, {"new", 2}}));
    EXPECT_EQ(waiting.get(), "answered");
    EXPECT_EQ(rt.core().timers().pending(), 2U) << "the two new ones, the standing one is gone";
    sim.advance(1ms);
    std::ignore = stop(other, exit_reason::stopped("for the test"));
    sim.run();
    const auto after = inspect(server, [](const document& d) { return d; }).value();
    EXPECT_EQ(after.text, "as it was, and more");
    EXPECT_EQ(*after.value, 2);
    EXPECT_EQ(after.list[0], 3);
    EXPECT_EQ(after.queue.front(), 2);
    EXPECT_EQ(after.map.size(), 2U);
    EXPECT_EQ(after.ordered.size(), 1U);
    EXPECT_EQ(after.set.size(), 2U);
    EXPECT_EQ(after.ordered_set.size(), 0U);
    EXPECT_EQ(after.ticks, 2);
    EXPECT_EQ(after.downs, 1);
    EXPECT_EQ(after.exits, 1) << "linked, and exits are trapped";
    EXPECT_EQ(statistics_of(server).value().crashes, 0U);
  });
}

INSTANTIATE_TEST_SUITE_P(of, a_committed_callback, testing::ValuesIn(all_kinds),
                         [](const auto& instance) { return name_of(instance.param); });

}  // namespace
}  // namespace peeper::test
