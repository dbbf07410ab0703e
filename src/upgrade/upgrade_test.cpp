// SPDX-License-Identifier: Apache-2.0
/// Upgrades of a running server, with classes of this program. Those of plugins: tests/plugins.
#include <peeper/upgrade.hpp>

#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include <peeper/kept.hpp>

#include "support/at_fault_point.hpp"
#include "support/counter.hpp"
#include "support/sim_test.hpp"

namespace peeper {

/// So that a failure shows why.
template <class T>
void PrintTo(const std::expected<T, upgrade_error>& r, std::ostream* out) {
  *out << (r ? "upgraded" : r.error().what());
}

namespace upgrade_test {

using namespace std::chrono_literals;
using test::outcome;

// --- the protocol --------------------------------------------------------------------------------

struct get {
  using reply = int;
};
struct add_now {
  using reply = int;
  int by = 1;
};
struct crash_now {
  using reply = void;
};
struct who {
  using reply = std::string;
};
struct ask_later {
  using reply = int;
};
struct leave {
  using reply = int;
};
struct keep_silent {
  using reply = int;
};
struct add {
  int by = 1;
};
struct watch {
  ref<test::counter> whom;
};
struct note {
  int number = 0;
};
struct go_on {
  int by = 0;
};

struct protocol {
  using calls = types<get, add_now, crash_now, who, leave, keep_silent>;
  using deferred_calls = types<ask_later>;
  using casts = types<add, watch, note>;
  using infos = types<note, down, timeout_message>;
  using continues = types<go_on>;
};
using server = upgradable<protocol>;
using version_of = implementation<protocol>;

// --- what a version is made of -------------------------------------------------------------------

/// What happens in a worker, for tests to look at: which are alive, how often init ran.
struct book {
  int alive = 0;
  int inits = 0;
  std::vector<std::string> terminated;
};
book& notes() {
  static book b;
  return b;
}

/// All handlers; `Self` has the name and the state.
template <class Self, class State>
struct handlers {
  using state = State;
  handlers() { ++notes().alive; }
  handlers(const handlers&) = delete;
  handlers& operator=(const handlers&) = delete;
  ~handlers() { --notes().alive; }

  int handle_call(get, const state& s) { return s.total; }
  int handle_call(add_now m, state& s) { return s.total += m.by * Self::factor; }
  void handle_call(crash_now, state& s) {
    s.total = -1000;
    throw std::runtime_error{"poison"};
  }
  std::string handle_call(who) { return Self::name; }
  call_result<int> handle_call(leave, const state& s) {
    return stop(exit_reason::stopped("left"), s.total);
  }
  auto handle_call(keep_silent) { return noreply(timeout(10ms)); }
  void handle_call(ask_later, from<int> caller, const state& s) { caller.reply(s.total); }
  void handle_cast(add m, state& s) { s.total += m.by * Self::factor; }
  void handle_cast(watch m, const state&) { std::ignore = monitor(m.whom); }
  auto handle_cast(note m) { return noreply(continue_with(go_on{m.number})); }
  void handle_info(note m, state& s) { s.total += m.number; }
  void handle_info(const down&, state& s) { s.total += 1000; }
  void handle_info(timeout_message, state& s) { s.total += 10'000; }
  void handle_continue(go_on m, state& s) { s.total += m.by; }
  void terminate(const exit_reason&, const state& s) {
    notes().terminated.push_back(std::string{Self::name} + " " + std::to_string(s.total));
  }
};

struct state_v1 {
  static constexpr unsigned version = 1;
  int total = 0;
};
struct v1 : handlers<v1, state_v1> {
  static constexpr const char* name = "v1";
  static constexpr int factor = 1;
  state_v1 init() {
    ++notes().inits;
    return {.total = 0};
  }
};

/// Migrates from 1; `migrate` throws for a total of 13.
struct state_v2 {
  static constexpr unsigned version = 2;
  using previous = state_v1;
  static state_v2 migrate(state_v1&& old) {
    if (old.total == 13) throw std::runtime_error{"unlucky"};
    return {.total = old.total, .since = 0};
  }
  int total = 0;
  int since = 0;
};
struct v2 : handlers<v2, state_v2> {
  static constexpr const char* name = "v2";
  static constexpr int factor = 2;  // so that it shows who handles what
  state_v2 init() {
    ++notes().inits;
    return {.total = -5};  // dropped
  }
};

struct state_v3 {
  static constexpr unsigned version = 3;
  using previous = state_v2;
  static state_v3 migrate(state_v2&& old) {
    state_v3 made;
    made.total = old.total;
    made.log.push_back("from version 2");
    return made;
  }
  int total = 0;
  kept_vector<std::string> log;
};
struct v3 : handlers<v3, state_v3> {
  static constexpr const char* name = "v3";
  static constexpr int factor = 3;
};

/// No way from version 1.
struct state_v9 {
  static constexpr unsigned version = 9;
  int total = 0;
};
struct v9 : handlers<v9, state_v9> {
  static constexpr const char* name = "v9";
  static constexpr int factor = 9;
};

template <class Self>
using like_v2 = handlers<Self, state_v2>;
struct bad_init : like_v2<bad_init> {
  static constexpr const char* name = "bad_init";
  static constexpr int factor = 1;
  state_v2 init() {
    self<server>().cast(add{100});  // must never arrive
    dictionary().put("trace", 1);
    throw std::runtime_error{"no socket"};
  }
};
struct bad_constructor : like_v2<bad_constructor> {
  static constexpr const char* name = "bad_constructor";
  static constexpr int factor = 1;
  bad_constructor() { throw std::runtime_error{"not made"}; }
};
struct never_valid : like_v2<never_valid> {
  static constexpr const char* name = "never_valid";
  static constexpr int factor = 1;
  static bool valid(const state_v2&) { return false; }
};
struct eager : like_v2<eager> {
  static constexpr const char* name = "eager";
  static constexpr int factor = 2;
  auto init() {
    self<server>().cast(add{1});
    return ok(state_v2{}, continue_with(go_on{100}));
  }
};
/// Waits for a server that does not answer.
ref<test::counter>& the_silent_one() {
  static ref<test::counter> r;
  return r;
}
struct slow : like_v2<slow> {
  static constexpr const char* name = "slow";
  static constexpr int factor = 1;
  state_v2 init() {
    std::ignore = the_silent_one().call(test::get{}, 2s);
    return {};
  }
};

namespace {

template <class Class>
version_of as() {
  return version_of::of<Class>();
}
ref<server> start_v1(runtime& rt, options<server> o = {}) {
  notes() = {};
  o.state = as<v1>();
  return start<server>(rt, std::move(o)).value();
}
std::string runs(const ref<server>& s) { return s.call(who{}).value_or("nothing"); }
auto version(const ref<server>& s) {
  return inspect(s, [](const version_of& v) { return v.version(); });
}
std::string code(const std::expected<void, upgrade_error>& r) {
  return r ? "upgraded" : std::string{to_string(r.error().code())};
}
/// As if nothing had been asked: version 1 goes on with its state, and nothing else is left.
void expect_v1_unharmed(simulation& sim, const ref<server>& s, int total) {
  sim.run();
  EXPECT_EQ(runs(s), "v1");
  EXPECT_EQ(s.call(get{}), total);
  EXPECT_EQ(s.call(add_now{2}), total + 2);
  EXPECT_EQ(statistics_of(s)->crashes, 0U);
  EXPECT_EQ(notes().alive, 1);
}

// --- that it works -------------------------------------------------------------------------------

PEEPER_SIM_TEST(an_upgradable_server, IsAServerLikeAnyOther) {
  const auto c = start_v1(rt, {.name = "c"});
  c.cast(add{5});
  EXPECT_EQ(c.call(get{}), 5);
  EXPECT_EQ(c.call(add_now{1}), 6);
  EXPECT_EQ(c.call(ask_later{}), 6);
  EXPECT_EQ(outcome(c.call(crash_now{})), "crashed");
  EXPECT_EQ(c.call(get{}), 6);
  EXPECT_EQ(outcome(c.call(keep_silent{})), "not_answered");
  sim.advance(20ms);
  EXPECT_EQ(c.call(get{}), 10'006);  // its timeout
  c.send(note{1});
  c.cast(note{2});
  EXPECT_EQ(c.call(get{}), 10'009);
  EXPECT_EQ(whereis<server>(rt, "c"), c);
  EXPECT_NE(status_of(c)->state.find("v1 {10009}"), std::string::npos) << status_of(c)->state;
  EXPECT_EQ(c.call(leave{}), 10'009);
  sim.run();
  EXPECT_FALSE(c.alive());
  EXPECT_EQ(notes().terminated, (std::vector<std::string>{"v1 6", "v1 10009"}));
  EXPECT_EQ(notes().alive, 0);
}

PEEPER_SIM_TEST(an_upgradable_server, DoesNotStartWithoutAClass) {
  const auto c = start<server>(rt);
  ASSERT_FALSE(c);
  EXPECT_NE(c.error().what().find("implementation<Protocol>::of<Class>()"), std::string::npos);
}

PEEPER_SIM_TEST(an_upgrade, GoesOnWithTheStateInTheNewClassUnderTheSameRef) {
  const auto c = start_v1(rt, {.name = "c"});
  const pid worker = worker_of(c);
  c.cast(add{5});
  EXPECT_EQ(code(upgrade(c, as<v2>())), "upgraded");
  EXPECT_EQ(runs(c), "v2");
  EXPECT_EQ(c.call(add_now{1}), 7);
  EXPECT_EQ(version(c), 2U);
  EXPECT_EQ(worker_of(c), worker);  // OTP: the process stays
  EXPECT_EQ(notes().alive, 1);
  EXPECT_EQ(notes().inits, 2);
  EXPECT_TRUE(notes().terminated.empty());
  ASSERT_TRUE(upgrade(c, as<v3>()));
  ASSERT_TRUE(upgrade(c, as<v3>()));  // a repaired class with the same state
  EXPECT_EQ(c.call(add_now{1}), 10);
}

PEEPER_SIM_TEST(an_upgrade, OverSeveralVersionsMigratesStepByStep) {
  const auto c = start_v1(rt);
  c.cast(add{5});
  ASSERT_TRUE(upgrade(c, as<v3>()));
  EXPECT_EQ(c.call(get{}), 5);
  EXPECT_NE(status_of(c)->state.find("from version 2"), std::string::npos) << status_of(c)->state;
}

PEEPER_SIM_TEST(an_upgrade, LeavesWaitingMessagesInOrderToTheNewVersion) {
  const auto c = start_v1(rt);
  ASSERT_TRUE(suspend(c));
  c.cast(add{1});
  auto first = c.ask(add_now{1});
  c.cast(note{1});  // a continuation
  auto second = c.ask(add_now{1});
  ASSERT_TRUE(upgrade(c, as<v2>()));
  sim.run();
  EXPECT_FALSE(first.done());
  EXPECT_TRUE(statistics_of(c)->suspended);
  ASSERT_TRUE(resume(c));
  EXPECT_EQ(first.get(), 4);
  EXPECT_EQ(second.get(), 7);
}

PEEPER_SIM_TEST(an_upgrade, KeepsTimersMonitorsNamePoisonAndDictionary) {
  const auto c = start_v1(rt, {.name = "c"});
  const auto watched = start<test::counter>(rt).value();
  c.cast(watch{watched});
  std::ignore = send_after(c, 50ms, note{1});
  EXPECT_EQ(outcome(c.call(crash_now{})), "crashed");
  ASSERT_TRUE(upgrade(c, as<v2>()));
  sim.advance(100ms);
  EXPECT_EQ(c.call(get{}), 1);
  ASSERT_TRUE(stop(watched));
  sim.run();
  EXPECT_EQ(c.call(get{}), 1001);
  EXPECT_EQ(whereis<server>(rt, "c"), c);
  const auto poison = list_poison(c).value();
  ASSERT_EQ(poison.size(), 1U);
  EXPECT_EQ(replay_poison(c, poison[0].id), true);  // handled, and set aside, by version 2
  sim.run();
  EXPECT_EQ(statistics_of(c)->crashes, 2U);
  EXPECT_EQ(c.call(get{}), 1001);
}

struct row {
  int key = 0;
  int value = 0;
};
using rows = table<row, &row::key>;
struct row_protocol {
  using casts = types<add>;
};
/// Writes its number into the row that a cast names.
template <int Number>
struct row_writer {
  struct state {};
  rows::owner all;
  state init() {
    all = rows::create({.name = "rows"}).value();
    return {};
  }
  void handle_cast(add m) { all.insert({m.by, Number}); }
};

PEEPER_SIM_TEST(an_upgrade, KeepsTablesWhichTheNewInitFinds) {
  using rows_version = implementation<row_protocol>;
  const auto c = start<upgradable<row_protocol>>(rt, {.state = rows_version::of<row_writer<1>>(),
                                                      .keep_tables = kept_tables::all()})
                     .value();
  c.cast(add{10});
  const auto reader = find_table<rows>(rt, "rows").value();
  EXPECT_EQ(code(upgrade(c, rows_version::of<row_writer<2>>())), "upgraded");
  c.cast(add{20});
  sim.run();
  EXPECT_EQ(reader.lookup(10).value()->value, 1);
  EXPECT_EQ(reader.lookup(20).value()->value, 2);
}

/// Writes down the ends that it hears of.
struct end_listener {
  std::shared_ptr<std::vector<std::string>> ends;
  void on_terminate(const end_event<version_of>& e) const {
    ends->push_back(e.reason().to_string());
  }
};

PEEPER_SIM_TEST(an_upgrade, KeepsListenersWhichHearOfEndsBeforeAndAfter) {
  const auto ends = std::make_shared<std::vector<std::string>>();
  const auto c = start_v1(rt, {.listeners = {end_listener{ends}}});
  EXPECT_EQ(outcome(c.call(crash_now{})), "crashed");
  ASSERT_TRUE(upgrade(c, as<v2>()));
  EXPECT_EQ(outcome(c.call(crash_now{})), "crashed");
  ASSERT_TRUE(stop(c));
  sim.run();
  EXPECT_EQ(*ends, (std::vector<std::string>{"exception: poison", "exception: poison", "normal"}));
}

PEEPER_SIM_TEST(an_upgrade, RunsInitAndHonoursItsNext) {
  const auto c = start_v1(rt);
  ASSERT_TRUE(upgrade(c, as<eager>()));
  EXPECT_EQ(c.call(get{}), 102);  // the continuation, then what init sent
}

PEEPER_SIM_TEST(an_upgrade, IsCommittedForEveryCrashToCome_P1) {
  const auto c = start_v1(rt);
  c.cast(add{5});
  ASSERT_TRUE(upgrade(c, as<v2>()));
  EXPECT_EQ(outcome(c.call(crash_now{})), "crashed");
  EXPECT_EQ(runs(c), "v2");
  EXPECT_EQ(c.call(get{}), 5);
  for (const pid each : {worker_of(c), keeper_of(c), supervisor_of(c)}) {
    ASSERT_TRUE(kill(each));
    sim.run();
    EXPECT_EQ(runs(c), "v2");
    EXPECT_EQ(c.call(get{}), 5);
  }
  EXPECT_EQ(notes().alive, 1);
  EXPECT_EQ(notes().terminated, (std::vector<std::string>{"v2 5"}));
}

PEEPER_SIM_TEST(an_upgrade, OfASupervisedServerOutlivesItsTransfer) {
  notes() = {};
  const auto green = start_dynamic_supervisor(rt).value();
  const auto blue = start_dynamic_supervisor(rt).value();
  const auto c = green.start_child<server>({.name = "c", .state = as<v1>()}).value();
  c.cast(add{5});
  ASSERT_TRUE(upgrade(c, as<v2>()));
  ASSERT_TRUE(transfer(c, blue));
  EXPECT_EQ(outcome(c.call(crash_now{})), "crashed");
  EXPECT_EQ(c.call(add_now{1}), 7);
  // The next one in the place of a server that has ended: the class lasts, the state does not.
  ASSERT_TRUE(kill(c.pid()));
  sim.run();
  EXPECT_FALSE(c.alive());
  const auto next = whereis<server>(rt, "c").value();
  EXPECT_EQ(runs(next), "v2");
  EXPECT_EQ(next.call(get{}), -5);  // what init gave
}

// --- that it fails, and nothing has happened -----------------------------------------------------

PEEPER_SIM_TEST(a_failed_upgrade, WhoseMigrateThrowsChangesNothing_P2) {
  const auto c = start_v1(rt, {.name = "c"});
  c.cast(add{13});
  const auto done = upgrade(c, as<v2>());
  ASSERT_EQ(code(done), "bad_state");
  EXPECT_EQ(done.error().what(),
            "server 'c' was not upgraded from peeper::upgrade_test::v1 (version 1) to "
            "peeper::upgrade_test::v2 (version 2): migrate() from version 1 to version 2 threw: "
            "unlucky; the old version goes on");
  expect_v1_unharmed(sim, c, 13);
  ASSERT_TRUE(upgrade(c, as<v2>()));  // 15: no bad luck any more
}

PEEPER_SIM_TEST(a_failed_upgrade, WithNoWayFromTheOldVersionNamesBoth_P8) {
  const auto c = start_v1(rt);
  const auto done = upgrade(c, as<v9>());
  ASSERT_EQ(code(done), "bad_state");
  EXPECT_NE(done.error().what().find("version 1 cannot be read: this program has version 9"),
            std::string::npos)
      << done.error().what();
  expect_v1_unharmed(sim, c, 0);
}

PEEPER_SIM_TEST(a_failed_upgrade, BackToAnOlderStateNamesBoth_P8) {
  const auto c = start_v1(rt);
  ASSERT_TRUE(upgrade(c, as<v2>()));
  const auto done = upgrade(c, as<v1>());
  ASSERT_EQ(code(done), "newer_state");
  EXPECT_NE(done.error().what().find("state has version 2, that class has version 1"),
            std::string::npos);
  EXPECT_EQ(runs(c), "v2");
}

PEEPER_SIM_TEST(a_failed_upgrade, WhoseInitOrConstructorThrowsLeavesNoTrace_P2) {
  const auto c = start_v1(rt);
  auto done = upgrade(c, as<bad_init>());
  ASSERT_EQ(code(done), "init_failed");
  EXPECT_EQ(done.error().reason(), (exit_reason{exit_kind::exception, "no socket"}));
  done = upgrade(c, as<bad_constructor>());
  ASSERT_EQ(code(done), "init_failed");
  EXPECT_EQ(done.error().reason().detail(), "not made");
  expect_v1_unharmed(sim, c, 0);
}

PEEPER_SIM_TEST(a_failed_upgrade, WhoseMigratedStateIsNotValidChangesNothing_P2) {
  const auto c = start_v1(rt);
  const auto done = upgrade(c, as<never_valid>());
  ASSERT_EQ(code(done), "bad_state");
  EXPECT_EQ(done.error().reason().kind(), exit_kind::invariant);
  expect_v1_unharmed(sim, c, 0);
}

PEEPER_SIM_TEST(a_failed_upgrade, OfASuspendedServerLeavesItSuspended) {
  const auto c = start_v1(rt);
  ASSERT_TRUE(suspend(c));
  c.cast(add{1});
  EXPECT_EQ(code(upgrade(c, as<bad_init>())), "init_failed");
  sim.run();
  EXPECT_TRUE(statistics_of(c)->suspended);
  ASSERT_TRUE(resume(c));
  expect_v1_unharmed(sim, c, 1);
}

PEEPER_SIM_TEST(a_failed_upgrade, ToNoClassOrOfNoServerSaysSo) {
  const auto c = start_v1(rt);
  EXPECT_EQ(code(upgrade(c, version_of{})), "mismatch");
  EXPECT_EQ(code(upgrade(ref<server>{}, as<v2>())), "unreachable");
  EXPECT_EQ(code(upgrade(c, "/nowhere/v2.so")), "bad_library");
  expect_v1_unharmed(sim, c, 0);
  ASSERT_TRUE(stop(c));
  EXPECT_EQ(code(upgrade(c, as<v2>())), "unreachable");
}

PEEPER_SIM_TEST(a_failed_upgrade, ThatIsTooLateIsNeverDone) {
  const auto c = start_v1(rt);
  EXPECT_EQ(code(upgrade(c, as<v2>(), 0ms)), "timed_out");
  expect_v1_unharmed(sim, c, 0);
}

PEEPER_SIM_TEST(a_failed_upgrade, WhoseInitTakesTooLongIsGivenUpOnBothSides) {
  const auto c = start_v1(rt);
  the_silent_one() = start<test::counter>(rt).value();
  ASSERT_TRUE(suspend(the_silent_one()));
  EXPECT_EQ(code(upgrade(c, as<slow>(), 500ms)), "timed_out");
  sim.advance(3s);
  expect_v1_unharmed(sim, c, 0);
  the_silent_one() = {};
}

PEEPER_SIM_TEST(a_failed_upgrade, OfAServerThatWaitsToBeRestartedSaysTryAgain) {
  const auto c = start_v1(rt, {.backoff = {.min = 1s}});
  EXPECT_EQ(outcome(c.call(crash_now{})), "crashed");
  EXPECT_EQ(code(upgrade(c, as<v2>(), 100ms)), "no_worker");
  sim.advance(2s);
  ASSERT_TRUE(upgrade(c, as<v2>()));
  EXPECT_EQ(runs(c), "v2");
}

PEEPER_SIM_TEST(a_failed_upgrade, ByAnEditIsRefused) {
  const auto c = start_v1(rt);
  EXPECT_EQ(outcome(edit(c, [](version_of& v) { v = as<v2>(); })), "crashed");
  expect_v1_unharmed(sim, c, 0);
}

PEEPER_SIM_TEST(a_kill_during_an_upgrade, LeavesTheOldVersionOrTheNewOneWhole_P2_P5) {
  for (const process_role role :
       {process_role::worker, process_role::keeper, process_role::supervisor}) {
    const auto c = start_v1(rt);
    c.cast(add{5});
    sim.run();
    const test::at_fault_point deed{
        "edit.done", 1, [role](detail::branch& b) { ASSERT_TRUE(kill(b.make_pid(role))); }};
    const auto done = upgrade(c, as<v2>());
    EXPECT_TRUE(deed.done());
    // A keeper hands the state on as it is: only the worker's own generation is fenced.
    EXPECT_EQ(code(done), role == process_role::worker ? "interrupted" : "upgraded");
    sim.run();
    EXPECT_EQ(runs(c), done ? "v2" : "v1");
    EXPECT_EQ(c.call(get{}), 5);
    EXPECT_EQ(notes().alive, 1);
    ASSERT_TRUE(stop(c));
  }
}

PEEPER_SIM_TEST(a_kill_during_an_upgrade, OfTheWholeServerEndsItOnce) {
  const auto c = start_v1(rt);
  const test::at_fault_point deed{"edit.done", 1,
                                  [](detail::branch& b) { ASSERT_TRUE(kill(b.server_pid())); }};
  std::ignore = upgrade(c, as<v2>());
  sim.run();
  EXPECT_FALSE(c.alive());
  EXPECT_EQ(notes().alive, 0);
}

/// Clients count while versions come and crashes strike at every fault point.
PEEPER_SIM_TEST(upgrades_under_chaos, LoseNothingAcknowledgedAndDoNothingTwice_P1_P2) {
  const auto c = start_v1(rt, {.max_restarts = 1'000'000});
  int certain = 0;  // what acknowledged calls have added
  sim.crash_randomly(0.05);
  const version_of versions[] = {as<v1>(), as<v2>(), as<v3>()};
  for (int n = 0; n < 300; ++n) {
    switch (sim.choose(8)) {
      case 0: {
        const auto& to = versions[sim.choose(3)];
        const auto before = version(c);
        const auto done = upgrade(c, to);
        const auto after = version(c);
        ASSERT_TRUE(before && after);
        EXPECT_EQ(*after, done ? to.version() : *before) << code(done);
        break;
      }
      case 1: std::ignore = kill(worker_of(c)); break;
      case 2: std::ignore = kill(keeper_of(c)); break;
      case 3: EXPECT_EQ(outcome(c.call(crash_now{})), "crashed"); break;
      default: {
        const auto before = version(c);
        const auto got = c.call(add_now{1});
        ASSERT_TRUE(before);
        if (got) certain += static_cast<int>(*before);  // each version's factor is its number
      }
    }
  }
  sim.crash_randomly(0);
  sim.run();
  EXPECT_EQ(c.call(get{}), certain);
  EXPECT_EQ(notes().alive, 1);
  EXPECT_GT(sim.injected(), 0U);
}

}  // namespace
}  // namespace upgrade_test
}  // namespace peeper
