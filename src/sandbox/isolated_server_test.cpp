// SPDX-License-Identifier: Apache-2.0
/// \file
/// Servers whose callbacks run in an OS process of their own: the same class, the same promises,
/// whichever way that OS process dies.
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <peeper/os_process.hpp>
#include <peeper/peeper.hpp>
#include <peeper/zygote.hpp>

#include "sandbox/test_processes.hpp"

namespace peeper::sandbox {
namespace {

using namespace std::chrono_literals;

struct get {
  using reply = int;
};
struct add {
  int by = 1;
};
struct where {
  using reply = std::int64_t;
};
struct die {
  using reply = int;
  int signal = 0;  ///< 0: an exception
};
struct later {
  using reply = std::string;
};
struct answer_now {
  std::string text;
};
struct hang {
  using reply = int;
};
struct bump {
  using reply = int;
};
struct tick {};
struct wait_for_tick {};

struct ask_other {
  using reply = int;
  std::string name;
};
/// Runs in the program, and is called from a worker's OS process.
struct ledger {
  static constexpr bool isolatable = true;
  using state = int;
  static int handle_call(get /*m*/, const state& n) { return n; }
  static void handle_cast(add m, state& n) { n += m.by; }
};

struct counter {
  static constexpr bool isolatable = true;
  using state = int;
  static int handle_call(get /*m*/, const state& n) { return n; }
  static std::int64_t handle_call(where /*m*/, const state& /*n*/) { return ::getpid(); }
  static int handle_call(const die& m, state& n) {
    n = -1000;
    if (m.signal == 0) throw std::runtime_error{"unlucky"};
    ::raise(m.signal);
    return n;
  }
  static int handle_call(bump /*m*/, state& n) { return ++n; }
  static int handle_call(hang /*m*/, const state& /*n*/) {
    for (;;) ::pause();
  }
  void handle_call(later /*m*/, peeper::from<std::string> caller, const state& /*n*/) {
    caller_ = std::move(caller);
  }
  void handle_cast(answer_now m, state& /*n*/) { caller_.reply(std::move(m.text)); }
  static int handle_call(const ask_other& m, state& /*n*/) {
    const auto other = peeper::whereis<ledger>(m.name);
    if (!other) return -1;
    other->cast(add{1});
    const auto n = other->call(get{});
    other->cast(add{10});
    return n ? *n : -2;
  }
  static void handle_cast(add m, state& n) { n += m.by; }
  static void handle_cast(wait_for_tick /*m*/, state& /*n*/) {
    peeper::send_after(peeper::self<counter>(), 1ms, tick{});
  }
  static void handle_info(tick /*m*/, state& n) { n += 100; }
  peeper::from<std::string> caller_;
};

TEST(isolated_server, RunsItsCallbacksInAnotherOsProcess) {
  peeper::runtime rt;
  auto c = peeper::start<counter>(rt, {.name = "c", .state = 41, .isolation = peeper::os_process})
               .value();
  EXPECT_NE(c.call(where{}).value(), ::getpid());
  c.cast(add{1});
  EXPECT_EQ(c.call(get{}).value(), 42);
}

TEST(isolated_server, RollsBackWhatAnExceptionLeaves) {
  peeper::runtime rt;
  auto c = peeper::start<counter>(rt, {.state = 7, .isolation = peeper::os_process}).value();
  const auto failed = c.call(die{0});
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().reason(), (exit_reason{exit_kind::exception, "unlucky"}));
  EXPECT_EQ(c.call(get{}).value(), 7);
}

TEST(isolated_server, SurvivesASegmentationFault) {
  peeper::runtime rt;
  auto c = peeper::start<counter>(rt, {.state = 7, .isolation = peeper::os_process}).value();
  c.cast(add{1});
  const auto before = c.call(where{}).value();
  const auto failed = c.call(die{SIGSEGV});
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().reason().kind(), exit_kind::signalled);
  EXPECT_THAT(std::string{failed.error().reason().detail()}, testing::HasSubstr("SIGSEGV"));
  EXPECT_EQ(c.call(get{}).value(), 8);
  EXPECT_NE(c.call(where{}).value(), before);
}

TEST(isolated_server, AnswersLaterThroughAFrom) {
  peeper::runtime rt;
  auto c = peeper::start<counter>(rt, {.state = 7, .isolation = peeper::os_process}).value();
  auto p = c.ask(later{});
  c.cast(answer_now{"hello"});
  EXPECT_EQ(p.get().value(), "hello");
}

TEST(isolated_server, SendsItselfATimer) {
  peeper::runtime rt;
  auto c = peeper::start<counter>(rt, {.state = 7, .isolation = peeper::os_process}).value();
  c.cast(wait_for_tick{});
  int n = 0;
  while (n != 107) n = c.call(get{}).value();
  EXPECT_EQ(n, 107);
}

TEST(isolated_server, CallsAndCastsToServersOfTheProgram) {
  peeper::runtime rt;
  auto l = peeper::start<ledger>(rt, {.name = "ledger", .state = 5}).value();
  auto c = peeper::start<counter>(rt, {.isolation = peeper::os_process}).value();
  EXPECT_EQ(c.call(ask_other{"ledger"}).value(), 6);  // its cast went before its call (P6)
  EXPECT_EQ(l.call(get{}).value(), 16);
  EXPECT_EQ(c.call(ask_other{"nobody"}).value(), -1);
}

TEST(isolated_server, CallsAServerInAThirdOsProcess) {
  peeper::runtime rt;
  auto l =
      peeper::start<ledger>(rt, {.name = "ledger", .state = 5, .isolation = peeper::os_process})
          .value();
  auto c = peeper::start<counter>(rt, {.isolation = peeper::os_process}).value();
  EXPECT_EQ(c.call(ask_other{"ledger"}).value(), 6);
  EXPECT_EQ(l.call(get{}).value(), 16);
}

TEST(isolated_server, AfterACrashItAsksAgain) {
  peeper::runtime rt;
  auto l = peeper::start<ledger>(rt, {.name = "ledger", .state = 5}).value();
  auto c = peeper::start<counter>(rt, {.isolation = peeper::os_process}).value();
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(c.call(ask_other{"ledger"}).value(), 6 + 11 * i);
    EXPECT_FALSE(c.call(die{SIGKILL}));
  }
}

struct remember {
  std::string key;
  int value = 0;
};
struct recall {
  using reply = int;
  std::string key;
};
struct forget_and_throw {
  std::string key;
};
struct diary {
  static constexpr bool isolatable = true;
  using state = int;
  static void handle_cast(const remember& m, state& /*n*/) {
    if (m.value == 0) {
      peeper::dictionary().erase(m.key);
    } else {
      peeper::dictionary().put(m.key, m.value);
    }
  }
  static void handle_cast(const forget_and_throw& m, state& /*n*/) {
    peeper::dictionary().erase(m.key);
    throw std::runtime_error{"forgot"};
  }
  static int handle_call(const recall& m, const state& /*n*/) {
    return peeper::dictionary().get<int>(m.key).value_or(-1);
  }
  static int handle_call(const die& m, state& /*n*/) {
    peeper::dictionary().put("in vain", 1);
    ::raise(m.signal);
    return 0;
  }
};

TEST(isolated_server, KeepsItsDictionary) {
  peeper::runtime rt;
  auto d = peeper::start<diary>(rt, {.isolation = peeper::os_process}).value();
  d.cast(remember{"a", 1});
  d.cast(remember{"b", 2});
  d.cast(remember{"a", 3});
  d.cast(remember{"b", 0});
  d.cast(forget_and_throw{"a"});
  EXPECT_EQ(d.call(recall{"a"}).value(), 3);
  EXPECT_FALSE(d.call(die{SIGSEGV}));
  EXPECT_EQ(d.call(recall{"a"}).value(), 3);
  EXPECT_EQ(d.call(recall{"b"}).value(), -1);
  EXPECT_EQ(d.call(recall{"in vain"}).value(), -1);
  EXPECT_FALSE(d.call(die{SIGSEGV}));
  EXPECT_EQ(d.call(recall{"a"}).value(), 3);
}

/// A state, a dictionary: all that is to be kept.
struct put {
  std::string key;
  int value = 0;
};
struct all {
  using reply = std::map<std::string, int>;
};
struct rich {
  static constexpr bool isolatable = true;
  struct state {
    peeper::kept_map<std::string, int> values;
    int puts = 0;
    int edits = 0;
  };
  static void handle_cast(const put& m, state& s) {
    s.values.insert_or_assign(m.key, m.value);
    ++s.puts;
    peeper::dictionary().put("noted " + m.key, m.value);
    peeper::dictionary().put("in vain", m.value);
    peeper::dictionary().erase("in vain");
  }
  static all::reply handle_call(all /*m*/, const state& s) {
    all::reply found{{"puts", s.puts},
                     {"edits", s.edits},
                     {"restarts", static_cast<int>(peeper::restart_count())}};
    for (const auto& [key, value] : s.values) found[key] = value;
    for (const auto& key : peeper::dictionary().keys()) {
      found[key] = peeper::dictionary().get<int>(key).value();
    }
    EXPECT_FALSE(found.contains("in vain"));
    return found;
  }
  static std::int64_t handle_call(where /*m*/, const state& /*s*/) { return ::getpid(); }
  static int handle_call(const die& m, state& s) {
    s.values.clear();
    peeper::dictionary().put("in vain", 1);
    ::raise(m.signal);
    return 0;
  }
};

// --- tables

struct seat {
  int id = 0;
  std::string guest;
  int visits = 0;
};
using seats = peeper::table<seat, &seat::id, peeper::ordered_set>;
struct line {
  std::string room;
  int number = 0;
};
using lines = peeper::table<line, &line::room, peeper::duplicate_bag>;

struct sit {
  using reply = bool;
  int id = 0;
  std::string guest;
  bool unlucky = false;  ///< the worker's OS process dies
};
struct leave {
  int id = 0;
};
struct whole_table {
  using reply = std::vector<seat>;
};
struct rename_to {
  using reply = std::string;  ///< an error
  std::string name;
};
struct give_to {
  using reply = std::string;
  std::uint64_t server = 0;
};
struct drop_log {};
struct make_log {
  using reply = std::string;
};
struct scribble {
  using reply = std::vector<int>;
  int lines = 0;
};
/// Two tables: one is kept, the other goes with its worker.
struct hotel {
  static constexpr bool isolatable = true;
  using state = int;
  state init(const std::string& name) {
    all_ = seats::create({.name = name}).value();
    log_ = lines::create({.name = name + " log"}).value();
    return 0;
  }
  bool handle_call(const sit& m, state& n) {
    ++n;
    const bool fresh = all_.insert_new({m.id, m.guest, 0});
    all_.update_counter<&seat::visits>(m.id, 1);
    log_.insert({"all", m.id});
    if (m.unlucky) ::raise(SIGSEGV);
    if (m.guest.empty()) throw std::runtime_error{"nobody"};
    return fresh;
  }
  void handle_cast(leave m, state& /*n*/) { all_.erase(m.id); }
  std::vector<seat> handle_call(whole_table /*m*/, const state& /*n*/) {
    return all_.select([](const seat& /*s*/) { return true; });
  }
  std::string handle_call(const rename_to& m, state& /*n*/) {
    const auto done = all_.rename(m.name);
    return done ? "" : std::string{to_string(done.error().code())};
  }
  std::string handle_call(const give_to& m, state& /*n*/) {
    const auto done = log_.give_away(peeper::pid::from_raw(m.server));
    return done ? "" : std::string{to_string(done.error().code())};
  }
  std::string handle_call(make_log /*m*/, state& /*n*/) {
    auto made = lines::create({.name = "another log", .access = peeper::access::public_});
    if (made) return "a public table";
    made = lines::create({.name = "taken"});
    return made ? "" : std::string{to_string(made.error().code())};
  }
  std::vector<int> handle_call(const scribble& m, state& /*n*/) {
    for (int i = 0; i < m.lines; ++i) log_.insert({i % 2 == 0 ? "even" : "odd", i});
    log_.erase_object({"even", 2});
    log_.insert({"even", 2});
    std::vector<int> even;
    for (const line& l : log_.lookup("even")) even.push_back(l.number);
    return even;
  }
  void handle_cast(drop_log /*m*/, state& /*n*/) { log_.drop(); }
  seats::owner all_;
  lines::owner log_;
};

bool same(const seat& a, const seat& b) {
  return a.id == b.id && a.guest == b.guest && a.visits == b.visits;
}

class isolated_tables : public ::testing::TestWithParam<followers> {
 protected:
  peeper::ref<hotel> start_hotel() {
    return peeper::start<hotel>(rt_,
                                {.max_restarts = 1000,
                                 .keep_tables = {"seats"},
                                 .isolation = peeper::os_process({.follower = GetParam()})},
                                std::string{"seats"})
        .value();
  }
  /// The program's rows are those of the worker.
  void expect_same_rows(const peeper::ref<hotel>& h, const char* name = "seats") {
    const auto there = h.call(whole_table{}).value();
    const auto reader = peeper::find_table<seats>(rt_, name).value();
    const auto here = reader.select([](const seat& /*s*/) { return true; }).value();
    EXPECT_TRUE(std::ranges::equal(there, here, &same)) << there.size() << ", " << here.size();
  }
  peeper::runtime rt_;
};

TEST_P(isolated_tables, AreReadInTheProgramAsOfTheLastCommit) {
  auto h = start_hotel();
  const auto reader = peeper::find_table<seats>(rt_, "seats").value();
  EXPECT_EQ(reader.size().value(), 0U);
  EXPECT_TRUE(h.call(sit{1, "ann"}).value());
  EXPECT_TRUE(h.call(sit{2, "bob"}).value());
  EXPECT_FALSE(h.call(sit{1, "eve"}).value());
  EXPECT_EQ(reader.lookup(1).value().value().guest, "ann");
  EXPECT_EQ(reader.lookup(1).value().value().visits, 2);
  h.cast(leave{2});
  expect_same_rows(h);
  EXPECT_FALSE(reader.member(2).value());
}

TEST_P(isolated_tables, ThatAreKeptComeBackAsOfTheLastCommitWhateverTheirWorkerDiesOf) {
  auto h = start_hotel();
  const auto reader = peeper::find_table<seats>(rt_, "seats").value();
  for (int i = 1; i <= 10; ++i) {
    EXPECT_TRUE(h.call(sit{i, "ann"}).value());
    EXPECT_FALSE(h.call(sit{i, "eve", true})) << "its OS process dies";
    EXPECT_FALSE(h.call(sit{i + 1, ""})) << "an exception";
    EXPECT_EQ(reader.size().value(), static_cast<std::size_t>(i)) << "the same table as before";
    EXPECT_EQ(reader.lookup(i).value().value().visits, 1);
    expect_same_rows(h);
    const auto log = peeper::find_table<lines>(rt_, "seats log").value();
    EXPECT_EQ(log.size().value(), 0U) << "one that is not kept";
  }
}

TEST_P(isolated_tables, AreRenamedGivenAwayAndDropped) {
  auto h = start_hotel();
  struct heir {
    using state = int;
    static int handle_call(get /*m*/, const state& n) { return n; }
    static void handle_info(const peeper::table_transfer& t, state& n) {
      n = static_cast<int>(lines::own(t.id).value().size());
    }
  };
  auto next = peeper::start<heir>(rt_, {.name = "heir"}).value();
  EXPECT_TRUE(h.call(sit{1, "ann"}).value());
  EXPECT_EQ(h.call(rename_to{"seats log"}).value(), "name_taken");
  EXPECT_EQ(h.call(give_to{pid::from_raw(12345).raw()}).value(), "no_such_server");
  EXPECT_EQ(h.call(give_to{next.pid().raw()}).value(), "");
  int rows = 0;
  while (rows == 0) rows = next.call(get{}).value();
  EXPECT_EQ(rows, 1);
  EXPECT_EQ(h.call(rename_to{"places"}).value(), "");
  EXPECT_FALSE(peeper::find_table<seats>(rt_, "seats"));
  expect_same_rows(h, "places");
  EXPECT_EQ(h.call(make_log{}).value(), "");
  EXPECT_TRUE(peeper::find_table<lines>(rt_, "taken"));
  EXPECT_FALSE(peeper::find_table<lines>(rt_, "another log"));
}

TEST_P(isolated_tables, BagsKeepTheOrderOfTheirRows) {
  auto h = start_hotel();
  const auto log = peeper::find_table<lines>(rt_, "seats log").value();
  for (int i = 1; i <= 3; ++i) {
    const auto there = h.call(scribble{6}).value();
    std::vector<int> here;
    for (const line& l : log.lookup("even").value()) here.push_back(l.number);
    EXPECT_EQ(here, there);
  }
  h.cast(drop_log{});
  EXPECT_EQ(h.call(whole_table{}).value().size(), 0U);
  EXPECT_EQ(log.size().error().code(), table_errc::gone);
}

INSTANTIATE_TEST_SUITE_P(followers, isolated_tables,
                         ::testing::Values(followers::none, followers::one, followers::two),
                         &test::name_of);

struct heard {
  std::mutex mutex;
  std::vector<std::string> lines;
  void add(std::string line) {
    const std::lock_guard lock{mutex};
    lines.push_back(std::move(line));
  }
};
struct audit {
  std::shared_ptr<heard> to;
  void on_state_changed(const peeper::change<int>& c) const { to->add(peeper::describe(c)); }
  void on_terminate(const peeper::end_event<int>& e) const {
    to->add(std::string{to_string(e.reason().kind())});
  }
};

TEST(isolated_server, TellsItsListeners) {
  auto log = std::make_shared<heard>();
  {
    peeper::runtime rt;
    auto c = peeper::start<counter>(
                 rt, {.state = 5, .listeners = {audit{log}}, .isolation = peeper::os_process})
                 .value();
    c.cast(add{1});
    EXPECT_EQ(c.call(get{}).value(), 6);
    EXPECT_FALSE(c.call(die{SIGSEGV}));
    c.cast(add{2});
    EXPECT_TRUE(peeper::edit(c, [](int& n) { n = 20; }));
    EXPECT_EQ(peeper::inspect(c, [](int n) { return n; }).value(), 20);
    EXPECT_TRUE(peeper::stop(c));
  }
  EXPECT_THAT(log->lines,
              testing::ElementsAre("5 -> 6", "signalled", "6 -> 8", "8 -> 20", "normal"));
}

/// Waits for the end of a monitored server, and counts what it hears.
struct listener_of_ends {
  using state = int;
  struct watch {
    using reply = bool;
    peeper::pid who;
  };
  static bool handle_call(watch m, state& /*n*/) {
    static_cast<void>(peeper::monitor(m.who));
    return true;
  }
  static int handle_call(get /*m*/, const state& n) { return n; }
  static void handle_info(const peeper::down& /*d*/, state& n) { ++n; }
};

TEST(isolated_server, TheDeathOfAnIdleWorkerIsHeardOf) {
  peeper::runtime rt;
  auto c = peeper::start<counter>(rt, {.state = 9, .isolation = peeper::os_process}).value();
  auto l = peeper::start<listener_of_ends>(rt).value();
  EXPECT_TRUE(l.call(listener_of_ends::watch{peeper::worker_of(c)}).value());
  ASSERT_EQ(::kill(static_cast<pid_t>(c.call(where{}).value()), SIGKILL), 0);
  while (l.call(get{}).value() == 0) std::this_thread::yield();
  EXPECT_EQ(peeper::statistics_of(c).value().crashes, 1U);
  EXPECT_EQ(c.call(get{}).value(), 9);
}

TEST(isolated_server, AMessageThatTheDeadWorkerHadNotBegunIsNotToBlame) {
  peeper::runtime rt;
  auto c = peeper::start<counter>(rt, {.state = 9, .isolation = peeper::os_process}).value();
  for (int i = 0; i < 20; ++i) {
    ASSERT_EQ(::kill(static_cast<pid_t>(c.call(where{}).value()), SIGKILL), 0);
    EXPECT_EQ(c.call(bump{}).value(), 10 + i) << "handled once";
  }
  const auto counts = peeper::statistics_of(c).value();
  EXPECT_EQ(counts.poison, 0U);
  EXPECT_EQ(counts.crashes, 20U) << "what was sent to the dead is not run by the living";
}

TEST(isolated_server, KillEndsACallbackThatNeverReturns) {
  peeper::runtime rt;
  auto c = peeper::start<counter>(rt, {.state = 9, .isolation = peeper::os_process}).value();
  const peeper::pid worker = peeper::worker_of(c);
  auto hanging = c.ask(hang{}, 60s);
  while (c.call(get{}, 10ms)) {
  }
  EXPECT_TRUE(peeper::kill(worker));
  const auto failed = hanging.get();
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().reason().kind(), exit_kind::killed);
  EXPECT_EQ(c.call(get{}).value(), 9);
}

TEST(isolated_server, ACallbackThatOverrunsItsLimitIsHung) {
  peeper::runtime rt;
  auto c = peeper::start<counter>(
               rt, {.state = 9, .isolation = peeper::os_process({.callback_limit = 20ms})})
               .value();
  const auto failed = c.call(hang{});
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().reason().kind(), exit_kind::hung);
  EXPECT_EQ(c.call(get{}).value(), 9);
}

TEST(isolated_server, ShowsAndTakesItsState) {
  peeper::runtime rt;
  auto c = peeper::start<counter>(rt, {.state = 9, .isolation = peeper::os_process}).value();
  EXPECT_EQ(peeper::inspect(c, [](const int& n) { return n; }).value(), 9);
  EXPECT_TRUE(peeper::edit(c, [](int& n) { n = 20; }));
  EXPECT_EQ(c.call(get{}).value(), 20);
  EXPECT_FALSE(c.call(die{SIGABRT}));
  EXPECT_EQ(c.call(get{}).value(), 20);
}

/// What is kept is kept in all ways that a state can be changed.
void dies_and_keeps(const peeper::ref<rich>& r, int times) {
  for (int i = 1; i <= times; ++i) {
    r.cast(put{"k" + std::to_string(i % 3), i});
    EXPECT_TRUE(peeper::edit(r, [](rich::state& s) { ++s.edits; }));
    const auto failed = r.call(die{i % 2 == 0 ? SIGSEGV : SIGKILL});
    ASSERT_FALSE(failed);
    EXPECT_EQ(failed.error().reason().kind(), exit_kind::signalled);
    const auto now = r.call(all{}).value();
    EXPECT_EQ(now.at("edits"), i);
    EXPECT_EQ(now.at("puts"), i);
    EXPECT_EQ(now.at("k" + std::to_string(i % 3)), i);
    EXPECT_EQ(now.at("noted k" + std::to_string(i % 3)), i);
    EXPECT_EQ(now.at("restarts"), i);
  }
}

TEST(isolated_server, WithoutAFollowerTheProgramHasTheState) {
  peeper::runtime rt;
  auto r = peeper::start<rich>(
               rt, {.max_restarts = 1000,
                    .isolation = peeper::os_process({.follower = peeper::followers::none})})
               .value();
  dies_and_keeps(r, 20);
  EXPECT_FALSE(test::child_of(static_cast<pid_t>(r.call(where{}).value())));
}

TEST(isolated_server, WithTwoFollowersNothingIsLostWhenWorkerAndFollowerDieAtOnce) {
  peeper::runtime rt;
  auto r = peeper::start<rich>(
               rt, {.max_restarts = 1000,
                    .isolation = peeper::os_process({.follower = peeper::followers::two})})
               .value();
  dies_and_keeps(r, 20);
  for (int i = 1; i <= 20; ++i) {
    r.cast(put{"both", i});
    const auto worker = static_cast<pid_t>(r.call(where{}).value());
    std::optional<pid_t> follower;
    while (!follower) follower = test::child_of(worker);
    ASSERT_EQ(::kill(*follower, SIGSTOP), 0);
    ASSERT_EQ(::kill(worker, SIGKILL), 0);
    ASSERT_EQ(::kill(*follower, SIGKILL), 0);
    EXPECT_EQ(r.call(all{}).value().at("both"), i) << "what was not begun is not to blame";
  }
}

TEST(isolated_server, WhenWorkerAndFollowerDieAtOnceItEndsWithAReasonThatSaysSo) {
  peeper::runtime rt;
  auto c = peeper::start<counter>(rt, {.state = 9, .isolation = peeper::os_process}).value();
  const auto worker = static_cast<pid_t>(c.call(where{}).value());
  const auto follower = test::child_of(worker);
  ASSERT_TRUE(follower);
  ASSERT_EQ(::kill(*follower, SIGSTOP), 0);
  ASSERT_EQ(::kill(worker, SIGKILL), 0);
  ASSERT_EQ(::kill(*follower, SIGKILL), 0);
  const auto gone = c.call(get{});
  ASSERT_FALSE(gone);
  EXPECT_THAT(std::string{gone.error().what()}, testing::HasSubstr("its state is lost"));
  while (c.alive()) std::this_thread::yield();
}

}  // namespace
}  // namespace peeper::sandbox
