// SPDX-License-Identifier: Apache-2.0
#include <peeper/dictionary.hpp>

#include <peeper/self.hpp>

#include "server/branch_extras.hpp"

namespace peeper::detail {

dictionary_keys* dictionary_store::find(const std::type_info& type) const noexcept {
  for (const auto& keys : types_) {
    if (keys->type() == type) return keys.get();
  }
  return nullptr;
}

void dictionary_store::commit() noexcept {
  for (const auto& keys : types_) keys->commit();
}

void dictionary_store::rollback() noexcept {
  for (const auto& keys : types_) keys->rollback();
}

namespace {

std::vector<const dictionary_change*>& changes_known() {
  static std::vector<const dictionary_change*> all;
  return all;
}

}  // namespace

dictionary_change::dictionary_change(again function, const std::type_info& key) noexcept
    : function_{function}, key_{&key}, number_{static_cast<std::uint32_t>(changes_known().size())} {
  changes_known().push_back(this);
}

const dictionary_change* dictionary_change::find(std::uint32_t number) noexcept {
  return number < changes_known().size() ? changes_known()[number] : nullptr;
}

dictionary_store& current_dictionary() { return dictionary_of(require_current("dictionary")); }

dictionary_store& dictionary_of(branch& b) {
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
