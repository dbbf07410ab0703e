// SPDX-License-Identifier: Apache-2.0
//
// A bank as a supervision tree, and a thread that does nothing but kill in it:
//
//     bank (rest_for_one)
//     ├── ledger            has every deposit; its worker, keeper and supervisor are killed
//     └── hall (one_for_one)
//         └── teller 0..3   have nothing, and are killed as a whole, too; so is the hall
//
// A client asks again until it is told that its deposit is there; the ledger knows it by its
// number.
#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <peeper/kept.hpp>
#include <peeper/peeper.hpp>

struct deposit {
  using reply = bool;
  std::uint64_t number = 0;
};

struct ledger {
  struct state {
    peeper::kept_set<std::uint64_t> known;
    peeper::kept_vector<std::uint64_t> entries;  ///< beside the set: both or none
  };
  bool handle_call(const deposit& d, state& s) {
    if (s.known.contains(d.number)) return true;  // asked again
    s.known.insert(d.number);
    s.entries.push_back(d.number);
    return true;
  }
};

struct teller {
  struct state {};
  peeper::ref<ledger> books;

  /// Under rest_for_one a new ledger means new tellers: this ref is never out of date.
  state init(peeper::runtime* rt) {
    books = peeper::whereis<ledger>(*rt, "ledger").value();
    return {};
  }
  bool handle_call(const deposit& d, const state&) { return books.call(d).value(); }
};

namespace {

constexpr std::uint64_t clients = 3;
constexpr std::uint64_t tellers = 4;
constexpr std::string_view in_vain = "things that were dying already";
constexpr int attacks = 500;

std::string teller_name(std::uint64_t n) { return "teller " + std::to_string(n % tellers); }

struct clients_and_chaos {
  std::atomic<bool> over{false};
  std::array<std::atomic<std::uint64_t>, clients> acknowledged{};  ///< all up to that number
  std::map<std::string_view, int> kills;
};

void be_a_client(peeper::runtime& rt, std::uint64_t who, clients_and_chaos& all) {
  auto& n = all.acknowledged.at(who);
  while (!all.over) {
    const auto t = peeper::whereis<teller>(rt, teller_name(n + who));
    if (t && t->call(deposit{n * clients + who})) ++n;  // else: once more
  }
}

template <class Server>
bool kill_a_part_of(const Server& s, std::uint64_t which) {
  if (which % 3 == 0) return peeper::kill(peeper::keeper_of(s));
  return peeper::kill(which % 3 == 1 ? peeper::supervisor_of(s) : peeper::worker_of(s));
}

/// RETURNS: what was killed.
std::string_view kill_something(peeper::runtime& rt, const peeper::supervisor& bank,
                                std::mt19937_64& random) {
  const auto t = peeper::whereis<teller>(rt, teller_name(random()));
  const auto hall = peeper::whereis_supervisor(rt, "hall");
  const auto books = peeper::whereis<ledger>(rt, "ledger").value();
  const auto what = random() % 100;
  if (what < 40) return kill_a_part_of(books, random()) ? "parts of the ledger" : in_vain;
  if (what < 65) return t && kill_a_part_of(*t, random()) ? "parts of tellers" : in_vain;
  if (what < 90) return t && peeper::kill(t->pid()) ? "whole tellers" : in_vain;
  if (what < 95) return kill_a_part_of(bank, random()) ? "parts of the bank's supervisor" : in_vain;
  return hall && peeper::kill(hall->pid()) ? "whole halls" : in_vain;
}

/// One each time the first client has got a little further.
void be_the_chaos(peeper::runtime& rt, const peeper::supervisor& bank, clients_and_chaos& all) {
  std::mt19937_64 random{1};
  for (int i = 0; i < attacks; ++i) {
    const auto wanted = all.acknowledged.at(0) + 2;
    while (all.acknowledged.at(0) < wanted) std::this_thread::yield();
    ++all.kills[kill_something(rt, bank, random)];
  }
  all.over = true;
}

peeper::supervisor start_bank(peeper::runtime& rt) {
  std::vector<peeper::child> hall;
  for (std::uint64_t n = 0; n < tellers; ++n)
    hall.push_back(peeper::child_spec<teller>({}, {.name = teller_name(n)}, &rt));
  const auto rest = peeper::strategy::rest_for_one;
  return *peeper::start_supervisor(
      rt, {.name = "bank", .strategy = rest, .max_restarts = attacks},
      {peeper::child_spec<ledger>({}, {.name = "ledger"}),
       peeper::supervisor_spec({}, {.name = "hall", .max_restarts = attacks}, hall)});
}

}  // namespace

int main() {
  spdlog::set_level(spdlog::level::off);  // each crash would be in the log
  peeper::runtime rt;
  const peeper::supervisor bank = start_bank(rt);
  fmt::print("before:\n{}", peeper::describe(bank));
  clients_and_chaos all;
  std::vector<std::thread> threads;
  for (std::uint64_t who = 0; who < clients; ++who)
    threads.emplace_back([&, who] { be_a_client(rt, who, all); });
  be_the_chaos(rt, bank, all);
  for (std::thread& t : threads) t.join();

  fmt::print("after:\n{}", peeper::describe(bank));
  for (const auto& [of, n] : all.kills) fmt::print("killed: {} {}\n", n, of);
  const auto copy = [](const ledger::state& s) { return s; };
  const auto books = peeper::inspect(peeper::whereis<ledger>(rt, "ledger").value(), copy).value();
  const std::uint64_t doubled = books.entries.size() - books.known.size();
  std::uint64_t lost = 0;
  for (std::uint64_t who = 0; who < clients; ++who)
    for (std::uint64_t n = 0; n < all.acknowledged.at(who); ++n)
      lost += books.known.contains(n * clients + who) ? 0 : 1;
  fmt::print("survived {} attacks: {} deposits, lost={} doubled={}\n", attacks,
             books.entries.size(), lost, doubled);
  return lost + doubled == 0 ? 0 : 1;
}
