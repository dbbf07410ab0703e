// SPDX-License-Identifier: Apache-2.0
/// The timer wheel against a model in a std::multimap, over all its levels.
#include "core/timer_service.hpp"

#include <map>
#include <memory>
#include <set>
#include <vector>

#include <gtest/gtest.h>

#include <peeper/self.hpp>

#include "core/runtime_core.hpp"
#include "support/sim_test.hpp"

namespace peeper {
namespace {

using namespace std::chrono_literals;

struct ring {
  std::uint64_t number;
};
/// Writes down what rang, and when.
struct bell {
  using state = int;
  environment* env;
  std::vector<std::pair<std::uint64_t, time_point>>* rung;
  void handle_info(const ring& m, state&) { rung->emplace_back(m.number, env->now()); }
};

PEEPER_SIM_TEST(timer_service, RingsAsAModelSaysUnderRandomStartsCancelsAndSteps) {
  std::vector<std::pair<std::uint64_t, time_point>> rung;
  const auto b = start<bell>(rt, {}, &sim.env(), &rung).value();
  struct expected {
    timer_id id;
    time_point at;
  };
  std::map<std::uint64_t, expected> pending;
  std::uint64_t next = 0;
  const auto some_duration = [&] {
    const auto bits = sim.choose(44);
    return duration{static_cast<duration::rep>(sim.choose((std::uint64_t{1} << bits) + 1))} * 1000;
  };
  for (int step = 0; step < 600; ++step) {
    switch (sim.choose(4)) {
      case 0:
      case 1: {
        const duration after = some_duration();
        const auto id = send_after(b, after, ring{next});
        pending[next++] = {id, sim.now() + after};
        break;
      }
      case 2:
        if (!pending.empty()) {
          auto victim = pending.begin();
          std::advance(victim, static_cast<std::ptrdiff_t>(sim.choose(pending.size())));
          EXPECT_TRUE(cancel_timer(b, victim->second.id));
          pending.erase(victim);
        }
        break;
      default: {
        sim.advance(some_duration());
        sim.run();
        for (const auto& [number, when] : rung) {
          const auto found = pending.find(number);
          ASSERT_NE(found, pending.end()) << number << " rang twice, or after it was cancelled";
          EXPECT_GE(when, found->second.at) << "early";
          EXPECT_LE(when, found->second.at + 2ms) << "late";
          EXPECT_FALSE(cancel_timer(b, found->second.id));
          pending.erase(found);
        }
        rung.clear();
        // Timers are exact to a tick, so what is due in this one may be still to come.
        for (const auto& [number, e] : pending) EXPECT_GT(e.at + 2ms, sim.now()) << number;
        break;
      }
    }
    EXPECT_EQ(rt.core().timers().pending(), pending.size());
  }
  EXPECT_TRUE(stop(b));
  EXPECT_EQ(rt.core().timers().pending(), 0U);
}

TEST(timer_service, OfTheMachineRingsAndIsWokenForAnEarlierTimer) {
  struct signal {
    using state = int;
    parker* sleeper;
    void handle_info(ring, state&) { real_environment().unpark(*sleeper); }
  };
  runtime rt{{.threads = 1}};
  parker p;
  const auto s = start<signal>(rt, {}, &p).value();
  send_after(s, 24h, ring{1});
  for (int i = 0; i < 5; ++i) {
    send_after(s, 1ms, ring{2});
    EXPECT_TRUE(real_environment().park(p, time_point::max()));
  }
  EXPECT_EQ(rt.core().timers().pending(), 1U);
}

}  // namespace
}  // namespace peeper
