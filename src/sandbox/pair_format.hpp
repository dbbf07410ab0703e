// SPDX-License-Identifier: Apache-2.0
/// \file
/// What hub, worker and follower of a process pair share beside their two rings.
///
///     hub ──messages──► worker ──records──► hub
///                          │        └─────► follower
///                          └── fork ──────► follower
///
/// A *record* is all frames of one publish(): what the hub is to do (frames of the user's types),
/// what has changed in the state (`delta`), and at its end `done`, which names the message that was
/// consumed. So the record is the commit: whoever has read it knows what has happened, and with
/// which message to go on.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include <sys/types.h>

#include "sandbox/death_watch.hpp"
#include "sandbox/ring.hpp"

namespace peeper::sandbox {

struct pair_options {
  ring_options messages;
  ring_options records;
  /// A second OS process that has the state, too, and goes on when the worker dies.
  bool follower = true;
};

/// Types of frames up to this are the user's.
inline constexpr std::uint16_t frame_type_max = 0xFEFF;

namespace detail {

enum class record_part : std::uint16_t {
  delta = 0xFF01,     ///< for the follower: what has changed
  done = 0xFF02,      ///< done_part: the end of a record
  promoted = 0xFF03,  ///< promoted_part: the follower has become the worker; a record of its own
};

struct done_part {
  std::uint64_t consumed;  ///< the number of the message; 0: of none (a start)
  ring_place next;         ///< where in the ring of messages the next one is
};
struct promoted_part {
  std::uint32_t process;     ///< its number among the OS processes of the pair
  std::uint32_t generation;  ///< of what it writes from here on
  std::uint64_t next;        ///< the first message that it has not consumed
};

/// So many OS processes of a pair may be looked at at one time: worker, follower, and one of each
/// that has just died.
inline constexpr std::size_t lives_kept = 4;

/// In shared memory. Everything but `ordered_*` may have been overwritten by a worker gone mad.
struct pair_control {
  // by the hub
  alignas(line) std::atomic<std::uint32_t> ordered_generation{0};  ///< that one may go on
  std::atomic<std::uint64_t> ordered_skip{0};  ///< messages before this number are over
  std::atomic<std::uint32_t> over{0};          ///< 1: nobody is to go on any more

  // by the worker
  alignas(line) std::atomic<std::uint64_t> began{0};  ///< the message that it has begun last
  // by the follower
  alignas(line) std::atomic<std::uint32_t> ready{0};  ///< its number, once it will go on; else 0
  std::array<std::atomic<pid_t>, lives_kept> pids{};

  std::array<life_line, lives_kept> lives;
};

}  // namespace detail

/// Fault points of a pair, beside those of its rings. Tests walk them all.
inline constexpr std::array<std::string_view, 9> pair_fault_points{
    "pair.begun",      // the worker has taken a message
    "pair.handled",    // its record is whole, and not published
    "pair.recorded",   // it is published; the message is not released yet
    "pair.forking",    // the worker is about to make a follower
    "pair.forked",     // there is one, which nobody can rely on yet
    "pair.following",  // the follower can be relied on
    "pair.applied",    // the follower has taken over what a record changed
    "pair.promoting",  // the worker is dead, the follower has read its last record
    "pair.promoted",   // it writes the records from here on; the hub has not said go on
};

}  // namespace peeper::sandbox
