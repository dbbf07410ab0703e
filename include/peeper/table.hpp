// SPDX-License-Identifier: Apache-2.0
/// \file
/// Tables: typed rows that one server owns and writes, and that any thread may read meanwhile.
///
///     struct session { int id; std::string user; int hits; };
///     using sessions = peeper::table<session, &session::id, peeper::ordered_set>;
///
///     struct login {                                         // the owner
///       sessions::owner all;
///       state init() {
///         all = sessions::create({.name = "sessions"}).value();
///         return {};
///       }
///       void handle_cast(hello h, state&) { all.insert({h.id, h.user, 0}); }
///     };
///     auto r = peeper::find_table<sessions>(rt, "sessions").value();     // anybody, any thread
///     std::optional<session> s = r.lookup(7).value();
///
/// What the owner writes in a callback it sees at once; readers see it when the callback has
/// committed, all of it at one moment a table (P2). A reader never waits for a callback.
///
/// THREADS: an owner handle: the callbacks of the server that owns the table, else
/// std::logic_error. Readers and writers: any. Copying a handle is cheap; all name the same table.
/// CRASH: of the owner's callback: what it changed is undone. Of the owner's worker: a kept table
/// (`keep_tables`, or the owner as its own heir) stays as of the last commit, with the same id; any
/// other goes to its heir, or is gone.
/// REQUIRES: copying rows, and comparing and hashing keys, does not use tables; comparing and
/// hashing does not throw.
#pragma once

#include <expected>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <peeper/runtime.hpp>
#include <peeper/table/handles.hpp>
#include <peeper/table/store.hpp>
#include <peeper/table/types.hpp>

namespace peeper {

/// A type of tables. `Row`: a copyable class. `Key`: the pointer to the member that is the key, or,
/// for a key of several members, a function without captures that makes it of a row. `Kind`: set,
/// ordered_set, bag or duplicate_bag. A key needs std::hash or boost::hash and ==, in an
/// ordered_set
/// <. THREADS: it has no objects; see its handles.
template <class Row, auto Key, class Kind = set>
struct table {
  static_assert(std::is_copy_constructible_v<Row> && std::is_object_v<Row>,
                "a row of a table must be a type that can be copied");
  static_assert(std::is_invocable_v<decltype(Key), const Row&>,
                "the key of a table is a member of its row, as in table<session, &session::id>");
  static_assert(std::is_same_v<Kind, set> || std::is_same_v<Kind, ordered_set> ||
                    std::is_same_v<Kind, bag> || std::is_same_v<Kind, duplicate_bag>,
                "the kind of a table is peeper::set, ordered_set, bag or duplicate_bag");
  using row = Row;
  using key = std::remove_cvref_t<std::invoke_result_t<decltype(Key), const Row&>>;
  static_assert(std::is_same_v<Kind, ordered_set> || detail::table_hashable<key>,
                "the key of this table needs a std::hash or boost::hash (hash_value) and ==");
  static_assert(
      !std::is_same_v<Kind, ordered_set> || requires(const key& k) { k < k; },
      "the key of an ordered_set needs <");
  using store = detail::table_store<Row, Key, Kind>;

  using owner = table_owner<store, Key>;    ///< reads, writes, manages; in its server's callbacks
  using reader = table_reader<store, Key>;  ///< reads committed rows; any thread
  using writer = table_writer<store, Key>;  ///< reads and writes a public table; any thread

  /// In a callback: makes a table, which is there for others when the callback has committed; if it
  /// crashes there is none. A kept table that the running worker has not opened yet is given back
  /// instead, same id, as of the last commit: `init` runs on every start.
  /// RETURNS: name_taken; type_mismatch if the kept table of that name is of another type.
  [[nodiscard]] static std::expected<owner, table_error> create(table_options options = {}) {
    return as_owner(detail::create_table(std::move(options), detail::table_type_of<store>, true));
  }
  /// In a callback: makes a table with the rows of a file that to_file() wrote, also of an older
  /// version of the row. RETURNS: as create(), though a kept table of that name is name_taken, too;
  /// file; bad_file if it is cut off, altered, of another kind or of a newer version. Then there is
  /// no table.
  [[nodiscard]] static std::expected<owner, table_error> from_file(const std::string& path,
                                                                   table_options options = {}) {
    static_assert(encodable<Row> && std::is_default_constructible_v<Row>,
                  "a row that comes from a file needs an encoding (see codec.hpp) and a default "
                  "constructor");
    auto made =
        as_owner(detail::create_table(std::move(options), detail::table_type_of<store>, false));
    if (!made) return made;
    auto loaded = load(*made, path);
    if (loaded) return made;
    made->abandon();
    return std::unexpected{std::move(loaded.error())};
  }
  /// In a callback: a table that the running server owns: one that was given or left to it
  /// (table_transfer), or a kept one. RETURNS: not_owner, type_mismatch.
  [[nodiscard]] static std::expected<owner, table_error> own(table_id id) {
    return as_owner(detail::own_table(id, typeid(store)));
  }

 private:
  static std::expected<owner, table_error> as_owner(
      std::expected<std::shared_ptr<detail::table_base>, table_error> found) {
    if (!found) return std::unexpected{std::move(found.error())};
    return owner{std::static_pointer_cast<store>(std::move(*found))};
  }
  static std::expected<void, table_error> load(owner& into, const std::string& path) {
    detail::table_file_reader in{into.env(), path};
    if (auto done = in.open(into.kind(), detail::state_version<Row>()); !done) return done;
    for (;;) {
      const auto bytes = in.next();
      if (!bytes) return std::unexpected{bytes.error()};
      if (!*bytes) return {};
      auto row = decode<Row>(**bytes);
      if (!row) return std::unexpected{in.bad_row(row.error().text)};
      into.insert(std::move(*row));
    }
  }
};

/// To read the protected or public table that has this name now. The handle stays good when the
/// table is renamed or changes its owner, and answers `gone` when it has ended.
/// RETURNS: no_such_table; type_mismatch; access_denied.  THREADS: any.  COMPLEXITY: O(1).
template <class Table>
[[nodiscard]] std::expected<typename Table::reader, table_error> find_table(
    runtime& rt, const std::string& name) {
  using store = typename Table::store;
  auto found = detail::find_table_named(rt.core(), name, typeid(store), access::protected_);
  if (!found) return std::unexpected{std::move(found.error())};
  return typename Table::reader{std::static_pointer_cast<store>(std::move(*found))};
}
/// The same, to write a public table, too.
template <class Table>
[[nodiscard]] std::expected<typename Table::writer, table_error> find_public_table(
    runtime& rt, const std::string& name) {
  using store = typename Table::store;
  auto found = detail::find_table_named(rt.core(), name, typeid(store), access::public_);
  if (!found) return std::unexpected{std::move(found.error())};
  return typename Table::writer{std::static_pointer_cast<store>(std::move(*found))};
}

}  // namespace peeper
