// SPDX-License-Identifier: Apache-2.0
#include "table/table_names.hpp"

#include <mutex>
#include <utility>

#include <peeper/table/base.hpp>

namespace peeper::detail {

bool table_names::take(const std::string& name, const std::shared_ptr<table_base>& t) {
  const std::lock_guard lock{mutex_};
  return names_.try_emplace(name, t).second;
}

void table_names::give_back(const std::string& name, const table_base& t) noexcept {
  std::shared_ptr<table_base> last;  // let go without the lock
  const std::lock_guard lock{mutex_};
  const auto found = names_.find(name);
  if (found == names_.end() || found->second.get() != &t) return;
  last = std::move(found->second);
  names_.erase(found);
}

std::shared_ptr<table_base> table_names::find(const std::string& name) const {
  const std::shared_lock lock{mutex_};
  const auto found = names_.find(name);
  return found == names_.end() ? nullptr : found->second;
}

}  // namespace peeper::detail
