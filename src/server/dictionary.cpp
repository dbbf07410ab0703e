// SPDX-License-Identifier: Apache-2.0
#include <peeper/dictionary.hpp>

#include <utility>

#include <peeper/self.hpp>

#include "server/branch_extras.hpp"

namespace peeper::detail {

/// Beforehand, so that what is done can be noted without fail.
void dictionary_store::make_room_to_undo() {
  if (undo_.size() == undo_.capacity()) undo_.reserve(2 * undo_.size() + 1);
}

void dictionary_store::put(std::string_view key, std::any value) {
  make_room_to_undo();
  auto found = entries_.find(key);
  if (found == entries_.end()) {
    found = entries_.emplace(std::string{key}, std::move(value)).first;
    undo_.push_back({.key = found->first, .taken = {}, .old = {}, .inserted = true});
  } else {
    undo_.push_back({.key = found->first,
                     .taken = {},
                     .old = std::exchange(found->second, std::move(value)),
                     .inserted = false});
  }
}

const std::any* dictionary_store::get(std::string_view key) const {
  const auto found = entries_.find(key);
  return found == entries_.end() ? nullptr : &found->second;
}

bool dictionary_store::erase(std::string_view key) {
  make_room_to_undo();
  const auto found = entries_.find(key);
  if (found == entries_.end()) return false;
  auto node = entries_.extract(found);
  undo_.push_back({.key = node.key(), .taken = std::move(node), .old = {}, .inserted = false});
  return true;
}

std::vector<std::string> dictionary_store::keys() const {
  std::vector<std::string> all;
  all.reserve(entries_.size());
  for (const auto& [key, value] : entries_) all.push_back(key);
  return all;
}

void dictionary_store::rollback() noexcept {
  while (!undo_.empty()) {
    undo& u = undo_.back();
    if (u.taken) {
      entries_.insert(std::move(u.taken));
    } else if (const auto found = entries_.find(u.key); u.inserted) {
      entries_.erase(found);
    } else {
      found->second = std::move(u.old);
    }
    undo_.pop_back();
  }
}

dictionary_store& current_dictionary() {
  branch& b = require_current("dictionary");
  branch_extras& extras = b.more();
  if (!extras.dictionary) extras.dictionary = std::make_unique<dictionary_store>();
  return *extras.dictionary;
}

dictionary_store& dictionary_to_change() {
  dictionary_store& d = current_dictionary();
  require_current("dictionary").enlist(d);
  return d;
}

}  // namespace peeper::detail
