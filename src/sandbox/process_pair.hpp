// SPDX-License-Identifier: Apache-2.0
/// \file
/// `process_pair`: the hub's end of a worker OS process and its follower.
///
///     auto pair = process_pair::start(options, &make_my_replica, argument).value();
///     pair->send(type, bytes);                      // message 1
///     for (;;) {
///       const auto e = pair->next(deadline);
///       if (e.what == pair_event::kind::part) ...     // what the replica appended
///       if (e.what == pair_event::kind::done) ...     // message e.number is handled: P1
///       if (e.what == pair_event::kind::crashed) ...  // of message e.began; e.skipped: it is gone
///     }
///
/// Messages are numbered from 1 on. Each is either handled, once, and its record is read here; or
/// workers died of it, once more often than pair_options::retries. All others wait in the ring, and
/// are handled by the next worker, in order.
///
/// CRASH: the worker or the follower may die at any instruction; both at once ends the pair (lost).
/// THREADS: one at a time.
#pragma once

#include <atomic>
#include <cstdint>
#include <expected>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <peeper/crash_report.hpp>
#include <peeper/exit_reason.hpp>

#include "sandbox/death_log.hpp"
#include "sandbox/fork_guard.hpp"
#include "sandbox/pair_member.hpp"

namespace peeper::sandbox {

struct pair_event {
  enum class kind : std::uint8_t {
    question,   ///< `type` and `bytes`: in the middle of a callback; see answer()
    part,       ///< `type` and `bytes`: of the record that is being read
    done,       ///< the record is complete; `number`: the message handled, 0 at a start
    crashed,    ///< the worker is dead; its follower is promoted and goes on
    lost,       ///< nobody is left who has the state; or what they wrote is not to be believed
    timed_out,  ///< the deadline has passed
  };
  kind what = kind::timed_out;
  std::uint16_t type = 0;
  std::span<const std::byte> bytes;  ///< until the next call
  std::uint64_t number = 0;
  /// crashed, lost: the message that the worker had begun and not finished; 0: it had none.
  std::uint64_t began = 0;
  bool skipped = false;  ///< that message will not be tried again: it is over (P3)
  bool hung = false;     ///< it took longer than pair_options::callback_limit
  std::string why;       ///< lost
};

class process_pair {
 public:
  /// Forks the worker, from the program's zygote. RETURNS: the pair, whose first record is that of
  /// replica::start(); or why there is none. `make`: of code that was loaded before the zygote.
  [[nodiscard]] static std::expected<std::unique_ptr<process_pair>, std::string> start(
      const pair_options& options, replica_factory make, std::span<const std::byte> argument = {});
  process_pair(const process_pair&) = delete;
  process_pair& operator=(const process_pair&) = delete;
  /// Ends its OS processes.
  ~process_pair();

  /// RETURNS: the message's number; full: read records first, or wait; too_large.
  [[nodiscard]] std::expected<std::uint64_t, ring_error> send(std::uint16_t type,
                                                              std::span<const std::byte> message);
  [[nodiscard]] pair_event next(time_point deadline);
  /// From now on next() gives what the replica appends for the follower, too: parts of the type
  /// frame_type_delta. Default: not.
  void want_deltas(bool on) noexcept { deltas_wanted_ = on; }
  /// To the last question. RETURNS: too_large: nothing was answered. REQUIRES: next() gave it, and
  /// has not been called since.
  [[nodiscard]] std::expected<void, ring_error> answer(std::span<const std::byte> bytes);
  /// Why the worker that died last did. Whoever crashed has said so before, and that it was hung,
  /// or killed by kill_worker(), is known here: then this returns at once. Else the kernel has to
  /// say how it ended, after it has torn down its memory: waits for that, no longer than `until`.
  /// RETURNS: also after lost; signalled, "not known yet", where nobody has said anything.
  [[nodiscard]] exit_reason last_reason(time_point until = time_point::min()) {
    return deaths_.last_reason(until);
  }
  /// The same with all that is known; waits for the backtrace, too. Looks for symbols: not on a hot
  /// path.
  [[nodiscard]] crash_report last_crash(std::string_view server,
                                        time_point until = time_point::min()) {
    return deaths_.last_crash(server, until);
  }
  /// Of the workers that died, the last death_log::kept ones, in that order. Does not wait.
  [[nodiscard]] std::vector<crash_report> crashes(std::string_view server) {
    return deaths_.all(server);
  }
  /// Those since the last call. Who keeps one keeps what the worker may still write down of it.
  [[nodiscard]] std::vector<std::shared_ptr<worker_death>> take_deaths() {
    return deaths_.take_new();
  }
  /// Ends it: what its worker wrote is not to be believed. next() is `lost` from now on.
  void distrust(std::string why) { static_cast<void>(lost(std::move(why))); }
  /// SIGKILL; heard of as of any other death.
  /// THREADS: any.
  /// RETURNS: false if it is dead already, or nothing is known of it that can be believed.
  bool kill_worker() noexcept;

  /// The worker is dead, and its follower not at work yet.
  [[nodiscard]] bool is_failing_over() const noexcept { return phase_ == phase::promoting; }
  /// Both have the state. Any thread.
  [[nodiscard]] bool is_protected() const noexcept;
  /// The worker's pidfd, the caller's own; -1 if there is none.
  [[nodiscard]] descriptor worker_descriptor() const noexcept;
  [[nodiscard]] pid_t worker() const noexcept { return worker_pid_; }
  /// 0 if there is none, or none yet.
  [[nodiscard]] pid_t follower() const noexcept;

 private:
  process_pair(shared_memory memory, const pair_options& options, ended_processes& ends);
  [[nodiscard]] std::optional<pair_event> read_part();
  [[nodiscard]] std::optional<pair_event> read_question();
  void renew_questions();
  [[nodiscard]] pair_event read_promoted(const ring_frame& frame);
  [[nodiscard]] bool begin_failover();
  [[nodiscard]] bool has_under_way() const noexcept {
    return consumed_ + 1 < messages_.place().sequence;
  }
  bool signal_worker() noexcept;
  void note_death(std::string why = {});
  void check_for_hang();
  void tell_known_generation() const noexcept;
  void end_all() noexcept;
  [[nodiscard]] pair_event lost(std::string why);
  void watch(std::uint32_t number, pid_t pid, descriptor pidfd);
  /// One that has told its number itself, in memory that a worker gone mad may have overwritten: by
  /// its pidfd only if it came of our zygote.
  void watch(std::uint32_t number);
  [[nodiscard]] bool is_ours(pid_t pid) const noexcept;
  [[nodiscard]] std::uint32_t successor() const noexcept;

  std::shared_ptr<const shared_memory> shared_;  ///< with deaths whose report is written there
  pair_memory memory_;
  ring_producer messages_;
  ring_consumer records_;
  pair_options options_;
  std::optional<ring_consumer> questions_;  ///< of the worker that we know
  std::optional<ring_producer> answers_;
  std::uint32_t generation_ = 1;
  std::uint64_t consumed_ = 0;  ///< the last message whose record has been read
  bool deltas_wanted_ = false;
  duration callback_limit_;
  duration grace_;
  time_point look_for_hang_at_ = time_point::min();
  std::uint64_t waits_for_ = 0;       ///< check_for_hang() has seen this message not done
  time_point waits_since_;            ///< first then
  time_point promoted_until_;         ///< else the follower is not to be believed
  std::optional<duration> hung_for_;  ///< that is why we have killed the worker
  std::atomic<bool> killed_{false};   ///< by kill_worker(). ORDER: seq_cst: the signal is slower

  // the one we wait for: the worker, or, after its death, its follower
  enum class phase : std::uint8_t { working, promoting, over } phase_ = phase::working;
  std::uint32_t number_ = 0;
  pid_t worker_pid_ = 0;
  std::mutex kill_mutex_;  ///< guards pidfd_ against kill_worker() by another thread
  descriptor pidfd_;
  std::optional<death_watch> watch_;
  std::string why_lost_;

  ended_processes* ends_;
  /// Marks of it: the worker was forked after the first one, its follower after the second one.
  std::uint64_t worker_since_ = 0;
  std::uint64_t follower_since_;
  death_log deaths_;
  std::unique_ptr<fork_guard> guard_;  ///< with less power and a follower
  bool less_power_;
  bool has_follower_;
};

}  // namespace peeper::sandbox
