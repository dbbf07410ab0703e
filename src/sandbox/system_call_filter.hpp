// SPDX-License-Identifier: Apache-2.0
/// \file
/// Takes from a worker what a parser of hostile input does not need: a seccomp filter.
///
/// A refused system call is not an error value but SIGSYS: the handler of crash_handler.hpp reports
/// `forbidden`, and the worker dies. What is left: memory (no code), clocks, futexes, its own
/// signal handling, its end, descriptors it has (close, poll, writing to 1 and 2).
///
/// *Forking the next follower.* The filter cannot be taken off, is inherited, and does not see who
/// asks: the library's fork() between two callbacks is the same system call as one inside a parser.
/// To fork before the filter would cost each failover the time of a fork (10 ms for 1 GB), and a
/// follower that died could never be replaced. So fork() is neither allowed nor forbidden: it waits
/// for the hub (SECCOMP_RET_USER_NOTIF), which knows whether a follower is missing (fork_gate). A
/// worker gone mad can get that one fork: a child with the same filter, that never says it is
/// ready.
///
/// Needs Linux 5.5. A filter of a container may be stricter, not laxer.
#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <string>

#include <sys/types.h>

#include "sandbox/descriptor.hpp"

namespace peeper::sandbox {

/// From here on the calling OS process, and what it forks, has a filter, and no new privileges.
/// Watch the deaths of others with death_watch(..., may_have_threads = false): it cannot look into
/// /proc, and nobody with a filter has threads.
/// `hub`: a socket; the other end gets one message with the descriptor for a fork_gate. Is closed.
/// -1: all forks are refused.
/// REQUIRES: one thread; report_crashes() was called.
/// RETURNS: 0, or errno.
[[nodiscard]] int forbid_system_calls(int hub = -1);

/// The hub's side: who wants to fork waits for it. All that came of one worker ask at one gate.
/// THREADS: one at a time.
class fork_gate {
 public:
  struct request {
    std::uint64_t id;
    pid_t pid;  ///< who asks; as the hub sees it
  };
  /// `socket`: the other end of forbid_system_calls(); blocks until its message is there.
  /// RETURNS: the gate, or errno.
  [[nodiscard]] static std::expected<fork_gate, int> receive(int socket);

  /// To poll: POLLIN: next() has one. POLLHUP: all who could ask are dead.
  [[nodiscard]] int polled() const noexcept { return listener_.get(); }
  /// REQUIRES: POLLIN. RETURNS: nothing if the one who asked has died.
  [[nodiscard]] std::optional<request> next();
  /// It forks.
  void allow(const request& which) noexcept;
  /// It is killed: to report that as `forbidden` is the caller's.
  void refuse(const request& which) noexcept;

 private:
  explicit fork_gate(descriptor listener) noexcept : listener_{std::move(listener)} {}
  descriptor listener_;
};

/// "openat"; its number if it has no name. On the processor this is built for.
[[nodiscard]] std::string system_call_name(int number);

}  // namespace peeper::sandbox
