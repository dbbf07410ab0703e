// SPDX-License-Identifier: Apache-2.0
/// The data of the kv server: keys with values of Redis's five kinds, as the kept state of a peeper
/// server. Everything in it is a kept container, so that a callback which crashes is undone at the
/// cost of what it changed, whatever the size of the rest.
///
/// THREADS: none of its own; a store belongs to the callback that was given it.
/// CRASH: whatever these functions did since the callback began is rolled back with it.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include <peeper/kept.hpp>

namespace kv {

/// The members twice: once for "is it in?", once so that SPOP can pick any of them at random.
/// INVARIANT: members[places.at(m)] == m for each member m.
struct set_value {
  peeper::kept_vector<std::string> members;
  peeper::kept_map<std::string, std::uint32_t> places;

  [[nodiscard]] bool empty() const { return members.empty(); }
  bool insert(std::string_view member);
  bool erase(std::string_view member);
  bool operator==(const set_value&) const = default;
};

/// One member of a sorted set in its order: by score, then by name.
struct scored_member {
  double score = 0;
  std::string member;
  auto operator<=>(const scored_member&) const = default;
};

/// INVARIANT: order holds {score, member} for each pair of scores, and nothing else.
struct zset_value {
  peeper::kept_map<std::string, double> scores;
  peeper::kept_ordered_set<scored_member> order;

  [[nodiscard]] bool empty() const { return scores.empty(); }
  /// RETURNS: true if the member is new.
  bool set(std::string_view member, double score);
  bool erase(std::string_view member);
  bool operator==(const zset_value&) const = default;
};

using string_value = std::string;
using list_value = peeper::kept_deque<std::string>;
using hash_value = peeper::kept_map<std::string, std::string>;

struct entry {
  std::int64_t expires_at_ms = 0;  ///< since the epoch; 0 means never
  std::uint64_t born = 0;          ///< counts up; SCAN's cursor
  std::variant<string_value, list_value, set_value, hash_value, zset_value> data;
  bool operator==(const entry&) const = default;
};

struct deadline {
  std::int64_t at_ms = 0;
  std::string key;
  auto operator<=>(const deadline&) const = default;
};

/// INVARIANT: deadlines holds {expires_at_ms, key} for each entry that expires, and nothing else.
/// INVARIANT: no list, set, hash or sorted set is empty; a key whose last element goes, goes too.
struct store {
  peeper::kept_map<std::string, entry> keys;
  peeper::kept_ordered_set<deadline> deadlines;
  std::uint64_t last_born = 0;
  std::uint64_t expired_keys = 0;
  bool operator==(const store&) const = default;
};

/// RETURNS: the entry, or null if there is none or its time is over. Changes nothing: an expired
/// key is removed by the next write to it, or by expire().
[[nodiscard]] const entry* find(const store& data, std::string_view key, std::int64_t now_ms);

/// Removes the key, expired or not. RETURNS: whether it was there.
bool erase(store& data, std::string_view key);

/// Removes the key if its time is over. Each command that writes to a key calls this first.
void drop_if_expired(store& data, std::string_view key, std::int64_t now_ms);

/// Sets when the key expires; 0 means never. REQUIRES: the key is there.
void set_expiry(store& data, std::string_view key, std::int64_t at_ms);

/// Makes the key a string, whatever it was. Its expiry stays only if keep_expiry.
void put_string(store& data, std::string_view key, std::string_view value, bool keep_expiry);

/// Removes at most keys_max keys whose time is over: the earliest ones first.
/// RETURNS: how many it removed.
std::size_t expire(store& data, std::int64_t now_ms, std::size_t keys_max);

void clear(store& data);

/// A lookup that expects one kind of value.
template <typename Value>
struct lookup {
  const Value* value = nullptr;  ///< null if there is no such key, or it is of another kind
  bool wrong_type = false;
};

template <typename Value>
[[nodiscard]] lookup<Value> find_as(const store& data, std::string_view key, std::int64_t now_ms) {
  const entry* found = find(data, key, now_ms);
  if (found == nullptr) return {};
  const Value* value = std::get_if<Value>(&found->data);
  return {value, value == nullptr};
}

/// Runs fn(Value&) on the value of a key, which is made first if it is not there, and removed
/// afterwards if fn left it empty. RETURNS: what fn returned.
/// REQUIRES: the key is of this kind or not there; drop_if_expired() was called.
template <typename Value, typename Fn>
auto change(store& data, std::string_view key, Fn&& fn) {
  auto at = data.keys.find(key);
  if (at == data.keys.end()) {
    data.keys.try_emplace(std::string(key), entry{0, ++data.last_born, Value{}});
    at = data.keys.find(key);
  }
  bool empty = false;
  auto result = data.keys.modify(at, [&](entry& changed) {
    Value& value = std::get<Value>(changed.data);
    auto made = std::forward<Fn>(fn)(value);
    if constexpr (!std::is_same_v<Value, string_value>) empty = value.empty();
    return made;
  });
  if (empty) erase(data, key);
  return result;
}

}  // namespace kv
