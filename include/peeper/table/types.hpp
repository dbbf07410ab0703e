// SPDX-License-Identifier: Apache-2.0
/// \file
/// What is said about tables, whatever their rows: kinds, access, options, errors.
///
/// THREADS: values; any.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

#include <peeper/info.hpp>
#include <peeper/pid.hpp>
#include <peeper/time.hpp>

namespace peeper {

/// The kinds of tables, as tags: how many rows a key may have.
struct set {};            ///< one row a key, in no order
struct ordered_set {};    ///< one row a key, in the order of the keys
struct bag {};            ///< any number of rows a key, each but once
struct duplicate_bag {};  ///< any number of rows a key

/// Who may use a table beside its owner.
enum class access : std::uint8_t {
  // NOLINTBEGIN(readability-identifier-naming): without the underscore they are keywords.
  private_,    ///< nobody
  protected_,  ///< others read
  public_,     ///< others read and write
  // NOLINTEND(readability-identifier-naming)
};

/// Names one table for as long as it lives, through restarts, renames and changes of owner. A plain
/// value: it may be kept in the state.
struct table_id {
  std::uint64_t value = 0;
  friend constexpr bool operator==(table_id, table_id) noexcept = default;
  friend constexpr auto operator<=>(table_id, table_id) noexcept = default;
};

/// What a table is made with; every field has a default. One that was kept and comes back after a
/// crash has access, heir and write_wait as it had.
struct table_options {
  /// Unique in the runtime. Empty: none; others get a handle of it, by message.
  std::string name{};
  peeper::access access = peeper::access::protected_;
  /// The server that gets the table when its owner ends: when the worker ends, or, for a kept
  /// table, the server. The owner's own pid: the server's keeper, so the table is kept. Empty:
  /// none.
  pid heir{};
  /// Comes along in the table_transfer that the heir gets.
  any_message heir_data{};
  /// How long others' writes of a public table wait for the commit of an owner's callback that has
  /// changed the same row.
  duration write_wait = std::chrono::seconds{5};
};

/// An info: the running server owns this table from now on, by give_away() or as heir.
struct table_transfer {
  table_id id;
  std::string name;
  pid from;  ///< who owned it before
  any_message data;
};

struct table_info {
  table_id id;
  std::string name;
  peeper::access access = peeper::access::protected_;
  std::string kind;
  pid owner;
  pid heir;
  bool kept = false;
  std::size_t size = 0;  ///< rows, as who asks sees them
};

enum class table_errc : std::uint8_t {
  gone,            ///< the table has ended, with its owner or by drop()
  no_such_table,   ///< none has this name (or id, for own())
  name_taken,      ///< another table has the name
  type_mismatch,   ///< the table has other rows, another key or another kind
  access_denied,   ///< its access does not allow this
  not_owner,       ///< the running server does not own it
  busy,            ///< the owner's callback has changed the row, and did not end in write_wait
  no_such_server,  ///< who is to get it has ended
  bad_options,     ///< see what()
  file,            ///< the file cannot be read or written; see what()
  bad_file,        ///< the file is no whole, unaltered table of this type; see what()
};

[[nodiscard]] std::string_view to_string(table_errc code) noexcept;

/// Why something could not be done with a table. Nothing of it has been done.
class table_error {
 public:
  explicit table_error(table_errc code, std::string text = {})
      : code_{code}, text_{std::move(text)} {}
  [[nodiscard]] table_errc code() const noexcept { return code_; }
  /// What happened, to which table, what to do.
  [[nodiscard]] std::string what() const;

 private:
  table_errc code_;
  std::string text_;
};

}  // namespace peeper

template <>
struct std::hash<peeper::table_id> {
  std::size_t operator()(peeper::table_id id) const noexcept {
    return std::hash<std::uint64_t>{}(id.value);
  }
};
