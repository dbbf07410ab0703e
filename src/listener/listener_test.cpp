// SPDX-License-Identifier: Apache-2.0
/// \file
/// Listeners hear of each change and each end, in order, once, and harm nobody.
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <peeper/peeper.hpp>

#include "support/log_capture.hpp"
#include "support/sim_test.hpp"

namespace peeper::test {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

struct pass {
  using reply = int;
};
/// To wait at: it answers when it is resumed.
struct gate {
  using state = int;
  int handle_call(pass, state& n) { return ++n; }
};

struct put {
  using reply = int;
  std::string key;
  int value = 0;
};
struct look {
  using reply = int;
};
struct put_slowly {
  using reply = int;
  std::string key;
  int value = 0;
  ref<gate> at;
};
struct put_and_crash {
  std::string key;
};
struct stop_it {};
struct shelf_state {
  int puts = 0;
  std::string last;
  kept_map<std::string, int> words;
};
struct shelf {
  using state = shelf_state;
  int handle_call(const put& m, state& s) {
    ++s.puts;
    s.last = m.key;
    s.words[m.key] = m.value;
    return s.puts;
  }
  task<int> handle_call(const put_slowly& m, state& s) {
    s.words[m.key] = m.value;
    std::ignore = co_await m.at.ask(pass{});
    co_return ++s.puts;
  }
  int handle_call(look, state& s) { return s.puts; }
  void handle_cast(const put_and_crash& m, state& s) {
    s.words[m.key] = -1;
    throw std::runtime_error{"unlucky"};
  }
  auto handle_cast(stop_it, state& s) {
    s.puts = 100;
    return stop(exit_reason::stopped("enough"));
  }
};

/// What a listener has heard, as lines.
using lines = std::vector<std::string>;
struct note {
  std::shared_ptr<lines> heard = std::make_shared<lines>();

  void on_state_changed(const change<shelf_state>& c) const {
    tell_missed(c.missed());
    heard->push_back(describe(c));
  }
  void on_terminate(const end_event<shelf_state>& e) const {
    tell_missed(e.missed());
    heard->push_back((e.server_goes_on() ? "worker: " : "server: ") + e.reason().to_string());
  }

 private:
  void tell_missed(std::uint64_t n) const {
    if (n > 0) heard->push_back("missed " + std::to_string(n));
  }
};

PEEPER_SIM_TEST(a_listener, HearsOfEachChangeWithOldAndNewValuesInOrder_P6) {
  const note n;
  const auto c = start<shelf>(rt, {.listeners = {n}}).value();
  EXPECT_EQ(c.call(put{"a", 1}), 1);
  EXPECT_EQ(c.call(put{"a", 2}), 2);
  EXPECT_EQ(c.call(put{"b", 3}), 3);
  sim.advance(listener_rest);
  EXPECT_THAT(*n.heard, ElementsAre(R"(0: 0 -> 1, 1: "" -> "a", 2: inserted "a": 1)",
                                    R"(0: 1 -> 2, 2: replaced "a": 1 -> 2)",
                                    R"(0: 2 -> 3, 1: "a" -> "b", 2: inserted "b": 3)"));
}

struct by_field {
  std::shared_ptr<lines> heard = std::make_shared<lines>();
  void on_state_changed(const change<shelf_state>& c) const {
    if (const auto* last = c.field<&shelf_state::last>()) heard->push_back(last->now);
    for (const auto& op : c.of<&shelf_state::words>()) {
      heard->push_back(*op.key + "=" + std::to_string(op.now.value_or(0)));
    }
    c.for_each_field([&](std::string_view name, const auto&) { heard->emplace_back(name); });
    heard->emplace_back(c.server());
  }
};

PEEPER_SIM_TEST(a_listener, LooksAtFieldsByTheirNames) {
  const by_field l;
  const auto c = start<shelf>(rt, {.name = "shelf", .listeners = {l}}).value();
  EXPECT_EQ(c.call(put{"a", 1}), 1);
  sim.advance(listener_rest);
  EXPECT_THAT(*l.heard, ElementsAre("a", "a=1", "0", "1", "2", "shelf"));
}

PEEPER_SIM_TEST(a_listener, HearsNothingWhenNothingHasChanged) {
  const note n;
  const auto c = start<shelf>(rt, {.listeners = {n}}).value();
  EXPECT_EQ(c.call(look{}), 0);
  ASSERT_TRUE(edit(c, [](shelf_state& s) { s.words.erase("none"); }).has_value());
  ASSERT_TRUE(suspend(c).has_value());
  ASSERT_TRUE(resume(c).has_value());
  sim.advance(listener_rest);
  EXPECT_THAT(*n.heard, IsEmpty());
}

PEEPER_SIM_TEST(a_listener, HearsOfACrashButNotOfWhatTheCrashUndid_P2) {
  const note n;
  const auto c = start<shelf>(rt, {.listeners = {n}}).value();
  EXPECT_EQ(c.call(put{"a", 1}), 1);
  c.cast(put_and_crash{"b"});
  EXPECT_EQ(c.call(put{"a", 2}), 2);
  sim.advance(listener_rest);
  EXPECT_THAT(*n.heard,
              ElementsAre(R"(0: 0 -> 1, 1: "" -> "a", 2: inserted "a": 1)",
                          "worker: exception: unlucky", R"(0: 1 -> 2, 2: replaced "a": 1 -> 2)"));
}

PEEPER_SIM_TEST(a_listener, HearsOfEditsAndNotOfThoseThatFail) {
  const note n;
  const auto c = start<shelf>(rt, {.listeners = {n}}).value();
  ASSERT_TRUE(edit(c, [](shelf_state& s) { s.puts = 5; }).has_value());
  EXPECT_FALSE(edit(c, [](shelf_state& s) {
                 s.puts = 6;
                 s.words["a"] = 1;
                 throw std::runtime_error{"unlucky"};
               }).has_value());
  sim.advance(listener_rest);
  EXPECT_THAT(*n.heard, ElementsAre("0: 0 -> 5"));
}

PEEPER_SIM_TEST(a_listener, HearsOfACoroutineAtItsCommitAndNotIfItIsKilledBefore) {
  const note n;
  const auto g = start<gate>(rt).value();
  const auto c = start<shelf>(rt, {.listeners = {n}}).value();
  EXPECT_EQ(c.call(put_slowly{"a", 1, g}), 1);
  ASSERT_TRUE(suspend(g).has_value());
  auto under_way = c.ask(put_slowly{"b", 1, g});
  sim.advance(listener_rest);
  kill(worker_of(c));
  EXPECT_FALSE(std::move(under_way).get().has_value());
  sim.advance(listener_rest);
  EXPECT_THAT(*n.heard, ElementsAre(R"(0: 0 -> 1, 2: inserted "a": 1)", "worker: killed"));
}

PEEPER_SIM_TEST(a_listener, HearsOfEveryEndOfAWorkerAndOfTheServer) {
  const note n;
  const auto c = start<shelf>(rt, {.listeners = {n}}).value();
  kill(worker_of(c));
  EXPECT_EQ(c.call(look{}), 0);
  kill(keeper_of(c));  // costs no worker
  EXPECT_EQ(c.call(look{}), 0);
  kill(supervisor_of(c));
  EXPECT_EQ(c.call(look{}), 0);
  ASSERT_TRUE(stop(c, exit_reason::stopped("done")).has_value());
  sim.advance(listener_rest);
  EXPECT_THAT(*n.heard, ElementsAre("worker: killed", "worker: killed", "server: stopped: done"));
}

PEEPER_SIM_TEST(a_listener, HearsThatTheServerEndsInEveryWayItCan) {
  const note killed;
  const note stopped_itself;
  const note on_crash_stop;
  const note gave_up;
  const note shut_down;
  {
    const auto a = start<shelf>(rt, {.listeners = {killed}}).value();
    kill(a.pid());
    const auto b = start<shelf>(rt, {.listeners = {stopped_itself}}).value();
    b.cast(stop_it{});
    const auto c =
        start<shelf>(rt, {.on_crash = on_crash::stop, .listeners = {on_crash_stop}}).value();
    c.cast(put_and_crash{"a"});
    const auto d = start<shelf>(rt, {.max_restarts = 1, .listeners = {gave_up}}).value();
    d.cast(put_and_crash{"a"});
    d.cast(put_and_crash{"a"});
    const auto e = start<shelf>(rt, {.listeners = {shut_down}}).value();
    EXPECT_EQ(e.call(look{}), 0);
    sim.advance(listener_rest);
    ASSERT_TRUE(rt.shutdown().has_value());
    // They have heard all when shutdown() returns.
    EXPECT_THAT(*shut_down.heard, ElementsAre("server: shutdown"));
  }
  EXPECT_THAT(*killed.heard, ElementsAre("server: killed"));
  EXPECT_THAT(*stopped_itself.heard, ElementsAre("0: 0 -> 100", "server: stopped: enough"));
  EXPECT_THAT(*on_crash_stop.heard, ElementsAre("server: exception: unlucky"));
  EXPECT_THAT(*gave_up.heard,
              ElementsAre("worker: exception: unlucky", "worker: exception: unlucky",
                          testing::StartsWith("server: shutdown: restart intensity reached")));
}

struct crashing_listener {
  std::shared_ptr<int> called = std::make_shared<int>(0);
  void on_state_changed(const change<shelf_state>&) const {
    ++*called;
    throw std::runtime_error{"unlucky listener"};
  }
  void on_terminate(const end_event<shelf_state>&) const {
    ++*called;
    throw 7;
  }
};

PEEPER_SIM_TEST(a_listener, ThatThrowsHearsTheNextEventAndHurtsNobody) {
  const crashing_listener bad;
  const note good;
  const auto c = start<shelf>(rt, {.listeners = {bad, good}}).value();
  for (int i = 1; i <= 3; ++i) EXPECT_EQ(c.call(put{"a", i}), i);
  kill(worker_of(c));
  EXPECT_EQ(c.call(look{}), 3);
  sim.advance(listener_rest);
  EXPECT_EQ(*bad.called, 4);
  EXPECT_EQ(good.heard->size(), 4U);
  const auto all = list_listeners(c).value();
  ASSERT_EQ(all.size(), 2U);
  EXPECT_EQ(all[0].heard, 4U);
  EXPECT_EQ(all[0].thrown, 4U);
  EXPECT_EQ(all[1].thrown, 0U);
  EXPECT_EQ(statistics_of(c).value().crashes, 1U);  // the kill
}

/// Waits at a gate before it hears its first event.
struct slow : note {
  ref<gate> at;
  void on_state_changed(const change<shelf_state>& c) const {
    if (heard->empty()) std::ignore = at.call(pass{}, infinity);
    note::on_state_changed(c);
  }
};

PEEPER_SIM_TEST(a_slow_listener, DelaysNobodyAndIsToldWhatItMissed) {
  const auto g = start<gate>(rt).value();
  ASSERT_TRUE(suspend(g).has_value());
  slow oldest;
  oldest.at = g;
  slow newest;
  newest.at = g;
  const note quick;
  const auto c =
      start<shelf>(rt, {.listeners = {{oldest, {.max_length = 3, .when_full = drop::oldest}},
                                      {newest, {.max_length = 3, .when_full = drop::newest}},
                                      quick}})
          .value();
  EXPECT_EQ(c.call(put{"a", 1}), 1);
  sim.advance(listener_rest);  // both wait at the gate with the first event
  const time_point before = sim.now();
  for (int i = 2; i <= 10; ++i) EXPECT_EQ(c.call(put{"a", i}), i);
  ASSERT_TRUE(stop(c).has_value());
  EXPECT_EQ(sim.now(), before);
  sim.advance(listener_rest);
  EXPECT_EQ(quick.heard->size(), 11U);
  EXPECT_THAT(*oldest.heard, IsEmpty());
  ASSERT_TRUE(resume(g).has_value());
  sim.advance(listener_rest);
  EXPECT_THAT(
      *oldest.heard,
      ElementsAre(R"(0: 0 -> 1, 1: "" -> "a", 2: inserted "a": 1)", "missed 6",
                  R"(0: 7 -> 8, 2: replaced "a": 7 -> 8)", R"(0: 8 -> 9, 2: replaced "a": 8 -> 9)",
                  R"(0: 9 -> 10, 2: replaced "a": 9 -> 10)", "server: normal"));
  EXPECT_THAT(
      *newest.heard,
      ElementsAre(R"(0: 0 -> 1, 1: "" -> "a", 2: inserted "a": 1)",
                  R"(0: 1 -> 2, 2: replaced "a": 1 -> 2)", R"(0: 2 -> 3, 2: replaced "a": 2 -> 3)",
                  R"(0: 3 -> 4, 2: replaced "a": 3 -> 4)", "missed 6", "server: normal"));
}

PEEPER_SIM_TEST(a_listener, ComesAndGoesWhileTheServerRuns) {
  const note n;
  const auto c = start<shelf>(rt).value();
  EXPECT_EQ(c.call(put{"a", 1}), 1);
  const auto id = attach_listener(c, n).value();
  EXPECT_EQ(c.call(put{"a", 2}), 2);
  EXPECT_EQ(list_listeners(c).value().size(), 1U);
  EXPECT_EQ(detach_listener(c, id), true);
  EXPECT_EQ(detach_listener(c, id), false);
  EXPECT_EQ(c.call(put{"a", 3}), 3);
  EXPECT_THAT(list_listeners(c).value(), IsEmpty());
  const auto again = attach_listener(c, n).value();
  EXPECT_FALSE(again == id);
  kill(worker_of(c));
  EXPECT_EQ(c.call(put{"a", 4}), 4);
  ASSERT_TRUE(stop(c).has_value());
  sim.advance(listener_rest);
  EXPECT_THAT(*n.heard, ElementsAre(R"(0: 1 -> 2, 2: replaced "a": 1 -> 2)", "worker: killed",
                                    R"(0: 3 -> 4, 2: replaced "a": 3 -> 4)", "server: normal"));
  EXPECT_EQ(std::string{to_string(attach_listener(c, n).error().code())}, "noproc");
}

struct chain {
  static constexpr listener_options options{.wants_state = true};
  std::shared_ptr<lines> heard = std::make_shared<lines>();
  void on_state_changed(const change<shelf_state>& c) const {
    heard->push_back(describe(*c.old_state()) + " => " + describe(*c.new_state()));
  }
  void on_terminate(const end_event<shelf_state>& e) const {
    heard->push_back(describe(*e.final_state()));
  }
};
struct asks_in_vain {
  std::shared_ptr<int> heard = std::make_shared<int>(0);
  void on_state_changed(const change<shelf_state>& c) const {
    ++*heard;
    EXPECT_EQ(c.old_state(), nullptr);
    EXPECT_EQ(c.new_state(), nullptr);
  }
  void on_terminate(const end_event<shelf_state>& e) const {
    ++*heard;
    EXPECT_EQ(e.final_state(), nullptr);
  }
};

PEEPER_SIM_TEST(the_whole_state, IsThereForWhoAskedForIt) {
  const chain l;
  const asks_in_vain other;
  const auto c = start<shelf>(rt, {.listeners = {l, other}}).value();
  EXPECT_EQ(c.call(put{"a", 1}), 1);
  c.cast(put_and_crash{"b"});
  EXPECT_EQ(c.call(put{"a", 2}), 2);
  ASSERT_TRUE(stop(c).has_value());
  sim.advance(listener_rest);
  EXPECT_THAT(
      *l.heard,
      ElementsAre(R"({0, "", []} => {1, "a", [{"a", 1}]})", R"({1, "a", [{"a", 1}]})",
                  R"({1, "a", [{"a", 1}]} => {2, "a", [{"a", 2}]})", R"({2, "a", [{"a", 2}]})"));
  EXPECT_EQ(*other.heard, 4);
}

struct last_words {
  static constexpr listener_options options{.wants_state = true};
  std::shared_ptr<lines> heard = std::make_shared<lines>();
  void on_terminate(const end_event<shelf_state>& e) const {
    heard->push_back(std::to_string(e.final_state()->puts));
  }
};

PEEPER_SIM_TEST(the_whole_state, IsTheLastOneAlsoForWhoHearsOfNoChanges) {
  const last_words l;
  const auto c = start<shelf>(rt, {.listeners = {l}}).value();
  EXPECT_EQ(c.call(put{"a", 1}), 1);
  kill(worker_of(c));
  EXPECT_EQ(c.call(put{"a", 1}), 2);
  ASSERT_TRUE(stop(c).has_value());
  sim.advance(listener_rest);
  EXPECT_THAT(*l.heard, ElementsAre("1", "2"));
}

/// Counts how often it is copied.
struct counted {
  int value = 0;
  static inline int copies = 0;
  counted() = default;
  counted(const counted& other) : value{other.value} { ++copies; }
  counted(counted&&) noexcept = default;
  counted& operator=(const counted& other) {
    value = other.value;
    ++copies;
    return *this;
  }
  counted& operator=(counted&&) noexcept = default;
  friend bool operator==(const counted&, const counted&) = default;
};
struct touch {
  using reply = int;
  int key = 0;
};
struct wide_state {
  kept_map<int, counted> all;
  counted beside;
};
struct wide {
  using state = wide_state;
  state init() {
    state s;
    for (int i = 0; i < 100; ++i) s.all.try_emplace(i);
    return s;
  }
  int handle_call(touch m, state& s) {
    return s.all.modify(m.key, [](counted& c) { return ++c.value; });
  }
};
struct hears_wide {
  void on_state_changed(const change<wide_state>& c) const {
    EXPECT_EQ(c.of<&wide_state::all>().size(), 1U);
  }
};

PEEPER_SIM_TEST(the_whole_state, IsNotCopiedForWhoDidNotAsk) {
  const auto c = start<wide>(rt, {.listeners = {hears_wide{}}}).value();
  EXPECT_EQ(c.call(touch{1}), 1);  // the first one makes shadows of the plain fields
  counted::copies = 0;
  EXPECT_EQ(c.call(touch{1}), 2);
  sim.advance(listener_rest);
  // The one entry: for the undo log, and its old and new value for the listener.
  EXPECT_EQ(counted::copies, 3);
}

struct picky {
  struct state {
    int n = 1;
  };
  state init() { throw std::runtime_error{"no luck"}; }
};
struct hears_picky {
  std::shared_ptr<lines> heard = std::make_shared<lines>();
  void on_terminate(const end_event<picky::state>& e) const {
    heard->push_back(e.reason().to_string());
  }
};

PEEPER_SIM_TEST(a_start_that_fails, IsAnEndThatListenersHearOf) {
  const hears_picky l;
  EXPECT_FALSE(start<picky>(rt, {.listeners = {l}}).has_value());
  sim.advance(listener_rest);
  EXPECT_THAT(*l.heard, ElementsAre("exception: no luck"));
}

PEEPER_SIM_TEST(a_start_that_fails, BecauseOfItsNameLetsItsListenersGo) {
  const note n;
  const auto c = start<shelf>(rt, {.name = "taken"}).value();
  EXPECT_FALSE(start<shelf>(rt, {.name = "taken", .listeners = {n}}).has_value());
  sim.advance(listener_rest);
  EXPECT_THAT(*n.heard, IsEmpty());
  EXPECT_EQ(n.heard.use_count(), 1);
}

PEEPER_SIM_TEST(a_listener, MayCallItsOwnServer) {
  struct asking {
    std::shared_ptr<ref<shelf>> server = std::make_shared<ref<shelf>>();
    std::shared_ptr<std::vector<int>> answers = std::make_shared<std::vector<int>>();
    void on_state_changed(const change<shelf_state>&) const {
      answers->push_back(server->call(look{}).value());
    }
  };
  const asking l;
  const auto c = start<shelf>(rt, {.listeners = {l}}).value();
  *l.server = c;
  EXPECT_EQ(c.call(put{"a", 1}), 1);
  sim.advance(listener_rest);
  EXPECT_EQ(*l.answers, std::vector<int>{1});
  *l.server = {};
}

struct plain {
  using state = int;
  void handle_cast(int by, state& n) { n += by; }
};

TEST(log_listener, WritesEachEventThroughSpdlog) {
  const log_capture log;
  spdlog::set_level(spdlog::level::info);
  {
    simulation sim;
    runtime rt{{.env = &sim.env()}};
    const auto c = start<plain>(rt, {.name = "c", .listeners = {log_listener{}}}).value();
    c.cast(2);
    c.cast(3);
    sim.advance(listener_rest);
    kill(worker_of(c));
    sim.advance(listener_rest);
    EXPECT_TRUE(stop(c).has_value());
    sim.advance(listener_rest);
  }
  spdlog::set_level(spdlog::level::off);
  EXPECT_EQ(log.count("[info] server 'c' changed: 0 -> 2"), 1U) << log.text();
  EXPECT_EQ(log.count("[info] server 'c' changed: 2 -> 5"), 1U);
  EXPECT_EQ(log.count("[warning] worker of server 'c' ended: killed"), 1U);
  EXPECT_EQ(log.count("[info] server 'c' ended: normal"), 1U);
}

}  // namespace
}  // namespace peeper::test
