// SPDX-License-Identifier: Apache-2.0
//
// What the rows of a table might hang in: what they do hang in (include/peeper/table/index.hpp),
// beside maps from the key to the row, of those libraries that are installed. A look-up is under
// the table's lock, but for a container that locks by itself; "link, unlink" is what a callback
// that inserts a row and then crashes asks of it, without the row's own memory.
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <shared_mutex>
#include <tuple>
#include <type_traits>
#include <vector>

#include <boost/container/flat_map.hpp>
#include <boost/unordered/unordered_flat_map.hpp>
#include <boost/unordered_map.hpp>

#if PEEPER_BENCH_ABSL
#include <absl/container/btree_map.h>
#include <absl/container/flat_hash_map.h>
#endif
#if PEEPER_BENCH_TBB
#include <oneapi/tbb/concurrent_hash_map.h>
#endif

#include <peeper/table.hpp>

#include "bench.hpp"

namespace {

using bench::report;
using key = std::uint64_t;

struct quote {
  key id = 0;
  std::uint64_t bid = 0;
  std::uint64_t ask = 0;
};

/// What tables use.
template <class Index>
class ours {
 public:
  using row = typename Index::entry;
  static constexpr const char* name = "Boost.Intrusive, as tables use it";
  void link(row& r) {
    index_.make_room(++size_);
    index_.link(r, nullptr);
  }
  void unlink(row& r) {
    --size_;
    index_.unlink(r);
  }
  [[nodiscard]] quote get(key k) const {
    const std::shared_lock hold{lock_};
    quote found;
    index_.each_of(k, [&](const row& r) {
      found = r.row;
      return true;
    });
    return found;
  }

 private:
  Index index_;
  std::size_t size_ = 0;
  mutable peeper::detail::table_lock lock_;
};
using hashed = ours<peeper::detail::hash_index<quote, &quote::id>>;
using ordered = ours<peeper::detail::tree_index<quote, &quote::id, true>>;

/// Any map from the key to the row.
template <class Map>
class mapped {
 public:
  using row = std::remove_pointer_t<typename Map::mapped_type>;
  void link(row& r) { map_.emplace(r.key(), &r); }
  void unlink(row& r) { map_.erase(r.key()); }
  [[nodiscard]] quote get(key k) const {
    const std::shared_lock hold{lock_};
    const auto found = map_.find(k);
    return found == map_.end() ? quote{} : found->second->row;
  }

 private:
  Map map_;
  mutable peeper::detail::table_lock lock_;
};

struct boost_node : mapped<boost::unordered_map<key, hashed::row*>> {
  static constexpr const char* name = "boost::unordered_map";
};
struct boost_flat : mapped<boost::unordered_flat_map<key, hashed::row*>> {
  static constexpr const char* name = "boost::unordered_flat_map";
};
struct std_tree : mapped<std::map<key, ordered::row*>> {
  static constexpr const char* name = "std::map";
};
struct boost_sorted : mapped<boost::container::flat_map<key, ordered::row*>> {
  static constexpr const char* name = "boost::container::flat_map";
};
#if PEEPER_BENCH_ABSL
struct absl_flat : mapped<absl::flat_hash_map<key, hashed::row*>> {
  static constexpr const char* name = "absl::flat_hash_map";
};
struct absl_tree : mapped<absl::btree_map<key, ordered::row*>> {
  static constexpr const char* name = "absl::btree_map";
};
#endif
#if PEEPER_BENCH_TBB
class tbb_hash {
 public:
  using row = hashed::row;
  static constexpr const char* name = "tbb::concurrent_hash_map, its own locks";
  void link(row& r) { map_.emplace(r.key(), &r); }
  void unlink(row& r) { map_.erase(r.key()); }
  [[nodiscard]] quote get(key k) const {
    map::const_accessor found;
    return map_.find(found, k) ? found->second->row : quote{};
  }

 private:
  using map = tbb::concurrent_hash_map<key, row*>;
  map map_;
};
#endif

template <class Container>
struct candidate {
  Container all;
  std::vector<double> look_ups;
  std::vector<double> links;
};

/// The rows are the same for all, in the same memory; the turns go round.
template <class... Containers>
void race(report& r, std::size_t n, key (*key_of)(std::uint64_t)) {
  using row = typename std::tuple_element_t<0, std::tuple<Containers...>>::row;
  constexpr std::size_t more = 1'000;
  std::vector<std::unique_ptr<row>> rows;
  for (std::uint64_t i = 0; i < n + more; ++i) {
    rows.push_back(std::make_unique<row>(quote{key_of(i), i, key_of(i)}));
  }
  std::mt19937_64 random{42};
  std::vector<key> keys(bench::scaled(100'000));
  for (key& k : keys) k = key_of(random() % n);

  const auto fill = [&](auto& c) {
    for (std::size_t i = 0; i < n; ++i) c.all.link(*rows[i]);
  };
  const auto turn = [&](auto& c) {
    std::size_t found = 0;
    c.look_ups.push_back(bench::ns_each(1,
                                        [&] {
                                          for (const key k : keys)
                                            found += c.all.get(k).ask == k ? 1 : 0;
                                        }) /
                         static_cast<double>(keys.size()));
    bench::require(found == keys.size(), "every row was found");
    c.links.push_back(bench::ns_each(1,
                                     [&] {
                                       for (std::size_t i = n; i < n + more; ++i)
                                         c.all.link(*rows[i]);
                                       for (std::size_t i = n; i < n + more; ++i)
                                         c.all.unlink(*rows[i]);
                                     }) /
                      static_cast<double>(more));
    bench::require(c.all.get(rows.back()->key()).id == 0, "the new rows have gone again");
  };
  std::tuple<candidate<Containers>...> all;
  std::apply([&](auto&... c) { (fill(c), ...); }, all);
  for (int i = 0; i < 7; ++i) std::apply([&](auto&... c) { (turn(c), ...); }, all);
  const auto tell = [&]<class C>(candidate<C>& c) {
    r.row(std::string{C::name} + ", look-up", "ns", bench::percentile(c.look_ups, 0.5));
    r.row(std::string{C::name} + ", link, unlink", "ns", bench::percentile(c.links, 0.5));
  };
  std::apply([&](auto&... c) { (tell(c), ...); }, all);
}

key dense(std::uint64_t i) { return i + 1; }
/// One to one; the end of MurmurHash3.
key scattered(std::uint64_t i) {
  key k = (i + 1) * 0xff51afd7ed558ccdU;
  k = (k ^ (k >> 33U)) * 0xc4ceb9fe1a85ec53U;
  return k ^ (k >> 33U);
}

void sets(report& r, std::size_t n, key (*key_of)(std::uint64_t)) {
  race<hashed, boost_node, boost_flat
#if PEEPER_BENCH_ABSL
       ,
       absl_flat
#endif
#if PEEPER_BENCH_TBB
       ,
       tbb_hash
#endif
       >(r, bench::scaled(n), key_of);
}
void sets_1k(report& r) { sets(r, 1'000, dense); }
void sets_1m(report& r) { sets(r, 1'000'000, dense); }
void scattered_sets_1m(report& r) { sets(r, 1'000'000, scattered); }

// An insert into boost::container::flat_map moves all rows behind it: of a million, half a
// millisecond. So it is left out of those.
void trees_1k(report& r) {
  race<ordered, std_tree, boost_sorted
#if PEEPER_BENCH_ABSL
       ,
       absl_tree
#endif
       >(r, bench::scaled(1'000), scattered);
}
void trees_1m(report& r) {
  race<ordered, std_tree
#if PEEPER_BENCH_ABSL
       ,
       absl_tree
#endif
       >(r, bench::scaled(1'000'000), scattered);
}

[[maybe_unused]] const bool added[] = {
    bench::add("container/set of 1k rows", sets_1k),
    bench::add("container/set of 1M rows", sets_1m),
    bench::add("container/set of 1M rows, scattered keys", scattered_sets_1m),
    bench::add("container/ordered_set of 1k rows", trees_1k),
    bench::add("container/ordered_set of 1M rows", trees_1m),
};

}  // namespace
