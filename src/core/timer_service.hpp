// SPDX-License-Identifier: Apache-2.0
/// \file
/// Timers: a hierarchical wheel (8 levels of 64 slots, ticks of one millisecond), driven by a
/// thread of its own, or by the simulation's clock.
///
/// A timer owns a message; when it is due the message goes to its process's mailbox.
/// THREADS: any; one mutex, never held while a message is delivered.
/// COMPLEXITY: start, cancel O(1); expiry O(due + 8).
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <mutex>

#include <boost/intrusive/list.hpp>

#include <peeper/detail/process.hpp>
#include <peeper/environment.hpp>

namespace peeper::detail {

class timer_service;

/// One timer. Owned by the service while it is pending.
struct timer : boost::intrusive::list_base_hook<> {
  std::uint64_t id = 0;
  time_point at;
  process_ptr<process> target;
  message* payload = nullptr;  // owned
  duration period{0};          // > 0: sends a copy and starts again
  message* (*copy)(message& original) = nullptr;
  timer* owner_next = nullptr;   ///< the other timers of `target`
  timer** owner_link = nullptr;  ///< what points to this one in that list
  std::uint8_t level = 0;
  std::uint8_t slot = 0;
};

class timer_service {
 public:
  explicit timer_service(environment& env);
  timer_service(const timer_service&) = delete;
  timer_service& operator=(const timer_service&) = delete;
  ~timer_service();

  /// Not before this is called do timers fire (simulation: never called).
  void start_thread();
  void stop_thread() noexcept;

  /// A number for a timer that will be started with it (ids can be told before the commit).
  [[nodiscard]] std::uint64_t new_id() noexcept;
  /// Takes `payload`. With `copy`, fires every `period` from `at` on, each time with what `copy`
  /// makes of it (under our mutex: it must be the library's own code).
  void start(std::uint64_t id, process& target, time_point at, message* payload,
             duration period = duration::zero(), message* (*copy)(message&) = nullptr);
  /// RETURNS: true if it was pending: it will not fire.
  bool cancel(std::uint64_t id) noexcept;
  /// The process has ended: none of its timers fires. O(its timers).
  void cancel_all(process& target) noexcept;
  /// When the next timer may be due (may be early, never late); max if there is none.
  [[nodiscard]] time_point next() const noexcept;
  /// Delivers all that is due at `now`. RETURNS: how many.
  std::size_t expire(time_point now) noexcept;
  [[nodiscard]] std::size_t pending() const noexcept;

 private:
  struct state;
  void thread_main() noexcept;
  environment& env_;
  std::unique_ptr<state> state_;
};

}  // namespace peeper::detail
