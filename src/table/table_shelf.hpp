// SPDX-License-Identifier: Apache-2.0
/// \file
/// `table_shelf`: the tables that one server owns, and what becomes of them when it crashes or
/// ends.
///
///     owner's worker ends                      owner ends
///       kept ──────────► stays                   heir is another server ──► the heir's
///       heir ──────────► the heir's              else ────────────────────► gone
///       else ──────────► gone
///
/// THREADS: the claim's holder of the server.
#pragma once

#include <memory>
#include <unordered_map>
#include <utility>
#include <vector>

#include <peeper/detail/companion.hpp>
#include <peeper/detail/elsewhere.hpp>
#include <peeper/table/base.hpp>

namespace peeper::detail {

class branch;

class table_shelf final : public companion {
 public:
  /// The server's own; made on first use. Throws std::bad_alloc.
  static table_shelf& of(branch& owner);
  explicit table_shelf(branch& owner) noexcept : owner_{&owner} {}

  /// In a callback, with which it comes and goes. RETURNS: false if its name is taken.
  [[nodiscard]] bool add_new(const std::shared_ptr<table_base>& t);
  /// Owned by this server already. Throws std::bad_alloc: nothing is done.
  void adopt(const std::shared_ptr<table_base>& t);
  [[nodiscard]] std::shared_ptr<table_base> find(table_id id) const;
  void remove(const table_base& t) noexcept { tables_.erase(t.id()); }
  /// Does the server keep it through crashes?
  void keep_as_options_say(table_base& t) const;
  /// A kept table that the running worker has no handle of yet. RETURNS: whether it may have one.
  static bool open(table_base& t) noexcept { return !std::exchange(t.open_, true); }

  /// Another worker is made while the running one lives (an upgrade): it may have handles, too.
  void open_again() noexcept {
    for (auto& [id, t] : tables_) {
      if (t->kept_) t->open_ = false;
    }
  }

  template <class Look>
  void each(Look look) const {
    for (const auto& [id, t] : tables_) look(*t);
  }
  /// What `r` says of a table of ours, at once and in this OS process only.
  void repeat(const std::shared_ptr<table_base>& t, const table_request& r);
  /// With what create() was given, and what set_heir() and rename() have made of it.
  [[nodiscard]] static table_request request_of(const table_base& t);
  [[nodiscard]] static bool is_kept(const table_base& t) noexcept { return t.kept_; }
  [[nodiscard]] static bool is_changed(const table_base& t) noexcept { return t.takes_part_; }

  void commit() noexcept override { fresh_.clear(); }
  void rollback() noexcept override;
  void worker_died(const exit_reason& reason) noexcept override;
  void server_ended(const exit_reason& reason) noexcept override;

  /// `t` belongs to the server `to` from now on, or ends. Any thread that has taken it from the
  /// shelf of the owner before.
  static void hand_over(std::shared_ptr<table_base> t, pid to, any_message data) noexcept;

  /// Its owner has ended: it is the heir's if there is one, else gone.
  static void no_owner(std::shared_ptr<table_base> t) noexcept;

 private:
  branch* owner_;
  std::unordered_map<table_id, std::shared_ptr<table_base>> tables_;
  std::vector<std::shared_ptr<table_base>> fresh_;  ///< made by the running callback
};

}  // namespace peeper::detail
