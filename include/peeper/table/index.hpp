// SPDX-License-Identifier: Apache-2.0
/// \file
/// Where the rows of a table hang: in Boost.Intrusive's hash table (set) or tree (the others).
/// Linking and unlinking rows needs no memory, so a commit cannot fail; and they are multisets,
/// since a row that is being replaced and its successor are both there until the commit.
///
/// THREADS: guarded by the table's lock.
#pragma once

#include <algorithm>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

#include <boost/container_hash/hash.hpp>
#include <boost/intrusive/set.hpp>
#include <boost/intrusive/unordered_set.hpp>

#include <peeper/table/base.hpp>

namespace peeper::detail {

/// std::hash of an int is that int: spread, so that the upper bits say something of all. By
/// Fibonacci's multiplication, so that consecutive ints get places far from each other; one to one.
[[nodiscard]] constexpr std::uint64_t spread_bits(std::uint64_t h) noexcept {
  return (h ^ (h >> 32U)) * 0x9e3779b97f4a7c15U;
}

template <class Key>
concept std_hashable = requires(const Key& k) {
  { std::hash<Key>{}(k) } -> std::convertible_to<std::size_t>;
};
namespace boost_hash {
using boost::hash_value;
template <class Key>
concept hashable = requires(const Key& k) {
  { hash_value(k) } -> std::convertible_to<std::size_t>;
};
}  // namespace boost_hash
template <class Key>
concept table_hashable =
    (std_hashable<Key> || boost_hash::hashable<Key>) && std::equality_comparable<Key>;

template <class Key>
[[nodiscard]] std::uint64_t table_hash(const Key& key) {
  if constexpr (std_hashable<Key>) {
    return spread_bits(std::hash<Key>{}(key));
  } else {
    return spread_bits(boost::hash<Key>{}(key));
  }
}

/// Their hash costs less than to look it up.
template <class Key>
concept quickly_hashed = std::integral<Key> || std::is_enum_v<Key> || std::is_pointer_v<Key>;

/// A place in the walk of a table whose keys have no order: by the hash, then by the age of the
/// row.
struct hash_place {
  std::uint64_t hash = 0;
  std::uint64_t number = 0;
  friend constexpr auto operator<=>(const hash_place&, const hash_place&) noexcept = default;
};

// ------------------------------------------------------------------------------------ set

template <class Row, auto KeyOf>
struct hashed_row : boost::intrusive::unordered_set_base_hook<
                        boost::intrusive::link_mode<boost::intrusive::normal_link>>,
                    row_entry {
  using key_type = std::remove_cvref_t<std::invoke_result_t<decltype(KeyOf), const Row&>>;
  static constexpr bool keeps_hash = !quickly_hashed<key_type>;

  explicit hashed_row(Row r) : row{std::move(r)} {
    if constexpr (keeps_hash) hash_ = table_hash(key());
  }
  [[nodiscard]] decltype(auto) key() const { return std::invoke(KeyOf, row); }
  [[nodiscard]] std::uint64_t hash() const {
    if constexpr (keeps_hash) {
      return hash_;
    } else {
      return table_hash(key());
    }
  }
  [[nodiscard]] bool has(const key_type& k, std::uint64_t hash_of_k) const {
    if constexpr (keeps_hash) {
      return hash_ == hash_of_k && key() == k;
    } else {
      return key() == k;
    }
  }

 private:
  struct none {};
  [[no_unique_address]] std::conditional_t<keeps_hash, std::uint64_t, none> hash_{};

 public:
  const Row row;
  std::uint64_t number = 0;  ///< tells rows of one hash apart in a walk
};

/// A bucket is named by the upper bits of the hash, and the walk goes by the hash. Growing splits
/// each bucket in two that follow each other, so a place in the walk stays good through growth and
/// every change: who is there during a whole walk is met once (but see place_of(key)).
template <class Row, auto KeyOf>
class hash_index {
 public:
  using entry = hashed_row<Row, KeyOf>;
  using key = std::remove_cvref_t<std::invoke_result_t<decltype(KeyOf), const Row&>>;
  using place = hash_place;

  hash_index() : rows_{traits{buckets_.get(), count_}, bucket_of_row{&shift_}} {}
  hash_index(const hash_index&) = delete;
  hash_index& operator=(const hash_index&) = delete;

  /// Throws std::bad_alloc: nothing has changed.
  void make_room(std::size_t rows) {
    if (rows <= count_) return;
    const std::size_t more = std::bit_ceil(rows);
    auto buckets = std::make_unique<bucket[]>(more);
    shift_ = shift_of(more);
    rows_.rehash(traits{buckets.get(), more});
    buckets_ = std::move(buckets);
    count_ = more;
  }
  /// `before`: the row that this one is to replace: then walks do not meet the key twice.
  void link(entry& e, const entry* before) noexcept {
    e.number = before != nullptr ? before->number : ++last_number_;
    rows_.insert(e);
  }
  void unlink(entry& e) noexcept { rows_.erase(rows_.iterator_to(e)); }

  /// Calls `f` with all rows of the key, until it returns true.
  template <class F>
  void each_of(const key& k, F&& f) const {
    const std::uint64_t hash = table_hash(k);
    const std::size_t at = hash >> shift_;
    auto& all = const_cast<set&>(rows_);
    for (auto i = all.begin(at), end = all.end(at); i != end;) {
      entry& e = *i++;
      if (e.has(k, hash) && f(e)) return;
    }
  }
  template <class F>
  void each(F&& f) const {
    for (entry& e : const_cast<set&>(rows_)) f(e);
  }
  [[nodiscard]] static place place_of(const entry& e) noexcept { return {e.hash(), e.number}; }
  /// Of a key that may be gone: then rows of the same hash, if there are, may be met again.
  [[nodiscard]] place place_of(const key& k, table_view who) const {
    place p{table_hash(k), 0};
    each_of(k, [&](const entry& e) {
      if (e.seen_by(who)) p.number = e.number;
      return false;
    });
    return p;
  }
  /// At least `n` rows that come after `from`, if there are as many, are appended to `out`.
  void after(const std::optional<place>& from, std::size_t n, table_view who,
             std::vector<entry*>& out) const {
    auto& all = const_cast<set&>(rows_);
    for (std::size_t at = from ? from->hash >> shift_ : 0; at < count_; ++at) {
      const auto before = static_cast<std::ptrdiff_t>(out.size());
      for (auto e = all.begin(at), end = all.end(at); e != end; ++e) {
        if (e->seen_by(who) && (!from || place_of(*e) > *from)) out.push_back(&*e);
      }
      std::sort(out.begin() + before, out.end(),
                [](const entry* a, const entry* b) { return place_of(*a) < place_of(*b); });
      if (out.size() >= n) return;
    }
  }
  template <class Dispose>
  void clear(Dispose dispose) noexcept {
    rows_.clear_and_dispose(dispose);
  }

 private:
  struct bucket_of_row {
    const unsigned* shift;
    std::size_t operator()(const entry& e) const noexcept { return e.hash() >> *shift; }
  };
  struct same_key {
    bool operator()(const entry& a, const entry& b) const { return a.has(b.key(), b.hash()); }
  };
  static constexpr unsigned shift_of(std::size_t buckets) noexcept {
    return 64U - static_cast<unsigned>(std::countr_zero(buckets));
  }
  using set = boost::intrusive::unordered_multiset<
      entry, boost::intrusive::hash<bucket_of_row>, boost::intrusive::equal<same_key>,
      boost::intrusive::power_2_buckets<true>, boost::intrusive::constant_time_size<false>>;
  using bucket = typename set::bucket_type;
  using traits = typename set::bucket_traits;

  std::size_t count_ = 16;
  unsigned shift_ = shift_of(count_);
  std::unique_ptr<bucket[]> buckets_ = std::make_unique<bucket[]>(count_);
  set rows_;
  std::uint64_t last_number_ = 0;
};

// --------------------------------------------------------------------------- ordered_set, bags

using tree_hook =
    boost::intrusive::set_base_hook<boost::intrusive::link_mode<boost::intrusive::normal_link>,
                                    boost::intrusive::optimize_size<true>>;

template <class Row, auto KeyOf>
struct ordered_row : row_entry, tree_hook {
  explicit ordered_row(Row r) : row{std::move(r)} {}
  [[nodiscard]] decltype(auto) key() const { return std::invoke(KeyOf, row); }
  [[nodiscard]] decltype(auto) place() const { return key(); }
  void placed(std::uint64_t /*number*/) noexcept {}
  const Row row;
};
/// Of a bag: the rows of a key stand side by side, in the order in which they have come.
template <class Row, auto KeyOf>
struct bag_row : row_entry, tree_hook {
  explicit bag_row(Row r) : row{std::move(r)}, place_{table_hash(key()), 0} {}
  [[nodiscard]] decltype(auto) key() const { return std::invoke(KeyOf, row); }
  [[nodiscard]] const hash_place& place() const noexcept { return place_; }
  void placed(std::uint64_t number) noexcept { place_.number = number; }
  const Row row;

 private:
  hash_place place_;
};

template <class Row, auto KeyOf, bool ByKey>
class tree_index {
 public:
  using entry = std::conditional_t<ByKey, ordered_row<Row, KeyOf>, bag_row<Row, KeyOf>>;
  using key = std::remove_cvref_t<std::invoke_result_t<decltype(KeyOf), const Row&>>;
  using place = std::conditional_t<ByKey, key, hash_place>;

  void make_room(std::size_t /*rows*/) noexcept {}
  void link(entry& e, const entry* /*before*/) noexcept {
    e.placed(++last_number_);
    rows_.insert(e);
  }
  void unlink(entry& e) noexcept { rows_.erase(rows_.iterator_to(e)); }

  template <class F>
  void each_of(const key& k, F&& f) const {
    auto& all = const_cast<set&>(rows_);
    if constexpr (ByKey) {
      for (auto i = all.lower_bound(k, before{}); i != all.end() && !(k < i->key());) {
        entry& e = *i++;
        if (f(e)) return;
      }
    } else {
      const hash_place first{table_hash(k), 0};
      for (auto i = all.lower_bound(first, before{});
           i != all.end() && i->place().hash == first.hash;) {
        entry& e = *i++;
        if (e.key() == k && f(e)) return;
      }
    }
  }
  template <class F>
  void each(F&& f) const {
    for (entry& e : const_cast<set&>(rows_)) f(e);
  }
  [[nodiscard]] static place place_of(const entry& e) { return e.place(); }
  /// The last one of its rows.
  [[nodiscard]] place place_of(const key& k, table_view who) const {
    if constexpr (ByKey) {
      return k;
    } else {
      hash_place p{table_hash(k), 0};
      each_of(k, [&](const entry& e) {
        if (e.seen_by(who)) p = e.place();
        return false;
      });
      return p;
    }
  }
  void after(const std::optional<place>& from, std::size_t n, table_view who,
             std::vector<entry*>& out) const {
    auto& all = const_cast<set&>(rows_);
    auto i = from ? all.upper_bound(*from, before{}) : all.begin();
    for (; i != all.end() && out.size() < n; ++i) {
      if (i->seen_by(who)) out.push_back(&*i);
    }
  }
  /// The nearest row before `from`, or the last one.
  [[nodiscard]] const entry* before_place(const std::optional<place>& from, table_view who) const {
    auto i = from ? rows_.lower_bound(*from, before{}) : rows_.end();
    while (i != rows_.begin()) {
      if ((--i)->seen_by(who)) return &*i;
    }
    return nullptr;
  }
  template <class Dispose>
  void clear(Dispose dispose) noexcept {
    rows_.clear_and_dispose(dispose);
  }

 private:
  struct before {
    bool operator()(const entry& a, const entry& b) const { return a.place() < b.place(); }
    bool operator()(const place& a, const entry& b) const { return a < b.place(); }
    bool operator()(const entry& a, const place& b) const { return a.place() < b; }
  };
  using set = boost::intrusive::multiset<entry, boost::intrusive::compare<before>,
                                         boost::intrusive::constant_time_size<false>>;
  set rows_;
  std::uint64_t last_number_ = 0;
};

template <class Row, auto KeyOf, class Kind>
using index_of = std::conditional_t<std::is_same_v<Kind, set>, hash_index<Row, KeyOf>,
                                    tree_index<Row, KeyOf, std::is_same_v<Kind, ordered_set>>>;

}  // namespace peeper::detail
