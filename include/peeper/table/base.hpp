// SPDX-License-Identifier: Apache-2.0
/// \file
/// `table_base`: a table without the type of its rows: who owns it, who may use it, what its
/// owner's running callback has changed.
///
/// A row never changes; a change makes a new row and marks the old one. What a row is for whom:
///
///                 committed   added by the running callback   removed by it
///     the owner      sees               sees                       -
///     others         see                 -                        see
///
/// A commit makes `added` rows `committed` and lets `removed` ones go; a rollback the reverse. Both
/// go through the journal of what was changed, and nothing else.
///
/// THREADS: any, unless said otherwise.  CRASH: of the owner's callback: its journal is undone.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <limits>
#include <memory>
#include <new>
#include <string>
#include <typeinfo>
#include <vector>

#include <peeper/codec.hpp>
#include <peeper/detail/companion.hpp>
#include <peeper/detail/execution.hpp>
#include <peeper/detail/pool.hpp>
#include <peeper/environment.hpp>
#include <peeper/table/lock.hpp>
#include <peeper/table/types.hpp>

namespace peeper::detail {

class branch;
class runtime_core;
class table_shelf;

enum class row_state : std::uint8_t { committed, added, removed };
/// Whose eyes look at the rows.
enum class table_view : std::uint8_t { owner, others };

/// Small on purpose: with its hook, a number and a row of 24 bytes it fills a cache line.
struct row_entry {
  std::atomic<std::uint32_t> holders{1};  ///< the table, and who looks at the row without the lock
  // guarded by the table's lock
  std::uint32_t journal_at = 0;  ///< while it is not committed
  row_state state = row_state::added;

  [[nodiscard]] bool seen_by(table_view who) const noexcept {
    return state != (who == table_view::owner ? row_state::removed : row_state::added);
  }

  // A row that is replaced leaves its memory to the next one.
  static void* operator new(std::size_t bytes) { return pool_allocate(bytes); }
  static void* operator new(std::size_t bytes, std::align_val_t a) {
    return ::operator new(bytes, a);
  }
  static void operator delete(void* p, std::size_t bytes) noexcept { pool_free(p, bytes); }
  static void operator delete(void* p, std::size_t bytes, std::align_val_t a) noexcept {
    ::operator delete(p, bytes, a);
  }
};

/// The rows that were added and removed, and not yet committed.
struct table_journal {
  std::vector<row_entry*> rows;
  std::ptrdiff_t growth = 0;  ///< what the commit will add to the size

  /// Throws std::bad_alloc; std::length_error beyond 2^32 rows in one callback.
  void make_room(std::size_t more) {
    if (rows.capacity() - rows.size() < more) make_more_room(more);
  }
  /// REQUIRES: room.
  void note(row_entry& e, row_state now) noexcept {
    e.state = now;
    e.journal_at = static_cast<std::uint32_t>(rows.size());
    rows.push_back(&e);
    growth += now == row_state::added ? 1 : -1;
  }
  /// An added row goes again, as if it had never been.
  void forget(row_entry& e) noexcept {
    rows[e.journal_at] = rows.back();
    rows[e.journal_at]->journal_at = e.journal_at;
    rows.pop_back();
    --growth;
  }

 private:
  void make_more_room(std::size_t more);
};

class table_base : public companion, public std::enable_shared_from_this<table_base> {
 public:
  ~table_base() override;

  [[nodiscard]] table_id id() const noexcept { return id_; }
  [[nodiscard]] virtual const std::type_info& type() const noexcept = 0;
  [[nodiscard]] virtual std::string_view kind() const noexcept = 0;
  [[nodiscard]] access allowed() const noexcept { return access_; }
  [[nodiscard]] std::string name() const;
  [[nodiscard]] std::expected<table_info, table_error> info(table_view who) const;

  [[nodiscard]] bool owned_by(const branch& server) const noexcept;
  /// This thread runs a callback of the owner.
  [[nodiscard]] bool owner_runs_here() const noexcept;
  /// Throws std::logic_error naming `what` unless owner_runs_here().
  void require_owner(const char* what) const;
  [[nodiscard]] table_error error(table_errc code) const;
  [[nodiscard]] environment& env() const noexcept;

  // --- for the owner, inside its callback; takes effect at its commit
  [[nodiscard]] std::expected<void, table_error> give_away(pid to, any_message data);
  [[nodiscard]] std::expected<void, table_error> rename(const std::string& to);
  void set_heir(pid heir, any_message data);
  void drop();
  /// As if the running callback had not made it.
  void abandon();

  // --- to other OS processes; see elsewhere.hpp. The owner's callback.
  /// What the running callback has changed. Throws std::bad_alloc and what encoding rows throws.
  virtual void write_changes(cbor_writer& out) const = 0;
  /// All committed rows, as a change of an empty table.
  virtual void write_rows(cbor_writer& out) const = 0;
  /// The running callback makes these changes, too. RETURNS: false after an error.
  [[nodiscard]] virtual bool make_changes(cbor_reader& in) = 0;

  // --- companion
  void commit() noexcept override;
  void rollback() noexcept override;

 protected:
  struct seed {
    branch& owner;
    table_options options;
    table_id id;  ///< 0: a new one
  };
  explicit table_base(seed s);

  /// The rows that were removed (after a commit) or added (after a rollback), to be freed by who
  /// has let the lock go. REQUIRES: the lock.
  void settle(table_journal& j, row_state gone, row_state stays) noexcept;
  virtual void unlink(row_entry& e) noexcept = 0;
  virtual void free_row(row_entry& e) noexcept = 0;
  /// REQUIRES: the lock.
  virtual void free_all_rows() noexcept = 0;
  void free_rows(std::vector<row_entry*>& rows) noexcept;

  /// Waits until the owner's running callback has ended. REQUIRES: the lock; it is let go
  /// meanwhile. RETURNS: false if `deadline` has passed.
  [[nodiscard]] bool wait_for_commit(time_point deadline) noexcept;
  [[nodiscard]] time_point write_deadline() const noexcept;
  /// The running callback of the owner ends with commit() or rollback() of this table.
  void take_part();

  /// A change by somebody else than the owner's callback: takes the lock, keeps a journal of its
  /// own and commits it at once.
  class change_at_once {
   public:
    explicit change_at_once(table_base& t) noexcept : table_{t} { table_.lock_.lock(); }
    change_at_once(const change_at_once&) = delete;
    change_at_once& operator=(const change_at_once&) = delete;
    ~change_at_once() {
      // Not done: it has thrown.
      table_.settle(journal, done_ ? row_state::removed : row_state::added,
                    done_ ? row_state::added : row_state::removed);
      table_.lock_.unlock();
      table_.free_rows(journal.rows);
    }
    void done() noexcept { done_ = true; }
    table_journal journal;

   private:
    table_base& table_;
    bool done_ = false;
  };

  mutable table_lock lock_;
  // guarded by lock_; written by the owner's callback, under the lock, too: it reads without
  bool gone_ = false;
  std::size_t size_ = 0;  ///< committed rows
  std::vector<parker*> waiting_;
  table_journal journal_;  ///< of the owner's running callback, or empty

 private:
  friend class table_shelf;
  friend std::expected<std::shared_ptr<table_base>, table_error> find_table_named(
      runtime_core& rt, const std::string& name, const std::type_info& type, access needed);

  void wake_waiting() noexcept;
  /// At the commit, and in this OS process only.
  void drop_here();
  /// It has no owner any more, and no heir: every handle answers `gone`.
  void end() noexcept;

  // constant after construction
  const table_id id_;
  const access access_;
  const duration write_wait_;
  runtime_core* const runtime_;

  std::atomic<std::uint64_t> owner_;    ///< raw pid of a server
  std::atomic<bool> published_{false};  ///< the callback that made it has committed
  // guarded by lock_
  std::string name_;
  pid heir_;
  any_message heir_data_;
  bool kept_ = false;
  // owned by the claim's holder of the owner
  std::vector<row_entry*> to_free_;  ///< by the commit that is under way
  bool takes_part_ = false;
  bool open_ = true;  ///< the running worker has a handle of it
};

/// `id`: 0 for a new one.
using table_maker = std::shared_ptr<table_base> (*)(branch& owner, table_options options,
                                                    table_id id);

/// One for each type of tables that is used, with a number that is the same in all OS processes
/// forked from one: they are given before main().
class table_type {
 public:
  /// `crosses`: its rows can be encoded.
  table_type(const std::type_info& store, table_maker make, bool crosses) noexcept;
  [[nodiscard]] const std::type_info& store() const noexcept { return *store_; }
  [[nodiscard]] table_maker maker() const noexcept { return make_; }
  [[nodiscard]] bool crosses() const noexcept { return crosses_; }
  [[nodiscard]] std::uint32_t number() const noexcept { return number_; }
  /// RETURNS: null if there is none.
  [[nodiscard]] static const table_type* find(std::uint32_t number) noexcept;
  [[nodiscard]] static const table_type* find(const std::type_info& store) noexcept;

 private:
  const std::type_info* store_;
  table_maker make_;
  bool crosses_;
  std::uint32_t number_;
};
template <class Store>
inline const table_type table_type_of{typeid(Store), &Store::make, Store::crosses};

/// In a callback: a new table, or the one that was kept.
[[nodiscard]] std::expected<std::shared_ptr<table_base>, table_error> create_table(
    table_options options, const table_type& type, bool may_be_kept_one);
/// In a callback: one that the running server owns.
[[nodiscard]] std::expected<std::shared_ptr<table_base>, table_error> own_table(
    table_id id, const std::type_info& type);
[[nodiscard]] std::expected<std::shared_ptr<table_base>, table_error> find_table_named(
    runtime_core& rt, const std::string& name, const std::type_info& type, access needed);

}  // namespace peeper::detail
