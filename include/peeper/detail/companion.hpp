// SPDX-License-Identifier: Apache-2.0
/// \file
/// `companion`: what lives beside the state of one server and commits with it: its dictionary, a
/// kept table, who listens to it.
///
///     branch& b = require_current("put");
///     b.enlist(*this);              // before the first change: this callback ends with commit()
///     entries_[key] = value;        // or with rollback()
///
/// THREADS: the claim's holder of its server.
/// CRASH: of the worker between enlist() and commit(): rollback() comes, in reverse order. What
/// can fail is done at the change; a commit cannot.
#pragma once

#include <peeper/exit_reason.hpp>

namespace peeper::detail {

class companion {
 public:
  companion() = default;
  companion(const companion&) = delete;
  companion& operator=(const companion&) = delete;
  virtual ~companion() = default;

  /// The callback that enlisted it has committed, with the state and all that was enlisted (P2).
  virtual void commit() noexcept {}
  /// It has crashed: nothing of it may stay.
  virtual void rollback() noexcept {}

  // --- if it is attached
  /// A worker has ended, and another one is to take its place.
  virtual void worker_died(const exit_reason& /*reason*/) noexcept {}
  /// The server has ended: the last that it hears.
  virtual void server_ended(const exit_reason& /*reason*/) noexcept {}
};

}  // namespace peeper::detail
