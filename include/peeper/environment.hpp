// SPDX-License-Identifier: Apache-2.0
/// \file
/// `environment`: the one seam to the world. All time, randomness, threads and waiting of the
/// library go through it, so that the same code runs on a machine and in a seeded simulation.
///
/// THREADS: every function may be called by any thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>

#include <peeper/time.hpp>

namespace peeper {

/// What a thread sleeps on. One token: unpark() leaves it, park() takes it.
/// INVARIANT: address-only use after the token is set, so that a parker on a stack may go as soon
/// as its owner has seen the token.
struct parker {
  std::atomic<std::uint32_t> token{0};
};

class environment {
 public:
  environment() = default;
  environment(const environment&) = delete;
  environment& operator=(const environment&) = delete;
  virtual ~environment() = default;

  /// A thread of the runtime; the destructor joins.
  class thread {
   public:
    thread() = default;
    thread(const thread&) = delete;
    thread& operator=(const thread&) = delete;
    virtual ~thread() = default;
  };

  [[nodiscard]] virtual time_point now() noexcept = 0;
  /// As now(), but may lag by some milliseconds; costs a few nanoseconds.
  [[nodiscard]] virtual time_point coarse_now() noexcept = 0;
  /// Any of 2^64 numbers; not for secrets.
  [[nodiscard]] virtual std::uint64_t random() noexcept = 0;
  /// What runtime_options::threads = 0 means: at least 1.
  [[nodiscard]] virtual unsigned default_threads() noexcept = 0;
  /// Throws std::system_error if there can be no more threads. `name`: for debuggers.
  [[nodiscard]] virtual std::unique_ptr<thread> start_thread(
      std::string_view name, std::move_only_function<void()> body) = 0;
  /// Waits for the token and takes it. RETURNS: false if `deadline` passed first.
  virtual bool park(parker& self, time_point deadline) noexcept = 0;
  /// Leaves the token: the park() that waits, or else the next one, returns.
  virtual void unpark(parker& other) noexcept = 0;
  /// How often to look before sleeping; 0 where spinning cannot help (one core, simulation).
  [[nodiscard]] virtual unsigned spin_limit() noexcept = 0;
  /// True under simulation: there are no pool threads, the simulation runs what is runnable.
  [[nodiscard]] virtual bool simulated() const noexcept { return false; }
  /// A named point of the library or of the user's code has been reached. The simulation may
  /// throw from here (`may_throw`) or kill the running worker.
  virtual void reached(std::string_view /*point*/, bool /*may_throw*/) {}
};

/// The machine: steady_clock, futexes, std::thread. One object, never destroyed.
[[nodiscard]] environment& real_environment() noexcept;

}  // namespace peeper
