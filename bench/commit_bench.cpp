// SPDX-License-Identifier: Apache-2.0
//
// What keeping the state costs, in servers: against the same server that keeps nothing, and against
// a plain loop; for a number and for one entry of a large map.
#include <cstdint>
#include <random>
#include <unordered_map>
#include <vector>

#include <benchmark/benchmark.h>

#include <peeper/kept.hpp>

#include "servers.hpp"

namespace {

using bench::report;

template <class Server>
double ns_of_calls(const peeper::ref<Server>& c, std::size_t n) {
  std::int64_t expected = bench::answer(c, bench::get{});
  return bench::ns_each(n, [&] {
    bench::require(bench::answer(c, bench::add_and_get{}) == ++expected, "calls are handled once");
  });
}

/// Turn by turn, so that both meet the same machine.
void kept_and_loose(report& r) {
  peeper::runtime rt;
  const auto kept = bench::started<bench::counter>(rt);
  const auto loose = bench::started<bench::loose_counter>(rt);
  std::vector<double> kept_ns;
  std::vector<double> loose_ns;
  std::vector<double> plain_ns;
  bench::counter plain;
  std::int64_t number = 0;
  const std::size_t n = bench::scaled(50'000);
  for (int turn = 0; turn < 9; ++turn) {
    kept_ns.push_back(ns_of_calls(kept, n));
    loose_ns.push_back(ns_of_calls(loose, n));
    plain_ns.push_back(bench::ns_each(n, [&] {
      benchmark::DoNotOptimize(plain.handle_call(bench::add_and_get{}, number));
      benchmark::ClobberMemory();
    }));
  }
  const double k = bench::percentile(kept_ns, 0.5);
  const double l = bench::percentile(loose_ns, 0.5);
  bench::require(number == static_cast<std::int64_t>(9 * n), "the plain loop ran");
  r.row("kept", "ns", k);
  r.row("not kept", "ns", l);
  r.row("kept / not kept", "x", k / l, bench::at_most(1.1));
  r.row("plain loop without a server", "ns", bench::percentile(plain_ns, 0.5));
}

struct touch {
  using reply = std::uint64_t;
  std::uint64_t key;
};
struct fill {
  using reply = bool;
  std::uint64_t count;
};

struct kept_store {
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
struct loose_store {
  struct state {};
  bool handle_call(const fill& m) {
    for (std::uint64_t i = 0; i < m.count; ++i) entries_.try_emplace(i, 0U);
    return true;
  }
  std::uint64_t handle_call(const touch& m) { return ++entries_.find(m.key)->second; }

 private:
  std::unordered_map<std::uint64_t, std::uint64_t> entries_;
};

template <class Server>
double ns_of_touches(const peeper::ref<Server>& c, const std::vector<std::uint64_t>& keys) {
  std::uint64_t touched = 0;
  const auto begin = bench::clock::now();
  for (const std::uint64_t key : keys) touched += bench::answer(c, touch{key}) != 0 ? 1 : 0;
  const double ns = bench::ns_since(begin) / static_cast<double>(keys.size());
  bench::require(touched == keys.size(), "every entry was changed");
  return ns;
}

void one_entry(report& r, std::uint64_t entries) {
  peeper::runtime rt;
  const auto kept = bench::started<kept_store>(rt);
  const auto loose = bench::started<loose_store>(rt);
  const std::uint64_t count = bench::scaled(entries);
  std::ignore = bench::answer(kept, fill{count});
  std::ignore = bench::answer(loose, fill{count});
  std::mt19937_64 random{42};
  std::vector<std::uint64_t> keys(bench::scaled(20'000));
  for (std::uint64_t& key : keys) key = random() % count;
  std::vector<double> kept_ns;
  std::vector<double> loose_ns;
  for (int turn = 0; turn < 5; ++turn) {
    kept_ns.push_back(ns_of_touches(kept, keys));
    loose_ns.push_back(ns_of_touches(loose, keys));
  }
  const double k = bench::percentile(kept_ns, 0.5);
  const double l = bench::percentile(loose_ns, 0.5);
  r.row("kept", "ns", k);
  r.row("kept - not kept", "ns", k - l, bench::at_most(150));
}
void one_of_1k(report& r) { one_entry(r, 1'000); }
void one_of_100k(report& r) { one_entry(r, 100'000); }
void one_of_1m(report& r) { one_entry(r, 1'000'000); }

[[maybe_unused]] const bool added[] = {
    bench::add("commit/a number", kept_and_loose),
    bench::add("commit/one entry of a kept_map of 1k", one_of_1k),
    bench::add("commit/one entry of a kept_map of 100k", one_of_100k),
    bench::add("commit/one entry of a kept_map of 1M", one_of_1m),
};

}  // namespace
