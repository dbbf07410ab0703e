// SPDX-License-Identifier: Apache-2.0
/// \file
/// A reading end of a ring.
///
///     auto in = ring_consumer::attach(ring, ring_consumer_id::first, {.generation = 1});
///     for (;;) {
///       const auto next = in.read();
///       if (!next) return next.error();          // the producer's memory is not to be believed
///       if (!*next) { in.wait(deadline); continue; }
///       handle(**next);
///       in.release();                            // what was read may be overwritten
///     }
///
/// Every frame is checked before it is handed out: where it lies, how long it is, that it is the
/// next one, of which generation, and its checksum. What is handed out does not change any more
/// unless `in_place` was asked for.
///
/// CRASH: who dies has read what its place() said, wherever that was kept; its successor is
/// attached there. What was released is gone, so release only what need not be read again.
/// THREADS: one. The cursor is kept here; the ring has a copy for the producer.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <memory>
#include <optional>
#include <span>

#include <peeper/time.hpp>

#include "sandbox/ring_format.hpp"
#include "sandbox/ring_wait.hpp"

namespace peeper::sandbox {

struct ring_frame {
  std::uint64_t sequence = 0;
  std::uint32_t generation = 0;
  std::uint16_t type = 0;
  std::span<const std::byte> payload;  ///< until the next read(), or release() where in place
};

struct ring_consumer_options {
  /// The producer's, when this consumer is attached.
  std::uint32_t generation = 1;
  /// Where to begin: a predecessor's place(), or what admit_second() said.
  ring_place from = {};
  /// Payloads are not copied before they are checked. Only where the producer is trusted: it could
  /// change them afterwards.
  bool in_place = false;
};

class ring_consumer {
 public:
  /// REQUIRES: a predecessor with the same id is dead and has released nothing behind `from`; the
  /// second has been admitted.
  [[nodiscard]] static ring_consumer attach(const ring_memory& ring, ring_consumer_id id,
                                            ring_consumer_options options);

  /// RETURNS: the next published frame; nothing, if there is none; or what is wrong with it. After
  /// an error the same is returned again.
  [[nodiscard]] std::expected<std::optional<ring_frame>, ring_error> read();
  /// All that was read may be overwritten. The producer is told at the latest when an eighth of the
  /// ring is free to be told, or nothing is left to read: cheap enough to call after each frame.
  void release() {
    releasable_ = place_.position;
    unreleased_ = 0;
    if (releasable_ - told_ >= tell_at_ || large_read_) [[unlikely]]
      tell();
  }

  /// Sleeps until read() has something. RETURNS: false if `deadline` passed first.
  [[nodiscard]] bool wait(time_point deadline);
  /// Spins for as long as that is worth it. RETURNS: whether read() has something now, or an error.
  [[nodiscard]] bool look_awhile() {
    return spin_.until([this] { return came(); });
  }
  /// To sleep on other words, too. RETURNS: what to sleep on, then end_sleep() must be called; or
  /// nothing: read() has something now, or an error.
  [[nodiscard]] std::optional<sleep_ticket> prepare_sleep();
  void end_sleep() { sleeper_.end(); }

  /// The producer of generation() is dead and `generation` takes over: from where it begins, frames
  /// of an older one are refused. Until it has taken over, nothing is read.
  /// REQUIRES: higher than generation().
  void follow(std::uint32_t generation);

  /// The first consumer lets a second one begin where it has itself released. REQUIRES: id first.
  /// RETURNS: where that is.
  [[nodiscard]] ring_place admit_second();
  /// The second is gone, or goes: nobody waits for it any more. REQUIRES: it is not running.
  void dismiss_second();

  /// Before the frame that is read next.
  [[nodiscard]] ring_place place() const noexcept { return place_; }
  [[nodiscard]] std::uint32_t generation() const noexcept { return generation_; }

 private:
  ring_consumer(const ring_memory& ring, ring_consumer_id id, ring_consumer_options options);
  [[nodiscard]] std::optional<ring_error> look(std::memory_order order);
  [[nodiscard]] bool came();
  [[nodiscard]] std::optional<ring_errc> check(const detail::frame_header& header,
                                               std::uint64_t room) const;
  [[nodiscard]] std::expected<std::span<const std::byte>, ring_errc> large_payload(
      std::span<const std::byte> part);
  [[nodiscard]] std::unexpected<ring_error> wrong(ring_errc what) const;
  [[nodiscard]] std::atomic<std::uint64_t>& released_word() const noexcept;
  void tell();

  // Constant after attach().
  ring_memory ring_;
  ring_consumer_id id_;
  bool in_place_;
  std::uint64_t tell_at_;

  std::uint32_t generation_;
  std::uint32_t generation_read_ = 0;  ///< of the last frame: they never go back
  std::optional<std::uint64_t>
      began_;              ///< where generation_ took over; nothing: it has not been seen
  bool followed_ = false;  ///< so it must begin at place_ or later
  ring_place place_;
  std::uint64_t releasable_;           ///< what lies before it is not wanted any more
  std::uint64_t unreleased_ = 0;       ///< frames read since release()
  std::uint64_t told_;                 ///< what the producer knows of that
  std::uint64_t limit_;                ///< published, as last seen and checked
  bool large_read_ = false;            ///< a large frame was read and not told of
  std::unique_ptr<std::byte[]> copy_;  ///< of a payload inside the ring
  std::unique_ptr<std::byte[]> large_copy_;
  detail::ring_sleeper sleeper_;
  detail::ring_spin spin_;
  detail::ring_waker producer_;
};

}  // namespace peeper::sandbox
