// SPDX-License-Identifier: Apache-2.0
/// \file
/// What OTP says of supervisors, rule by rule (contract, section 2).
#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include <peeper/peeper.hpp>
#include <peeper/sim.hpp>

#include "supervisor/test_family.hpp"
#include "support/sim_test.hpp"

namespace peeper::test {
namespace {

using namespace std::chrono_literals;

const exit_reason broken = exit_reason::stopped("broken");

void end_child(simulation& sim, const supervisor& top, const std::string& id,
               const exit_reason& reason = broken) {
  top.child<member>(id).value().cast(end_as{reason});
  sim.run();
}

child_status status_of(const supervisor& top, const std::string& id) {
  const auto all = top.which_children().value();
  for (const child_info& c : all) {
    if (c.id == id) return c.status;
  }
  ADD_FAILURE() << "no child " << id;
  return child_status::undefined;
}

std::string ids(const supervisor& top) {
  std::string all;
  const auto children = top.which_children().value();
  for (const child_info& c : children) all += c.id;
  return all;
}

// The diary outlives the runtime that PEEPER_SIM_TEST makes.
diary& fresh_diary() {
  static diary d;
  d = {};
  return d;
}

std::vector<child> family(diary& d, restart_type type = restart::permanent) {
  return {member_spec(d, {.id = "a", .restart = type}),
          member_spec(d, {.id = "b", .restart = type}),
          member_spec(d, {.id = "c", .restart = type})};
}

PEEPER_SIM_TEST(supervisor, StartsItsChildrenFromLeftToRightAndEndsThemInReverse) {
  diary& d = fresh_diary();
  auto top = start_supervisor(rt, {.name = "top"}, family(d)).value();
  EXPECT_EQ(d.text(), "+a +b +c");
  EXPECT_EQ(rt.server_count(), 4U);
  EXPECT_EQ(top.count_children().value(),
            (child_counts{.specs = 3, .active = 3, .supervisors = 0, .workers = 3}));
  EXPECT_TRUE(top.stop());
  EXPECT_EQ(d.text(), "+a +b +c -c -b -a");
  EXPECT_EQ(rt.server_count(), 0U);
  EXPECT_FALSE(top.alive());
  EXPECT_EQ(top.which_children().error().code(), child_errc::noproc);
}

PEEPER_SIM_TEST(supervisor, AChildThatDoesNotStartIsTheStartErrorAndEndsTheOthersInReverse) {
  diary& d = fresh_diary();
  d.failures["c"] = 1;
  const auto top = start_supervisor(rt, {.name = "top"}, family(d));
  ASSERT_FALSE(top);
  EXPECT_EQ(top.error().code(), start_errc::child_failed);
  EXPECT_NE(top.error().what().find("child 'c'"), std::string::npos) << top.error().what();
  EXPECT_NE(top.error().what().find("c does not start"), std::string::npos) << top.error().what();
  EXPECT_EQ(d.text(), "+a +b -b -a");
  EXPECT_EQ(rt.server_count(), 0U);
  EXPECT_TRUE(start_supervisor(rt, {.name = "top"}, family(d))) << "its name is free";
}

PEEPER_SIM_TEST(supervisor, AMistakeInANestedSpecNamesSupervisorAndChild) {
  diary& d = fresh_diary();
  const auto top = start_supervisor(
      rt, {.name = "top"},
      {supervisor_spec({.id = "sub"}, {.name = "sub"},
                       {member_spec(d, {.id = "a"}), member_spec(d, {.id = "a"})})});
  ASSERT_FALSE(top);
  for (const char* part : {"'top'", "'sub'", "two children have the id 'a'"}) {
    EXPECT_NE(top.error().what().find(part), std::string::npos) << top.error().what();
  }
  const auto useless =
      start_supervisor(rt, {.name = "top"}, family(d, significant(restart::temporary)));
  ASSERT_FALSE(useless);
  EXPECT_EQ(useless.error().code(), start_errc::bad_options);
  EXPECT_NE(useless.error().what().find("child 'a' is significant"), std::string::npos);
  EXPECT_EQ(d.text(), "");
  EXPECT_EQ(rt.server_count(), 0U);
}

PEEPER_SIM_TEST(supervisor, OneForOneRestartsOnlyTheChildThatEnded) {
  diary& d = fresh_diary();
  auto top = start_supervisor(rt, {}, family(d)).value();
  const auto a = top.child<member>("a").value();
  const auto b = top.child<member>("b").value();
  d.clear();
  end_child(sim, top, "b");
  EXPECT_EQ(d.text(), "-b +b");
  EXPECT_TRUE(a.alive());
  EXPECT_FALSE(b.alive()) << "the next one is another server";
  EXPECT_EQ(ids(top), "abc");
}

PEEPER_SIM_TEST(supervisor, OneForAllEndsTheOthersInReverseAndStartsAllInOrder) {
  diary& d = fresh_diary();
  auto top = start_supervisor(rt, {.strategy = strategy::one_for_all}, family(d)).value();
  d.clear();
  end_child(sim, top, "b");
  EXPECT_EQ(d.text(), "-b -c -a +a +b +c");
}

PEEPER_SIM_TEST(supervisor, RestForOneRestartsItAndThoseStartedAfterIt) {
  diary& d = fresh_diary();
  auto top = start_supervisor(rt, {.strategy = strategy::rest_for_one}, family(d)).value();
  d.clear();
  end_child(sim, top, "b");
  EXPECT_EQ(d.text(), "-b -c +b +c");
}

PEEPER_SIM_TEST(supervisor, ACrashOfAChildsWorkerIsItsBranchsAffairAndKeepsItsState_P2) {
  diary& d = fresh_diary();
  auto top = start_supervisor(rt, {.strategy = strategy::one_for_all}, family(d)).value();
  const auto a = top.child<member>("a").value();
  EXPECT_EQ(a.call(bump{}), 1);
  d.clear();
  a.cast(fail{});
  kill(worker_of(a));
  sim.run();
  EXPECT_EQ(a.call(ping{}), 1);
  EXPECT_EQ(d.text(), "");
}

PEEPER_SIM_TEST(supervisor, AKillOfAChildsServerEndsItAndItIsRestartedAfresh) {
  diary& d = fresh_diary();
  auto top = start_supervisor(rt, {}, family(d)).value();
  const auto a = top.child<member>("a").value();
  EXPECT_EQ(a.call(bump{}), 1);
  kill(a.pid());
  sim.run();
  EXPECT_EQ(a.call(ping{}).error().code(), call_errc::noproc);
  EXPECT_EQ(top.child<member>("a").value().call(ping{}), 0);
}

PEEPER_SIM_TEST(supervisor, PermanentTransientAndTemporaryRestartAsOtpSays) {
  diary& d = fresh_diary();
  for (const exit_reason& reason : {exit_reason::normal(), exit_reason::shutdown(), broken}) {
    const bool normal = reason.is_normal();
    auto top = start_supervisor(rt, {},
                                {member_spec(d, {.id = "p", .restart = restart::permanent}),
                                 member_spec(d, {.id = "t", .restart = restart::transient}),
                                 member_spec(d, {.id = "x", .restart = restart::temporary})})
                   .value();
    for (const char* id : {"p", "t", "x"}) end_child(sim, top, id, reason);
    EXPECT_EQ(ids(top), "pt") << "a temporary child's spec is dropped";
    EXPECT_EQ(status_of(top, "p"), child_status::running);
    EXPECT_EQ(status_of(top, "t"), normal ? child_status::undefined : child_status::running);
    EXPECT_TRUE(top.stop());
  }
}

PEEPER_SIM_TEST(supervisor, MoreRestartsThanTheIntensityEndItAndItsChildren) {
  diary& d = fresh_diary();
  auto top = start_supervisor(rt, {.name = "top", .max_restarts = 2, .max_seconds = 5s}, family(d))
                 .value();
  end_child(sim, top, "a");
  end_child(sim, top, "b");
  sim.advance(5s);  // OTP: a stamp of exactly max_seconds ago still counts
  d.clear();
  end_child(sim, top, "c");
  EXPECT_EQ(d.text(), "-c -b -a");
  EXPECT_FALSE(top.alive());
  EXPECT_EQ(rt.server_count(), 0U);
}

PEEPER_SIM_TEST(supervisor, RestartsFurtherApartThanTheIntensityGoOnForEver) {
  diary& d = fresh_diary();
  auto top = start_supervisor(rt, {.max_restarts = 1, .max_seconds = 5s}, family(d)).value();
  for (int i = 0; i < 20; ++i) {
    end_child(sim, top, "a");
    sim.advance(5s + 1ns);
  }
  EXPECT_EQ(status_of(top, "a"), child_status::running);
  EXPECT_EQ(top.which_children().value().front().restarts, 20U);
}

PEEPER_SIM_TEST(supervisor, AFailedRestartIsTriedAgainAndEachAttemptCounts) {
  diary& d = fresh_diary();
  auto top = start_supervisor(rt, {.max_restarts = 3}, family(d)).value();
  d.failures["b"] = 2;
  d.clear();
  end_child(sim, top, "b");  // one for its end, one each for two failed attempts
  EXPECT_EQ(d.text(), "-b +b");
  d.failures["b"] = 1;
  end_child(sim, top, "b");  // the fourth
  EXPECT_FALSE(top.alive());
  EXPECT_EQ(rt.server_count(), 0U);
}

PEEPER_SIM_TEST(supervisor, AFailedRestartInAGroupIsTriedAgainFromTheChildThatFailed) {
  diary& d = fresh_diary();
  auto top = start_supervisor(rt, {.strategy = strategy::rest_for_one}, family(d)).value();
  d.failures["c"] = 1;
  d.clear();
  end_child(sim, top, "b");
  EXPECT_EQ(d.text(), "-b -c +b +c") << "b, which had started, is left in peace";

  auto all = start_supervisor(rt, {.strategy = strategy::one_for_all}, family(d)).value();
  d.failures["b"] = 1;
  d.clear();
  end_child(sim, all, "c");
  EXPECT_EQ(d.text(), "-c -b -a +a -a +a +b +c");
}

PEEPER_SIM_TEST(supervisor, ASupervisorThatGivesUpIsRestartedByItsOwn) {
  diary& d = fresh_diary();
  auto top =
      start_supervisor(rt, {}, {supervisor_spec({.id = "sub"}, {.max_restarts = 0}, family(d))})
          .value();
  const auto sub = top.child_supervisor("sub").value();
  d.clear();
  end_child(sim, sub, "b");
  EXPECT_EQ(d.text(), "-b -c -a +a +b +c");
  EXPECT_FALSE(sub.alive());
  EXPECT_TRUE(top.child_supervisor("sub").value().alive());
  EXPECT_EQ(top.count_children().value(),
            (child_counts{.specs = 1, .active = 1, .supervisors = 1, .workers = 0}));
}

PEEPER_SIM_TEST(supervisor, GoesOnWithItsChildrenWhenItsOwnProcessesAreKilled) {
  diary& d = fresh_diary();
  auto top = start_supervisor(rt, {.name = "top"}, family(d)).value();
  const auto a = top.child<member>("a").value();
  EXPECT_EQ(a.call(bump{}), 1);
  d.clear();
  const pid old = worker_of(top);
  EXPECT_TRUE(kill(old));
  EXPECT_TRUE(kill(keeper_of(top)));
  EXPECT_TRUE(kill(supervisor_of(top)));
  sim.run();
  EXPECT_NE(worker_of(top), old);
  EXPECT_EQ(d.text(), "");
  EXPECT_EQ(a.call(ping{}), 1);
  end_child(sim, top, "a");
  EXPECT_EQ(d.text(), "-a +a") << "it still supervises";
}

PEEPER_SIM_TEST(supervisor, AKillOfTheWholeSupervisorTakesItsChildrenAlong) {
  diary& d = fresh_diary();
  auto top = start_supervisor(rt, {}, {supervisor_spec({.id = "sub"}, {}, family(d))}).value();
  const auto sub = top.child_supervisor("sub").value();
  d.clear();
  kill(sub.pid());
  sim.run();
  EXPECT_EQ(d.text(), "-c -b -a +a +b +c");
  EXPECT_EQ(rt.server_count(), 5U);
}

PEEPER_SIM_TEST(supervisor, ChildrenAreEndedRestartedAndDeletedByHand) {
  diary& d = fresh_diary();
  auto top = start_supervisor(rt, {}, family(d)).value();
  EXPECT_EQ(top.restart_child("a").error().code(), child_errc::running);
  EXPECT_EQ(top.delete_child("a").error().code(), child_errc::running);
  EXPECT_EQ(top.terminate_child("z").error().code(), child_errc::not_found);
  EXPECT_EQ(top.restart_child("z").error().code(), child_errc::not_found);
  EXPECT_EQ(top.delete_child("z").error().code(), child_errc::not_found);
  EXPECT_EQ(top.start_child(member_spec(d, {.id = "a"})).error().code(),
            child_errc::already_started);
  EXPECT_TRUE(top.terminate_child("a"));
  EXPECT_TRUE(top.terminate_child("a")) << "OTP: ok, too, if it does not run";
  EXPECT_EQ(status_of(top, "a"), child_status::undefined);
  EXPECT_EQ(top.child<member>("a").error().code(), child_errc::not_found);
  EXPECT_EQ(top.start_child(member_spec(d, {.id = "a"})).error().code(),
            child_errc::already_present);
  const auto again = top.restart_child("a");
  ASSERT_TRUE(again);
  EXPECT_EQ(*again, top.child<member>("a").value().pid());
  EXPECT_TRUE(top.terminate_child("a"));
  EXPECT_TRUE(top.delete_child("a"));
  EXPECT_EQ(ids(top), "bc");
  EXPECT_TRUE(top.start_child(member_spec(d, {.id = "a"})));
  EXPECT_EQ(ids(top), "bca");
  EXPECT_EQ(top.child<counter_of_another_class>("a").error().code(), child_errc::wrong_class);
}

PEEPER_SIM_TEST(supervisor, AStartByHandThatFailsKeepsNoSpec) {
  diary& d = fresh_diary();
  auto top = start_supervisor(rt, {}, family(d)).value();
  d.failures["x"] = 1;
  const auto failed = top.start_child(member_spec(d, {.id = "x"}));
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code(), child_errc::start_failed);
  EXPECT_NE(failed.error().what().find("x does not start"), std::string::npos);
  EXPECT_EQ(ids(top), "abc");
  EXPECT_EQ(top.start_child(member_spec(d, {.id = "y", .restart = significant(restart::temporary)}))
                .error()
                .code(),
            child_errc::bad_spec);
  EXPECT_EQ(ids(top), "abc");
}

PEEPER_SIM_TEST(supervisor, ATerminatedTemporaryChildIsForgotten) {
  diary& d = fresh_diary();
  auto top = start_supervisor(rt, {}, family(d, restart::temporary)).value();
  EXPECT_TRUE(top.terminate_child("b"));
  EXPECT_EQ(ids(top), "ac");
}

PEEPER_SIM_TEST(supervisor, AnySignificantChildThatEndsEndsIt) {
  diary& d = fresh_diary();
  auto top =
      start_supervisor(rt, {.auto_shutdown = auto_shutdown::any_significant},
                       {member_spec(d, {.id = "a"}),
                        member_spec(d, {.id = "b", .restart = significant(restart::transient)}),
                        member_spec(d, {.id = "c", .restart = significant(restart::temporary)})})
          .value();
  EXPECT_TRUE(top.terminate_child("c")) << "its supervisor's own doing does not count";
  end_child(sim, top, "b");
  EXPECT_TRUE(top.alive()) << "a crash of a transient child is restarted";
  d.clear();
  end_child(sim, top, "b", exit_reason::normal());
  EXPECT_FALSE(top.alive());
  EXPECT_EQ(d.text(), "-b -a");
}

PEEPER_SIM_TEST(supervisor, AllSignificantWaitsForTheLastOfThem) {
  diary& d = fresh_diary();
  auto top =
      start_supervisor(rt, {.auto_shutdown = auto_shutdown::all_significant},
                       {member_spec(d, {.id = "a", .restart = restart::transient}),
                        member_spec(d, {.id = "b", .restart = significant(restart::transient)}),
                        member_spec(d, {.id = "c", .restart = significant(restart::temporary)})})
          .value();
  end_child(sim, top, "a", exit_reason::normal());
  end_child(sim, top, "b", exit_reason::normal());
  EXPECT_TRUE(top.alive());
  end_child(sim, top, "c", broken);
  EXPECT_FALSE(top.alive());
}

PEEPER_SIM_TEST(supervisor, AChildThatDoesNotEndInTimeIsKilledAndOneWithBrutalKillIsNotAsked) {
  diary& d = fresh_diary();
  auto top = start_supervisor(rt, {},
                              {member_spec(d, {.id = "a", .shutdown = brutal_kill}),
                               child_spec<sleeper>({.id = "s", .shutdown = 10ms})})
                 .value();
  top.child<sleeper>("s").value().cast(keep_busy{1s});
  sim.run();
  const time_point before = sim.now();
  EXPECT_TRUE(top.terminate_child("s"));
  EXPECT_LT(sim.now() - before, 1s);
  EXPECT_EQ(status_of(top, "s"), child_status::undefined);
  d.clear();
  EXPECT_TRUE(top.terminate_child("a"));
  EXPECT_EQ(d.text(), "") << "terminate does not run on a kill";
}

PEEPER_SIM_TEST(supervisor, ARestartWaitsForItsBackOffWithJitter) {
  diary& d = fresh_diary();
  auto top =
      start_supervisor(rt, {.max_restarts = 100},
                       {member_spec(d, {.id = "a", .backoff = {.min = 100ms, .max = 400ms}})})
          .value();
  duration longest_so_far{0};
  for (int i = 0; i < 5; ++i) {
    end_child(sim, top, "a");
    EXPECT_EQ(status_of(top, "a"), child_status::restarting);
    const time_point before = sim.now();
    while (status_of(top, "a") == child_status::restarting) sim.advance(1ms);
    const duration pause = sim.now() - before;
    const duration expected = std::min<duration>(100ms * (1 << i), 400ms);
    EXPECT_GE(pause, expected / 2);
    EXPECT_LE(pause, expected + 2ms);
    longest_so_far = std::max(longest_so_far, pause);
  }
  end_child(sim, top, "a");
  EXPECT_TRUE(top.terminate_child("a")) << "in the middle of its pause";
  sim.advance(1s);
  EXPECT_EQ(status_of(top, "a"), child_status::undefined);
}

PEEPER_SIM_TEST(supervisor, OnExitLearnsTheKindOfCrashAndDecides) {
  diary& d = fresh_diary();
  std::vector<child_exit> seen;
  auto decision = restart_decision::restart;
  auto top = start_supervisor(rt, {},
                              {child_spec<member>({.id = "a",
                                                   .on_exit =
                                                       [&](const child_exit& e) {
                                                         seen.push_back(e);
                                                         if (seen.size() == 4)
                                                           throw std::runtime_error{"?"};
                                                         return decision;
                                                       }},
                                                  {.max_restarts = 0}, &d, std::string{"a"})})
                 .value();
  top.child<member>("a").value().cast(fail{});  // P7: its first crash is one too many
  sim.run();
  ASSERT_EQ(seen.size(), 1U);
  EXPECT_EQ(seen[0].reason.kind(), exit_kind::shutdown);
  EXPECT_EQ(seen[0].last_crash.kind(), exit_kind::exception);
  EXPECT_EQ(seen[0].last_crash.detail(), "failed");
  EXPECT_EQ(status_of(top, "a"), child_status::running);
  decision = restart_decision::leave;
  end_child(sim, top, "a");
  EXPECT_EQ(status_of(top, "a"), child_status::undefined);
  EXPECT_TRUE(top.restart_child("a"));
  decision = restart_decision::escalate;
  end_child(sim, top, "a");
  EXPECT_FALSE(top.alive());
}

PEEPER_SIM_TEST(supervisor, OnExitThatThrowsMeansRestart) {
  diary& d = fresh_diary();
  auto top =
      start_supervisor(rt, {},
                       {member_spec(d, {.id = "a",
                                        .on_exit = [](const child_exit&) -> restart_decision {
                                          throw std::runtime_error{"no idea"};
                                        }})})
          .value();
  end_child(sim, top, "a");
  EXPECT_EQ(status_of(top, "a"), child_status::running);
}

PEEPER_SIM_TEST(supervisor, AChildsNameIsFreeForItsSuccessor) {
  diary& d = fresh_diary();
  auto top = start_supervisor(rt, {}, {member_spec(d, {.id = "a"}, {.name = "alice"})}).value();
  const auto before = whereis<member>(rt, "alice").value();
  end_child(sim, top, "a");
  const auto after = whereis<member>(rt, "alice").value();
  EXPECT_NE(before.pid(), after.pid());
  EXPECT_EQ(after.pid(), top.child<member>("a").value().pid());
}

PEEPER_SIM_TEST(supervisor, AServerUsesItsOwnSupervisorFromACallback) {
  diary& d = fresh_diary();
  auto top = start_supervisor(rt, {.name = "top"},
                              {child_spec<boss>({.id = "boss"}), member_spec(d, {.id = "a"})})
                 .value();
  const auto boss_ref = top.child<boss>("boss").value();
  EXPECT_EQ(boss_ref.call(replace{top, "a", &d}), 0);
  EXPECT_EQ(d.text(), "+a -a +x");
  EXPECT_EQ(ids(top), "bossax");
}

PEEPER_SIM_TEST(supervisor, EndsItsChildrenWhenTheRuntimeShutsDown) {
  diary& d = fresh_diary();
  auto top =
      start_supervisor(rt, {.name = "top"},
                       {supervisor_spec({.id = "sub"}, {}, family(d)), member_spec(d, {.id = "z"})})
          .value();
  EXPECT_TRUE(rt.shutdown());
  EXPECT_EQ(d.text(), "+a +b +c +z -z -c -b -a");
  EXPECT_EQ(rt.server_count(), 0U);
  EXPECT_EQ(top.start_child(member_spec(d, {.id = "n"})).error().code(), child_errc::noproc);
}

PEEPER_SIM_TEST(supervisor, DescribesItselfAsATree) {
  diary& d = fresh_diary();
  auto top = start_supervisor(rt, {.name = "top", .strategy = strategy::rest_for_one},
                              {member_spec(d, {.id = "store"}),
                               supervisor_spec({.id = "pool"}, {}, family(d, restart::transient))})
                 .value();
  top.child<member>("store").value().cast(fail{});
  sim.run();
  const auto pool = top.child_supervisor("pool").value();
  EXPECT_TRUE(pool.terminate_child("b"));
  const std::string text = describe(top);
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 6) << text;
  for (const char* part : {"top <server ", "rest_for_one, 2 children", "├── store <server ",
                           "crashes 1", "└── pool <server ", "    ├── a <server ",
                           "    ├── b undefined, transient", "    └── c <server "}) {
    EXPECT_NE(text.find(part), std::string::npos) << part << " is not in\n" << text;
  }
}

PEEPER_SIM_TEST(supervisor, IsFoundByItsNameAsWhatItIs) {
  diary& d = fresh_diary();
  auto top = start_supervisor(rt, {.name = "top"}, family(d)).value();
  auto rooms = start_dynamic_supervisor(rt, {.name = "rooms"}).value();
  EXPECT_EQ(whereis_supervisor(rt, "top").value(), top);
  EXPECT_EQ(whereis_dynamic_supervisor(rt, "rooms").value(), rooms);
  EXPECT_EQ(whereis_supervisor(rt, "nobody").error().code(), call_errc::noproc);
  EXPECT_EQ(whereis_supervisor(rt, "rooms").error().code(), call_errc::name_mismatch);
  EXPECT_EQ(whereis_dynamic_supervisor(rt, "top").error().code(), call_errc::name_mismatch);
  EXPECT_EQ(whereis<member>(rt, "top").error().code(), call_errc::name_mismatch);
  EXPECT_EQ(start_supervisor(rt, {.name = "top"}).error().code(), start_errc::already_started);
}

}  // namespace
}  // namespace peeper::test
