// SPDX-License-Identifier: Apache-2.0
/// \file
/// The writing end of a ring. Frames are written unseen; one store makes all of them happen.
///
///     ring_producer out = ring_producer::start(ring, 1);
///     out.append(type, bytes);                  // or reserve(), write in place, commit()
///     out.append(other_type, other_bytes);
///     out.publish();                            // both, or, if we die before: neither
///
/// A frame that is too large for the ring, or for what the group before it has left of it, is laid
/// into the large area beside the ring, and a frame of 48 bytes says where. Large frames could also
/// be cut into parts that the consumer gathers before they are published; then both consumers would
/// have to keep up with an unfinished group, throw away what a dead producer left of it, and need
/// memory for it all the same. This way a frame is one piece, unpublished is invisible, and the
/// limit is a number. The groups of large frames take turns: one waits until the last has been
/// read.
///
/// CRASH: dying anywhere before the store in publish() leaves nothing; anywhere after it, all.
/// take_over() begins at the place where its caller stopped reading.
/// THREADS: one. Everything that matters is kept here; the ring is only written to, except for the
/// consumers' cursors, which are checked.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <optional>
#include <span>

#include <peeper/time.hpp>

#include "sandbox/ring_format.hpp"
#include "sandbox/ring_wait.hpp"

namespace peeper::sandbox {

class ring_producer {
 public:
  /// The first producer of a ring that was just made. `generation`: at least 1.
  [[nodiscard]] static ring_producer start(const ring_memory& ring, std::uint32_t generation);
  /// The next one. Goes on at `from`, overwriting whatever lies there; removes the second consumer
  /// (it is the one that takes over, or is admitted anew) and wakes the first.
  /// REQUIRES: the predecessor is dead; all it has published before `from` has been read by the
  /// caller; `generation` is its generation + 1.
  /// RETURNS: the producer; corrupt_cursor if the first consumer cannot have read what it says.
  [[nodiscard]] static std::expected<ring_producer, ring_error> take_over(const ring_memory& ring,
                                                                          std::uint32_t generation,
                                                                          const ring_place& from);

  ring_producer(ring_producer&&) noexcept = default;
  ring_producer& operator=(ring_producer&&) noexcept = default;
  ring_producer(const ring_producer&) = delete;
  ring_producer& operator=(const ring_producer&) = delete;
  ~ring_producer() = default;

  /// Room for one frame, to be written in place. Not to be read back from: it is shared.
  /// RETURNS: `length` bytes, which are this producer's until commit() or discard(). full: see
  /// wait(); too_large: longer than large_bytes, alone or with the other large frames of its group;
  /// corrupt_cursor. Nothing is changed by an error.
  [[nodiscard]] std::expected<std::span<std::byte>, ring_error> reserve(std::uint16_t type,
                                                                        std::size_t length);
  /// The frame has `length` bytes, at most what was reserved. It is not published yet.
  void commit(std::size_t length);
  /// reserve(), copy, commit(); waits for room until `deadline`, by default not at all.
  [[nodiscard]] std::expected<void, ring_error> append(std::uint16_t type,
                                                       std::span<const std::byte> bytes,
                                                       time_point deadline = time_point::min());
  /// All that was committed since the last time happens now. Does nothing if that is nothing.
  void publish();
  /// All that was reserved or committed since the last publish() is forgotten.
  void discard();

  /// Sleeps until what reserve() last refused has room. RETURNS: false if `deadline` passed first.
  [[nodiscard]] bool wait(time_point deadline);
  /// To sleep on other words, too. RETURNS: what to sleep on, then end_sleep() must be called; or
  /// nothing: there is room now, or an error to be had.
  [[nodiscard]] std::optional<sleep_ticket> prepare_sleep();
  void end_sleep() { sleeper_.end(); }

  /// The second consumer will begin at what is published next. REQUIRES: nothing is unpublished.
  /// RETURNS: where that is, for ring_consumer::attach().
  [[nodiscard]] ring_place admit_second();
  void dismiss_second();

  /// Behind all that is published.
  [[nodiscard]] ring_place place() const noexcept { return {published_, sequence_ - unpublished_}; }
  [[nodiscard]] std::uint32_t generation() const noexcept { return generation_; }
  /// Nobody else has written to where it says what is published. Else consumers may wait for ever.
  [[nodiscard]] bool is_unchanged() const noexcept;

 private:
  ring_producer(const ring_memory& ring, std::uint32_t generation, const ring_place& from);
  [[nodiscard]] std::expected<void, ring_error> make_room(std::uint64_t up_to);
  [[nodiscard]] std::expected<std::span<std::byte>, ring_error> reserve_large(std::size_t length);
  [[nodiscard]] std::expected<std::uint64_t, ring_error> released(std::memory_order order) const;
  [[nodiscard]] bool room_came(std::memory_order order) const;
  void give_back_large();
  void write_skip(std::uint64_t up_to);
  void take_line();

  /// Reserved, not yet committed.
  struct open_frame {
    std::uint64_t position;
    std::uint16_t type;
    detail::frame_kind kind;
    std::span<std::byte> payload;
  };

  ring_memory ring_;
  std::uint32_t generation_;
  std::uint64_t published_;        ///< a position
  std::uint64_t written_;          ///< the position behind what is committed
  std::uint64_t sequence_;         ///< of the next frame
  std::uint64_t unpublished_ = 0;  ///< frames committed since publish()
  std::uint64_t room_until_ = 0;   ///< what lies before it may be overwritten
  std::uint64_t wanted_ = 0;       ///< what reserve() was last refused for: consumers must get here
  std::optional<open_frame> open_;
  std::uint64_t large_used_ = 0;    ///< by the last group that has large frames
  std::uint64_t large_end_ = 0;     ///< where that group ends in the ring; 0: there is none
  bool large_unpublished_ = false;  ///< that group is the one being written
  detail::ring_sleeper sleeper_;
  detail::ring_spin spin_;
  std::array<detail::ring_waker, 2> wakers_;
};

}  // namespace peeper::sandbox
