// SPDX-License-Identifier: Apache-2.0
/// \file
/// The hub's side of the zygote: forks workers, hears of the end of every OS process that came of
/// it. And what a worker needs to fork its follower.
///
///     hub ──fork──► zygote ──fork──► worker ──fork──► follower
///      ▲              │ adopts the follower when the worker is dead
///      └── {pid, wait status} of each that ended
///
/// No orphan is left, at whatever moment whoever dies: the zygote sees the hub's end and exits; a
/// worker is killed by the kernel when the zygote has ended (PR_SET_PDEATHSIG). A follower must
/// outlive the worker that forked it: see fork_follower().
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include <sys/types.h>

#include <peeper/zygote.hpp>

#include "sandbox/crash_reporter.hpp"
#include "sandbox/descriptor.hpp"
#include "sandbox/ended_processes.hpp"

namespace peeper::sandbox {

/// What a worker OS process begins with.
struct worker_start {
  std::span<const std::byte> argument;  ///< aligned for any scalar
  std::span<const int> descriptors;     ///< in the order of the request; the entry's to close
};
/// What it returns is the exit status, without static destructors and atexit() functions.
using worker_entry = int (*)(const worker_start&);

struct fork_request {
  worker_entry entry = nullptr;             ///< of code that was loaded before the zygote was made
  std::span<const std::byte> argument{};    ///< at most argument_bytes_max
  std::span<const int> descriptors{};       ///< at most descriptors_max
  std::string_view name = "peeper:worker";  ///< in lists of OS processes; 15 characters count
};
inline constexpr std::size_t argument_bytes_max = 4096;

enum class fork_errc : std::uint8_t {
  zygote_gone,  ///< it has ended: no OS process can be started any more
  bad_request,  ///< too long, or the entry is of code that the zygote has not
  system,       ///< the system refused: no memory, too many OS processes
};
struct fork_error {
  fork_errc code;
  std::string text;
};

struct forked_process {
  pid_t pid = 0;
  descriptor pidfd;
};
/// The hub's end. THREADS: any, but take_ended() one at a time.
class zygote_link {
 public:
  zygote_link();  // throws zygote_error
  zygote_link(const zygote_link&) = delete;
  zygote_link& operator=(const zygote_link&) = delete;
  ~zygote_link();

  /// The program's. RETURNS: null if there is none.
  [[nodiscard]] static zygote_link* current() noexcept;

  /// Forks a worker. Its signals are as in a new program, but it ignores SIGHUP, SIGINT, SIGQUIT
  /// and SIGTERM: terminals and service managers send these to all, and the hub is to decide.
  [[nodiscard]] std::expected<forked_process, fork_error> fork(const fork_request& request);

  /// The next OS process that has ended: worker, or follower without its worker (that of a living
  /// worker is the worker's to wait for). Does not block. REQUIRES: ends() was not called.
  [[nodiscard]] std::optional<ended_process> take_ended() noexcept;
  /// To poll: POLLIN: take_ended() has one. POLLHUP: the zygote has ended.
  [[nodiscard]] int ended_descriptor() const noexcept { return ended_.get(); }
  /// Takes them itself, from the first call on: that one starts its thread. Throws
  /// std::system_error if it cannot.
  [[nodiscard]] ended_processes& ends();
  /// Who reports deaths. The same.
  [[nodiscard]] crash_reporter& reporter();

  [[nodiscard]] pid_t pid() const noexcept { return pid_; }

 private:
  // constant after construction
  pid_t pid_ = 0;
  pid_t hub_ = 0;  // who made it: a copy in a forked child does not end the zygote
  descriptor requests_;
  descriptor ended_;

  std::mutex mutex_;  // one request at a time
  std::once_flag ends_made_;
  std::unique_ptr<ended_processes> ends_;
  std::unique_ptr<crash_reporter> reporter_;  // uses ends_
};

/// Forks the calling worker, with its state. As ::fork(), but in the child:
///  - the end of the parent does not end it. When the parent has ended it stays alive if the zygote
///    adopts it, else it exits. That is decided in a handler of SIGHUP, whatever the child is just
///    doing: it may hear of the parent's end by other ways long before the kernel adopts it.
///  - when the zygote ends after that, the kernel kills it.
///  - `on_parents_end`, if given, is called in that handler. SIGNAL: async-signal-safe.
/// REQUIRES: one thread.
[[nodiscard]] pid_t fork_follower(void (*on_parents_end)() noexcept = nullptr) noexcept;

}  // namespace peeper::sandbox
