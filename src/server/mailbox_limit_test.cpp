// SPDX-License-Identifier: Apache-2.0
/// Limited mailboxes: four policies, for casts and calls, from threads and from servers.
#include <memory>
#include <numeric>
#include <stdexcept>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "support/counter.hpp"
#include "support/sim_test.hpp"

namespace peeper {
namespace {

using namespace std::chrono_literals;
using test::outcome;
using numbers = std::vector<int>;

struct item {
  int n;
};
struct item_call {
  using reply = int;
  int n;
};
struct look {
  using reply = numbers;
};
struct sink {
  using state = numbers;
  void handle_cast(item m, state& s) { s.push_back(m.n); }
  void handle_info(item m, state& s) { s.push_back(m.n); }
  int handle_call(item_call m, state& s) {
    s.push_back(m.n);
    return m.n;
  }
  state handle_call(look, const state& s) { return s; }
};

/// A suspended sink, so that its mailbox fills up.
ref<sink> full_sink(runtime& rt, overflow policy, std::uint32_t length = 3) {
  auto s = start<sink>(rt, {.name = "sink", .mailbox = {length, policy}}).value();
  EXPECT_TRUE(suspend(s));
  for (std::uint32_t i = 0; i < length; ++i) EXPECT_TRUE(s.try_cast(item{static_cast<int>(i)}));
  return s;
}
numbers contents(simulation& sim, const ref<sink>& s) {
  EXPECT_TRUE(resume(s));
  sim.run();
  return s.call(look{}).value();
}

// --- what becomes of one message too many --------------------------------------------------------

PEEPER_SIM_TEST(a_full_mailbox, ThatRejectsTellsTheSender) {
  const auto s = full_sink(rt, overflow::reject);
  const time_point before = sim.now();
  EXPECT_EQ(s.try_cast(item{3}).error(), cast_error::full);
  s.cast(item{4});
  s.send(item{5});
  const auto r = s.call(item_call{6});
  EXPECT_EQ(outcome(r), "mailbox_full");
  EXPECT_TRUE(r.error().not_delivered());
  EXPECT_NE(r.error().what().find("'sink'"), std::string::npos);
  EXPECT_EQ(outcome(s.ask(item_call{7}).get()), "mailbox_full");
  EXPECT_EQ(sim.now(), before);
  EXPECT_EQ(statistics_of(s)->dropped, 5U);
  EXPECT_EQ(contents(sim, s), (numbers{0, 1, 2}));
}

PEEPER_SIM_TEST(a_full_mailbox, ThatDropsTheNewestSaysNothingToCastsButAnswersCalls) {
  const auto s = full_sink(rt, overflow::drop_newest);
  EXPECT_TRUE(s.try_cast(item{3}));
  s.cast(item{4});
  EXPECT_EQ(outcome(s.call(item_call{5})), "mailbox_full");
  EXPECT_EQ(statistics_of(s)->dropped, 3U);
  EXPECT_EQ(contents(sim, s), (numbers{0, 1, 2}));
}

PEEPER_SIM_TEST(a_full_mailbox, ThatDropsTheOldestAnswersTheCallThatHadToGo) {
  const auto s = full_sink(rt, overflow::drop_oldest);
  auto oldest = s.ask(item_call{3}, infinity);  // 0 goes
  EXPECT_TRUE(s.try_cast(item{4}));             // 1 goes
  s.cast(item{5});                              // 2 goes
  s.send(item{6});                              // 3 goes: its caller is told
  EXPECT_EQ(outcome(oldest.get()), "mailbox_full");
  auto last = s.ask(item_call{7}, infinity);  // 4 goes
  EXPECT_EQ(statistics_of(s)->dropped, 5U);
  EXPECT_EQ(contents(sim, s), (numbers{5, 6, 7}));
  EXPECT_EQ(last.get(), 7);
}

PEEPER_SIM_TEST(a_full_mailbox, ThatBlocksLetsTheSenderWaitForRoom) {
  const auto s = full_sink(rt, overflow::block);
  int sent = 0;
  {
    const auto sender = sim.thread([&] {
      for (int i = 3; i < 10; ++i) {
        EXPECT_TRUE(s.try_cast(item{i}));
        ++sent;
      }
    });
    sim.run();
    EXPECT_EQ(sent, 0);
    ASSERT_TRUE(resume(s));
  }
  EXPECT_EQ(sent, 7);
  numbers all(10);
  std::iota(all.begin(), all.end(), 0);
  EXPECT_EQ(s.call(look{}), all);
  EXPECT_EQ(statistics_of(s)->dropped, 0U);
}

PEEPER_SIM_TEST(a_full_mailbox, ThatBlocksLetsACallWaitUntilItsDeadline) {
  const auto s = full_sink(rt, overflow::block);
  const time_point before = sim.now();
  const auto r = s.call(item_call{3}, 2s);
  EXPECT_EQ(outcome(r), "mailbox_full");
  EXPECT_TRUE(r.error().not_delivered());
  EXPECT_EQ(sim.now() - before, 2s);
  EXPECT_EQ(outcome(s.call(item_call{3}, 0s)), "mailbox_full");
  EXPECT_EQ(contents(sim, s), (numbers{0, 1, 2}));
}

PEEPER_SIM_TEST(a_full_mailbox, ThatBlocksLetsGoOfItsSendersWhenTheServerEnds) {
  const auto s = full_sink(rt, overflow::block);
  std::vector<std::string> told;
  {
    std::vector<std::unique_ptr<environment::thread>> senders;
    for (int i = 0; i < 3; ++i) {
      senders.push_back(sim.thread([&] {
        const auto r = s.try_cast(item{3});
        told.emplace_back(r ? "sent" : (r.error() == cast_error::gone ? "gone" : "full"));
      }));
      senders.push_back(
          sim.thread([&] { told.push_back(outcome(s.call(item_call{3}, infinity))); }));
    }
    sim.run();
    ASSERT_TRUE(stop(s));
  }
  EXPECT_EQ(told.size(), 6U);
  for (const auto& t : told) EXPECT_TRUE(t == "gone" || t == "noproc") << t;
}

PEEPER_SIM_TEST(a_full_mailbox, NeverRefusesTheLibrarysOwnMessages) {
  for (const auto policy :
       {overflow::reject, overflow::block, overflow::drop_oldest, overflow::drop_newest}) {
    const auto s = full_sink(rt, policy);
    EXPECT_TRUE(inspect(s, [](const auto& n) { return n.size(); }));
    EXPECT_TRUE(edit(s, [](auto& n) { n.push_back(-1); }));
    EXPECT_TRUE(kill(worker_of(s)));
    sim.run();
    EXPECT_EQ(statistics_of(s)->queued, 3U);
    EXPECT_EQ(contents(sim, s), (numbers{-1, 0, 1, 2})) << static_cast<int>(policy);
    EXPECT_TRUE(stop(s));
  }
}

PEEPER_SIM_TEST(a_full_mailbox, HasRoomAgainForEachMessageThatIsTaken) {
  for (const auto policy : {overflow::reject, overflow::drop_oldest, overflow::drop_newest}) {
    const auto s = full_sink(rt, policy);
    for (int round = 0; round < 5; ++round) {
      ASSERT_TRUE(resume(s));
      sim.run();
      ASSERT_TRUE(suspend(s));
      for (int i = 0; i < 3; ++i) EXPECT_TRUE(s.try_cast(item{i}));
      EXPECT_EQ(statistics_of(s)->dropped, 0U);
    }
    EXPECT_EQ(contents(sim, s).size(), 18U);
    EXPECT_TRUE(stop(s));
  }
}

PEEPER_SIM_TEST(a_limited_mailbox, GivesThePlaceOfAnExpiredOrCrashedMessageBack) {
  struct crashes {
    using state = int;
    void handle_cast(item m, state&) {
      if (m.n < 0) throw std::runtime_error{"unlucky"};
    }
    int handle_call(item_call m, state&) { return m.n; }
  };
  const auto s = start<crashes>(rt, {.mailbox = {2, overflow::reject}}).value();
  for (int i = 0; i < 10; ++i) {
    EXPECT_TRUE(s.try_cast(item{-1})) << i;
    EXPECT_EQ(s.call(item_call{i}), i);
    ASSERT_TRUE(suspend(s));
    EXPECT_EQ(outcome(s.call(item_call{0}, 1ms)), "timed_out");
    ASSERT_TRUE(resume(s));
    sim.run();
  }
  EXPECT_EQ(statistics_of(s)->expired, 10U);
  EXPECT_EQ(statistics_of(s)->dropped, 0U);
}

// --- many senders --------------------------------------------------------------------------------

struct flood {
  using reply = int;
  ref<sink> to;
  int first;
  int count;
  bool calls;
  bool then_crash = false;
};
struct flooder {
  using state = int;
  int handle_call(const flood& m, const state&) {
    int taken = 0;
    for (int i = 0; i < m.count; ++i) {
      if (m.calls && i % 4 == 3) {
        if (m.to.call(item_call{m.first + i}, infinity)) ++taken;
      } else if (m.to.try_cast(item{m.first + i})) {
        ++taken;
      }
    }
    if (m.then_crash) throw std::runtime_error{"unlucky"};
    return taken;
  }
};

PEEPER_SIM_TEST(a_limited_mailbox, ThatBlocksTakesEverythingFromManyThreadsAndServersInOrder) {
  const auto s = start<sink>(rt, {.mailbox = {4, overflow::block}}).value();
  constexpr int senders = 6;
  constexpr int each = 30;
  std::vector<pending<int>> flooding;
  {
    std::vector<std::unique_ptr<environment::thread>> threads;
    for (int t = 0; t < senders; ++t) {
      if (t % 2 == 0) {
        threads.push_back(sim.thread([&, t] {
          for (int i = 0; i < each; ++i) {
            if (i % 5 == 4) {
              EXPECT_TRUE(s.call(item_call{t * 1000 + i}, infinity));
            } else {
              EXPECT_TRUE(s.try_cast(item{t * 1000 + i}));
            }
          }
        }));
      } else {
        const auto f = start<flooder>(rt).value();
        flooding.push_back(f.ask(flood{s, t * 1000, each, t % 4 == 1}, infinity));
      }
    }
    for (auto& f : flooding) EXPECT_EQ(f.get(), each);
  }
  const auto all = s.call(look{}).value();
  EXPECT_EQ(all.size(), static_cast<std::size_t>(senders * each));
  std::vector<int> next(senders, 0);
  for (const int n : all) EXPECT_EQ(n % 1000, next[static_cast<std::size_t>(n / 1000)]++);
  EXPECT_EQ(statistics_of(s)->dropped, 0U);
}

PEEPER_SIM_TEST(a_limited_mailbox, LosesExactlyWhatItSaysItDropped) {
  for (const auto policy : {overflow::reject, overflow::drop_oldest, overflow::drop_newest}) {
    const auto s = start<sink>(rt, {.mailbox = {4, policy}}).value();
    constexpr int senders = 5;
    constexpr int each = 40;
    {
      std::vector<std::unique_ptr<environment::thread>> threads;
      for (int t = 0; t < senders; ++t) {
        threads.push_back(sim.thread([&, t] {
          for (int i = 0; i < each; ++i) s.cast(item{t * 1000 + i});
        }));
      }
    }
    sim.run();
    const auto all = s.call(look{}).value();
    EXPECT_EQ(all.size() + statistics_of(s)->dropped, static_cast<std::size_t>(senders * each));
    std::vector<int> last(senders, -1);
    for (const int n : all) {  // what is there is in order
      EXPECT_GT(n % 1000, last[static_cast<std::size_t>(n / 1000)]);
      last[static_cast<std::size_t>(n / 1000)] = n % 1000;
    }
    EXPECT_TRUE(stop(s));
  }
}

PEEPER_SIM_TEST(a_limited_mailbox, MayBeFloodedByOneCallbackWithoutADeadlock) {
  const auto f = start<flooder>(rt).value();
  for (const auto policy :
       {overflow::reject, overflow::block, overflow::drop_oldest, overflow::drop_newest}) {
    const auto s = start<sink>(rt, {.mailbox = {4, policy}}).value();
    for (const bool calls : {false, true}) {
      const auto taken = f.call(flood{s, 0, 50, calls}, infinity);
      ASSERT_TRUE(taken);
      sim.run();
      if (policy == overflow::block) {
        EXPECT_EQ(taken, 50);
      }
    }
    // A crashed flood has taken no places with it.
    EXPECT_EQ(outcome(f.call(flood{s, 0, 50, false, true}, infinity)), "crashed");
    sim.run();
    for (int i = 0; i < 4; ++i) {
      EXPECT_TRUE(s.try_cast(item{i}));
      sim.run();
    }
    EXPECT_TRUE(stop(s));
  }
}

PEEPER_SIM_TEST(a_limited_mailbox, OfOnesOwnNeverBlocksItsServer) {
  struct talks_to_itself {
    using state = int;
    void handle_cast(item m, state& n) {
      ++n;
      if (m.n == 0) return;
      for (int i = 0; i < 5; ++i) std::ignore = self<talks_to_itself>().try_cast(item{0});
    }
    int handle_call(item_call, const state& n) { return n; }
  };
  for (const auto policy :
       {overflow::reject, overflow::block, overflow::drop_oldest, overflow::drop_newest}) {
    const auto s = start<talks_to_itself>(rt, {.mailbox = {2, policy}}).value();
    s.cast(item{1});
    sim.run();
    const int n = s.call(item_call{0}).value();
    EXPECT_GE(n, 2);
    EXPECT_LE(n, 4);
    EXPECT_TRUE(stop(s));
  }
}

PEEPER_SIM_TEST(an_unlimited_mailbox, TakesAMillionMessages) {
  if (sim.seed() > 1) return;  // once is enough
  struct sum {
    using state = std::int64_t;
    void handle_cast(item m, state& s) { s += m.n; }
  };
  const auto s = start<sum>(rt).value();
  ASSERT_TRUE(suspend(s));
  constexpr int count = 1'000'000;
  for (int i = 0; i < count; ++i) s.cast(item{i});
  EXPECT_EQ(statistics_of(s)->queued, 1'000'000U);
  ASSERT_TRUE(resume(s));
  sim.run();
  EXPECT_EQ(inspect(s, [](auto n) { return n; }), std::int64_t{count} * (count - 1) / 2);
  ASSERT_TRUE(suspend(s));
  for (int i = 0; i < count; ++i) s.cast(item{i});
  EXPECT_TRUE(stop(s));  // and goes with them
}

}  // namespace
}  // namespace peeper
