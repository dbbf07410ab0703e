// SPDX-License-Identifier: Apache-2.0
/// \file
/// Children that come and go, partitions, and children that move.
#include <atomic>
#include <chrono>
#include <memory>
#include <string>
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

struct which {
  using reply = std::string;
};
/// Known by its arguments.
struct guest {
  using state = int;
  std::string words;
  state init(const std::string& hotel, int room) {
    words = hotel + " " + std::to_string(room);
    return room;
  }
  std::string handle_call(which, const state& n) { return words + " " + std::to_string(n); }
  int handle_call(bump, state& n) { return ++n; }
  auto handle_cast(const end_as& m, state&) { return stop(m.reason); }
};

/// Takes its first state from the options.
struct account {
  using state = int;
  int handle_call(ping, const state& n) { return n; }
  int handle_call(bump, state& n) { return ++n; }
  auto handle_cast(const end_as& m, state&) { return stop(m.reason); }
  void handle_info(bump, state& n) { ++n; }
};

std::size_t active(const any_supervisor& s) { return s.count_children().value().active; }

PEEPER_SIM_TEST(dynamic_supervisor, GivesTheRefOfEachChildAndItsExtraArgumentsToAll) {
  auto hotel = start_dynamic_supervisor(rt, {.name = "hotel"}, std::string{"ritz"}).value();
  const auto a = hotel.start_child<guest>({.name = "a"}, 7).value();
  const auto b = hotel.start_child<guest>({}, 8).value();
  EXPECT_EQ(a.call(which{}), "ritz 7 7");
  EXPECT_EQ(b.call(which{}), "ritz 8 8");
  EXPECT_EQ(a.call(bump{}), 8);
  a.cast(end_as{broken});
  sim.run();
  EXPECT_FALSE(a.alive());
  EXPECT_EQ(whereis<guest>(rt, "a").value().call(which{}), "ritz 7 7") << "afresh, same arguments";
  const auto found = whereis_dynamic_supervisor<std::string>(rt, "hotel");
  ASSERT_TRUE(found);
  EXPECT_EQ(found->start_child<guest>({}, 9).value().call(which{}), "ritz 9 9");
  EXPECT_EQ(whereis_dynamic_supervisor(rt, "hotel").error().code(), call_errc::name_mismatch);
}

PEEPER_SIM_TEST(dynamic_supervisor, ARestartedChildHasItsFirstStateAgain) {
  auto bank = start_dynamic_supervisor(rt).value();
  const auto a = bank.start_child<account>({.name = "a", .state = 100}).value();
  EXPECT_EQ(a.call(bump{}), 101);
  for (int i = 0; i < 3; ++i) {
    const auto now = whereis<account>(rt, "a").value();
    EXPECT_EQ(now.call(bump{}), i == 0 ? 102 : 101);
    now.cast(end_as{broken});
    sim.run();
  }
  EXPECT_EQ(whereis<account>(rt, "a").value().call(ping{}), 100);
}

PEEPER_SIM_TEST(dynamic_supervisor, RefusesMoreThanMaxChildrenAndCountsRestartingOnes) {
  diary d;
  auto s = start_dynamic_supervisor(rt, {.max_children = 2}).value();
  const auto a = s.start_child<account>().value();
  ASSERT_TRUE(s.start_child_as<account>({.backoff = {.min = 1s, .max = 1s}}));
  const auto full = s.start_child<account>();
  ASSERT_FALSE(full);
  EXPECT_EQ(full.error().code(), child_errc::max_children);
  EXPECT_EQ(rt.server_count(), 3U);
  const auto children = s.which_children().value();
  kill(children.back().process);
  sim.run();
  EXPECT_EQ(s.count_children().value().specs, 2U) << "it waits for its back-off";
  EXPECT_EQ(s.start_child<account>().error().code(), child_errc::max_children);
  EXPECT_TRUE(s.terminate_child(a));
  EXPECT_TRUE(s.start_child<account>());
}

PEEPER_SIM_TEST(dynamic_supervisor, ForgetsChildrenThatAreNotToBeRestarted) {
  auto s = start_dynamic_supervisor(rt).value();
  const auto once = s.start_child_as<account>({.restart = restart::temporary}).value();
  const auto unless = s.start_child_as<account>({.restart = restart::transient}).value();
  const auto always = s.start_child<account>().value();
  once.cast(end_as{broken});
  unless.cast(end_as{exit_reason::normal()});
  always.cast(end_as{exit_reason::normal()});
  sim.run();
  EXPECT_EQ(s.count_children().value(),
            (child_counts{.specs = 1, .active = 1, .supervisors = 0, .workers = 1}));
  EXPECT_EQ(s.terminate_child(once).error().code(), child_errc::not_found);
  EXPECT_EQ(s.terminate_child(always).error().code(), child_errc::not_found)
      << "another server now";
  EXPECT_EQ(s.start_child_as<account>({.restart = significant(restart::temporary)}).error().code(),
            child_errc::bad_spec);
}

PEEPER_SIM_TEST(dynamic_supervisor, AStartThatFailsLeavesNothingBehind) {
  diary d;
  auto s = start_dynamic_supervisor(rt).value();
  d.failures["x"] = 1;
  const auto failed = s.start_child<member>({.name = "x"}, &d, std::string{"x"});
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code(), child_errc::start_failed);
  EXPECT_EQ(failed.error().reason().detail(), "x does not start");
  EXPECT_EQ(s.count_children().value().specs, 0U);
  EXPECT_EQ(rt.server_count(), 1U);
  EXPECT_TRUE(s.start_child<member>({.name = "x"}, &d, std::string{"x"}));
  const auto taken = s.start_child<member>({.name = "x"}, &d, std::string{"x"});
  ASSERT_FALSE(taken);
  EXPECT_NE(taken.error().what().find("'x' is taken"), std::string::npos) << taken.error().what();
  EXPECT_TRUE(s.stop());
  EXPECT_EQ(s.start_child<account>().error().code(), child_errc::noproc);
  EXPECT_EQ(rt.server_count(), 0U);
}

PEEPER_SIM_TEST(dynamic_supervisor, MayHaveSupervisorsAsChildren) {
  static diary d;
  d = {};
  auto s = start_dynamic_supervisor(rt).value();
  ASSERT_TRUE(s.start_child(
      supervisor_spec({}, {.name = "sub", .max_restarts = 0}, {member_spec(d, {.id = "a"})})));
  EXPECT_EQ(s.count_children().value().supervisors, 1U);
  const auto sub = whereis_supervisor(rt, "sub").value();
  sub.child<member>("a").value().cast(end_as{broken});
  sim.run();
  EXPECT_FALSE(sub.alive());
  EXPECT_TRUE(whereis_supervisor(rt, "sub").value().child<member>("a"));
}

struct end_me {
  using reply = child_errc;
  dynamic_supervisor<> by;
};
struct suicidal {
  using state = int;
  child_errc handle_call(const end_me& m, const state&) {
    return m.by.terminate_child(self<suicidal>()).error().code();
  }
};
PEEPER_SIM_TEST(dynamic_supervisor, AChildThatAsksForItsOwnEndIsToldHow) {
  auto s = start_dynamic_supervisor(rt).value();
  const auto child = s.start_child<suicidal>().value();
  EXPECT_EQ(child.call(end_me{s}), child_errc::calling_self);
  EXPECT_TRUE(child.alive());
}

PEEPER_SIM_TEST(dynamic_supervisor, EndsAllAtOnce) {
  auto s = start_dynamic_supervisor(rt).value();
  std::vector<ref<sleeper>> all;
  for (int i = 0; i < 5; ++i) {
    all.push_back(s.start_child_as<sleeper>({.shutdown = 1s}).value());
    all.back().cast(keep_busy{500ms});
  }
  sim.run();
  const time_point before = sim.now();
  EXPECT_TRUE(s.stop());
  EXPECT_LT(sim.now() - before, 1s) << "one after the other it would be 2.5 s";
  EXPECT_EQ(rt.server_count(), 0U);
}

TEST(dynamic_supervisor, HoldsAHundredThousandChildrenAndLetsThemGo) {
  runtime rt;
  auto s = start_dynamic_supervisor(rt).value();
  for (int i = 0; i < 100'000; ++i) ASSERT_TRUE(s.start_child<account>());
  EXPECT_EQ(active(s), 100'000U);
  EXPECT_EQ(rt.server_count(), 100'001U);
  EXPECT_TRUE(s.stop());
  EXPECT_EQ(rt.server_count(), 0U);
}

// --- partitions --------------------------------------------------------------------------------

PEEPER_SIM_TEST(partition_supervisor, GivesEachKeyItsPartitionAlsoAfterARestart) {
  auto p = start_partition_supervisor<account>(rt, {.name = "p", .partitions = 3}, {.state = 10})
               .value();
  EXPECT_EQ(p.partitions(), 3U);
  EXPECT_EQ(active(p), 3U);
  EXPECT_EQ(p.at(4), p.partition(1));
  EXPECT_EQ(p.at(std::string{"ann"}), p.at("ann"));
  EXPECT_EQ(p.at("ann").call(bump{}), 11);
  const auto before = p.partition(1);
  before.cast(end_as{broken});
  sim.run();
  EXPECT_FALSE(before.alive());
  EXPECT_NE(p.at(1), before);
  EXPECT_EQ(p.at(1).call(ping{}), 10);
  EXPECT_EQ(p.child<account>("1").value(), p.at(1));
  const auto named =
      start_partition_supervisor<account>(rt, {.partitions = 2}, {.name = "all the same"});
  EXPECT_EQ(named.error().code(), start_errc::bad_options);
}

PEEPER_SIM_TEST(partition_supervisor, HasOnePartitionACoreByDefault) {
  auto p = start_partition_supervisor<account>(rt).value();
  EXPECT_EQ(p.partitions(), rt.env().default_threads());
}

// --- transfer ----------------------------------------------------------------------------------

/// Uses everything that a move must not touch.
struct traveller {
  struct baggage {
    int count = 0;
    int beats = 0;
    int downs = 0;
    monitor_id watch;
  };
  using state = baggage;
  struct pack {
    ref<account> watched;
  };
  struct beat {};
  int handle_call(bump, state& s) {
    dictionary().put("count", s.count + 1);
    return ++s.count;
  }
  void handle_cast(const pack& m, state& s) {
    s.watch = monitor(m.watched);
    send_interval(self<traveller>(), 10ms, beat{});
  }
  void handle_cast(fail, state& s) {
    s.count = -1;
    dictionary().put("count", -1);
    throw std::runtime_error{"failed"};
  }
  void handle_info(beat, state& s) { ++s.beats; }
  void handle_info(const down& m, state& s) { s.downs += m.id == s.watch ? 1 : 0; }
  int handle_call(ping, const state& s) {
    EXPECT_EQ(dictionary().get<int>("count").value_or(0), s.count);
    return s.count;
  }
};

struct hotels {
  dynamic_supervisor<> from;
  dynamic_supervisor<> to;
};
hotels two_hotels(runtime& rt, std::size_t beds = 10) {
  return {start_dynamic_supervisor(rt, {.name = "from"}).value(),
          start_dynamic_supervisor(rt, {.name = "to", .max_children = beds}).value()};
}

PEEPER_SIM_TEST(transfer, TakesEverythingAlong) {
  auto [from, to] = two_hotels(rt);
  const auto watched = start<account>(rt).value();
  const auto t = from.start_child<traveller>({.name = "t"}).value();
  t.cast(traveller::pack{watched});
  EXPECT_EQ(t.call(bump{}), 1);
  sim.advance(25ms);
  ASSERT_TRUE(suspend(t));
  auto waiting = t.ask(bump{});
  EXPECT_TRUE(transfer(t, to));
  ASSERT_TRUE(resume(t));
  EXPECT_EQ(waiting.get(), 2) << "a message that waited is still there";
  EXPECT_EQ(active(from), 0U);
  EXPECT_EQ(active(to), 1U);
  EXPECT_EQ(whereis<traveller>(rt, "t").value(), t);
  EXPECT_TRUE(stop(watched));
  sim.advance(20ms);
  const auto s = inspect(t, [](const traveller::baggage& b) { return b; }).value();
  EXPECT_EQ(s.beats, 4);
  EXPECT_EQ(s.downs, 1);
  t.cast(fail{});
  EXPECT_EQ(t.call(ping{}), 2);
  EXPECT_TRUE(from.stop());
  EXPECT_TRUE(t.alive()) << "its old supervisor is nothing to it";
  kill(t.pid());
  sim.run();
  EXPECT_EQ(active(to), 1U) << "its new supervisor restarts it";
  EXPECT_TRUE(whereis<traveller>(rt, "t"));
}

PEEPER_SIM_TEST(transfer, ThatCannotBeLeavesEverythingAsItWas) {
  auto [from, to] = two_hotels(rt, 1);
  const auto t = from.start_child<traveller>().value();
  const auto other = to.start_child<traveller>().value();
  const auto loner = start<traveller>(rt).value();
  const auto is_still_there = [&, from = from] {
    EXPECT_EQ(active(from), 1U);
    EXPECT_TRUE(t.call(bump{}));
  };
  EXPECT_EQ(transfer(t, to).error().code(), child_errc::max_children);
  is_still_there();
  EXPECT_EQ(transfer(loner, from).error().code(), child_errc::bad_spec);
  EXPECT_TRUE(transfer(t, from)) << "to where it is";
  is_still_there();
  EXPECT_TRUE(to.stop());
  EXPECT_EQ(transfer(t, to).error().code(), child_errc::noproc);
  is_still_there();
  EXPECT_FALSE(other.alive());
  EXPECT_EQ(transfer(other, from).error().code(), child_errc::noproc);
  EXPECT_EQ(transfer(ref<traveller>{}, from).error().code(), child_errc::noproc);
}

PEEPER_SIM_TEST(transfer, ThatDoesNotComeToItInTimeDoesNotHappenLater) {
  auto [from, to] = two_hotels(rt);
  const auto t = from.start_child<sleeper>().value();
  t.cast(keep_busy{1s});
  sim.run();
  EXPECT_EQ(transfer(t, to, 10ms).error().code(), child_errc::timed_out);
  sim.advance(2s);
  EXPECT_EQ(active(from), 1U);
  EXPECT_EQ(active(to), 0U);
}

struct move_me {
  using reply = child_errc;
  dynamic_supervisor<> to;
};
struct restless {
  using state = int;
  child_errc handle_call(const move_me& m, state& n) {
    ++n;
    const auto moved = transfer(self<restless>(), m.to);
    return moved ? child_errc::not_found : moved.error().code();
  }
  int handle_call(ping, const state& n) { return n; }
};
PEEPER_SIM_TEST(transfer, FromInsideItsOwnCallbackIsRefusedWithAReason) {
  auto [from, to] = two_hotels(rt);
  const auto r = from.start_child<restless>().value();
  EXPECT_EQ(r.call(move_me{to}), child_errc::calling_self);
  EXPECT_EQ(r.call(ping{}), 1);
  EXPECT_EQ(active(from), 1U);
}

/// Row 20 of contract section 4, and crashes on either side.
PEEPER_SIM_TEST(transfer, UnderLoadAndCrashesLosesNothingAndLeavesItUnderOneSupervisor) {
  auto hotel = two_hotels(rt);
  const auto t = hotel.from.start_child<traveller>({.name = "t"}).value();
  int acknowledged = 0;
  const auto client = sim.thread([&] {
    for (int i = 0; i < 40; ++i) {
      const auto r = t.call(bump{});
      if (r) {
        ++acknowledged;
      } else {
        EXPECT_EQ(r.error().code(), call_errc::crashed) << r.error().what();
      }
    }
  });
  const auto mover = sim.thread([&] {
    for (int i = 0; i < 20; ++i) {
      EXPECT_TRUE(transfer(t, i % 2 == 0 ? hotel.to : hotel.from));
    }
  });
  const auto chaos = sim.thread([&] {
    for (int i = 0; i < 20; ++i) {
      const auto& s = sim.choose(2) == 0 ? hotel.from : hotel.to;
      switch (sim.choose(5)) {
        case 0: kill(worker_of(s)); break;
        case 1: kill(keeper_of(s)); break;
        case 2: kill(supervisor_of(s)); break;
        case 3: kill(worker_of(t)); break;
        default: t.cast(fail{}); break;
      }
      std::ignore = s.count_children();
    }
  });
  if (sim.choose(2) == 0) sim.kill_at(sim.choose(2) == 0 ? "transfer.asked" : "transfer.done", 3);
  sim.run();
  EXPECT_EQ(t.call(ping{}), acknowledged);
  EXPECT_EQ(active(hotel.from) + active(hotel.to), 1U);
  EXPECT_TRUE(t.alive());
}

/// The target, or the source, ends for good somewhere around the move.
PEEPER_SIM_TEST(transfer, WhileASupervisorEndsLeavesItUnderTheOtherOrEnded) {
  auto hotel = two_hotels(rt);
  const auto t = hotel.from.start_child<traveller>({.name = "t"}).value();
  const bool source_ends = sim.choose(2) == 0;
  const auto& ends = source_ends ? hotel.from : hotel.to;
  const auto& stays = source_ends ? hotel.to : hotel.from;
  std::expected<void, child_error> moved;
  const auto mover = sim.thread([&] { moved = transfer(t, hotel.to); });
  const auto ender = sim.thread([&] { std::ignore = ends.stop(); });
  sim.run();
  EXPECT_EQ(t.alive(), active(stays) == 1);
  EXPECT_EQ(rt.server_count(), 1U + active(stays));
  // Moved away in time or never moved: it lives where it is.
  EXPECT_TRUE(!source_ends || static_cast<bool>(moved) == t.alive());
}

}  // namespace
}  // namespace peeper::test
