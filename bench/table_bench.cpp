// SPDX-License-Identifier: Apache-2.0
//
// Tables beside the bare container that has the same order of cost: a look-up from a thread that
// does not own the table, beside a boost::unordered_map under a std::shared_mutex; and what a
// write of a kept table costs its owner, from the write to the end of its commit.
#include <cstdint>
#include <mutex>
#include <optional>
#include <random>
#include <shared_mutex>
#include <string>
#include <vector>

#include <boost/unordered_map.hpp>

#include <peeper/table.hpp>

#include "servers.hpp"

namespace {

using bench::report;

struct quote {
  std::uint64_t id = 0;
  std::uint64_t bid = 0;
  std::uint64_t ask = 0;
};
using quotes = peeper::table<quote, &quote::id>;
using bare_quotes = boost::unordered_map<std::uint64_t, quote>;

constexpr std::size_t keys_looked_up = 100'000;
constexpr int turns = 7;

struct fill {
  using reply = bool;
  std::uint64_t rows;
};
/// Writes one row for each of these keys.
struct write_all {
  using reply = bool;
  const std::vector<std::uint64_t>* keys;
};

struct market {
  using state = int;
  quotes::owner all;
  state init() {
    all = quotes::create({.name = "quotes"}).value();
    return 0;
  }
  bool handle_call(const fill& m, state&) {
    for (std::uint64_t i = 0; i < m.rows; ++i) all.insert(quote{i, i, i});
    return true;
  }
  bool handle_call(const write_all& m, state&) {
    for (const std::uint64_t key : *m.keys) all.insert(quote{key, key + 1, key + 2});
    return true;
  }
};

std::vector<std::uint64_t> some_keys(std::size_t n, std::uint64_t below) {
  std::mt19937_64 random{42};
  std::vector<std::uint64_t> keys(n);
  for (std::uint64_t& key : keys) key = random() % below;
  return keys;
}

bare_quotes bare(std::uint64_t rows) {
  bare_quotes map;
  for (std::uint64_t i = 0; i < rows; ++i) map.emplace(i, quote{i, i, i});
  return map;
}

void look_up(report& r, std::uint64_t wanted) {
  const std::uint64_t rows = bench::scaled(wanted);
  const auto keys = some_keys(bench::scaled(keys_looked_up), rows);
  peeper::runtime rt;
  const auto owner = bench::started<market>(rt, {.keep_tables = peeper::kept_tables::all()});
  bench::require(bench::answer(owner, fill{rows}), "filled");
  const auto reader = peeper::find_table<quotes>(rt, "quotes").value();
  bare_quotes map = bare(rows);
  std::shared_mutex mutex;
  const auto look = [&](std::uint64_t key) -> std::optional<quote> {
    const std::shared_lock lock{mutex};
    const auto found = map.find(key);
    return found == map.end() ? std::nullopt : std::optional{found->second};
  };
  std::vector<double> ours;
  std::vector<double> theirs;
  const auto per_key = [&keys](auto&& get) {
    std::uint64_t sum = 0;
    const auto begin = bench::clock::now();
    for (const std::uint64_t key : keys) sum += get(key).ask == key ? 1 : 0;
    const double ns = bench::ns_since(begin) / static_cast<double>(keys.size());
    bench::require(sum == keys.size(), "every row was found");
    return ns;
  };
  for (int turn = 0; turn < turns; ++turn) {
    ours.push_back(per_key([&](std::uint64_t key) { return *reader.lookup(key).value(); }));
    theirs.push_back(per_key([&](std::uint64_t key) { return *look(key); }));
  }
  const double table = bench::percentile(ours, 0.5);
  const double container = bench::percentile(theirs, 0.5);
  r.row("table", "ns", table);
  r.row("boost::unordered_map and its lock", "ns", container);
  r.row("table / bare", "x", table / container, bench::at_most(1.5));
}

void write(report& r, std::uint64_t wanted) {
  const std::uint64_t rows = bench::scaled(wanted);
  const auto keys = some_keys(1000, rows);
  peeper::runtime rt;
  const auto owner = bench::started<market>(rt, {.keep_tables = peeper::kept_tables::all()});
  bench::require(bench::answer(owner, fill{rows}), "filled");
  bare_quotes map = bare(rows);
  std::vector<double> ours;
  std::vector<double> theirs;
  const auto per_key = [&keys](auto&& all) {
    const auto begin = bench::clock::now();
    all();
    return bench::ns_since(begin) / static_cast<double>(keys.size());
  };
  for (std::size_t turn = 0; turn < bench::scaled(100); ++turn) {
    ours.push_back(
        per_key([&] { bench::require(bench::answer(owner, write_all{&keys}), "written"); }));
    theirs.push_back(per_key([&] {
      for (const std::uint64_t key : keys) map.insert_or_assign(key, quote{key, key + 1, key + 2});
    }));
  }
  const double table = bench::percentile(ours, 0.5);
  const double container = bench::percentile(theirs, 0.5);
  r.row("kept table", "ns", table);
  r.row("boost::unordered_map", "ns", container);
  r.row("kept table - bare", "ns", table - container, bench::at_most(100));
}

void look_up_1k(report& r) { look_up(r, 1'000); }
void look_up_1m(report& r) { look_up(r, 1'000'000); }
void write_1k(report& r) { write(r, 1'000); }
void write_1m(report& r) { write(r, 1'000'000); }

[[maybe_unused]] const bool added[] = {
    bench::add("table/look-up from another thread, 1k rows", look_up_1k),
    bench::add("table/look-up from another thread, 1M rows", look_up_1m),
    bench::add("table/write in a callback, 1k rows", write_1k),
    bench::add("table/write in a callback, 1M rows", write_1m),
};

}  // namespace
