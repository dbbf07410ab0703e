// SPDX-License-Identifier: Apache-2.0
//
// What the undo log costs: the same change on the bare container, in a kept one that no state has,
// in a state, and in a state that records deltas. The numbers to watch: kept minus bare for one
// changed entry (at most 150 ns at 100,000 entries), and begin + commit of a small state.
#include <cstdint>
#include <deque>
#include <map>
#include <random>
#include <string>
#include <unordered_map>
#include <vector>

#include <benchmark/benchmark.h>

#include <peeper/kept.hpp>

// BENCHMARK() counts with __COUNTER__, which clang calls an extension until C2y.
#if defined(__clang__)
#pragma clang diagnostic ignored "-Wc2y-extensions"
#endif

namespace {

using peeper::detail::kept_state;

struct map_state {
  peeper::kept_map<std::uint64_t, std::uint64_t> entries;
};
struct ordered_state {
  peeper::kept_ordered_map<std::uint64_t, std::uint64_t> entries;
};
struct string_state {
  peeper::kept_map<std::string, std::string> entries;
};
struct deque_state {
  peeper::kept_map<std::string, peeper::kept_deque<std::string>> lists;
};

/// Keys in an order that no cache likes.
std::vector<std::uint64_t> random_keys(std::int64_t count) {
  std::mt19937_64 engine{42};
  std::vector<std::uint64_t> keys;
  for (int i = 0; i < 4096; ++i) keys.push_back(engine() % static_cast<std::uint64_t>(count));
  return keys;
}

template <class Map>
void fill(Map& map, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) map.emplace(static_cast<std::uint64_t>(i), 1U);
}

// ---------------------------------------------------------------------------- one entry changed

template <class Map>
void bare_entry(benchmark::State& bench) {
  Map map;
  fill(map, bench.range(0));
  const auto keys = random_keys(bench.range(0));
  std::size_t i = 0;
  for (auto _ : bench) {
    map.find(keys[i++ % keys.size()])->second += 1;
    benchmark::ClobberMemory();
  }
}

template <class State, bool Deltas>
void kept_entry(benchmark::State& bench) {
  kept_state<State> state{State{}};
  fill(state.value().entries, bench.range(0));
  state.record_deltas(Deltas);
  const auto keys = random_keys(bench.range(0));
  std::size_t i = 0;
  for (auto _ : bench) {
    state.begin();
    state.value().entries.modify(keys[i++ % keys.size()], [](std::uint64_t& n) { n += 1; });
    state.prepare();
    benchmark::DoNotOptimize(state.commit());
  }
}

template <class State>
void kept_entry_rolled_back(benchmark::State& bench) {
  kept_state<State> state{State{}};
  fill(state.value().entries, bench.range(0));
  const auto keys = random_keys(bench.range(0));
  std::size_t i = 0;
  for (auto _ : bench) {
    state.begin();
    state.value().entries.modify(keys[i++ % keys.size()], [](std::uint64_t& n) { n += 1; });
    state.rollback();
  }
}

BENCHMARK(bare_entry<std::unordered_map<std::uint64_t, std::uint64_t>>)
    ->RangeMultiplier(10)
    ->Arg(1000)
    ->Arg(100000)
    ->Arg(1000000);
BENCHMARK(bare_entry<std::map<std::uint64_t, std::uint64_t>>)->Arg(1000)->Arg(100000)->Arg(1000000);
BENCHMARK(kept_entry<map_state, false>)->Arg(1000)->Arg(100000)->Arg(1000000);
BENCHMARK(kept_entry<map_state, true>)->Arg(1000)->Arg(100000)->Arg(1000000);
BENCHMARK(kept_entry<ordered_state, false>)->Arg(1000)->Arg(100000)->Arg(1000000);
BENCHMARK(kept_entry_rolled_back<map_state>)->Arg(1000)->Arg(100000)->Arg(1000000);

// ---------------------------------------------------------------------------- insert and erase

void bare_insert_erase(benchmark::State& bench) {
  std::unordered_map<std::uint64_t, std::uint64_t> map;
  fill(map, bench.range(0));
  const auto keys = random_keys(bench.range(0));
  std::size_t i = 0;
  for (auto _ : bench) {
    const auto key = keys[i++ % keys.size()] + static_cast<std::uint64_t>(bench.range(0));
    map.emplace(key, 1U);
    map.erase(key);
  }
}

void kept_insert_erase(benchmark::State& bench) {
  kept_state<map_state> state{map_state{}};
  fill(state.value().entries, bench.range(0));
  const auto keys = random_keys(bench.range(0));
  std::size_t i = 0;
  for (auto _ : bench) {
    const auto key = keys[i++ % keys.size()] + static_cast<std::uint64_t>(bench.range(0));
    state.begin();
    state.value().entries.try_emplace(key, 1U);
    state.value().entries.erase(key);
    state.prepare();
    benchmark::DoNotOptimize(state.commit());
  }
}

BENCHMARK(bare_insert_erase)->Arg(1000)->Arg(100000)->Arg(1000000);
BENCHMARK(kept_insert_erase)->Arg(1000)->Arg(100000)->Arg(1000000);

// ---------------------------------------------------------------------------- nested containers

template <bool Deltas>
void push_to_nested_deque(benchmark::State& bench) {
  kept_state<deque_state> state{deque_state{}};
  state.record_deltas(Deltas);
  auto& lists = state.value().lists;
  lists.modify_or_insert(std::string{"jobs"}, [&](peeper::kept_deque<std::string>& jobs) {
    for (std::int64_t i = 0; i < bench.range(0); ++i) jobs.push_back("clean up the house");
  });
  const std::string job = "clean up the house";
  for (auto _ : bench) {
    state.begin();
    lists.modify("jobs", [&](peeper::kept_deque<std::string>& jobs) {
      jobs.pop_front();
      jobs.push_back(job);
    });
    state.prepare();
    benchmark::DoNotOptimize(state.commit());
  }
}

BENCHMARK(push_to_nested_deque<false>)->Arg(10)->Arg(10000)->Arg(1000000);
BENCHMARK(push_to_nested_deque<true>)->Arg(10)->Arg(10000)->Arg(1000000);

// ---------------------------------------------------------------------------- plain states

void commit_int(benchmark::State& bench) {
  kept_state<int> state{0};
  for (auto _ : bench) {
    state.begin();
    ++state.value();
    state.prepare();
    benchmark::DoNotOptimize(state.commit());
  }
}
BENCHMARK(commit_int);

struct plain_state {
  int count = 0;
  double ratio = 0;
  std::string name = "a name that is too long for the small string optimisation";
  std::vector<int> numbers = std::vector<int>(16);
};

void commit_plain_structure(benchmark::State& bench) {
  kept_state<plain_state> state{plain_state{}};
  for (auto _ : bench) {
    state.begin();
    ++state.value().count;
    state.prepare();
    benchmark::DoNotOptimize(state.commit());
  }
}
BENCHMARK(commit_plain_structure);

void commit_string(benchmark::State& bench) {
  kept_state<std::string> state{std::string(static_cast<std::size_t>(bench.range(0)), 'x')};
  for (auto _ : bench) {
    state.begin();
    ++state.value().back();
    state.prepare();
    benchmark::DoNotOptimize(state.commit());
  }
}
BENCHMARK(commit_string)->Arg(100)->Arg(10000)->Arg(65536);

// ---------------------------------------------------------------------------- codec

struct four_fields {
  int id = 7;
  std::string name = "counter";
  double ratio = 0.5;
  std::vector<int> numbers{1, 2, 3};
};

void encode_four_fields(benchmark::State& bench) {
  const four_fields value;
  peeper::cbor_writer out;
  for (auto _ : bench) {
    out.truncate(0);
    peeper::detail::encode_value(out, value);
    benchmark::DoNotOptimize(out.view().data());
  }
}
BENCHMARK(encode_four_fields);

void decode_four_fields(benchmark::State& bench) {
  const auto bytes = peeper::encode(four_fields{});
  for (auto _ : bench) {
    auto value = peeper::decode<four_fields>(bytes);
    benchmark::DoNotOptimize(value);
  }
}
BENCHMARK(decode_four_fields);

}  // namespace
