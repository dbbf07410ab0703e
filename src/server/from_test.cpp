// SPDX-License-Identifier: Apache-2.0
/// from<T>: the answer that comes later, from elsewhere, twice, or never.
#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

#include <gtest/gtest.h>

#include "support/counter.hpp"
#include "support/sim_test.hpp"

namespace peeper {
namespace {

using namespace std::chrono_literals;
using test::outcome;

struct question {
  using reply = std::string;
  enum how : std::uint8_t {
    at_once,
    twice,
    keep,       ///< in a member, until `answer` comes
    give_away,  ///< to the test
    drop,
    drop_and_crash,
    answer_and_crash,
    keep_and_crash,
    give_away_and_crash,
    stop,  ///< without an answer
    answer_and_stop,
  } what;
};
struct answer {
  std::string text;
};
struct answer_then_crash {};
struct forget {};
struct count {
  using reply = int;
};
struct ping {
  using reply = void;
};
struct boxed {
  using reply = std::unique_ptr<std::string>;
};

std::optional<from<std::string>> given_away;

struct oracle {
  using state = int;
  std::optional<from<std::string>> kept;

  noreply_result<> handle_call(question m, from<std::string> caller, state& n) {
    ++n;
    switch (m.what) {
      case question::at_once: EXPECT_TRUE(caller.reply("now")); break;
      case question::twice:
        EXPECT_TRUE(caller.reply("first"));
        EXPECT_FALSE(caller);
        EXPECT_FALSE(caller.reply("second"));
        break;
      case question::keep: kept = std::move(caller); break;
      case question::give_away: given_away = std::move(caller); break;
      case question::drop: break;
      case question::drop_and_crash: throw std::runtime_error{"dropped"};
      case question::answer_and_crash:
        caller.reply("never leaves");
        throw std::runtime_error{"answered"};
      case question::keep_and_crash: kept = std::move(caller); throw std::runtime_error{"kept"};
      case question::give_away_and_crash:
        given_away = std::move(caller);
        throw std::runtime_error{"given away"};
      case question::stop: return peeper::stop(exit_reason::stopped("tired"));
      case question::answer_and_stop: caller.reply("good bye"); return peeper::stop();
    }
    return noreply();
  }
  void handle_call(ping, from<void> caller) { caller.reply(); }
  void handle_call(boxed, from<std::unique_ptr<std::string>> caller) {
    caller.reply(std::make_unique<std::string>("boxed"));
  }
  void handle_cast(const answer& m, state&) {
    if (kept) kept->reply(m.text);
  }
  void handle_cast(answer_then_crash, state&) {
    kept->reply("never leaves");
    throw std::runtime_error{"after the answer"};
  }
  void handle_cast(forget, state&) { kept.reset(); }
  int handle_call(count, const state& n) { return n; }
};

PEEPER_SIM_TEST(from, AnswersAtOnce) {
  const auto o = start<oracle>(rt).value();
  EXPECT_EQ(o.call(question{question::at_once}), "now");
  EXPECT_TRUE(o.call(ping{}).has_value());
  EXPECT_EQ(*o.call(boxed{}).value(), "boxed");
}

PEEPER_SIM_TEST(from, AnswersOnceOnly) {
  const auto o = start<oracle>(rt).value();
  EXPECT_EQ(o.call(question{question::twice}), "first");
}

PEEPER_SIM_TEST(from, AnswersInALaterCallback) {
  const auto o = start<oracle>(rt).value();
  auto asked = o.ask(question{question::keep});
  EXPECT_FALSE(asked.wait_for(1s));
  EXPECT_EQ(o.call(count{}), 1);  // the server goes on meanwhile
  o.cast(answer{"later"});
  EXPECT_EQ(asked.get(), "later");
}

PEEPER_SIM_TEST(from, AnswersFromAnotherThread) {
  const auto o = start<oracle>(rt).value();
  auto asked = o.ask(question{question::give_away});
  sim.run();
  ASSERT_TRUE(given_away);
  {
    const auto elsewhere = sim.thread([&sim] {
      parker nobody;
      sim.env().park(nobody, sim.now() + 1s);
      EXPECT_TRUE(given_away->reply("from elsewhere"));
      EXPECT_FALSE(given_away->reply("again"));
      given_away.reset();
    });
    EXPECT_EQ(asked.get(), "from elsewhere");
  }
  EXPECT_EQ(sim.now(), time_point{1s});
}

PEEPER_SIM_TEST(from, DroppedUnansweredTellsTheCallerAtOnce) {
  const auto o = start<oracle>(rt).value();
  const time_point before = sim.now();
  EXPECT_EQ(outcome(o.call(question{question::drop})), "not_answered");
  auto kept = o.ask(question{question::keep});
  o.cast(forget{});
  EXPECT_EQ(outcome(kept.get()), "not_answered");
  auto given = o.ask(question{question::give_away});
  sim.run();
  given_away.reset();
  EXPECT_EQ(outcome(given.get()), "not_answered");
  EXPECT_EQ(sim.now(), before);
  EXPECT_EQ(o.call(count{}), 3);
}

PEEPER_SIM_TEST(from, DroppedByACrashSaysCrashed) {
  const auto o = start<oracle>(rt).value();
  for (const auto what : {question::drop_and_crash, question::answer_and_crash,
                          question::keep_and_crash, question::give_away_and_crash}) {
    const auto r = o.call(question{what});
    EXPECT_EQ(outcome(r), "crashed") << what;
    EXPECT_EQ(r ? exit_kind::normal : r.error().reason().kind(), exit_kind::exception);
  }
  // The one that got away answers into the void.
  ASSERT_TRUE(given_away);
  given_away->reply("too late");
  given_away.reset();
  EXPECT_EQ(o.call(count{}), 0);
}

PEEPER_SIM_TEST(from, KeptInAMemberDiesWithItsWorker) {
  const auto o = start<oracle>(rt).value();
  auto asked = o.ask(question{question::keep});
  sim.run();
  ASSERT_TRUE(kill(worker_of(o)));
  const time_point before = sim.now();
  EXPECT_EQ(outcome(asked.get()), "not_answered");
  EXPECT_EQ(sim.now(), before);
  EXPECT_EQ(o.call(count{}), 1);
}

PEEPER_SIM_TEST(from, WhoseAnswerWasInACallbackThatCrashedIsNotAnswered) {
  const auto o = start<oracle>(rt).value();
  auto asked = o.ask(question{question::keep});
  o.cast(answer_then_crash{});
  EXPECT_EQ(outcome(asked.get()), "not_answered");
  EXPECT_EQ(o.call(count{}), 1);
}

PEEPER_SIM_TEST(from, AnsweredAfterTheCallerLeftIsDropped) {
  const auto o = start<oracle>(rt).value();
  EXPECT_EQ(outcome(o.call(question{question::keep}, 100ms)), "timed_out");
  o.cast(answer{"nobody listens"});
  EXPECT_EQ(o.call(question{question::at_once}), "now");  // and not the late one
  std::ignore = o.ask(question{question::give_away});     // its pending is gone already
  sim.run();
  EXPECT_TRUE(given_away->reply("nobody listens"));
  given_away.reset();
  EXPECT_EQ(o.call(count{}), 3);
}

PEEPER_SIM_TEST(from, OutlivesItsServer) {
  {
    const auto o = start<oracle>(rt).value();
    auto asked = o.ask(question{question::give_away});
    sim.run();
    ASSERT_TRUE(stop(o));
    EXPECT_FALSE(asked.done());
    EXPECT_TRUE(given_away->reply("posthumous"));
    EXPECT_EQ(asked.get(), "posthumous");
  }
  given_away.reset();
}

PEEPER_SIM_TEST(from, OfAServerThatStopsIsAnsweredOrNot) {
  auto o = start<oracle>(rt).value();
  EXPECT_EQ(outcome(o.call(question{question::stop})), "not_answered");
  sim.run();
  EXPECT_FALSE(o.alive());
  o = start<oracle>(rt).value();
  EXPECT_EQ(o.call(question{question::answer_and_stop}), "good bye");
  sim.run();
  EXPECT_FALSE(o.alive());
}

PEEPER_SIM_TEST(from, IsRetriedWithItsMessage) {
  // The caller of a message that is tried again goes on waiting, whatever became of its from.
  struct third_time_lucky {
    using state = int;
    int* tries;
    void handle_call(const ping&, from<void> caller) {
      if (++*tries < 3) throw std::runtime_error{"not yet"};
      caller.reply();
    }
  };
  int tries = 0;
  const auto s = start<third_time_lucky>(rt, {.on_crash = on_crash::retry(2)}, &tries).value();
  EXPECT_TRUE(s.call(ping{}).has_value());
  EXPECT_EQ(tries, 3);
}

/// A reply that cannot be moved to where it is to go.
struct brittle {
  brittle() = default;
  brittle(const brittle& other) : left{other.left} { count(); }
  brittle(brittle&& other) : left{other.left} { count(); }  // NOLINT(performance-noexcept-move-*)
  void count() {
    if (--left < 0) throw std::runtime_error{"moved too often"};
  }
  int left = 0;
};
struct get_brittle {
  using reply = brittle;
  int moves;
};
struct brittle_oracle {
  using state = int;
  void handle_call(get_brittle m, from<brittle> caller, state& n) {
    ++n;
    brittle b;
    b.left = m.moves;
    caller.reply(std::move(b));
  }
  int handle_call(count, const state& n) { return n; }
};

PEEPER_SIM_TEST(from, WhoseAnswerThrowsWhenMovedNeverBringsTheRuntimeDown) {
  const auto s = start<brittle_oracle>(rt).value();
  bool answered = false;
  for (int moves = 0; moves < 10; ++moves) {
    try {
      const auto r = s.call(get_brittle{moves});
      answered = answered || r;
      if (!r) {
        EXPECT_TRUE(outcome(r) == "crashed" || outcome(r) == "not_answered") << outcome(r);
      }
    } catch (const std::runtime_error&) {  // at the caller's own
    }
  }
  EXPECT_TRUE(answered);
  EXPECT_TRUE(s.call(count{}));
}

}  // namespace
}  // namespace peeper
