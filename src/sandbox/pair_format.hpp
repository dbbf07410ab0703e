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
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include <sys/types.h>

#include <peeper/worker_limits.hpp>

#include "sandbox/crash_block.hpp"
#include "sandbox/death_watch.hpp"
#include "sandbox/ring.hpp"

namespace peeper::sandbox {

struct pair_options {
  ring_options messages;
  ring_options records;
  /// What a callback asks the hub, and its answers: each way a ring of its own.
  ring_options questions{.capacity = 64UL * 1024, .large_bytes = 64UL * 1024 * 1024};
  /// A second OS process that has the state, too, and goes on when the worker dies.
  bool follower = true;
  /// No message is begun before there is a follower, so that another death right after the first
  /// loses nothing: a message that kills may come twice. That makes the pause after a death that of
  /// a fork, which grows with the state: 10 ms for 1 GB. False: the next message is handled at
  /// once, and the follower is made when there is time.
  bool protect_first = true;
  /// So often is a message tried again that its worker died of, before the next one is begun.
  std::uint32_t retries = 0;
  /// A callback that takes longer is killed, and its message is one that the worker died of. Looked
  /// at by process_pair::next().
  duration callback_limit = infinity;
  /// With a callback_limit: so much longer a worker may take that has a message and is in no
  /// callback: it starts, or makes a follower; so much longer may its follower take to be promoted.
  /// Then it has gone mad, whatever it says that it does, and is killed.
  duration grace = std::chrono::seconds{3};
  /// Of worker and follower, each on its own. What replica_factory does is within the limits, and
  /// still has all power: what it has opened stays open.
  worker_limits limits{};
};

/// Types of frames up to this are the user's.
inline constexpr std::uint16_t frame_type_max = 0xFEFF;
/// A record's: for the follower, and, if it wants them, for the hub.
inline constexpr std::uint16_t frame_type_delta = 0xFF01;
/// A message: the worker is to exit.
inline constexpr std::uint16_t frame_type_end = 0xFFFF;

namespace detail {

enum class record_part : std::uint16_t {
  delta = frame_type_delta,  ///< for the follower: what has changed
  done = 0xFF02,             ///< done_part: the end of a record
  promoted = 0xFF03,  ///< promoted_part: the follower has become the worker; a record of its own
  gave_up = 0xFF04,   ///< the worker cannot read what the hub had sent; the last record
};

struct done_part {
  std::uint64_t consumed;  ///< the number of the message; 0: of none (a start)
  ring_place next;         ///< where in the ring of messages the next one is
};
struct promoted_part {
  std::uint32_t process;     ///< its number among the OS processes of the pair
  std::uint32_t generation;  ///< of what it writes from here on
  std::uint64_t next;        ///< the first message that was not consumed
  std::uint64_t skipped;     ///< the same if the worker died of it once too often; or 0
  std::uint64_t began;       ///< the same if the worker had begun it; or 0
};

/// So many OS processes of a pair may be looked at at one time: worker, follower, and one of each
/// that has just died.
inline constexpr std::size_t lives_kept = 4;
/// What a dead one wrote down can be read until so many others have been made.
inline constexpr std::size_t crashes_kept = 16;

/// In shared memory. Everything but the hub's may have been overwritten by a worker gone mad.
struct pair_control {
  // by the hub
  alignas(line) std::atomic<std::uint32_t> over{0};  ///< 1: nobody is to go on any more
  /// It knows who writes this generation. The next one waits for that, so that of those who were
  /// promoted at most one is unknown to the hub.
  std::atomic<std::uint32_t> known_generation{1};

  // by the worker
  alignas(line) std::atomic<std::uint64_t> began{0};  ///< the message that it has begun last
  std::atomic<time_point::rep> began_at{0};           ///< when, if there is a callback_limit
  std::atomic<std::uint64_t> tried{0};                ///< the message that workers have died of
  std::atomic<std::uint32_t> tries{0};                ///< so many
  std::atomic<std::uint32_t> worker{1};               ///< its number
  std::atomic<std::uint32_t> forking{0};              ///< 1: to make a follower; see fork_guard
  // by the follower
  alignas(line) std::atomic<std::uint32_t> ready{0};  ///< its number, once it will go on; else 0
  std::array<std::atomic<pid_t>, lives_kept> pids{};

  std::array<life_line, lives_kept> lives;
  std::array<crash_block, crashes_kept> crashes;
};

}  // namespace detail

/// Fault points of a pair, beside those of its rings. Tests walk them all.
inline constexpr std::array<std::string_view, 10> pair_fault_points{
    "pair.begun",      // the worker has taken a message
    "pair.handled",    // its record is whole, and not published
    "pair.recorded",   // it is published; the message is not released yet
    "pair.forking",    // the worker is about to make a follower
    "pair.forked",     // there is one, which nobody can rely on yet
    "pair.made",       // the follower has begun to run, and holds nothing yet
    "pair.following",  // the follower can be relied on
    "pair.applied",    // the follower has taken over what a record changed
    "pair.promoting",  // the worker is dead, the follower has read its last record
    "pair.promoted",   // it writes the records from here on; the hub has not said go on
};

}  // namespace peeper::sandbox
