// SPDX-License-Identifier: Apache-2.0
/// \file
/// P1, P2, P3 and P6 from the clients' side: several clients send calls, casts, infos, timers and
/// forwarded casts to two servers that crash at random points, are killed in every combination,
/// retry or drop; then everything that was ever sent must be accounted for.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdlib>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include <peeper/peeper.hpp>
#include <peeper/sim.hpp>

#include "support/book.hpp"
#include "support/sim_test.hpp"

namespace peeper::test {
namespace {

using namespace std::chrono_literals;
using outcome_kind = client_log::sent::outcome;
using message_kind = client_log::sent::kind;

constexpr std::size_t clients = 3;
constexpr message_id messages_per_client = 25;

struct world {
  simulation& sim;
  std::array<ref<book>, 2> books;
  ref<book_helper> helper;
  std::array<client_log, clients> logs;
};

void take_outcome(client_log::sent& s, const std::expected<std::uint32_t, call_error>& told) {
  if (told) {
    s.what = outcome_kind::acknowledged;
    return;
  }
  ASSERT_EQ(told.error().code(), call_errc::crashed) << told.error().what();
  s.what = outcome_kind::crashed;
}

void kill_something(world& w) {
  const auto& b = w.books.at(w.sim.choose(2));
  switch (w.sim.choose(6)) {
    case 0: kill(worker_of(b)); break;
    case 1: kill(keeper_of(b)); break;
    case 2:
      kill(worker_of(b));
      kill(keeper_of(b));
      break;
    case 3:
      kill(keeper_of(b));
      kill(worker_of(b));
      break;
    case 4: kill(supervisor_of(b)); break;
    default: kill(worker_of(w.helper));
  }
}

void be_a_client(world& w, std::size_t who) {
  client_log& log = w.logs.at(who);
  std::vector<std::pair<std::size_t, pending<std::uint32_t>>> asked;
  for (message_id n = 0; n < messages_per_client; ++n) {
    client_log::sent s;
    s.id = static_cast<message_id>(who + 1) * of_a_client + n;
    s.book = w.sim.choose(2);
    const auto& b = w.books.at(s.book);
    switch (w.sim.choose(10)) {
      case 0:
      case 1: take_outcome(s, b.call(put{s.id})); break;
      case 2: take_outcome(s, b.call(put_slowly{s.id, w.helper})); break;
      case 3: take_outcome(s, b.call(put_later{s.id})); break;
      case 4: asked.emplace_back(log.all.size(), b.ask(put{s.id}, infinity)); break;
      case 5: b.send(put_only{s.id}); break;
      case 6:
        s.brings = message_kind::timer;
        b.cast(put_and_start_timer{s.id});
        break;
      case 7:
        s.brings = message_kind::forward;
        b.cast(put_and_forward{s.id, w.books.at(1 - s.book)});
        break;
      default: b.cast(put_only{s.id});
    }
    log.all.push_back(s);
    if (w.sim.choose(8) == 0) kill_something(w);
  }
  for (auto& [index, p] : asked) take_outcome(log.all.at(index), p.get());
}

/// How often each id is noted, over both books.
std::map<message_id, std::uint32_t> noted(const world& w) {
  std::map<message_id, std::uint32_t> all;
  for (const auto& b : w.books) {
    const ledger l = contents(b);
    EXPECT_TRUE(valid(l));
    EXPECT_EQ(b.call(words_written{}), l.count) << "P2: the dictionary goes with the state";
    for (const message_id id : l.order) ++all[id];
  }
  return all;
}

void check_what_clients_were_told(const world& w) {
  const auto all = noted(w);
  const auto times = [&all](message_id id) {
    const auto found = all.find(id);
    return found == all.end() ? 0U : found->second;
  };
  for (const client_log& log : w.logs) {
    for (const auto& s : log.all) {
      EXPECT_LE(times(s.id), 1U) << s.id << " is duplicated";
      if (s.what == outcome_kind::acknowledged) {
        EXPECT_EQ(times(s.id), 1U) << "P1: " << s.id << " was acknowledged and is lost";
      }
      if (s.what == outcome_kind::crashed) {
        EXPECT_EQ(times(s.id), 0U) << "P2: " << s.id << " was reported as crashed and is there";
      }
      if (s.brings != message_kind::plain && times(s.id) == 0) {
        EXPECT_EQ(times(s.id + derived), 0U) << "P2: what a crashed callback sent has left";
      }
    }
  }
}

/// P3: what is not noted is set aside; P2: what committed callbacks sent has left.
void check_that_nothing_is_missing(const world& w) {
  for (std::size_t b = 0; b < w.books.size(); ++b) {
    const ledger here = contents(w.books.at(b));
    const ledger there = contents(w.books.at(1 - b));
    std::size_t delivered = 0;
    for (const client_log& log : w.logs) {
      for (const auto& s : log.all) {
        if (s.book == b) ++delivered;
        if (s.brings == message_kind::timer && here.times.contains(s.id)) ++delivered;
        if (s.brings == message_kind::forward && s.book != b && there.times.contains(s.id)) {
          ++delivered;
        }
      }
    }
    EXPECT_EQ(here.order.size() + list_poison(w.books.at(b)).value().size(), delivered);
  }
}

/// P6: of each sender's messages, those that were handled were handled in the order sent.
void check_the_order(const world& w) {
  for (std::size_t b = 0; b < w.books.size(); ++b) {
    std::map<message_id, message_id> last_of;
    const ledger here = contents(w.books.at(b));
    std::vector<message_id> forwarded;
    for (const message_id id : here.order) {
      if (id % of_a_client >= derived) {
        if (contents(w.books.at(1 - b)).times.contains(id - derived)) forwarded.push_back(id);
        continue;
      }
      message_id& last = last_of[id / of_a_client];
      EXPECT_LT(last, id) << "P6: of one sender, to one server";
      last = id;
    }
    std::vector<message_id> as_sent;
    for (const message_id id : contents(w.books.at(1 - b)).order) {
      if (std::ranges::find(forwarded, id + derived) != forwarded.end()) {
        as_sent.push_back(id + derived);
      }
    }
    EXPECT_EQ(forwarded, as_sent) << "P6: a server is a sender, too";
  }
}

/// With no more crashes, all that was set aside is replayed: then everything has happened once.
void replay_everything(world& w) {
  for (int round = 0; round < 3; ++round) {
    for (const auto& b : w.books) {
      const auto listed = list_poison(b).value();
      for (const poison_info& p : listed) EXPECT_EQ(replay_poison(b, p.id), true);
    }
    w.sim.advance(1s);
  }
  const auto all = noted(w);
  for (const client_log& log : w.logs) {
    for (const auto& s : log.all) {
      EXPECT_EQ(all.contains(s.id) ? all.at(s.id) : 0U, 1U) << s.id;
      if (s.brings != message_kind::plain) {
        EXPECT_EQ(all.contains(s.id + derived) ? all.at(s.id + derived) : 0U, 1U) << s.id;
      }
    }
  }
}

/// Over all seeds: that it was chaos, indeed.
struct {
  std::uint64_t crashes = 0;
  std::uint64_t acknowledged = 0;
  std::uint64_t reported = 0;
  std::uint64_t set_aside = 0;
} totals;

void count_totals(const world& w) {
  for (const auto& b : w.books) {
    totals.crashes += statistics_of(b).value().crashes;
    totals.set_aside += statistics_of(b).value().poison;
  }
  for (const client_log& log : w.logs) {
    for (const auto& s : log.all) {
      totals.acknowledged += s.what == outcome_kind::acknowledged ? 1U : 0U;
      totals.reported += s.what == outcome_kind::crashed ? 1U : 0U;
    }
  }
}

void run_chaos(simulation& sim, runtime& rt) {
  world w{sim, {}, {}, {}};
  const auto retries = static_cast<unsigned>(sim.choose(3));
  const duration pause = sim.choose(4) == 0 ? 2ms : 0ms;
  for (auto& b : w.books) {
    b = start<book>(rt, {.on_crash = retries == 0 ? on_crash::drop : on_crash::retry(retries),
                         .backoff = {.min = pause, .max = 10ms},
                         .keep_poison = 10'000,
                         .run_on_caller = sim.choose(2) == 0})
            .value();
  }
  w.helper = start<book_helper>(rt).value();
  sim.crash_randomly(0.02 * static_cast<double>(1 + sim.choose(4)));
  {
    std::vector<std::unique_ptr<environment::thread>> threads;
    for (std::size_t who = 0; who < clients; ++who) {
      threads.push_back(sim.thread([&w, who] { be_a_client(w, who); }));
    }
  }
  sim.advance(1s);
  sim.crash_randomly(0);
  sim.advance(1s);
  count_totals(w);
  check_what_clients_were_told(w);
  check_that_nothing_is_missing(w);
  check_the_order(w);
  replay_everything(w);
}

TEST(chaos_model, NothingAcknowledgedIsLostNothingIsDuplicatedAllIsAccountedFor_P1_P2_P3_P6) {
  totals = {};
  under_seeds(&run_chaos, 300);
  if (std::getenv("PEEPER_SEED") != nullptr) return;  // NOLINT(concurrency-mt-unsafe)
  EXPECT_GT(totals.crashes, 3000U);
  EXPECT_GT(totals.acknowledged, 3000U);
  EXPECT_GT(totals.reported, 200U);
  EXPECT_GT(totals.set_aside, 500U);
}

}  // namespace
}  // namespace peeper::test
