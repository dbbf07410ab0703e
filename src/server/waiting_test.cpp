// SPDX-License-Identifier: Apache-2.0
/// Servers that wait for servers: on whose thread, and in what looks like a circle and is none.
#include <string>

#include <gtest/gtest.h>

#include "support/counter.hpp"
#include "support/sim_test.hpp"

namespace peeper {
namespace {

using namespace std::chrono_literals;
using test::add;
using test::counter;
using test::get;
using test::outcome;

// --- a deadline that is nearer than a second, and not the call's own
// ------------------------------

struct ask_on {
  using reply = std::string;
};
struct passer {
  using state = int;
  ref<counter> stuck;
  ref<passer> next;
  std::string* told;

  std::string handle_call(ask_on, state& n) {
    ++n;
    if (!next) return outcome(stuck.call(get{}, infinity));
    return *told = outcome(next.call(ask_on{}));  // has what is left of its own caller's time
  }
  int handle_call(get, const state& n) { return n; }
};

PEEPER_SIM_TEST(an_inherited_deadline, ThatIsNearIsKeptByACallThatMustThenLeaveItsThread) {
  const auto stuck = start<counter>(rt).value();
  ASSERT_TRUE(suspend(stuck));
  std::string told;
  const auto b = start<passer>(rt, {}, stuck, ref<passer>{}, nullptr).value();
  const auto a = start<passer>(rt, {}, stuck, b, &told).value();
  EXPECT_EQ(outcome(a.call(ask_on{}, 900ms)), "timed_out");
  sim.run();
  EXPECT_EQ(told, "timed_out") << "b has not been left while it waits for ever";
  EXPECT_EQ(a.call(get{}, 100ms), 1);
  ASSERT_TRUE(resume(stuck));
  EXPECT_EQ(b.call(get{}), 1);
}

// --- no circle: one of its waits was over before another began -----------------------------------

struct visit {
  ref<struct neighbour> who;
};
struct wait_for {
  using reply = std::string;
  ref<struct neighbour> who;
};
struct await_for {
  using reply = std::string;
  ref<struct neighbour> who;
};

struct wait_for_any {
  using reply = std::string;
  ref<struct neighbour> who;
};

struct neighbour {
  struct state {
    std::string visited;
  };
  int handle_call(get, const state&) { return 1; }
  std::string handle_call(const wait_for& m, const state&) { return outcome(m.who.call(get{})); }
  std::string handle_call(const wait_for_any& m, const state&) {
    request_set<int, int> asked;
    asked.add(1, m.who.ask(get{}));
    return outcome(asked.wait_any()->result);
  }
  task<std::string> handle_call(await_for m, const state&) {
    co_return outcome(co_await m.who.ask(get{}));
  }
  void handle_cast(const visit& m, state& s) {
    const auto answer = m.who.call(get{});
    s.visited = answer ? "ok" : answer.error().what();
  }
};

/// `asker` waits for `host`, and `host` answers and then calls `asker`, who may not have woken up.
template <class Ask>
void no_circle(simulation& sim, runtime& rt) {
  const auto host = start<neighbour>(rt, {.name = "host"}).value();
  const auto asker = start<neighbour>(rt, {.name = "asker"}).value();
  ASSERT_TRUE(suspend(host));
  auto asked = asker.ask(Ask{host});
  sim.run();
  host.cast(visit{asker});
  ASSERT_TRUE(resume(host));
  EXPECT_EQ(asked.get(), "ok");
  sim.run();
  EXPECT_EQ(inspect(host, [](const neighbour::state& s) { return s.visited; }), "ok");
}

PEEPER_SIM_TEST(a_wait, ThatIsOverIsNoPartOfACircle) { no_circle<wait_for>(sim, rt); }
PEEPER_SIM_TEST(a_wait, ForOneOfASetThatIsOverIsNoPartOfACircle) {
  no_circle<wait_for_any>(sim, rt);
}
PEEPER_SIM_TEST(a_wait, OfACoroutineThatIsOverIsNoPartOfACircle) { no_circle<await_for>(sim, rt); }

}  // namespace
}  // namespace peeper
