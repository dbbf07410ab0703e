// SPDX-License-Identifier: Apache-2.0
/// \file
/// The process dictionary of the running server: kept through crashes and part of the commit (P2),
/// beside the state.
///
///     peeper::dictionary().put("last_seen", 42);
///     std::optional<int> seen = peeper::dictionary().get<int>("last_seen");
///
/// THREADS: the running callback's.  CRASH: a crashed callback's changes are undone.
/// COMPLEXITY: O(log n) each.
#pragma once

#include <any>
#include <concepts>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <peeper/detail/companion.hpp>

namespace peeper {

namespace detail {

/// Owned by the claim's holder.
class dictionary_store final : public companion {
 public:
  void put(std::string_view key, std::any value);
  [[nodiscard]] const std::any* get(std::string_view key) const;
  bool erase(std::string_view key);
  [[nodiscard]] std::vector<std::string> keys() const;
  void commit() noexcept override { undo_.clear(); }
  void rollback() noexcept override;

 private:
  using map = std::map<std::string, std::any, std::less<>>;
  struct undo {
    std::string_view key;  // of the node in the map, or of `taken`
    map::node_type taken;  // what was erased; empty: put again or inserted
    std::any old;
    bool inserted = false;
  };
  void make_room_to_undo();

  map entries_;
  std::vector<undo> undo_;
};

[[nodiscard]] dictionary_store& current_dictionary();
/// The same, enlisted in the commit of the running callback.
[[nodiscard]] dictionary_store& dictionary_to_change();

}  // namespace detail

class dictionary_view {
 public:
  /// RETURNS: nothing if there is no such key, or its value is of another type.
  template <class T>
  [[nodiscard]] std::optional<T> get(std::string_view key) const {
    const std::any* value = store_->get(key);
    const T* typed = value == nullptr ? nullptr : std::any_cast<T>(value);
    return typed == nullptr ? std::nullopt : std::optional<T>{*typed};
  }
  /// Sets or replaces. Throws std::bad_alloc and what moving the value throws: nothing is changed.
  template <std::copy_constructible T>
  void put(std::string_view key, T value) {
    detail::dictionary_to_change().put(key, std::any{std::move(value)});
  }
  /// RETURNS: false if there was no such key.
  bool erase(std::string_view key) { return detail::dictionary_to_change().erase(key); }
  /// All keys, sorted. COMPLEXITY: O(n).
  [[nodiscard]] std::vector<std::string> keys() const { return store_->keys(); }

  explicit dictionary_view(detail::dictionary_store& s) noexcept : store_{&s} {}

 private:
  detail::dictionary_store* store_;
};

/// REQUIRES: a running callback, else std::logic_error.
[[nodiscard]] inline dictionary_view dictionary() {
  return dictionary_view{detail::current_dictionary()};
}

}  // namespace peeper
