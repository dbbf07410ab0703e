// SPDX-License-Identifier: Apache-2.0
/// \file
/// Tables of servers whose callbacks run in an OS process of their own. Each is there twice: the
/// worker's, which its callbacks use, and the program's, which everybody else reads; and the
/// follower's. The program's is changed by what the record of a callback says, as part of the same
/// callback: so readers see committed rows, at the speed of any table.
///
/// THREADS: the claim's holder of the server.
#pragma once

#include <cstddef>
#include <expected>
#include <functional>
#include <span>

#include <peeper/detail/branch.hpp>
#include <peeper/detail/elsewhere.hpp>
#include <peeper/table/base.hpp>

namespace peeper::detail {

/// Its tables would have to be there, too: it can be given none.
[[nodiscard]] inline bool runs_elsewhere(const process& server) noexcept {
  return static_cast<const branch&>(server).elsewhere() != nullptr;
}

// --- in a worker's OS process
[[nodiscard]] std::expected<table_id, table_error> create_in_program(const table_options& options,
                                                                     const table_type& type);
[[nodiscard]] std::expected<void, table_error> change_in_program(const table_request& r);
/// Throws std::logic_error.
void refuse_to_cross(const any_message& data);

// --- in the program
/// What a callback elsewhere asks for, in the running one. A table_answer that says no has changed
/// nothing.
[[nodiscard]] table_answer change_table(branch& owner, const table_request& r);
[[nodiscard]] bool has_tables(branch& owner);
/// All that are kept: of each a create request, and its id (8 bytes) with its rows.
void write_kept_tables(branch& owner, cbor_writer& out);

// --- in a worker's OS process, and its follower's
/// What has been done there, again, in a callback. RETURNS: false after an error.
[[nodiscard]] bool repeat_change(branch& owner, const table_request& r);
/// `take(id, changes)` for each table that the running callback has changed.
void write_changed_tables(branch& owner,
                          const std::function<void(table_id, std::span<const std::byte>)>& take);
/// Of a table that is no more: nothing. RETURNS: false after an error.
[[nodiscard]] bool make_changes(branch& owner, table_id id, cbor_reader& in);

}  // namespace peeper::detail
