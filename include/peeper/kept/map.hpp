// SPDX-License-Identifier: Apache-2.0
//
// kept_map (hashed) and kept_ordered_map: maps that roll back.
//
// As std::unordered_map and std::map, but read-only through iterators and references: a mapped
// value changes through modify(), insert_or_assign() or the proxy that [] returns, so that the log
// of the state sees it. A kept_map iterates in order of insertion. Where the mapped type is or has
// kept containers, modify() hands those out, and their own changes cost what they cost there.
//
// THREADS: as std containers; in a state, by that server's callback only.
// CRASH: (an exception in the callback) contents, and the order of iteration, are as of the last
// commit.
//
//   peeper::kept_map<std::string, int> hits;
//   hits["index"] += 1;
//   hits.modify("index", [](int& n) { n *= 2; });
#pragma once

#include <peeper/kept/associative.hpp>
#include <peeper/kept/hash_core.hpp>
#include <peeper/kept/proxy.hpp>
#include <peeper/kept/tree_core.hpp>

namespace peeper::detail {

template <class Core, class Mapped>
class mapping : public associative<Core, Mapped> {
  using base = associative<Core, Mapped>;
  using typename base::node;

 public:
  using base::base;
  using base::operator=;
  using typename base::const_iterator;
  using typename base::key_type;
  using mapped_type = Mapped;

  /// Throws std::out_of_range.
  [[nodiscard]] const Mapped& at(const key_type& key) const { return existing(key).value.second; }
  template <class Query>
    requires(base::template can_query<Query>)
  [[nodiscard]] const Mapped& at(const Query& key) const {
    return existing(key).value.second;
  }

  /// A proxy: reading it is at(), assigning is insert_or_assign(), += and the like start from
  /// Mapped{} where the key is absent.
  [[nodiscard]] auto operator[](const key_type& key) {
    return element_proxy<mapping, key_type>{*this, key};
  }
  template <class Query>
    requires(base::template can_query<Query>)
  [[nodiscard]] auto operator[](const Query& key) {
    return element_proxy<mapping, Query>{*this, key};
  }
  [[nodiscard]] const Mapped& operator[](const key_type& key) const { return at(key); }

  /// Makes the value from `arguments` if the key is absent; else does nothing.
  template <class Key, class... Arguments>
    requires std::constructible_from<key_type, Key&&>
  std::pair<const_iterator, bool> try_emplace(Key&& key, Arguments&&... arguments) {
    if constexpr (std::is_same_v<std::remove_cvref_t<Key>, key_type> ||
                  base::template can_query<std::remove_cvref_t<Key>>) {
      auto [existing, where] = this->core_.locate(key);
      if (existing != nullptr) return {this->iterator_to(existing), false};
      auto fresh = std::make_unique<node>(
          std::in_place, std::piecewise_construct, std::forward_as_tuple(std::forward<Key>(key)),
          std::forward_as_tuple(std::forward<Arguments>(arguments)...));
      return {this->iterator_to(this->link(std::move(fresh), where)), true};
    } else {
      return try_emplace(key_type(std::forward<Key>(key)), std::forward<Arguments>(arguments)...);
    }
  }
  template <class Key, class... Arguments>
  std::pair<const_iterator, bool> emplace(Key&& key, Arguments&&... arguments) {
    if constexpr (sizeof...(Arguments) == 1 && std::constructible_from<key_type, Key&&>) {
      return try_emplace(std::forward<Key>(key), std::forward<Arguments>(arguments)...);
    } else {
      return base::emplace(std::forward<Key>(key), std::forward<Arguments>(arguments)...);
    }
  }

  template <class Key, class Value>
    requires std::constructible_from<key_type, Key&&>
  std::pair<const_iterator, bool> insert_or_assign(Key&& key, Value&& value) {
    if constexpr (std::is_same_v<std::remove_cvref_t<Key>, key_type> ||
                  base::template can_query<std::remove_cvref_t<Key>>) {
      if (node* const n = this->core_.find(key)) {
        this->assign_node(*n, std::forward<Value>(value));
        return {this->iterator_to(n), false};
      }
      return try_emplace(std::forward<Key>(key), std::forward<Value>(value));
    } else {
      return insert_or_assign(key_type(std::forward<Key>(key)), std::forward<Value>(value));
    }
  }

  /// Runs fn(Mapped&) on the value of `key`. The reference must not outlive fn. If fn throws, what
  /// it did to the value is undone. Inside fn the element itself cannot be erased.
  /// Throws std::out_of_range if there is no such key.
  /// RETURNS: what fn returns.
  template <class F>
    requires modifier<Mapped, F>
  auto modify(const key_type& key, F&& fn) {
    check_modifier<Mapped, F>();
    return this->modify_node(existing(key), std::forward<F>(fn));
  }
  template <class Query, class F>
    requires(base::template can_query<Query> && modifier<Mapped, F> &&
             !std::is_convertible_v<const Query&, const_iterator>)
  auto modify(const Query& key, F&& fn) {
    check_modifier<Mapped, F>();
    return this->modify_node(existing(key), std::forward<F>(fn));
  }
  /// REQUIRES: `at` is an element of this.
  template <class F>
    requires modifier<Mapped, F>
  auto modify(const_iterator at, F&& fn) {
    check_modifier<Mapped, F>();
    return this->modify_node(*this->node_of(at), std::forward<F>(fn));
  }
  /// As modify(), but begins with Mapped{} where the key is absent. If fn throws then, the key
  /// stays absent.
  template <class Key, class F>
    requires(std::constructible_from<key_type, Key &&> && modifier<Mapped, F>)
  auto modify_or_insert(Key&& key, F&& fn) {
    check_modifier<Mapped, F>();
    const change_log::mark before = this->logging() ? this->log_->here() : change_log::mark{};
    const auto [at, added] = try_emplace(std::forward<Key>(key));
    if (!added) return modify(at, std::forward<F>(fn));
    return this->guard_added(at, before, [&] { return modify(at, std::forward<F>(fn)); });
  }

 private:
  template <class Query>
  [[nodiscard]] node& existing(const Query& key) const {
    node* const n = this->core_.find(key);
    if (n == nullptr) throw_absent("peeper: kept map: there is no such key");
    return *n;
  }
};

}  // namespace peeper::detail

namespace peeper {

template <class Key, class Mapped, class Hash = detail::default_hash<Key>,
          class Equal = detail::default_equal<Key>>
class kept_map
    : public detail::mapping<
          detail::hash_core<std::pair<const Key, Mapped>, detail::key_of_pair, Hash, Equal>,
          Mapped> {
  using base = detail::mapping<
      detail::hash_core<std::pair<const Key, Mapped>, detail::key_of_pair, Hash, Equal>, Mapped>;

 public:
  using hasher = Hash;
  using base::base;
  using base::operator=;
};

template <class Key, class Mapped, class Less = detail::default_less<Key>>
class kept_ordered_map
    : public detail::mapping<
          detail::tree_core<std::pair<const Key, Mapped>, detail::key_of_pair, Less>, Mapped> {
  using base =
      detail::mapping<detail::tree_core<std::pair<const Key, Mapped>, detail::key_of_pair, Less>,
                      Mapped>;

 public:
  using base::base;
  using base::operator=;
};

}  // namespace peeper
