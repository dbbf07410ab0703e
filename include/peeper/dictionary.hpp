// SPDX-License-Identifier: Apache-2.0
/// \file
/// The process dictionary of the running server: kept through crashes and part of the commit (P2),
/// beside the state.
///
///     peeper::dictionary().put("last_seen", 42);
///     std::optional<int> seen = peeper::dictionary().get<int>("last_seen");
///     peeper::dictionary().put(std::pair{3, 4}, std::string{"a pawn"});   // any ordered key
///
/// THREADS: the running callback's.  CRASH: a crashed callback's changes are undone.
/// COMPLEXITY: O(log n) each.
#pragma once

#include <any>
#include <concepts>
#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <typeinfo>
#include <utility>
#include <vector>

#include <peeper/codec.hpp>
#include <peeper/detail/companion.hpp>
#include <peeper/detail/elsewhere.hpp>

namespace peeper {

namespace detail {

/// The keys of one type, with their values. Owned by the claim's holder.
class dictionary_keys {
 public:
  dictionary_keys() = default;
  dictionary_keys(const dictionary_keys&) = delete;
  dictionary_keys& operator=(const dictionary_keys&) = delete;
  virtual ~dictionary_keys() = default;
  virtual void commit() noexcept = 0;
  virtual void rollback() noexcept = 0;
  [[nodiscard]] virtual const std::type_info& type() const noexcept = 0;
};

/// A key that has been erased stays, without value, until the commit: so a rollback compares no
/// keys, which might throw.
template <class Key>
class dictionary_keys_of final : public dictionary_keys {
 public:
  void put(const auto& key, std::any value) {
    auto found = entries_.find(key);
    if (found == entries_.end()) {
      make_room_to_undo();
      found = entries_.try_emplace(Key(key)).first;
    }
    change(found, std::move(value));
  }
  [[nodiscard]] const std::any* get(const auto& key) const {
    const auto found = entries_.find(key);
    return found == entries_.end() || !found->second.value.has_value() ? nullptr
                                                                       : &found->second.value;
  }
  bool erase(const auto& key) {
    const auto found = entries_.find(key);
    if (found == entries_.end() || !found->second.value.has_value()) return false;
    change(found, {});
    return true;
  }
  [[nodiscard]] std::vector<Key> keys() const {
    std::vector<Key> all;
    all.reserve(entries_.size());
    for (const auto& [key, e] : entries_) {
      if (e.value.has_value()) all.push_back(key);
    }
    return all;
  }

  void commit() noexcept override {
    for (const undo& u : undo_) {
      u.at->second.noted = false;
      if (!u.at->second.value.has_value()) entries_.erase(u.at);
    }
    undo_.clear();
  }
  void rollback() noexcept override {
    for (undo& u : undo_) {
      u.at->second = {std::move(u.old), false};
      if (!u.at->second.value.has_value()) entries_.erase(u.at);
    }
    undo_.clear();
  }
  [[nodiscard]] const std::type_info& type() const noexcept override { return typeid(Key); }

 private:
  struct entry {
    std::any value;      ///< empty: it is not there
    bool noted = false;  ///< in undo_
  };
  using less = std::conditional_t<std::is_same_v<Key, std::string>, std::less<>, std::less<Key>>;
  using map = std::map<Key, entry, less>;
  struct undo {
    typename map::iterator at;
    std::any old;  ///< as of the last commit; empty: it was not there
  };

  void make_room_to_undo() {
    if (undo_.size() == undo_.capacity()) undo_.reserve(2 * undo_.size() + 1);
  }
  void change(typename map::iterator at, std::any value) {
    entry& e = at->second;
    if (e.noted) {
      e.value = std::move(value);
      return;
    }
    make_room_to_undo();
    undo_.push_back({at, std::exchange(e.value, std::move(value))});
    e.noted = true;
  }

  map entries_;
  std::vector<undo> undo_;
};

/// Strings of any kind are looked for as they are, and kept as std::string.
template <class Key>
using dictionary_key_of = std::conditional_t<std::is_convertible_v<const Key&, std::string_view>,
                                             std::string, std::decay_t<Key>>;

template <class Key>
consteval void explain_dictionary_key() {
  static_assert(
      requires(const Key& a, const Key& b) {
        { a < b } -> std::convertible_to<bool>;
      }, "peeper: a key of the dictionary must be ordered: give its type an operator< (or <=>)");
  static_assert(encodable<Key>,
                "peeper: a key of the dictionary must be encodable, that is, own all it means: "
                "numbers, strings, tuples, vectors, maps and structures of such, no pointers");
}

/// Owned by the claim's holder.
class dictionary_store final : public companion {
 public:
  template <class Key>
  void put(const Key& key, std::any value) {
    of<dictionary_key_of<Key>>().put(as_key(key), std::move(value));
  }
  template <class Key>
  [[nodiscard]] const std::any* get(const Key& key) const {
    const auto* found = find<dictionary_key_of<Key>>();
    return found == nullptr ? nullptr : found->get(as_key(key));
  }
  template <class Key>
  bool erase(const Key& key) {
    auto* found = find<dictionary_key_of<Key>>();
    return found != nullptr && found->erase(as_key(key));
  }
  template <class Key = std::string>
  [[nodiscard]] std::vector<Key> keys() const {
    const auto* found = find<Key>();
    return found == nullptr ? std::vector<Key>{} : found->keys();
  }
  void commit() noexcept override;
  void rollback() noexcept override;

 private:
  template <class Key>
  static decltype(auto) as_key(const Key& key) {
    if constexpr (std::is_same_v<dictionary_key_of<Key>, std::string>) {
      return std::string_view{key};
    } else {
      return (key);
    }
  }
  [[nodiscard]] dictionary_keys* find(const std::type_info& type) const noexcept;
  template <class Key>
  [[nodiscard]] dictionary_keys_of<Key>* find() const noexcept {
    return static_cast<dictionary_keys_of<Key>*>(find(typeid(Key)));
  }
  template <class Key>
  [[nodiscard]] dictionary_keys_of<Key>& of() {
    explain_dictionary_key<Key>();
    if (auto* found = find<Key>()) return *found;
    auto fresh = std::make_unique<dictionary_keys_of<Key>>();
    auto& made = *fresh;
    types_.push_back(std::move(fresh));
    return made;
  }

  std::vector<std::unique_ptr<dictionary_keys>> types_;  // few: searched one by one
};

/// One for each type of key and value that is ever put, so that a change made in one OS process can
/// be made again in another, which has only its bytes. The numbers are given before main(), the
/// same in all OS processes forked from one.
class dictionary_change {
 public:
  /// RETURNS: false after an error.
  using again = bool (*)(dictionary_store&, cbor_reader&);
  /// `key`: the type of the key, whose encoding comes first; without a value after it, it is gone.
  dictionary_change(again function, const std::type_info& key) noexcept;
  [[nodiscard]] std::uint32_t number() const noexcept { return number_; }
  [[nodiscard]] const std::type_info& key() const noexcept { return *key_; }
  [[nodiscard]] bool make(dictionary_store& in, cbor_reader& bytes) const {
    return function_(in, bytes);
  }
  /// RETURNS: null if there is none of that number.
  [[nodiscard]] static const dictionary_change* find(std::uint32_t number) noexcept;

 private:
  again function_;
  const std::type_info* key_;
  std::uint32_t number_;
};
template <class Key, class T>
inline const dictionary_change dictionary_put{
    [](dictionary_store& to, cbor_reader& in) {
      Key key{};
      T value{};
      if (!decode_value(in, key) || !decode_value(in, value)) return false;
      to.put(key, std::any{std::move(value)});
      return true;
    },
    typeid(Key)};
template <class Key>
inline const dictionary_change dictionary_erase{[](dictionary_store& to, cbor_reader& in) {
                                                  Key key{};
                                                  if (!decode_value(in, key)) return false;
                                                  to.erase(key);
                                                  return true;
                                                },
                                                typeid(Key)};

/// In a worker's OS process, its follower must make the change, too.
template <class Key, class T>
void note_dictionary_put(const Key& key, const T& value) {
  if (the_program == nullptr) return;
  static_assert(std::is_default_constructible_v<Key>);
  if constexpr (encodable<T> && std::is_default_constructible_v<T>) {
    cbor_writer out;
    encode_value(out, key);
    encode_value(out, value);
    the_program->note_dictionary(dictionary_put<Key, T>.number(), out.view());
  } else {
    throw std::logic_error{
        "peeper: in the OS process of a worker, a value in the dictionary must be encodable: "
        "numbers, strings, containers and structures of such, no pointers"};
  }
}
template <class Key>
void note_dictionary_erase(const Key& key) {
  if (the_program == nullptr) return;
  cbor_writer out;
  encode_value(out, key);
  the_program->note_dictionary(dictionary_erase<Key>.number(), out.view());
}

[[nodiscard]] dictionary_store& dictionary_of(branch& b);
[[nodiscard]] dictionary_store& current_dictionary();
/// The same, enlisted in the commit of the running callback.
[[nodiscard]] dictionary_store& dictionary_to_change();

}  // namespace detail

/// A key is of any ordered, encodable type. Keys of different types live side by side; text of any
/// kind ("literal", std::string, std::string_view) is a std::string.
class dictionary_view {
 public:
  /// RETURNS: nothing if there is no such key, or its value is of another type.
  template <class T, class Key>
  [[nodiscard]] std::optional<T> get(const Key& key) const {
    detail::explain_dictionary_key<detail::dictionary_key_of<Key>>();
    const std::any* value = store_->get(key);
    const T* typed = value == nullptr ? nullptr : std::any_cast<T>(value);
    return typed == nullptr ? std::nullopt : std::optional<T>{*typed};
  }
  /// Sets or replaces. Throws std::bad_alloc and what moving the value, copying or comparing the
  /// key throws: nothing is changed.
  template <class Key, std::copy_constructible T>
  void put(const Key& key, T value) {
    detail::explain_dictionary_key<detail::dictionary_key_of<Key>>();
    using kept_key = detail::dictionary_key_of<Key>;
    if (detail::the_program != nullptr) detail::note_dictionary_put(kept_key(key), value);
    detail::dictionary_to_change().put(key, std::any{std::move(value)});
  }
  /// RETURNS: false if there was no such key.
  template <class Key>
  bool erase(const Key& key) {
    detail::explain_dictionary_key<detail::dictionary_key_of<Key>>();
    if (detail::the_program != nullptr) {
      detail::note_dictionary_erase(detail::dictionary_key_of<Key>(key));
    }
    return detail::dictionary_to_change().erase(key);
  }
  /// All keys of this type, sorted. COMPLEXITY: O(n).
  template <class Key = std::string>
  [[nodiscard]] std::vector<Key> keys() const {
    return store_->keys<Key>();
  }

  explicit dictionary_view(detail::dictionary_store& s) noexcept : store_{&s} {}

 private:
  detail::dictionary_store* store_;
};

/// REQUIRES: a running callback, else std::logic_error.
[[nodiscard]] inline dictionary_view dictionary() {
  return dictionary_view{detail::current_dictionary()};
}

}  // namespace peeper
