// SPDX-License-Identifier: Apache-2.0
/// \file
/// Random callbacks, crashes and kills: who replays what it hears has the server's state; who
/// cannot keep up knows how much it has missed. And the same on the real machine, with listeners
/// that come and go.
#include <atomic>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include <peeper/peeper.hpp>

#include "support/replay.hpp"
#include "support/sim_test.hpp"

namespace peeper::test {
namespace {

struct desk {
  int drawers = 0;
  std::string label;
  kept_vector<std::string> papers;
  kept_map<int, int> pens;
};
struct office {
  std::uint64_t step = 0;  ///< one more at each change: the order of the commits
  std::string motto;
  std::vector<int> plain;
  kept_map<std::string, desk> desks;
  kept_ordered_map<int, std::string> names;
  kept_deque<int> queue;
  kept_set<int> badges;
  kept_value<std::string> notice;
  desk entrance;
  std::optional<kept_map<int, std::string>> annex;
};

struct shake {
  using reply = std::uint64_t;
  std::uint64_t seed = 0;
};
struct glance {
  using reply = std::uint64_t;
};

void shake_desk(desk& d, std::mt19937_64& random) {
  switch (random() % 6) {
    case 0: d.drawers = static_cast<int>(random() % 9); break;
    case 1: d.label = std::to_string(random() % 9); break;
    case 2: d.papers.push_back(std::to_string(random() % 99)); break;
    case 3:
      if (!d.papers.empty()) d.papers.erase(d.papers.begin());
      break;
    case 4: d.pens[static_cast<int>(random() % 5)] += 1; break;
    default: d.pens.erase(static_cast<int>(random() % 5));
  }
}

void shake_office(office& o, std::mt19937_64& random) {
  const auto n = static_cast<int>(random() % 10);
  switch (random() % 14) {
    case 0: o.motto = std::to_string(n); break;
    case 1: o.plain.assign(static_cast<std::size_t>(n), n); break;
    case 2:
    case 3:
      o.desks.modify_or_insert(std::to_string(n % 4), [&](desk& d) { shake_desk(d, random); });
      break;
    case 4: o.desks.erase(std::to_string(n % 4)); break;
    case 5: o.names.insert_or_assign(n, std::to_string(random() % 3)); break;
    case 6: o.names.erase(n); break;
    case 7: o.queue.push_back(n); break;
    case 8:
      if (!o.queue.empty()) o.queue.pop_front();
      break;
    case 9:
      if (!o.badges.insert(n).second) o.badges.erase(n);
      break;
    case 10: o.notice = std::to_string(n); break;
    case 11: shake_desk(o.entrance, random); break;
    case 12:
      if (!o.annex) o.annex.emplace();
      o.annex->insert_or_assign(n, std::to_string(random() % 3));
      if (n == 0) o.annex.reset();
      break;
    default:
      if (n == 0) o.queue.clear();
      if (n == 1) o.desks.clear();
  }
}

struct building {
  using state = office;
  std::uint64_t handle_call(shake m, state& s) { return work(m, s); }
  void handle_cast(shake m, state& s) { work(m, s); }
  std::uint64_t handle_call(glance, state& s) { return s.step; }

 private:
  static std::uint64_t work(shake m, state& s) {
    std::mt19937_64 random{m.seed};
    ++s.step;
    for (auto n = random() % 5; n > 0; --n) shake_office(s, random);
    fault_point("building.half");
    for (auto n = random() % 5; n > 0; --n) shake_office(s, random);
    if (random() % 12 == 0) throw std::runtime_error{"unlucky"};
    return s.step;
  }
};

struct records {
  office copy;
  std::uint64_t heard = 0;
  std::uint64_t missed = 0;
  std::uint64_t last_step = 0;
  std::uint64_t crashes = 0;
  bool ended = false;
};

struct replaying {
  std::shared_ptr<records> r = std::make_shared<records>();
  void on_state_changed(const change<office>& c) const {
    ++r->heard;
    EXPECT_EQ(c.missed(), 0U);
    EXPECT_FALSE(r->ended);
    replay(r->copy, c.all());
    // In the order of the commits, each once.
    EXPECT_EQ(r->copy.step, ++r->last_step);
  }
  void on_terminate(const end_event<office>& e) const {
    EXPECT_FALSE(r->ended);
    if (e.server_goes_on()) {
      ++r->crashes;
    } else {
      r->ended = true;
    }
  }
};
/// Does not keep up.
struct lossy {
  std::shared_ptr<records> r = std::make_shared<records>();
  ref<building> slow_at;
  void on_state_changed(const change<office>& c) const {
    ++r->heard;
    r->missed += c.missed();
    const auto step = c.field<&office::step>()->now;
    EXPECT_EQ(step, r->last_step + 1 + c.missed());
    r->last_step = step;
    // Lets others run.
    if (r->heard % 3 == 0) std::ignore = slow_at.call(glance{});
  }
};

void storm(simulation& sim, runtime& rt, drop when_full) {
  const replaying all;
  lossy some;
  some.slow_at = start<building>(rt).value();
  const auto c =
      start<building>(rt, {.max_restarts = 1'000'000,
                           .listeners = {all, {some, {.max_length = 2, .when_full = when_full}}}})
          .value();
  sim.crash_randomly(0.02);
  {
    std::vector<std::unique_ptr<environment::thread>> clients;
    for (int client = 0; client < 3; ++client) {
      clients.push_back(sim.thread([&sim, c] {
        for (int i = 0; i < 40; ++i) {
          const shake m{sim.choose(1'000'000'000)};
          switch (sim.choose(8)) {
            case 0: kill(worker_of(c)); break;
            case 1: kill(keeper_of(c)); break;
            case 2:
              std::ignore = edit(c, [m](office& o) {
                std::mt19937_64 random{m.seed};
                ++o.step;
                shake_office(o, random);
                if (random() % 2 == 0) throw std::runtime_error{"unlucky"};
              });
              break;
            case 3: c.cast(m); break;
            default: std::ignore = c.call(m);
          }
        }
      }));
    }
  }
  sim.crash_randomly(0);
  sim.advance(listener_rest);
  const office at_end = inspect(c, [](const office& o) { return o; }).value();
  const auto counts = statistics_of(c).value();
  sim.advance(listener_rest);
  EXPECT_EQ(shown(all.r->copy), shown(at_end));
  EXPECT_EQ(all.r->crashes, counts.crashes);
  const auto infos = list_listeners(c).value();
  EXPECT_EQ(infos[0].missed, 0U);
  EXPECT_EQ(infos[0].thrown, 0U);
  ASSERT_TRUE(stop(c).has_value());
  sim.advance(listener_rest);
  EXPECT_TRUE(all.r->ended);
  EXPECT_GT(all.r->heard, 20U);
  EXPECT_LE(some.r->heard + some.r->missed, all.r->heard);
}

PEEPER_SIM_TEST(listeners_property, WhoReplaysWhatItHearsHasTheState_P2_P6) {
  storm(sim, rt, drop::oldest);
}
PEEPER_SIM_TEST(listeners_property, TheSameWhereTheNewestAreDropped_P2_P6) {
  storm(sim, rt, drop::newest);
}

// --- the real machine

struct ticks {
  using state = std::uint64_t;
  void handle_cast(int, state& n) {
    if (++n % 97 == 0) throw std::runtime_error{"unlucky"};
  }
  std::uint64_t handle_call(glance, const state& n) { return n; }
};
struct in_order {
  struct seen {
    std::uint64_t last = 0;
    std::atomic<std::uint64_t> heard{0};
    std::atomic<std::uint64_t> wrong{0};
    std::atomic<int> ends{0};
  };
  std::shared_ptr<seen> s = std::make_shared<seen>();
  void on_state_changed(const change<std::uint64_t>& c) const {
    const auto* v = c.value();
    if (v->now != v->old + 1 || (s->last != 0 && v->old != s->last + c.missed())) ++s->wrong;
    s->last = v->now;
    ++s->heard;
  }
  void on_terminate(const end_event<std::uint64_t>& e) const {
    if (!e.server_goes_on()) ++s->ends;
  }
};

TEST(listeners_on_the_real_machine, ComeAndGoUnderLoadAndHearAllInBetween_P6) {
  const in_order first;
  std::vector<in_order> others;
  std::uint64_t at_end = 0;
  std::uint64_t wakes = 0;
  {
    runtime rt{{.threads = 2}};
    const auto c = start<ticks>(rt, {.max_restarts = 1'000'000,
                                     .listeners = {{first, {.max_length = 1'000'000}}}})
                       .value();
    std::atomic<bool> go_on{true};
    std::vector<std::thread> load;
    for (int i = 0; i < 2; ++i) {
      load.emplace_back([&] {
        for (int n = 0; n < 20'000; ++n) c.cast(1);
        for (int n = 0; n < 200; ++n) std::ignore = c.call(glance{});
      });
    }
    std::thread killer{[&] {
      while (go_on) {
        kill(worker_of(c));
        std::ignore = c.call(glance{});
        ++wakes;
      }
    }};
    for (int i = 0; i < 50; ++i) {
      const in_order l;
      others.push_back(l);
      const auto id = attach_listener(c, l, infinity).value();
      std::ignore = c.call(glance{}, infinity);
      if (i % 5 == 0) continue;
      EXPECT_EQ(detach_listener(c, id, infinity), true);
    }
    for (auto& t : load) t.join();
    go_on = false;
    killer.join();
    at_end = c.call(glance{}, infinity).value();
  }
  EXPECT_EQ(first.s->wrong, 0U);
  EXPECT_EQ(first.s->last, at_end);
  EXPECT_EQ(first.s->heard, at_end);
  EXPECT_EQ(first.s->ends, 1);
  for (std::size_t i = 0; i < others.size(); ++i) {
    EXPECT_EQ(others[i].s->wrong, 0U) << i;
    EXPECT_EQ(others[i].s->ends, i % 5 == 0 ? 1 : 0) << i;
  }
  EXPECT_GT(wakes, 0U);
}

}  // namespace
}  // namespace peeper::test
