// SPDX-License-Identifier: Apache-2.0
/// \file
/// A server that owns one table and does with it what a test says.
#pragma once

#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include <peeper/peeper.hpp>
#include <peeper/table.hpp>

namespace peeper::test {

struct name_row {
  int id = 0;
  std::string name;
  int hits = 0;
  friend bool operator==(const name_row&, const name_row&) = default;
};
inline std::ostream& operator<<(std::ostream& out, const name_row& r) {
  return out << '{' << r.id << ", " << r.name << ", " << r.hits << '}';
}
/// In the order of their ids; rows of one id stay in theirs.
inline std::vector<name_row> by_id(const std::vector<name_row>& rows) {
  std::multimap<int, name_row> ordered;
  for (const name_row& r : rows) ordered.emplace(r.id, r);
  std::vector<name_row> all;
  for (const auto& [id, row] : ordered) all.push_back(row);
  return all;
}
using names = table<name_row, &name_row::id>;
using ordered_names = table<name_row, &name_row::id, ordered_set>;
using bag_of_names = table<name_row, &name_row::id, bag>;
using duplicate_names = table<name_row, &name_row::id, duplicate_bag>;

/// A job for the owner. Called by its callback; what it throws crashes that.
template <class Table>
struct job {
  using reply = bool;
  std::function<void(typename Table::owner&)> work;
};
struct give_handle {};

template <class Table>
struct table_server {
  struct state {
    int jobs = 0;
    int transfers = 0;
    table_id got;
    std::string told;
  };
  struct ask_handle {
    using reply = std::shared_ptr<typename Table::owner>;
  };

  explicit table_server(table_options o) : options{std::move(o)} {
    if (!options.name.empty()) all = Table::create(options).value();
  }
  bool handle_call(const job<Table>& j, state& s) {
    ++s.jobs;
    if (!all) all = Table::create(options).value();
    j.work(all);
    return true;
  }
  std::shared_ptr<typename Table::owner> handle_call(ask_handle, const state&) {
    return std::make_shared<typename Table::owner>(all);
  }
  void handle_info(const table_transfer& t, state& s) {
    ++s.transfers;
    s.got = t.id;
    const std::string* said = t.data.get<std::string>();
    s.told = t.name + ":" + (said == nullptr ? "" : *said);
    all = Table::own(t.id).value();
  }

  table_options options;
  typename Table::owner all;
};

template <class Table>
ref<table_server<Table>> start_owner(runtime& rt, table_options o = {}, kept_tables keep = {}) {
  return start<table_server<Table>>(rt, {.keep_tables = std::move(keep)}, std::move(o)).value();
}
/// Does `work` in a callback of the owner.
template <class Table>
void in(const ref<table_server<Table>>& owner,
        std::type_identity_t<std::function<void(typename Table::owner&)>> work) {
  const auto done = owner.call(job<Table>{std::move(work)});
  ASSERT_TRUE(done) << done.error().what();
}
/// The same, and then the callback crashes.
template <class Table>
void crash_in(const ref<table_server<Table>>& owner,
              std::type_identity_t<std::function<void(typename Table::owner&)>> work) {
  const auto done = owner.call(job<Table>{[&](typename Table::owner& t) {
    work(t);
    throw std::runtime_error{"unlucky"};
  }});
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code(), call_errc::crashed);
}
template <class Table>
typename Table::owner handle_of(const ref<table_server<Table>>& owner) {
  return *owner.call(typename table_server<Table>::ask_handle{}).value();
}

}  // namespace peeper::test
