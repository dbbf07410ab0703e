// SPDX-License-Identifier: Apache-2.0
//
// The balanced tree under kept_ordered_map and kept_ordered_set: Boost.Intrusive's red-black tree
// over our own nodes.
//
// Not std::map, because a rollback must not fail: putting an erased node back there calls the
// user's comparison, which may throw. Boost.Intrusive links a node before another without asking.
//
// THREADS: as std containers.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <utility>

#include <boost/intrusive/set.hpp>

namespace peeper::detail {

/// std::less, and for strings one that takes whatever converts to std::string_view.
template <class Key>
struct default_less : std::less<Key> {};
template <>
struct default_less<std::string> {
  using is_transparent = void;
  bool operator()(std::string_view a, std::string_view b) const noexcept { return a < b; }
};

/// `Value` is what a node holds, `KeyOf{}(const Value&)` its key.
template <class Value, class KeyOf, class Less>
class tree_core {
 public:
  using key_type = std::remove_cvref_t<decltype(KeyOf{}(std::declval<const Value&>()))>;
  static constexpr bool ordered = true;
  static constexpr bool transparent = requires { typename Less::is_transparent; };

  struct node
      : boost::intrusive::set_base_hook<boost::intrusive::link_mode<boost::intrusive::normal_link>,
                                        boost::intrusive::optimize_size<true>> {
    Value value;

    template <class... Arguments>
    explicit node(std::in_place_t /*unused*/, Arguments&&... arguments)
        : value(std::forward<Arguments>(arguments)...) {}
  };

 private:
  struct key_of_node {
    using type = key_type;
    const key_type& operator()(const node& n) const noexcept { return KeyOf{}(n.value); }
  };
  using tree = boost::intrusive::set<node, boost::intrusive::compare<Less>,
                                     boost::intrusive::key_of_value<key_of_node>,
                                     boost::intrusive::constant_time_size<true>>;

 public:
  /// Where a new node goes, or an erased node was: before this one, or at the end if null.
  using position = node*;
  using place = node*;

  // Boost does not say so, but making an empty tree cannot throw.
  tree_core() noexcept {}  // NOLINT(modernize-use-equals-default)
  tree_core(const tree_core&) = delete;
  tree_core& operator=(const tree_core&) = delete;
  ~tree_core() {
    tree_.clear_and_dispose([](node* n) { delete n; });
  }

  void swap(tree_core& other) noexcept { tree_.swap(other.tree_); }

  [[nodiscard]] std::size_t size() const noexcept { return tree_.size(); }
  [[nodiscard]] node* first() const noexcept { return node_at(tree_.begin()); }
  [[nodiscard]] node* last() const noexcept {
    return tree_.empty() ? nullptr : node_at(std::prev(tree_.end()));
  }
  /// The next in order, or null. Constant on average.
  [[nodiscard]] node* next(const node* n) const noexcept {
    return node_at(std::next(tree_.iterator_to(*n)));
  }
  /// The one before `n`, or the last if `n` is null.
  [[nodiscard]] node* previous(const node* n) const noexcept {
    return node_at(std::prev(n == nullptr ? tree_.end() : tree_.iterator_to(*n)));
  }

  template <class Query>
  [[nodiscard]] node* find(const Query& key) const {
    return node_at(tree_.find(key, Less{}));
  }
  template <class Query>
  [[nodiscard]] node* lower_bound(const Query& key) const {
    return node_at(tree_.lower_bound(key, Less{}));
  }
  template <class Query>
  [[nodiscard]] node* upper_bound(const Query& key) const {
    return node_at(tree_.upper_bound(key, Less{}));
  }

  /// RETURNS: the node that has `key`, or null and where a node with that key goes.
  template <class Query>
  [[nodiscard]] std::pair<node*, place> locate(const Query& key) const {
    // Not insert_check() and insert_commit(): where assertions are on, the latter compares again,
    // and link() must not fail.
    node* const after = lower_bound(key);
    if (after != nullptr && !Less{}(key, KeyOf{}(std::as_const(after->value)))) {
      return {after, nullptr};
    }
    return {nullptr, after};
  }

  void prepare_link() noexcept {}
  void reserve(std::size_t /*unused*/) noexcept {}
  void link(node* n, place before) noexcept { relink(n, before); }
  /// Puts back what unlink() took out. REQUIRES: all later changes have been undone.
  void relink(node* n, position before) noexcept {
    tree_.insert_before(before == nullptr ? tree_.end() : tree_.iterator_to(*before), *n);
  }
  position unlink(node* n) noexcept { return node_at(tree_.erase(tree_.iterator_to(*n))); }

 private:
  template <class Iterator>
  [[nodiscard]] node* node_at(Iterator it) const noexcept {
    return it == tree_.end() ? nullptr : const_cast<node*>(&*it);
  }

  tree tree_;
};

}  // namespace peeper::detail
