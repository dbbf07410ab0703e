// SPDX-License-Identifier: Apache-2.0
//
// What a commit costs against the size of the state: one entry changed in each kept container, in a
// nested one, and one byte in a plain field, which is compared and copied as a whole. Without
// servers around it: the state as the keeper holds it.
#include <cstdint>
#include <random>
#include <string>
#include <unordered_map>
#include <vector>

#include <peeper/kept.hpp>

#include "bench.hpp"

namespace {

using bench::report;
using peeper::detail::kept_state;

constexpr double sizes[] = {1'000, 10'000, 100'000, 1'000'000};

/// Keys in an order that no cache likes.
class random_keys {
 public:
  explicit random_keys(std::uint64_t count) {
    std::mt19937_64 engine{42};
    for (std::uint64_t& key : keys_) key = engine() % count;
  }
  std::uint64_t next() { return keys_[i_++ % keys_.size()]; }

 private:
  std::vector<std::uint64_t> keys_ = std::vector<std::uint64_t>(4096);
  std::size_t i_ = 0;
};

/// The mean time of `step`, which may last from nanoseconds to a second.
template <class Step>
double ns_of(Step step) {
  constexpr double budget_ns = 3e7;
  step();  // the first one makes what is there ever after
  std::size_t done = 0;
  double spent = 0;
  for (std::size_t batch = 1; spent < budget_ns && done < bench::scaled(400'000); batch *= 2) {
    spent += bench::ns_each(batch, step) * static_cast<double>(batch);
    done += batch;
  }
  return spent / static_cast<double>(done);
}

template <class State, class Change>
double ns_of_commits(kept_state<State>& state, Change change) {
  std::size_t committed = 0;
  std::size_t changed = 0;
  const double ns = ns_of([&] {
    state.begin();
    change(state.value());
    ++changed;
    state.prepare();
    committed += state.commit() ? 1 : 0;
  });
  bench::require(committed == changed, "each change is committed");
  return ns;
}

using number = std::uint64_t;
template <class Map>
struct map_state {
  Map entries;
};
struct nested_state {
  peeper::kept_map<number, peeper::kept_deque<number>> lists;
};

template <class Map>
void maps(report& r, const char* name) {
  for (const double size : sizes) {
    const auto count = static_cast<number>(bench::scaled(static_cast<std::size_t>(size)));
    map_state<Map> first;
    for (number i = 0; i < count; ++i) first.entries.try_emplace(i, 1U);
    kept_state<map_state<Map>> state{std::move(first)};
    random_keys keys{count};
    r.point(name, size, "ns", ns_of_commits(state, [&](auto& s) {
              s.entries.modify(keys.next(), [](number& n) { ++n; });
            }));
  }
}

template <class Set>
void sets(report& r, const char* name) {
  for (const double size : sizes) {
    const auto count = static_cast<number>(bench::scaled(static_cast<std::size_t>(size)));
    map_state<Set> first;
    for (number i = 0; i < count; ++i) first.entries.insert(i);
    kept_state<map_state<Set>> state{std::move(first)};
    random_keys keys{count};
    // One in, one out: the size stays.
    r.point(name, size, "ns", ns_of_commits(state, [&](auto& s) {
              const number key = keys.next();
              s.entries.erase(key);
              s.entries.insert(key);
            }));
  }
}

template <class Sequence>
void sequences(report& r, const char* name) {
  for (const double size : sizes) {
    const auto count = static_cast<number>(bench::scaled(static_cast<std::size_t>(size)));
    map_state<Sequence> first;
    for (number i = 0; i < count; ++i) first.entries.push_back(i);
    kept_state<map_state<Sequence>> state{std::move(first)};
    random_keys keys{count};
    r.point(name, size, "ns", ns_of_commits(state, [&](auto& s) {
              s.entries.modify(keys.next(), [](number& n) { ++n; });
            }));
  }
}

/// A queue in each of a thousand entries: one element out, one in.
void nested(report& r) {
  for (const double size : sizes) {
    const auto count = static_cast<number>(bench::scaled(static_cast<std::size_t>(size)));
    const number lists = std::min<number>(count, 1'000);
    nested_state first;
    for (number i = 0; i < count; ++i) {
      first.lists.modify_or_insert(i % lists, [&](auto& list) { list.push_back(i); });
    }
    kept_state<nested_state> state{std::move(first)};
    random_keys keys{lists};
    r.point("kept_map of kept_deque", size, "ns", ns_of_commits(state, [&](nested_state& s) {
              s.lists.modify(keys.next(), [](auto& list) {
                list.pop_front();
                list.push_back(1);
              });
            }));
  }
}

void not_kept(report& r) {
  for (const double size : sizes) {
    const auto count = static_cast<number>(bench::scaled(static_cast<std::size_t>(size)));
    std::unordered_map<number, number> entries;
    for (number i = 0; i < count; ++i) entries.try_emplace(i, 1U);
    random_keys keys{count};
    number changed = 0;
    number before = 0;
    for (const auto& [key, n] : entries) before += n;
    r.point("std::unordered_map, not kept", size, "ns", ns_of([&] {
              ++entries.find(keys.next())->second;
              ++changed;
            }));
    number after = 0;
    for (const auto& [key, n] : entries) after += n;
    bench::require(after == before + changed, "each change is made");
  }
}

void containers(report& r) {
  maps<peeper::kept_map<number, number>>(r, "kept_map");
  maps<peeper::kept_ordered_map<number, number>>(r, "kept_ordered_map");
  sets<peeper::kept_set<number>>(r, "kept_set");
  sets<peeper::kept_ordered_set<number>>(r, "kept_ordered_set");
  sequences<peeper::kept_vector<number>>(r, "kept_vector");
  sequences<peeper::kept_deque<number>>(r, "kept_deque");
  nested(r);
  not_kept(r);
}

constexpr double kb = 1024;
constexpr double mb = kb * kb;

void state_bytes(report& r) {
  for (const double size : {8.0, kb, 16 * kb, 256 * kb, 4 * mb, 64 * mb}) {
    kept_state<std::string> state{std::string(bench::scaled(static_cast<std::size_t>(size)), 'x')};
    r.point("a plain string", size, "ns", ns_of_commits(state, [](std::string& s) { ++s.back(); }));
  }
  using vector_state = map_state<peeper::kept_vector<number>>;
  for (const double size : {8.0, kb, 16 * kb, 256 * kb, 4 * mb, 64 * mb, 1024 * mb}) {
    const auto count = bench::scaled(static_cast<std::size_t>(size / sizeof(number)));
    kept_state<vector_state> state{
        vector_state{.entries = peeper::kept_vector<number>(count, number{1})}};
    random_keys keys{count};
    r.point("a kept_vector", size, "ns", ns_of_commits(state, [&](vector_state& s) {
              s.entries.modify(keys.next(), [](number& n) { ++n; });
            }));
  }
}

[[maybe_unused]] const bool added[] = {
    bench::add("growth/commit, one entry of many", containers, 3),
    bench::add("growth/commit, bytes of the state", state_bytes, 3),
};

}  // namespace
