// SPDX-License-Identifier: Apache-2.0
/// \file
/// `fork_guard`: of a pair with less power: lets its worker fork the follower that it lacks, and
/// nobody fork anything else.
///
/// Who forks behind the filter waits until the hub has decided (system_call_filter.hpp). That is
/// done in the hub's poll_thread, whatever the hub itself is doing. It is allowed to the worker, if
/// it says that it makes a follower (pair_control::forking), and has not two children already: a
/// follower that has just died may be one. One that says it was promoted waits until the hub has
/// seen that, too. Whoever else asks is killed: `forbidden`.
///
/// CRASH: a worker gone mad can say that it makes a follower, and so get two children with the same
/// filter. Those get none, unless the hub takes one for the next worker.
/// THREADS: one at a time, beside the poll_thread's.
#pragma once

#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include <sys/types.h>

#include "sandbox/descriptor.hpp"
#include "sandbox/pair_format.hpp"
#include "sandbox/poll_thread.hpp"
#include "sandbox/system_call_filter.hpp"

namespace peeper::sandbox {

class fork_guard {
 public:
  /// `socket`: the other end is that of forbid_system_calls(). `thread` and `control` must outlive
  /// this.
  fork_guard(poll_thread& thread, descriptor socket, const detail::pair_control& control);
  fork_guard(const fork_guard&) = delete;
  fork_guard& operator=(const fork_guard&) = delete;
  /// Who still waits does not fork.
  ~fork_guard();

  /// The hub takes this one for the worker. `number`: among the OS processes of the pair.
  void worker_is(std::uint32_t number, pid_t pid);
  /// It was killed because it forked.
  [[nodiscard]] bool has_refused(pid_t pid) const;

  /// RETURNS: why it cannot be done on this system; empty if it can.
  [[nodiscard]] static std::string why_not();

 private:
  enum class verdict : std::uint8_t { allow, refuse, wait };
  [[nodiscard]] int serve();
  void decide(const fork_gate::request& which);
  [[nodiscard]] verdict verdict_on(pid_t pid) const;

  poll_thread* thread_;
  const detail::pair_control* control_;
  descriptor socket_;
  std::uint64_t id_ = 0;

  mutable std::mutex mutex_;
  // guarded by mutex_
  std::optional<fork_gate> gate_;  // nothing: the worker has no filter yet
  std::uint32_t number_ = 0;
  pid_t worker_ = 0;
  pid_t refused_ = 0;                        // the last one
  std::vector<fork_gate::request> waiting_;  // for worker_is()
};

}  // namespace peeper::sandbox
