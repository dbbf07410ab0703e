// SPDX-License-Identifier: Apache-2.0
/// \file
/// The names of a runtime's tables.
///
/// THREADS: any.
#pragma once

#include <memory>
#include <shared_mutex>
#include <string>
#include <unordered_map>

namespace peeper::detail {

class table_base;

class table_names {
 public:
  /// RETURNS: false if the name is taken.
  [[nodiscard]] bool take(const std::string& name, const std::shared_ptr<table_base>& t);
  /// The name is free again, if it is this table's.
  void give_back(const std::string& name, const table_base& t) noexcept;
  [[nodiscard]] std::shared_ptr<table_base> find(const std::string& name) const;

 private:
  mutable std::shared_mutex mutex_;
  std::unordered_map<std::string, std::shared_ptr<table_base>> names_;  // guarded by mutex_
};

}  // namespace peeper::detail
