// SPDX-License-Identifier: Apache-2.0
/// \file
/// `crash_block`: what a dying OS process writes down, in memory that outlives it; and what its
/// worker was doing.
///
/// CRASH: all of it may be nonsense, and is checked when it is read (read_crash.hpp).
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include <peeper/crash_report.hpp>

namespace peeper::sandbox {

/// One for each OS process of a worker or follower. Zeroes are a good one.
struct crash_block {
  static constexpr std::size_t frames_max = 64;

  enum class phase : std::uint32_t {
    nothing,
    told,      ///< all but the frames is there
    complete,  ///< the frames, too. A futex word, woken then
  };

  // --- what the worker was doing: plain stores, by the thread that runs callbacks ---

  /// `number` is not 0. `type`: whatever the reader knows the message's type by.
  void callback_begins(std::uint64_t number, std::uint64_t type) noexcept {
    message_type.store(type, std::memory_order_relaxed);
    // CRASH: before this store there is no callback.
    // ORDER: release, so that a type seen with its number is that number's.
    message_number.store(number, std::memory_order_release);
  }
  void callback_ends() noexcept { message_number.store(0, std::memory_order_release); }

  std::atomic<std::uint64_t> message_number;
  std::atomic<std::uint64_t> message_type;
  std::atomic<std::uint64_t> generation;

  // --- how it died: by the first thread that did ---

  std::atomic<std::int32_t> thread;  ///< who writes the rest; 0: nobody yet
  std::atomic<phase> state;
  std::int32_t signal;
  std::int32_t code;
  std::uint64_t address;
  crash_kind kind;
  std::int32_t system_call;
  std::array<char, 128> exception_type;
  std::array<char, 256> exception_text;
  std::uint32_t frame_count;
  std::array<std::uint64_t, frames_max> frames;  ///< the crash's own, then those of calls
};

}  // namespace peeper::sandbox
