// SPDX-License-Identifier: Apache-2.0
/// \file
/// `transfer`: a running server moves from one dynamic supervisor to another.
///
///     peeper::transfer(session, blue_pool);      // session goes on: same ref, pid, state, mailbox
///
/// Nothing is copied, stopped or started: state, tables, dictionary, timers, waiting messages,
/// listeners, name, monitors and options stay where they are, and only who supervises changes. So
/// callers notice at most a pause of one library message.
/// THREADS: any, but not from a callback of the server itself (calling_self).
/// CRASH: of its worker, or of any process of either supervisor, before or after the move: it is
/// under one of them, never under none or both.
#pragma once

#include <expected>

#include <peeper/dynamic_supervisor.hpp>
#include <peeper/ref.hpp>

namespace peeper {

namespace detail {
[[nodiscard]] std::expected<void, child_error> transfer_child(const server_ptr& child,
                                                              const any_supervisor& target,
                                                              duration limit);
}

/// Moves `server`, a running child of a dynamic supervisor, under `target`. Its turn comes between
/// two callbacks.
///
/// `limit`: how long to wait for that turn; a move whose time is over does not happen any more.
/// RETURNS: nothing when it is there (also if it was before); or why it is still where it was:
///   noproc        the server, or one of the supervisors, has ended
///   max_children  the target is full
///   bad_spec      it is not the child of a dynamic supervisor, or the target is of another runtime
///   timed_out     it did not come to it in time
///   calling_self  a server cannot move itself from inside a callback: let another server do it
/// COMPLEXITY: O(1).
template <class S, class... Extra>
[[nodiscard]] std::expected<void, child_error> transfer(const ref<S>& server,
                                                        const dynamic_supervisor<Extra...>& target,
                                                        duration limit = default_call_timeout) {
  return detail::transfer_child(server.cell(), target, limit);
}

}  // namespace peeper
