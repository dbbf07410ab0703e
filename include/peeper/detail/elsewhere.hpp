// SPDX-License-Identifier: Apache-2.0
/// \file
/// The two ends of a server whose callbacks run in an OS process of their own, as the core sees
/// them: `worker_process`, in the program, and `program_link`, in that OS process. peeper::sandbox
/// has both.
///
/// THREADS: the claim's holder of the server, where nothing else is said.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <typeinfo>
#include <vector>

#include <peeper/crash_report.hpp>
#include <peeper/exit_reason.hpp>
#include <peeper/pid.hpp>
#include <peeper/time.hpp>

namespace peeper::detail {

class branch;
struct branch_options;
class request;
class runtime_core;
struct message;
template <class Process>
class process_ptr;

/// The program's end: callbacks are sent to the worker's OS process, and what they asked for is
/// done here, in the running execution. A function that throws throws the worker's exit_reason.
class worker_process {
 public:
  worker_process() = default;
  worker_process(const worker_process&) = delete;
  worker_process& operator=(const worker_process&) = delete;
  virtual ~worker_process() = default;

  /// A new worker: init runs. At the first start the OS processes are made.
  virtual void start(bool first) = 0;
  /// The worker object goes; its OS process stays.
  virtual void end_worker() noexcept = 0;
  virtual void handle(message& m) = 0;
  virtual void terminate(const exit_reason& reason) = 0;
  virtual void hibernate() = 0;
  /// The committed state, encoded.
  [[nodiscard]] virtual std::vector<std::byte> state() = 0;
  /// Commits another one.
  virtual void replace_state(std::span<const std::byte> state) = 0;
  /// Its OS process may have died while nothing was asked of it. RETURNS: the reason if so.
  [[nodiscard]] virtual std::optional<exit_reason> look() = 0;
  /// The OS processes are ended: nothing is needed any more.
  virtual void close() noexcept = 0;

  /// The program has a copy of the state, and changes it as the worker does.
  [[nodiscard]] virtual bool keeps_copy() const noexcept = 0;
  /// Why there is nobody left who has the state; empty if there is.
  [[nodiscard]] virtual const std::optional<exit_reason>& lost() const noexcept = 0;
  /// The last crashes; waits for reports that are under way, no longer than `limit`. THREADS: any.
  [[nodiscard]] virtual std::vector<crash_report> crashes(duration limit) const = 0;
  /// The worker's OS process is killed, whatever it is doing. THREADS: any.
  virtual void kill() noexcept = 0;
};

/// What a worker's OS process must know of a server class. A constant.
struct isolated_class {
  /// `set_up`: the arguments of its start, as write_set_up() has written them.
  branch* (*make)(runtime_core& rt, branch_options options, std::span<const std::byte> set_up);
  void (*record_deltas)(branch& b);
  std::span<const std::byte> (*last_delta)(branch& b);
  bool (*apply_delta)(branch& b, std::span<const std::byte> delta);
  std::vector<std::byte> (*encode_state)(branch& b);
  bool (*assign_state)(branch& b, std::span<const std::byte> state);
  /// As part of the running callback: checked by valid(). Throws what that throws, bad_crossing.
  void (*replace_state)(branch& b, std::span<const std::byte> state);
  // in the program, for its listeners
  bool (*listened)(branch& b);
  /// Part of the running callback: what it has changed, or the whole state.
  bool (*follow)(branch& b, std::span<const std::byte> what, bool whole);
  bool (*has_state)(branch& b);
};

/// What `.isolation` names: makes a server's worker_process.
class worker_host {
 public:
  worker_host() = default;
  worker_host(const worker_host&) = delete;
  worker_host& operator=(const worker_host&) = delete;
  virtual ~worker_host() = default;
  [[nodiscard]] virtual std::unique_ptr<worker_process> open(
      branch& server, const isolated_class& of, std::vector<std::byte> set_up) const = 0;
};

/// What a callback in a worker's OS process does with a table of its server, beside changing its
/// rows. It is done in the program, as part of the same callback; then there; then in its follower.
struct table_request {
  enum kind : std::uint8_t { create, rename, set_heir, give_away, drop, worker_died };
  std::uint8_t what = create;
  std::uint64_t table = 0;       ///< its id
  std::uint32_t type = 0;        ///< create: the number of its table_type
  std::string name{};            ///< create, rename
  std::uint8_t access = 0;       ///< create
  std::uint64_t server = 0;      ///< create, set_heir: the heir; give_away: the next owner; a pid
  duration::rep write_wait = 0;  ///< create
};
struct table_answer {
  std::uint64_t table = 0;  ///< create
  bool done = false;
  std::uint8_t error = 0;  ///< a table_errc
  std::string text{};
};

/// The other end: what callbacks in a worker's OS process ask of the program. What is "staged"
/// happens there at the callback's commit.
class program_link {
 public:
  program_link() = default;
  program_link(const program_link&) = delete;
  program_link& operator=(const program_link&) = delete;
  virtual ~program_link() = default;

  [[nodiscard]] virtual std::uint64_t new_id() noexcept = 0;
  /// Takes `m`.
  virtual void stage_timer(std::uint64_t id, pid target, duration after, message* m,
                           duration period) = 0;
  virtual void stage_cancel(std::uint64_t id) = 0;
  virtual void stage_monitor(std::uint64_t id, pid watched) = 0;
  virtual void stage_demonitor(std::uint64_t id) = 0;
  virtual void stage_link(pid other, bool linked) = 0;
  virtual void stage_trap(bool on) = 0;
  virtual void stage_exit(pid target, const exit_reason& reason) = 0;
  /// Waits for the answer. Takes the server's reference to `m`.
  virtual bool call(branch& target, message& m, request& r) = 0;
  /// The running callback has changed its dictionary: see dictionary_change.
  virtual void note_dictionary(std::uint32_t change, std::span<const std::byte> what) = 0;
  [[nodiscard]] virtual table_answer change_table(const table_request& r) = 0;
  /// The program's server of that name, as this OS process knows it: something to send to.
  /// RETURNS: null if there is none. `same_class`: it is of the class asked for.
  [[nodiscard]] virtual process_ptr<branch> find(const std::string& name,
                                                 const std::type_info& server,
                                                 bool& same_class) = 0;
};

/// Null in the program. Set once, in an OS process that has one thread.
inline constinit program_link* the_program = nullptr;

}  // namespace peeper::detail
