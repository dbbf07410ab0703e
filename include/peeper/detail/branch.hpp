// SPDX-License-Identifier: Apache-2.0
/// \file
/// `branch`: one server: supervisor, keeper and worker in one cell, and the callback loop
/// (take -> run -> commit -> publish) without types. `server_cell<S>` adds the types.
///
///     starting --init ok--> running --(crash)--> restarting --init ok--> running
///         |                    |                     |    (only while a back-off timer runs)
///         +--init failed--+    +--stop, P7, parent---+
///                         v    v
///                         ended
///
/// Beside that, user messages wait while the server is suspended (sys) or its callback awaits.
///
/// THREADS: what is marked "any thread"; everything else: the claim's holder.
/// CRASH: of a callback, at any point before commit(): nothing of it has happened; after: all of
/// it.
#pragma once

#include <atomic>
#include <coroutine>
#include <cstdint>
#include <expected>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <typeinfo>
#include <vector>

#include <boost/intrusive/list_hook.hpp>

#include <peeper/detail/elsewhere.hpp>
#include <peeper/detail/execution.hpp>
#include <peeper/detail/process.hpp>
#include <peeper/detail/request.hpp>
#include <peeper/error.hpp>
#include <peeper/info.hpp>
#include <peeper/options.hpp>
#include <peeper/poison.hpp>
#include <peeper/statistics.hpp>
#include <peeper/trace.hpp>

namespace peeper::detail {

struct branch_extras;
class companion;
struct mailbox_limit;

/// A coroutine handler that waits for something; its execution waits with it.
struct suspended_callback {
  suspended_callback(branch& self, message* handled, std::uint32_t generation)
      : ex{self, handled, generation} {}
  suspended_callback(const suspended_callback&) = delete;
  suspended_callback& operator=(const suspended_callback&) = delete;
  ~suspended_callback();

  execution ex;
  /// Goes on with the coroutine. RETURNS: true if it has ended. Throws what its body threw.
  std::move_only_function<bool()> resume;
  /// The innermost coroutine, which waits.
  std::coroutine_handle<> leaf;
  /// The number of the await that it waits in; others are stale.
  std::uint64_t await_id = 0;
};

/// A server's place under its supervisor: who is told of its end. Shared by both.
class child_place {
 public:
  child_place() = default;
  child_place(const child_place&) = delete;
  child_place& operator=(const child_place&) = delete;
  virtual void add_ref() noexcept = 0;
  virtual void release() noexcept = 0;
  /// The last thing that an ending server does, with its claim.
  virtual void ended(branch& child, const exit_reason& reason) noexcept = 0;

 protected:
  virtual ~child_place() = default;
};

/// Callbacks run on their callers' threads at most this deep; below, a pool thread takes over.
inline constexpr std::uint32_t inline_depth_max = 16;

class branch : public process, public boost::intrusive::list_base_hook<> {
 public:
  enum class phase : std::uint8_t { starting, running, restarting, ended };

  // --- process
  [[nodiscard]] [[gnu::hot]] bool run(unsigned budget) noexcept override;
  [[nodiscard]] std::uint32_t generation_of(process_role role) const noexcept override;
  [[nodiscard]] std::string display_name() const override;
  bool kill(pid which) noexcept override;

  // --- start
  /// Registers the name, becomes a child of the root, runs the first init. REQUIRES: the creator's
  /// claim. On failure the server has ended.
  [[nodiscard]] std::expected<void, start_error> start();
  /// For one that is not to be started after all: its life ends.
  void never_start() noexcept;
  [[nodiscard]] const branch_options& options() const noexcept { return *options_; }
  [[nodiscard]] const std::shared_ptr<const branch_options>& shared_options() const noexcept {
    return options_;
  }
  /// It is the supervisor's of `place` from its start on, not the root's. REQUIRES: before start().
  void become_child(child_place& place) noexcept {
    place.add_ref();
    place_.store(&place, std::memory_order_relaxed);
  }
  /// Null: a child of the root. Any thread, once it has been started.
  [[nodiscard]] child_place* place() const noexcept {
    // ORDER: relaxed: set once, before the server is known to anybody.
    return place_.load(std::memory_order_relaxed);
  }

  // --- its end; any thread
  /// Ends it here, if nobody runs it and it has no terminate to run. REQUIRES: a reference.
  /// RETURNS: false if it goes on.
  [[nodiscard]] bool try_end_here(bool brutally) noexcept;
  /// For one that does not come back from its callback: it can commit nothing more (P5), its name
  /// is free, and it ends when it comes back.
  void abandon() noexcept;
  /// See peeper::crash_history. Any thread.
  [[nodiscard]] std::vector<crash_report> crash_history(duration limit) const;
  /// Its end is over: nobody finds it, watchers have been told, what it had is let go. A request
  /// that its end drops is answered earlier, and closed() is true earlier.
  [[nodiscard]] bool gone() const noexcept {
    // ORDER: acquire pairs with end(): what comes next finds nothing of it.
    return gone_.load(std::memory_order_acquire);
  }

  // --- the client's side; any thread
  /// Sends, or stages inside a callback, a message that nobody waits for. Takes it. A full mailbox
  /// is met as options().mailbox says.
  [[gnu::hot]] [[nodiscard]] std::expected<void, cast_error> send(message* m) noexcept;
  /// Sends a call (the server's reference goes along) and waits until m->deadline. `r` is part of
  /// `m`. May run it on this thread.
  /// RETURNS: true if `r` is done; false if the deadline passed first.
  /// `patient`: the time-out is long enough for the caller's thread to run the callback.
  [[gnu::hot]] [[nodiscard]] bool call(message& m, request& r, bool patient) noexcept;
  /// Sends or stages a call whose answer is fetched later.
  void ask(message& m) noexcept;
  /// Waits for an answer that this server owes, letting go what is staged up to `asked`.
  enum class wait_outcome : std::uint8_t { done, timed_out, cycle };
  [[nodiscard]] wait_outcome wait(request& r, const message* asked, time_point deadline) noexcept;
  /// The first half of a wait: notes it and looks for a cycle. RETURNS: timed_out if all is well.
  [[nodiscard]] wait_outcome prepare_await(const request& r) noexcept;
  /// What is staged for this server, up to `asked`, leaves now. Comes after the waiter is attached:
  /// the server may answer at once and call the one that waits.
  void let_go(const message* asked) noexcept;
  void end_await() noexcept;
  /// "a -> b -> a": how this server's waiting comes back to the server that runs here.
  [[nodiscard]] std::string cycle_with_current() const;
  /// A message that took a place in this limited mailbox leaves it, or will never get there.
  void give_place_back(message& m) noexcept;
  /// Pushes a library message at once, also from inside a callback. Takes it.
  /// RETURNS: false (it has been released) if the server has ended.
  bool push_or_release(message* m) noexcept;
  /// An info from the library or by pid. Any thread; drops it if the server has ended.
  virtual void deliver(const down& info) noexcept = 0;
  virtual void deliver(const exit_signal& info) noexcept = 0;
  virtual void deliver(any_message info) noexcept = 0;
  [[nodiscard]] virtual const std::type_info& server_type() const noexcept = 0;
  [[nodiscard]] pid server_pid() const noexcept {
    return {slot_, process_role::server, first_generation_};
  }

  // --- monitors and links; any thread
  void watch(std::uint64_t monitor_id, pid watched, branch& watcher) noexcept;
  void unwatch(std::uint64_t monitor_id) noexcept;
  void start_watching(std::uint64_t monitor_id, pid watched);
  /// RETURNS: what it watched; nothing if the monitor was over (its DOWN is stale then).
  [[nodiscard]] std::optional<pid> stop_watching(std::uint64_t monitor_id) noexcept;
  static void link(branch& a, branch& b) noexcept;
  static void unlink(branch& a, branch& b) noexcept;
  void remove_link(pid other) noexcept;

  // --- for the typed layer, inside a callback
  void unexpected_info(std::string_view type) noexcept;
  /// Any thread: an info could not be made for this server (its copy threw): logged, dropped.
  void lost_info(std::string_view type) const noexcept;
  /// The state is about to be lent for writing: a crash must roll it back.
  static void lend_state() noexcept { current_execution()->mutating = true; }
  [[nodiscard]] bool told_oversized() const noexcept { return told_oversized_; }
  void tell_oversized(std::string_view field, std::size_t bytes, std::string_view instead) noexcept;
  /// REQUIRES: a coroutine handler is being made or runs.
  [[nodiscard]] suspended_callback& suspended() noexcept { return *awaiting_; }
  void resume_suspended(std::uint64_t await_id) noexcept;

  // --- system messages, with the claim
  void system_suspend() noexcept;
  void system_resume() noexcept;
  void system_stop(const exit_reason& reason) noexcept;
  void system_exit_signal(pid from, const exit_reason& reason) noexcept;
  void system_shutdown() noexcept;
  void system_killed(pid which) noexcept;
  void system_restart_now() noexcept;
  void system_timeout_tick() noexcept;
  void system_worker_failed(std::uint32_t generation, const exit_reason& reason) noexcept;
  void system_look_at_worker() noexcept;
  [[nodiscard]] statistics system_statistics() const noexcept;
  /// All but the state's text.
  [[nodiscard]] peeper::status system_status() const;
  [[nodiscard]] std::vector<poison_info> system_poison() const;
  [[nodiscard]] bool system_replay(std::uint64_t id);
  [[nodiscard]] bool system_discard(std::uint64_t id) noexcept;
  void system_trace(trace_sink sink);
  /// Runs `body` as a callback of its own: committed if it returns, rolled back if it throws.
  [[nodiscard]] std::expected<void, exit_reason> system_edit(
      const std::function<void()>& body) noexcept;
  void trap_exits(bool on) noexcept { traps_exits_ = on; }
  [[nodiscard]] bool traps_exits() const noexcept { return traps_exits_; }
  [[nodiscard]] std::uint64_t restarts() const noexcept { return restarts_; }
  /// Of the worker before this one; normal if there was none.
  [[nodiscard]] exit_reason last_crash() const noexcept;
  [[nodiscard]] bool worker_lives() const noexcept { return phase_ == phase::running; }
  [[nodiscard]] branch_extras& more();
  /// Where its callbacks run, if not here; else null.
  [[nodiscard]] worker_process* elsewhere() const noexcept { return elsewhere_.get(); }
  /// A fault point where exceptions cannot leave: the simulation may kill the worker there.
  [[gnu::cold]] void reached(std::string_view point) noexcept;

  // --- what lives beside the state, see companion.hpp
  /// `c` commits or rolls back with the running callback. Throws std::bad_alloc: nothing is done.
  void enlist(companion& c);
  /// `c` hears of the ends of this server's workers and of its own, and lives until then.
  void attach(std::shared_ptr<companion> c);
  /// Owned again by nobody else. REQUIRES: it is not enlisted.
  void detach(const companion& c) noexcept;
  /// The one among them that its listeners hang on; null if it never had one.
  [[nodiscard]] companion* listeners() const noexcept;
  void set_listeners(std::shared_ptr<companion> hub);
  [[nodiscard]] std::uint64_t start_order() const noexcept { return start_order_; }
  void mark_timers_used() noexcept {
    // ORDER: relaxed: whoever starts a timer for a server that ends meanwhile finds it closed.
    has_timers_.store(true, std::memory_order_relaxed);
  }

 protected:
  branch(runtime_core& rt, std::shared_ptr<const branch_options> options);
  ~branch() override;

  // --- what the typed layer knows how to do
  /// Makes the worker and runs init. Sets next. On the first start takes the state that init made.
  virtual void worker_start(bool first) = 0;
  virtual void worker_destroy() noexcept = 0;
  virtual void worker_terminate(const exit_reason& reason) = 0;
  virtual void state_begin() = 0;
  virtual void state_prepare() = 0;
  virtual void state_commit() noexcept = 0;
  virtual void state_rollback() noexcept = 0;
  virtual void state_destroy() noexcept = 0;
  virtual void worker_hibernate() = 0;
  [[nodiscard]] virtual message* make_timeout_message() = 0;
  [[gnu::cold]] void end(const exit_reason& reason) noexcept;
  /// The first thing that an ending server does.
  virtual void before_end(const exit_reason& /*reason*/) noexcept {}

  /// REQUIRES: nobody knows it yet.
  void run_elsewhere(std::unique_ptr<worker_process> where) noexcept {
    elsewhere_ = std::move(where);
  }

  [[nodiscard]] bool listened() const noexcept { return listened_; }
  void listened(bool on) noexcept { listened_ = on; }

 private:
  friend class runtime_core;
  friend struct elsewhere_access;

  // --- the loop
  [[nodiscard]] bool blocked() const noexcept {
    return suspended_ || phase_ != phase::running || awaiting_ != nullptr;
  }
  [[gnu::hot]] [[nodiscard]] message* next_message() noexcept;
  /// It need not wait behind anything. REQUIRES: the claim.
  [[gnu::hot]] [[nodiscard]] bool its_turn(const message& m) const noexcept;
  /// REQUIRES: a reference of the caller's own: *this may end and go.
  [[gnu::hot]] void give_claim_back() noexcept;
  /// Where the callback runs: on a thread of the pool, or on that of the call's caller, who waits
  /// for nothing else and has come with a deadline that is not over.
  enum class runs_on : std::uint8_t { pool, caller };
  [[gnu::hot]] void handle(message* m, runs_on where) noexcept;
  [[gnu::hot]] void run_callback(message* m, runs_on where) noexcept;
  void run_coroutine(message* m) noexcept;
  void continue_coroutine(const std::function<bool()>& step) noexcept;
  [[gnu::hot]] void finish_callback(execution& ex, message* m, runs_on where) noexcept;
  [[gnu::cold]] void finish_stopping(execution& ex, message* m) noexcept;
  [[gnu::cold]] void crashed(execution* ex, message* m, const exit_reason& reason,
                             bool terminate) noexcept;
  void apply_next(next_step& next) noexcept;
  [[gnu::cold]] [[nodiscard]] bool set_aside(message* m, const exit_reason& reason) noexcept;
  [[gnu::cold]] void run_terminate(const exit_reason& reason) noexcept;
  [[gnu::cold]] [[nodiscard]] bool count_restart(const exit_reason& reason) noexcept;
  [[gnu::cold]] void restart(exit_reason reason) noexcept;
  /// RETURNS: nothing, or why init failed.
  [[nodiscard]] std::expected<void, exit_reason> run_init(bool first) noexcept;
  [[gnu::cold]] void worker_died(const exit_reason& reason) noexcept;
  void destroy_worker() noexcept;
  static void destroy_coroutine(suspended_callback& over) noexcept;
  [[gnu::cold]] void drop(message* m, const exit_reason& reason) noexcept;
  void release_name() noexcept;
  void commit_companions() noexcept;
  void rollback_companions() noexcept;
  [[gnu::cold]] void cut_off(const exit_reason& reason) noexcept;
  void notify_watchers(pid dead, const exit_reason& reason) noexcept;
  void notify_links(const exit_reason& reason) noexcept;
  void arm_timeout(duration after) noexcept;
  void arm_tick(time_point at) noexcept;
  [[gnu::cold]] void log_crash(const message* m, const exit_reason& reason) noexcept;
  void kill_worker(const exit_reason& reason, bool terminate = false) noexcept;
  void run_timeout() noexcept;
  void run_hibernate() noexcept;
  [[gnu::cold]] void trace(trace_point point, const message* m) noexcept;
  enum class place_error : std::uint8_t { full, dropped, gone };
  [[nodiscard]] std::expected<void, place_error> reserve_place(time_point deadline,
                                                               message& m) noexcept;
  [[nodiscard]] bool find_cycle(const branch& caller, std::string& path) const noexcept;
  [[nodiscard]] int cycle_length(std::uint64_t end) const noexcept;
  void describe_cycle(const branch& caller, std::string& path) const noexcept;

  // The members of `process` say what comes first and why.
  // constant after construction
  std::shared_ptr<const branch_options> options_;
  std::unique_ptr<mailbox_limit> limit_;
  std::unique_ptr<worker_process> elsewhere_;
  std::atomic<child_place*> place_{nullptr};  ///< owned

  // any thread
  std::atomic<std::uint32_t> supervisor_generation_;
  std::atomic<std::uint32_t> keeper_generation_;
  std::atomic<std::uint32_t> worker_generation_;  ///< P5: the only worker that may commit
  std::atomic<std::uint64_t> waits_for_{0};       ///< server pid that a callback of ours waits for
  std::atomic<bool> has_timers_{false};
  std::atomic<bool> has_name_{false};  ///< given back once, by the end or a late init
  std::atomic<bool> gone_{false};      ///< its end is over

  // owned by the claim's holder
  std::uint32_t running_generation_ = 0;  ///< of the worker object that exists
  phase phase_ = phase::starting;
  bool suspended_ = false;
  bool traps_exits_ = false;
  bool timeout_when_empty_ = false;
  bool traced_ = false;
  bool told_oversized_ = false;
  bool listened_ = false;     ///< state_commit() goes through listeners()
  const bool hibernates_;     ///< some time after a callback
  const bool run_on_caller_;  ///< as the options say; here, where a call looks anyway
  std::uint32_t crashes_ = 0;
  std::uint32_t restarts_ = 0;
  std::uint32_t unexpected_ = 0;
  std::uint32_t expired_ = 0;
  std::uint64_t handled_ = 0;
  std::uint64_t start_order_ = 0;
  message* continuation_ = nullptr;
  time_point timeout_at_ = time_point::max();
  std::unique_ptr<suspended_callback> awaiting_;
  std::unique_ptr<branch_extras> more_;
};

/// The server that runs on this thread; null on a foreign thread.
[[nodiscard]] inline branch* current_branch() noexcept {
  const execution* e = current_execution();
  return e == nullptr ? nullptr : e->self;
}

[[nodiscard]] environment& env_of(const branch& b) noexcept;
/// `limit` from now; cheap (a coarse clock) where a millisecond does not matter. Null: now.
[[nodiscard]] time_point deadline_for(const branch* target, duration limit) noexcept;
/// How long a call without a time-out of its own waits: OTP's 5 s, or what is left of the request
/// that the running callback handles.
struct default_limit {
  [[gnu::hot]] explicit default_limit(const branch* target) noexcept;
  time_point deadline = time_point::max();
  bool patient = true;  ///< there is time enough for the callback to run on the caller's thread
};
/// Callers with less time than this must be able to leave: no callback runs on their thread.
inline constexpr duration patience_min = std::chrono::seconds{1};

}  // namespace peeper::detail
