// SPDX-License-Identifier: Apache-2.0
//
// The hash table under kept_map and kept_set.
//
// Not std::unordered_map, because a rollback must not fail: putting an erased element back there
// calls the user's hash and equality, which may throw, and so may a rehash. Here each node stores
// its hash and hangs in a list of its own besides its bucket. An erased node remembers its
// neighbours in that list, and since changes are undone youngest first, those are its neighbours
// again when its turn comes: it goes back in O(1), to the very place it had. As a gift, iteration
// is in order of insertion, the same on every copy that applies the same deltas.
//
// THREADS: as std containers.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <iterator>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace peeper::detail {

/// std::hash, and for strings one that takes whatever converts to std::string_view.
template <class Key>
struct default_hash : std::hash<Key> {};
template <>
struct default_hash<std::string> {
  using is_transparent = void;
  std::size_t operator()(std::string_view text) const noexcept {
    return std::hash<std::string_view>{}(text);
  }
};

template <class Key>
struct default_equal : std::equal_to<Key> {};
template <>
struct default_equal<std::string> {
  using is_transparent = void;
  bool operator()(std::string_view a, std::string_view b) const noexcept { return a == b; }
};

/// `Value` is what a node holds, `KeyOf{}(const Value&)` its key.
template <class Value, class KeyOf, class Hash, class Equal>
class hash_core {
 public:
  using key_type = std::remove_cvref_t<decltype(KeyOf{}(std::declval<const Value&>()))>;
  static constexpr bool ordered = false;
  static constexpr bool transparent = requires {
    typename Hash::is_transparent;
    typename Equal::is_transparent;
  };

  struct node {
    node* chain = nullptr;   // next in the bucket
    node* before = nullptr;  // in order of insertion; stale but intact while the node is erased
    node* after = nullptr;
    std::size_t hash = 0;
    Value value;

    template <class... Arguments>
    explicit node(std::in_place_t /*unused*/, Arguments&&... arguments)
        : value(std::forward<Arguments>(arguments)...) {}
  };

  /// Where a new node goes.
  struct place {
    std::size_t hash;
  };
  /// Where an erased node was: the node itself knows.
  struct position {};

  hash_core() = default;
  hash_core(const hash_core&) = delete;
  hash_core& operator=(const hash_core&) = delete;
  ~hash_core() {
    for (node* n = first_; n != nullptr;) delete std::exchange(n, n->after);
    delete[] buckets_;
  }

  void swap(hash_core& other) noexcept {
    std::swap(buckets_, other.buckets_);
    std::swap(first_, other.first_);
    std::swap(last_, other.last_);
    std::swap(size_, other.size_);
    std::swap(bits_, other.bits_);
  }

  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] node* first() const noexcept { return first_; }
  [[nodiscard]] static node* next(const node* n) noexcept { return n->after; }
  [[nodiscard]] node* last() const noexcept { return last_; }

  template <class Query>
  [[nodiscard]] node* find(const Query& key) const {
    return size_ == 0 ? nullptr : find_hashed(key, Hash{}(key));
  }

  /// RETURNS: the node that has `key`, or null and where a node with that key goes.
  template <class Query>
  [[nodiscard]] std::pair<node*, place> locate(const Query& key) const {
    const std::size_t hash = Hash{}(key);
    return {size_ == 0 ? nullptr : find_hashed(key, hash), place{hash}};
  }

  /// Makes room so that link() of one more cannot fail. Throws std::bad_alloc: nothing changed.
  void prepare_link() {
    if (size_ >= bucket_count()) grow(buckets_ == nullptr ? 3 : bits_ + 1);
  }
  void reserve(std::size_t count) {
    if (count > bucket_count()) {
      grow(static_cast<unsigned>(std::bit_width(std::max<std::size_t>(count, 8) - 1)));
    }
  }

  /// REQUIRES: prepare_link().
  void link(node* n, place where) noexcept {
    n->hash = where.hash;
    n->before = last_;
    n->after = nullptr;
    relink(n, {});
  }

  /// Puts back what unlink() took out. REQUIRES: all later changes have been undone.
  void relink(node* n, position /*unused*/) noexcept {
    node*& bucket = buckets_[bucket_of(n->hash)];
    n->chain = bucket;
    bucket = n;
    (n->before != nullptr ? n->before->after : first_) = n;
    (n->after != nullptr ? n->after->before : last_) = n;
    ++size_;
  }

  position unlink(node* n) noexcept {
    node** at = &buckets_[bucket_of(n->hash)];
    while (*at != n) at = &(*at)->chain;
    *at = n->chain;
    (n->before != nullptr ? n->before->after : first_) = n->after;
    (n->after != nullptr ? n->after->before : last_) = n->before;
    --size_;
    return {};
  }

 private:
  [[nodiscard]] std::size_t bucket_count() const noexcept {
    return buckets_ == nullptr ? 0 : std::size_t{1} << bits_;
  }
  /// std::hash of a number is the number: the multiplication spreads it over the upper bits.
  [[nodiscard]] std::size_t bucket_of(std::size_t hash) const noexcept {
    return static_cast<std::size_t>((hash * 0x9E3779B97F4A7C15ULL) >> (64U - bits_));
  }

  template <class Query>
  [[nodiscard]] node* find_hashed(const Query& key, std::size_t hash) const {
    for (node* n = buckets_[bucket_of(hash)]; n != nullptr; n = n->chain) {
      if (n->hash == hash && Equal{}(KeyOf{}(std::as_const(n->value)), key)) return n;
    }
    return nullptr;
  }

  void grow(unsigned bits) {
    auto** const fresh = new node* [std::size_t{1} << bits] {};
    delete[] buckets_;
    buckets_ = fresh;
    bits_ = static_cast<std::uint8_t>(bits);
    for (node* n = first_; n != nullptr; n = n->after) {
      node*& bucket = buckets_[bucket_of(n->hash)];
      n->chain = bucket;
      bucket = n;
    }
  }

  node** buckets_ = nullptr;
  node* first_ = nullptr;
  node* last_ = nullptr;
  std::size_t size_ = 0;
  std::uint8_t bits_ = 0;
};

}  // namespace peeper::detail
