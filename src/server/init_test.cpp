// SPDX-License-Identifier: Apache-2.0
/// init: what it may return, that it runs on every start, and what is left when the first one
/// fails.
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "core/pid_table.hpp"
#include "support/counter.hpp"
#include "support/sim_test.hpp"

namespace peeper {
namespace {

using namespace std::chrono_literals;
using test::counter;
using test::get;
using test::outcome;
using strings = std::vector<std::string>;

struct mark {
  std::string text;
};
struct look {
  using reply = strings;
};
struct load {
  int n;
};

/// What its init is to do; shared by all its starts.
struct script {
  enum kind : std::uint8_t { plain, ok, ok_timeout, ok_timeout_zero, ok_hibernate, ok_continue };
  kind what = plain;
  int runs = 0;
  int fail_at_run = 0;
  int hibernated = 0;
};

struct common {
  using state = strings;
  script* s = nullptr;
  void begin() {
    ++s->runs;
    if (s->runs == s->fail_at_run) throw std::runtime_error{"init failed"};
  }
  [[nodiscard]] state made() const { return {"init " + std::to_string(s->runs)}; }
  void handle_cast(const mark& m, state& n) { n.push_back(m.text); }
  void handle_info(timeout_message, state& n) { n.emplace_back("timeout"); }
  void handle_continue(load m, state& n) { n.push_back("load " + std::to_string(m.n)); }
  state handle_call(look, const state& n) { return n; }
  void hibernate() {
    if (s != nullptr) ++s->hibernated;
  }
};
struct with_plain : common {
  state init(script* given) {
    s = given;
    begin();
    return made();
  }
};
struct with_ok : common {
  auto init(script* given) {
    s = given;
    begin();
    return ok(made());
  }
};
struct with_timeout : common {
  auto init(script* given, duration d) {
    s = given;
    begin();
    return ok(made(), timeout(d));
  }
};
struct with_hibernate : common {
  auto init(script* given) {
    s = given;
    begin();
    return ok(made(), peeper::hibernate);
  }
};
struct with_continue : common {
  auto init(script* given) {
    s = given;
    begin();
    return ok(made(), continue_with(load{s->runs}));
  }
};

template <class S, class... Args>
strings states_of(runtime& rt, simulation& sim, script& s, Args... args) {
  const auto server = start<S>(rt, {}, &s, args...).value();
  sim.run();
  sim.advance(1s);
  EXPECT_TRUE(kill(worker_of(server)));
  sim.run();
  sim.advance(1s);
  const auto result = server.call(look{}).value();
  EXPECT_TRUE(stop(server));
  return result;
}

PEEPER_SIM_TEST(init, MayReturnEachOfItsShapesOnEachStart) {
  script s;
  EXPECT_EQ(states_of<with_plain>(rt, sim, s), strings{"init 1"});
  EXPECT_EQ(s.runs, 2);
  s = {};
  EXPECT_EQ(states_of<with_ok>(rt, sim, s), strings{"init 1"});
  s = {};
  EXPECT_EQ(states_of<with_timeout>(rt, sim, s, 10ms), (strings{"init 1", "timeout", "timeout"}));
  s = {};
  EXPECT_EQ(states_of<with_timeout>(rt, sim, s, 0ms), (strings{"init 1", "timeout", "timeout"}));
  s = {};
  EXPECT_EQ(states_of<with_hibernate>(rt, sim, s), strings{"init 1"});
  EXPECT_EQ(s.hibernated, 2);
  s = {};
  // The state that a later init returns is dropped for the kept one; its continue is honoured.
  EXPECT_EQ(states_of<with_continue>(rt, sim, s), (strings{"init 1", "load 1", "load 2"}));
}

PEEPER_SIM_TEST(init, ContinuesBeforeAnyMessage) {
  script s;
  const auto server = start<with_continue>(rt, {}, &s).value();
  server.cast(mark{"first"});
  EXPECT_EQ(server.call(look{}), (strings{"init 1", "load 1", "first"}));
  ASSERT_TRUE(suspend(server));
  server.cast(mark{"queued"});
  ASSERT_TRUE(kill(worker_of(server)));
  ASSERT_TRUE(resume(server));
  EXPECT_EQ(server.call(look{}), (strings{"init 1", "load 1", "first", "load 2", "queued"}));
}

PEEPER_SIM_TEST(init, TimeoutIsCancelledByTheFirstMessage) {
  script s;
  const auto server = start<with_timeout>(rt, {}, &s, duration{10ms}).value();
  server.cast(mark{"first"});
  sim.run();
  sim.advance(1s);
  EXPECT_EQ(server.call(look{}), (strings{"init 1", "first"}));
}

PEEPER_SIM_TEST(init, SeesItsArgumentsAgainOnEachStart) {
  struct keeper_of_arguments {
    using state = strings;
    strings member;
    state init(const std::string& a, const strings& b) {
      member = b;
      member.push_back(a);
      return member;
    }
    void handle_cast(const mark&, state& s) { s = member; }
    state handle_call(look, const state& s) { return s; }
  };
  const auto s = start<keeper_of_arguments>(rt, {}, std::string{"c"}, strings{"a", "b"}).value();
  for (int i = 0; i < 3; ++i) {
    s.cast(mark{});
    EXPECT_EQ(s.call(look{}), (strings{"a", "b", "c"}));
    EXPECT_TRUE(kill(worker_of(s)));
  }
}

PEEPER_SIM_TEST(init, ThatFailsOnARestartIsACrashAndIsTriedAgain) {
  script s;
  s.fail_at_run = 2;
  const auto server = start<with_plain>(rt, {}, &s).value();
  server.cast(mark{"kept"});
  sim.run();
  ASSERT_TRUE(kill(worker_of(server)));
  EXPECT_EQ(server.call(look{}), (strings{"init 1", "kept"}));
  EXPECT_EQ(s.runs, 3);
  EXPECT_EQ(statistics_of(server)->crashes, 2U);
}

// --- the first one -------------------------------------------------------------------------------

PEEPER_SIM_TEST(first_init, ThatThrowsIsAStartErrorAndLeavesNothingBehind) {
  const auto slots = detail::pid_table::live();
  script s;
  s.fail_at_run = 1;
  const auto r = start<with_plain>(rt, {.name = "unlucky"}, &s);
  ASSERT_FALSE(r);
  EXPECT_EQ(r.error().code(), start_errc::init_failed);
  EXPECT_EQ(r.error().reason().kind(), exit_kind::exception);
  EXPECT_EQ(r.error().reason().detail(), "init failed");
  EXPECT_NE(r.error().what().find("'unlucky'"), std::string::npos) << r.error().what();
  EXPECT_EQ(s.runs, 1);  // not tried again
  sim.run();
  sim.advance(1h);
  EXPECT_EQ(s.runs, 1);
  EXPECT_EQ(rt.server_count(), 0U);
  EXPECT_EQ(detail::pid_table::live(), slots);
  EXPECT_FALSE(whereis<with_plain>(rt, "unlucky"));
  EXPECT_TRUE(start<with_plain>(rt, {.name = "unlucky"}, &s));  // the name is free
}

PEEPER_SIM_TEST(first_init, ThatThrowsAnythingIsAStartError) {
  struct throws_int {
    using state = int;
    state init() { throw 3; }
  };
  struct throws_from_constructor {
    using state = int;
    throws_from_constructor() { throw std::bad_alloc{}; }
  };
  struct never_valid {
    using state = int;
    static bool valid(const state&) { return false; }
  };
  EXPECT_EQ(start<throws_int>(rt).error().reason().detail(), "int");
  EXPECT_EQ(start<throws_from_constructor>(rt).error().code(), start_errc::init_failed);
  EXPECT_EQ(start<never_valid>(rt).error().reason().kind(), exit_kind::invariant);
  EXPECT_EQ(rt.server_count(), 0U);
}

PEEPER_SIM_TEST(first_init, ThatFailsHasSentNothing) {
  const auto c = start<counter>(rt).value();
  struct speaker {
    using state = int;
    state init(const ref<counter>& to, bool fails) {
      to.cast(test::add{5});
      if (fails) throw std::runtime_error{"after speaking"};
      return 0;
    }
  };
  EXPECT_FALSE(start<speaker>(rt, {}, c, true));
  sim.run();
  EXPECT_EQ(c.call(get{}), 0);
  EXPECT_TRUE(start<speaker>(rt, {}, c, false));
  sim.run();
  EXPECT_EQ(c.call(get{}), 5);
}

PEEPER_SIM_TEST(first_init, ThatFailsTellsWhoeverFoundItByNameMeanwhile) {
  // Its init lets others at its name before it fails.
  struct slow_to_fail {
    using state = int;
    ref<counter> other;
    state init(const ref<counter>& c) {
      std::ignore = c.call(get{});
      throw std::runtime_error{"in the end"};
    }
    int handle_call(get, const state& n) { return n; }
  };
  const auto c = start<counter>(rt).value();
  ASSERT_TRUE(suspend(c));
  std::string told;
  const auto finder = sim.thread([&] {
    std::optional<ref<slow_to_fail>> found;
    while (!found) {
      if (auto r = whereis<slow_to_fail>(rt, "slow")) found = *r;
      parker nobody;
      sim.env().park(nobody, sim.now() + 1ms);
    }
    auto asked = found->ask(get{}, infinity);
    EXPECT_TRUE(resume(c));
    told = outcome(asked.get());
  });
  EXPECT_FALSE(start<slow_to_fail>(rt, {.name = "slow"}, c));
  while (told.empty()) {
    sim.advance(1ms);
  }
  EXPECT_EQ(told, "stopped");
}

PEEPER_SIM_TEST(first_init, HasALimitIfItIsGivenOne) {
  struct waits {
    using state = int;
    state init(const ref<counter>& c) { return c.call(get{}, 1h).value_or(-1); }
    int handle_call(get, const state& n) { return n; }
  };
  const auto c = start<counter>(rt, {.state = 4}).value();
  const auto in_time = start<waits>(rt, {.init_timeout = 1s}, c);
  ASSERT_TRUE(in_time);
  EXPECT_EQ(in_time->call(get{}), 4);
  ASSERT_TRUE(suspend(c));
  const time_point before = sim.now();
  const auto r = start<waits>(rt, {.name = "waits", .init_timeout = 1s}, c);
  ASSERT_FALSE(r);
  EXPECT_EQ(r.error().code(), start_errc::init_timeout);
  EXPECT_EQ(sim.now() - before, 1s);
  // Its callback cannot be taken off its thread; its name is free at once.
  EXPECT_FALSE(whereis<waits>(rt, "waits"));
  EXPECT_TRUE(start<waits>(rt, {.name = "waits"}, ref<counter>{}));
  EXPECT_EQ(rt.server_count(), 4U);
  ASSERT_TRUE(resume(c));
  sim.run();
  EXPECT_EQ(rt.server_count(), 3U);  // when it came back it found itself ended
  EXPECT_TRUE(whereis<waits>(rt, "waits"));
}

PEEPER_SIM_TEST(first_init, ThatThrowsWithinItsLimitIsAStartError) {
  script s;
  s.fail_at_run = 1;
  const auto r = start<with_plain>(rt, {.name = "x", .init_timeout = 1s}, &s);
  ASSERT_FALSE(r);
  EXPECT_EQ(r.error().code(), start_errc::init_failed);
  EXPECT_EQ(r.error().reason().detail(), "init failed");
  EXPECT_EQ(rt.server_count(), 0U);
}

// --- without init --------------------------------------------------------------------------------

PEEPER_SIM_TEST(start, WithoutInitTakesTheStateGivenOrADefaultOne) {
  EXPECT_EQ(start<counter>(rt).value().call(get{}), 0);
  EXPECT_EQ(start<counter>(rt, {.state = 41}).value().call(get{}), 41);
  struct nothing_to_keep {
    struct state {};
    int handle_call(get) { return 7; }
  };
  EXPECT_EQ(start<nothing_to_keep>(rt).value().call(get{}), 7);
}

PEEPER_SIM_TEST(start, InsideACallbackStaysEvenIfTheCallbackCrashes) {
  struct starts {
    using state = int;
    runtime* rt;
    void handle_cast(test::crash, state&) {
      EXPECT_TRUE(start<counter>(*rt, {.name = "child", .state = 3}));
      throw std::runtime_error{"after the start"};
    }
  };
  const auto s = start<starts>(rt, {}, &rt).value();
  s.cast(test::crash{});
  sim.run();
  EXPECT_EQ(whereis<counter>(rt, "child")->call(get{}), 3);
}

PEEPER_SIM_TEST(start, AfterShutdownIsRefused) {
  ASSERT_TRUE(rt.shutdown());
  const auto r = start<counter>(rt, {.name = "late"});
  ASSERT_FALSE(r);
  EXPECT_EQ(r.error().code(), start_errc::shutting_down);
  EXPECT_EQ(rt.server_count(), 0U);
}

}  // namespace
}  // namespace peeper
