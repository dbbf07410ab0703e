// SPDX-License-Identifier: Apache-2.0
//
// What a listener costs its server: calls that change the state, with a listener and without, turn
// by turn; for a number, and for one entry of a large map. The listener looks at what it gets, on a
// thread of the pool.
#include <atomic>
#include <cstdint>
#include <memory>
#include <random>
#include <vector>

#include <peeper/kept.hpp>

#include "servers.hpp"

namespace {

using bench::report;

struct tally {
  std::atomic<std::uint64_t> changes{0};
  std::atomic<std::uint64_t> missed{0};
};

template <class State>
struct counting {
  std::shared_ptr<tally> all;
  void on_state_changed(const peeper::change<State>& c) const {
    if (c.all().empty()) return;
    all->changes.fetch_add(1, std::memory_order_relaxed);
    all->missed.fetch_add(c.missed(), std::memory_order_relaxed);
  }
};

/// `calls(server)`: the time of one of n calls, each of which changes the state.
template <class Server, class Prepare, class Calls>
void with_and_without(report& r, std::size_t n, Prepare&& prepare, Calls&& calls) {
  using state = peeper::detail::state_of<Server>;
  const auto all = std::make_shared<tally>();
  std::vector<double> without_ns;
  std::vector<double> with_ns;
  constexpr int turns = 9;
  {
    peeper::runtime rt;
    const auto alone = bench::started<Server>(rt);
    const auto heard = bench::started<Server>(rt);
    prepare(alone);
    prepare(heard);
    bench::require(peeper::attach_listener(heard, counting<state>{all}).has_value(), "attached");
    for (int turn = 0; turn < turns; ++turn) {
      without_ns.push_back(calls(alone));
      with_ns.push_back(calls(heard));
    }
    peeper::stop(heard).value();
  }
  const std::uint64_t told = all->changes + all->missed;
  bench::require(told <= turns * n && told + 10'000 >= turns * n, "the listener heard");
  const double without = bench::percentile(without_ns, 0.5);
  const double with = bench::percentile(with_ns, 0.5);
  r.row("with", "ns", with);
  r.row("with - without", "ns", with - without, bench::at_most(50));
}

void a_number(report& r) {
  const std::size_t n = bench::scaled(500'000);
  with_and_without<bench::counter>(
      r, n, [](const auto&) {},
      [n](const auto& c) {
        std::int64_t expected = bench::answer(c, bench::get{});
        return bench::ns_each(n, [&] {
          bench::require(bench::answer(c, bench::add_and_get{}) == ++expected, "handled once");
        });
      });
}

struct touch {
  using reply = std::uint64_t;
  std::uint64_t key;
};
struct fill {
  using reply = bool;
  std::uint64_t count;
};
struct store {
  struct state {
    peeper::kept_map<std::uint64_t, std::uint64_t> entries;
  };
  bool handle_call(const fill& m, state& s) {
    for (std::uint64_t i = 0; i < m.count; ++i) s.entries.try_emplace(i, 0U);
    return true;
  }
  std::uint64_t handle_call(const touch& m, state& s) {
    return s.entries.modify(m.key, [](std::uint64_t& n) { return ++n; });
  }
};

void one_entry(report& r, std::uint64_t entries) {
  const std::uint64_t count = bench::scaled(entries);
  std::mt19937_64 random{42};
  std::vector<std::uint64_t> keys(bench::scaled(500'000));
  for (std::uint64_t& key : keys) key = random() % count;
  with_and_without<store>(
      r, keys.size(), [&](const auto& c) { std::ignore = bench::answer(c, fill{count}); },
      [&](const auto& c) {
        std::uint64_t touched = 0;
        const auto begin = bench::clock::now();
        for (const std::uint64_t key : keys) touched += bench::answer(c, touch{key}) != 0 ? 1 : 0;
        const double ns = bench::ns_since(begin) / static_cast<double>(keys.size());
        bench::require(touched == keys.size(), "every entry was changed");
        return ns;
      });
}
void one_of_1k(report& r) { one_entry(r, 1'000); }
void one_of_1m(report& r) { one_entry(r, 1'000'000); }

[[maybe_unused]] const bool added[] = {
    bench::add("listener/a number", a_number),
    bench::add("listener/one entry of a kept_map of 1k", one_of_1k),
    bench::add("listener/one entry of a kept_map of 1M", one_of_1m),
};

}  // namespace
