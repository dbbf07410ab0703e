// SPDX-License-Identifier: Apache-2.0
/// \file
/// Where the rows of a table hang: Boost.Intrusive's hash multiset or tree multiset, since a row
/// that is being replaced and its successor are both there until the commit, which must not fail:
/// linking and unlinking rows needs no memory.
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

/// std::hash of an int is that int: mixed, so that the low bits say something of all (the end of
/// MurmurHash3; one to one).
[[nodiscard]] constexpr std::uint64_t mix_bits(std::uint64_t h) noexcept {
  h = (h ^ (h >> 33U)) * 0xff51afd7ed558ccdU;
  h = (h ^ (h >> 33U)) * 0xc4ceb9fe1a85ec53U;
  return h ^ (h >> 33U);
}
[[nodiscard]] constexpr std::uint64_t reversed_bits(std::uint64_t x) noexcept {
  x = ((x >> 1U) & 0x5555555555555555U) | ((x & 0x5555555555555555U) << 1U);
  x = ((x >> 2U) & 0x3333333333333333U) | ((x & 0x3333333333333333U) << 2U);
  x = ((x >> 4U) & 0x0f0f0f0f0f0f0f0fU) | ((x & 0x0f0f0f0f0f0f0f0fU) << 4U);
  return std::byteswap(x);
}

template <class Key>
concept std_hashable = requires(const Key& k) {
  { std::hash<Key>{}(k) } -> std::convertible_to<std::size_t>;
};
template <class Key>
concept boost_hashable = requires(const Key& k) {
  { boost::hash<Key>{}(k) } -> std::convertible_to<std::size_t>;
};
template <class Key>
concept table_hashable =
    (std_hashable<Key> || boost_hashable<Key>) && std::equality_comparable<Key>;

template <class Key>
[[nodiscard]] std::uint64_t table_hash(const Key& key) {
  if constexpr (std_hashable<Key>) {
    return mix_bits(std::hash<Key>{}(key));
  } else {
    return mix_bits(boost::hash<Key>{}(key));
  }
}

// ------------------------------------------------------------------------------------ hash

template <class Row, auto KeyOf, bool Many>
struct hashed_row : row_entry,
                    boost::intrusive::unordered_set_base_hook<
                        boost::intrusive::link_mode<boost::intrusive::normal_link>,
                        boost::intrusive::optimize_multikey<Many>> {
  explicit hashed_row(Row r) : row{std::move(r)}, hash{table_hash(key())} {}
  [[nodiscard]] decltype(auto) key() const { return std::invoke(KeyOf, row); }
  const Row row;
  const std::uint64_t hash;
  std::uint64_t number = 0;  ///< rows of one hash are walked, and those of one key listed, by it
};

/// The walk goes by the reversed bits of the hash. Growing splits each bucket in two that follow
/// each other in this order, so a place in it stays good through growth and every change: who is
/// there during a whole walk is met once (but see next()).
template <class Row, auto KeyOf, bool Many>
class hash_index {
 public:
  using entry = hashed_row<Row, KeyOf, Many>;
  using key = std::remove_cvref_t<std::invoke_result_t<decltype(KeyOf), const Row&>>;
  struct place {
    std::uint64_t order = 0;
    std::uint64_t number = 0;
    [[nodiscard]] friend constexpr auto operator<=>(const place&, const place&) noexcept = default;
  };
  static constexpr bool ordered = false;

  hash_index() : rows_{traits{buckets_.get(), count_}} {}

  /// Throws std::bad_alloc: nothing has changed.
  void make_room(std::size_t rows) {
    if (rows <= count_) return;
    const std::size_t more = std::bit_ceil(rows);
    auto buckets = std::make_unique<bucket[]>(more);
    rows_.rehash(traits{buckets.get(), more});
    buckets_ = std::move(buckets);
    count_ = more;
  }
  void link(entry& e) noexcept { rows_.insert(e); }
  void unlink(entry& e) noexcept { rows_.erase(rows_.iterator_to(e)); }
  /// A new row of a key takes the number of the one before it, so that walks do not meet it twice.
  void number(entry& e, const entry* before) noexcept {
    e.number = before != nullptr ? before->number : ++last_number_;
  }

  /// Calls `f` with all rows of the key, until it returns true. In no order.
  template <class F>
  void each_of(const key& k, F&& f) const {
    const std::uint64_t hash = table_hash(k);
    const std::size_t at = hash & (count_ - 1);
    auto& all = const_cast<set&>(rows_);
    for (auto i = all.begin(at), end = all.end(at); i != end;) {
      entry& e = *i++;
      if (e.hash == hash && e.key() == k && f(e)) return;
    }
  }
  template <class F>
  void each(F&& f) const {
    auto& all = const_cast<set&>(rows_);
    for (entry& e : all) f(e);
  }
  [[nodiscard]] static place place_of(const entry& e) noexcept {
    return {reversed_bits(e.hash), e.number};
  }
  /// Of a key that may be gone: then rows of the same hash, if any, may be met again.
  [[nodiscard]] place place_of(const key& k, table_view who) const {
    place p{reversed_bits(table_hash(k)), 0};
    each_of(k, [&](const entry& e) {
      if (e.seen_by(who)) p.number = std::max(p.number, e.number);
      return false;
    });
    return p;
  }
  /// At least `n` rows that come after `from`, if there are as many, are appended to `out`.
  void after(const std::optional<place>& from, std::size_t n, table_view who,
             std::vector<entry*>& out) const {
    const unsigned bits = static_cast<unsigned>(std::countr_zero(count_));
    auto& all = const_cast<set&>(rows_);
    const auto by_place = [](const entry* a, const entry* b) {
      return place_of(*a) < place_of(*b);
    };
    for (std::size_t i = from ? from->order >> (64 - bits) : 0; i < count_; ++i) {
      const std::size_t bucket_at = reversed_bits(i) >> (64 - bits);
      const auto before = static_cast<std::ptrdiff_t>(out.size());
      for (auto e = all.begin(bucket_at), end = all.end(bucket_at); e != end; ++e) {
        if (e->seen_by(who) && (!from || place_of(*e) > *from)) out.push_back(&*e);
      }
      std::sort(out.begin() + before, out.end(), by_place);
      if (out.size() >= n) return;
    }
  }
  template <class Dispose>
  void clear(Dispose dispose) noexcept {
    rows_.clear_and_dispose(dispose);
  }

 private:
  struct hash_of_row {
    std::size_t operator()(const entry& e) const noexcept { return e.hash; }
  };
  struct same_key {
    bool operator()(const entry& a, const entry& b) const {
      return a.hash == b.hash && a.key() == b.key();
    }
  };
  using set = boost::intrusive::unordered_multiset<
      entry, boost::intrusive::hash<hash_of_row>, boost::intrusive::equal<same_key>,
      boost::intrusive::power_2_buckets<true>, boost::intrusive::constant_time_size<false>>;
  using bucket = typename set::bucket_type;
  using traits = typename set::bucket_traits;

  std::size_t count_ = 16;
  std::unique_ptr<bucket[]> buckets_ = std::make_unique<bucket[]>(count_);
  set rows_;
  std::uint64_t last_number_ = 0;
};

// ------------------------------------------------------------------------------------ ordered

template <class Row, auto KeyOf>
struct ordered_row
    : row_entry,
      boost::intrusive::set_base_hook<boost::intrusive::link_mode<boost::intrusive::normal_link>,
                                      boost::intrusive::optimize_size<true>> {
  explicit ordered_row(Row r) : row{std::move(r)} {}
  [[nodiscard]] decltype(auto) key() const { return std::invoke(KeyOf, row); }
  const Row row;
};

template <class Row, auto KeyOf>
class ordered_index {
 public:
  using entry = ordered_row<Row, KeyOf>;
  using key = std::remove_cvref_t<std::invoke_result_t<decltype(KeyOf), const Row&>>;
  using place = key;
  static constexpr bool ordered = true;

  void make_room(std::size_t /*rows*/) noexcept {}
  void link(entry& e) noexcept { rows_.insert(e); }
  void unlink(entry& e) noexcept { rows_.erase(rows_.iterator_to(e)); }
  void number(entry& /*e*/, const entry* /*before*/) noexcept {}

  template <class F>
  void each_of(const key& k, F&& f) const {
    auto& all = const_cast<set&>(rows_);
    for (auto i = all.lower_bound(k, before{}); i != all.end() && !(k < i->key());) {
      entry& e = *i++;
      if (f(e)) return;
    }
  }
  template <class F>
  void each(F&& f) const {
    auto& all = const_cast<set&>(rows_);
    for (entry& e : all) f(e);
  }
  [[nodiscard]] static place place_of(const entry& e) { return e.key(); }
  [[nodiscard]] place place_of(const key& k, table_view /*who*/) const { return k; }
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
    bool operator()(const entry& a, const entry& b) const { return a.key() < b.key(); }
    bool operator()(const key& a, const entry& b) const { return a < b.key(); }
    bool operator()(const entry& a, const key& b) const { return a.key() < b; }
  };
  using set = boost::intrusive::multiset<entry, boost::intrusive::compare<before>,
                                         boost::intrusive::constant_time_size<false>>;
  set rows_;
};

}  // namespace peeper::detail
