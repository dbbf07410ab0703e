// SPDX-License-Identifier: Apache-2.0
#include "store.hpp"

namespace kv {

bool set_value::insert(std::string_view member) {
  if (places.contains(member)) return false;
  places.try_emplace(std::string(member), static_cast<std::uint32_t>(members.size()));
  members.push_back(std::string(member));
  return true;
}

bool set_value::erase(std::string_view member) {
  const auto found = places.find(member);
  if (found == places.end()) return false;
  // The last member takes the place that gets free.
  const std::uint32_t place = found->second;
  places.erase(found);
  if (place + 1 != members.size()) {
    const std::string last = members.back();
    places.insert_or_assign(last, place);
    members.set(place, last);
  }
  members.pop_back();
  return true;
}

bool zset_value::set(std::string_view member, double score) {
  const auto found = scores.find(member);
  if (found == scores.end()) {
    scores.try_emplace(std::string(member), score);
    order.insert(scored_member{score, std::string(member)});
    return true;
  }
  if (found->second == score) return false;
  order.erase(scored_member{found->second, std::string(member)});
  order.insert(scored_member{score, std::string(member)});
  scores.modify(found, [&](double& old) { old = score; });
  return false;
}

bool zset_value::erase(std::string_view member) {
  const auto found = scores.find(member);
  if (found == scores.end()) return false;
  order.erase(scored_member{found->second, std::string(member)});
  scores.erase(found);
  return true;
}

const entry* find(const store& data, std::string_view key, std::int64_t now_ms) {
  const auto found = data.keys.find(key);
  if (found == data.keys.end()) return nullptr;
  const entry& value = found->second;
  if (value.expires_at_ms != 0 && value.expires_at_ms <= now_ms) return nullptr;
  return &value;
}

bool erase(store& data, std::string_view key) {
  const auto found = data.keys.find(key);
  if (found == data.keys.end()) return false;
  if (found->second.expires_at_ms != 0) {
    data.deadlines.erase(deadline{found->second.expires_at_ms, found->first});
  }
  data.keys.erase(found);
  return true;
}

void drop_if_expired(store& data, std::string_view key, std::int64_t now_ms) {
  if (data.deadlines.empty()) return;
  const auto found = data.keys.find(key);
  if (found == data.keys.end() || found->second.expires_at_ms == 0 ||
      found->second.expires_at_ms > now_ms) {
    return;
  }
  erase(data, key);
  ++data.expired_keys;
}

void set_expiry(store& data, std::string_view key, std::int64_t at_ms) {
  const auto found = data.keys.find(key);
  const std::int64_t before_ms = found->second.expires_at_ms;
  if (before_ms == at_ms) return;
  if (before_ms != 0) data.deadlines.erase(deadline{before_ms, found->first});
  if (at_ms != 0) data.deadlines.insert(deadline{at_ms, found->first});
  data.keys.modify(found, [&](entry& value) { value.expires_at_ms = at_ms; });
}

void put_string(store& data, std::string_view key, std::string_view value, bool keep_expiry) {
  const auto found = data.keys.find(key);
  if (found == data.keys.end()) {
    data.keys.try_emplace(std::string(key), entry{0, ++data.last_born, std::string(value)});
    return;
  }
  if (!keep_expiry && found->second.expires_at_ms != 0) set_expiry(data, key, 0);
  data.keys.modify(found, [&](entry& old) { old.data = std::string(value); });
}

std::size_t expire(store& data, std::int64_t now_ms, std::size_t keys_max) {
  std::size_t removed = 0;
  while (removed < keys_max && !data.deadlines.empty()) {
    const deadline& next = *data.deadlines.begin();
    if (next.at_ms > now_ms) break;
    const std::string key = next.key;
    erase(data, key);
    ++removed;
  }
  data.expired_keys += removed;
  return removed;
}

void clear(store& data) {
  data.keys.clear();
  data.deadlines.clear();
}

}  // namespace kv
