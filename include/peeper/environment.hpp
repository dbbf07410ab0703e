// SPDX-License-Identifier: Apache-2.0
/// \file
/// `environment`: the one seam to the world. All time, randomness, threads, waiting and files of
/// the library go through it, so that the same code runs on a machine and in a seeded simulation.
///
/// THREADS: every function may be called by any thread.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <system_error>

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

  /// A file that is read, or written, from its beginning on. Closed by its destructor.
  class file {
   public:
    file() = default;
    file(const file&) = delete;
    file& operator=(const file&) = delete;
    virtual ~file() = default;
    /// RETURNS: how many bytes were read: fewer than asked for only at the end.
    [[nodiscard]] virtual std::expected<std::size_t, std::error_code> read(
        std::span<std::byte> into) = 0;
    /// All of them, or an error.
    [[nodiscard]] virtual std::error_code write(std::span<const std::byte> bytes) = 0;
    /// What was written outlives the end of the machine.
    [[nodiscard]] virtual std::error_code sync() = 0;
  };
  enum class file_use : std::uint8_t { read, write };  ///< write: made anew, or emptied

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
  /// Files. Those of the machine, also under simulation, unless an environment says otherwise.
  [[nodiscard]] virtual std::expected<std::unique_ptr<file>, std::error_code> open_file(
      const std::string& path, file_use use);
  /// At one moment, also for who looks after a crash of the machine.
  [[nodiscard]] virtual std::error_code rename_file(const std::string& from, const std::string& to);
  virtual void remove_file(const std::string& path) noexcept;
  /// True under simulation: there are no pool threads, the simulation runs what is runnable.
  [[nodiscard]] virtual bool simulated() const noexcept { return false; }
  /// A named point of the library or of the user's code has been reached. The simulation may
  /// throw from here (`may_throw`) or kill the running worker.
  virtual void reached(std::string_view /*point*/, bool /*may_throw*/) {}
};

/// The machine: steady_clock, futexes, std::thread. One object, never destroyed.
[[nodiscard]] environment& real_environment() noexcept;

}  // namespace peeper
