// SPDX-License-Identifier: Apache-2.0
#include "sandbox/ring_producer.hpp"

#include <algorithm>
#include <cstring>
#include <tuple>

#include <sys/mman.h>

#include <peeper/detail/assert.hpp>
#include <peeper/detail/fault_point.hpp>

#include "sandbox/checksum.hpp"

namespace peeper::sandbox {

using detail::frame_bytes;
using detail::frame_header;
using detail::frame_kind;
using detail::large_part;
using detail::no_consumer;
using peeper::detail::fault_point;

namespace {

constexpr std::uint64_t rounded(std::uint64_t length) noexcept {
  return (length + 7) & ~std::uint64_t{7};
}

/// Where a frame of `bytes` can begin at `position` or later: never across the end of the data.
std::uint64_t fitting(std::uint64_t position, std::uint64_t bytes, std::uint64_t capacity) {
  const std::uint64_t left = capacity - (position & (capacity - 1));
  return bytes <= left ? position : position + left;
}

/// Nobody reads it before it is published: plain stores, in any order.
void write_frame(std::byte* at, frame_header header, std::span<const std::byte> payload) {
  header.length_and_checksum |=
      crc32c(header.length_and_checksum, header.sequence, header.rest, payload);
  // CRASH: unpublished: the successor overwrites it.
  fault_point("ring.payload_written", false);
  std::memcpy(at, &header, sizeof header);
}

}  // namespace

ring_producer::ring_producer(const ring_memory& ring, std::uint32_t generation,
                             const ring_place& from)
    : ring_{ring},
      generation_{generation},
      published_{from.position},
      written_{from.position},
      sequence_{from.sequence},
      sleeper_{ring.header().producer_sleep},
      wakers_{detail::ring_waker{ring.header().consumer_sleep[0]},
              detail::ring_waker{ring.header().consumer_sleep[1]}} {
  PEEPER_ASSERT(generation != 0);
}

ring_producer ring_producer::start(const ring_memory& ring, std::uint32_t generation) {
  ring_producer made{ring, generation, {}};
  made.room_until_ = ring.capacity();
  made.take_line();
  return made;
}

std::expected<ring_producer, ring_error> ring_producer::take_over(const ring_memory& ring,
                                                                  std::uint32_t generation,
                                                                  const ring_place& from) {
  ring_producer made{ring, generation, from};
  made.dismiss_second();
  const auto read = made.released(std::memory_order_acquire);
  if (!read) return std::unexpected{read.error()};
  if (from.position - *read > ring.capacity() || from.position % 8 != 0) {
    return std::unexpected{ring_error{ring_errc::corrupt_cursor, from.position}};
  }
  made.room_until_ = *read + ring.capacity();
  // What the predecessor laid there may still be wanted by the first consumer; no longer than this.
  made.large_used_ = ring.large().size();
  made.large_end_ = from.position;
  made.take_line();
  return made;
}

void ring_producer::take_line() {
  auto& line = ring_.header().producers[generation_ & 1U];
  // The line was that of the last generation but one. ORDER: the release of `generation` below
  // publishes the two words before it; pairs with ring_consumer::look().
  line.generation.store(0, std::memory_order_seq_cst);
  // CRASH: the predecessor is still the last generation there was; the next one takes the other
  // line, or this one again.
  fault_point("ring.take_over_closed", false);
  line.began.store(published_, std::memory_order_relaxed);
  line.published.store(published_, std::memory_order_relaxed);
  fault_point("ring.take_over_written", false);
  line.generation.store(generation_, std::memory_order_seq_cst);
  // CRASH: it has taken over and published nothing.
  fault_point("ring.taken_over", false);
  for (auto& waker : wakers_) waker.wake_if_asleep();
}

// --- room ----------------------------------------------------------------------------------------

std::expected<std::uint64_t, ring_error> ring_producer::released(std::memory_order order) const {
  const auto& consumers = ring_.header().consumers;
  // ORDER: acquire (or seq_cst, before sleeping) pairs with ring_consumer::release_now(): what was
  // read has been read. The first before the second: who is admitted begins no earlier than where
  // the first is then, so whoever sees the first beyond that place sees the second, too.
  const std::uint64_t first = consumers[0].released.load(order);
  const std::uint64_t second = consumers[1].released.load(order);
  if (first > published_) {
    return std::unexpected{ring_error{ring_errc::corrupt_cursor, first}};
  }
  if (second > published_ && second != no_consumer) {
    return std::unexpected{ring_error{ring_errc::corrupt_cursor, second}};
  }
  return std::min(first, second);
}

std::expected<void, ring_error> ring_producer::make_room(std::uint64_t up_to) {
  if (up_to <= room_until_) [[likely]]
    return {};
  const auto read = released(std::memory_order_acquire);
  if (!read) return std::unexpected{read.error()};
  // Never back: a cursor that turned back does not give us what we have written, again.
  room_until_ = std::max(room_until_, *read + ring_.capacity());
  if (up_to <= room_until_) return {};
  wanted_ = up_to - ring_.capacity();
  return std::unexpected{ring_error{ring_errc::full, published_}};
}

bool ring_producer::room_came(std::memory_order order) const {
  const auto read = released(order);
  return !read || *read >= wanted_;
}

bool ring_producer::wait(time_point deadline) {
  return detail::ring_wait(
      sleeper_, spin_, [this] { return room_came(std::memory_order_seq_cst); }, deadline);
}

std::optional<sleep_ticket> ring_producer::prepare_sleep() {
  const sleep_ticket ticket = sleeper_.begin();
  if (!room_came(std::memory_order_seq_cst)) return ticket;
  sleeper_.end();
  return std::nullopt;
}

// --- writing -------------------------------------------------------------------------------------

std::expected<std::span<std::byte>, ring_error> ring_producer::reserve(std::uint16_t type,
                                                                       std::size_t length) {
  open_.reset();
  const std::uint64_t capacity = ring_.capacity();
  if (length <= ring_.inside_max() - sizeof(frame_header)) [[likely]] {
    const std::uint64_t bytes = frame_bytes(length);
    const std::uint64_t position = fitting(written_, bytes, capacity);
    // What is unpublished is not read: all of a group must have room at once. Half of the ring is
    // left for the small frames that say where the rest of it is.
    const std::uint64_t group = position + bytes - published_;
    if (group <= (length <= sizeof(large_part) ? capacity : capacity / 2)) [[likely]] {
      if (const auto room = make_room(position + bytes); !room) [[unlikely]] {
        return std::unexpected{room.error()};
      }
      std::byte* const at = ring_.data().data() + (position & (capacity - 1));
      const std::span payload{at + sizeof(frame_header), length};
      open_.emplace(position, type, frame_kind::inside, payload);
      return payload;
    }
  }
  const auto payload = reserve_large(length);
  if (!payload) return std::unexpected{payload.error()};
  constexpr std::uint64_t bytes = frame_bytes(sizeof(large_part));
  const std::uint64_t position = fitting(written_, bytes, capacity);
  if (position + bytes - published_ > capacity) {
    return std::unexpected{ring_error{ring_errc::too_large, published_}};
  }
  if (const auto room = make_room(position + bytes); !room) return std::unexpected{room.error()};
  open_.emplace(position, type, frame_kind::large, *payload);
  return payload;
}

std::expected<std::span<std::byte>, ring_error> ring_producer::reserve_large(std::size_t length) {
  const std::uint64_t used = large_unpublished_ ? large_used_ : 0;
  if (length > ring_.large().size() - used) {
    return std::unexpected{ring_error{ring_errc::too_large, published_}};
  }
  if (!large_unpublished_ && large_end_ != 0) {
    const auto read = released(std::memory_order_acquire);
    if (!read) return std::unexpected{read.error()};
    if (*read < large_end_) {
      wanted_ = large_end_;
      return std::unexpected{ring_error{ring_errc::full, published_}};
    }
    give_back_large();
  }
  return ring_.large().subspan(used, length);
}

void ring_producer::write_skip(std::uint64_t up_to) {
  const std::uint64_t left = up_to - written_;
  // Where not even a header fits, there is none, and the reader knows.
  if (left < sizeof(frame_header)) return;
  std::byte* const at = ring_.data().data() + (written_ & (ring_.capacity() - 1));
  write_frame(at,
              frame_header::of(static_cast<std::uint32_t>(left - sizeof(frame_header)), sequence_,
                               generation_, 0, frame_kind::skip),
              {});
  // CRASH: unpublished.
  fault_point("ring.skip_written", false);
}

void ring_producer::commit(std::size_t length) {
  PEEPER_ASSERT(open_ && length <= open_->payload.size());
  const open_frame& frame = *open_;
  if (frame.position != written_) [[unlikely]]
    write_skip(frame.position);
  std::byte* const at = ring_.data().data() + (frame.position & (ring_.capacity() - 1));
  const auto payload = frame.payload.first(length);
  if (frame.kind == frame_kind::inside) [[likely]] {
    write_frame(at,
                frame_header::of(static_cast<std::uint32_t>(length), sequence_, generation_,
                                 frame.type, frame_kind::inside),
                payload);
    written_ = frame.position + frame_bytes(length);
  } else {
    const auto offset = static_cast<std::uint64_t>(payload.data() - ring_.large().data());
    const large_part part{
        .offset = offset, .length = length, .checksum = crc32c(0, payload), .zero = 0};
    std::memcpy(at + sizeof(frame_header), &part, sizeof part);
    write_frame(
        at, frame_header::of(sizeof part, sequence_, generation_, frame.type, frame_kind::large),
        std::as_bytes(std::span{&part, 1}));
    written_ = frame.position + frame_bytes(sizeof part);
    large_used_ = std::min<std::uint64_t>(offset + rounded(length), ring_.large().size());
    large_unpublished_ = true;
  }
  open_.reset();
  ++sequence_;
  ++unpublished_;
  // CRASH: unpublished, and so is all of its group.
  fault_point("ring.header_written", false);
}

std::expected<void, ring_error> ring_producer::append(std::uint16_t type,
                                                      std::span<const std::byte> bytes,
                                                      time_point deadline) {
  for (;;) {
    const auto room = reserve(type, bytes.size());
    if (room) [[likely]] {
      if (!bytes.empty()) std::memcpy(room->data(), bytes.data(), bytes.size());
      commit(bytes.size());
      return {};
    }
    if (room.error().what != ring_errc::full || deadline == time_point::min() || !wait(deadline)) {
      return std::unexpected{room.error()};
    }
  }
}

void ring_producer::publish() {
  if (unpublished_ == 0) return;
  if (large_unpublished_) [[unlikely]] {
    large_unpublished_ = false;
    large_end_ = written_;
  } else if (large_end_ != 0) [[unlikely]] {
    if (const auto read = released(std::memory_order_acquire); read && *read >= large_end_) {
      give_back_large();
    }
  }
  published_ = written_;
  unpublished_ = 0;
  // CRASH: before this store nothing of the group has happened; after it, all of it has.
  fault_point("ring.publishing", false);
  // ORDER: releases the frames; pairs with ring_consumer::look(). seq_cst, since whether anybody
  // sleeps is looked at after it.
  ring_.header().producers[generation_ & 1U].published.store(published_, std::memory_order_seq_cst);
  fault_point("ring.published", false);
  for (auto& waker : wakers_) waker.wake_if_asleep();
}

void ring_producer::discard() {
  open_.reset();
  written_ = published_;
  sequence_ -= unpublished_;
  unpublished_ = 0;
  if (large_unpublished_) {
    large_unpublished_ = false;
    give_back_large();
  }
}

void ring_producer::give_back_large() {
  // Up to here it is kept, since more of that size may come.
  constexpr std::uint64_t kept = 1024UL * 1024;
  if (large_used_ > kept) {
    // Memory that cannot be given back (it is no memfd, say) is still there to be used again.
    std::ignore = ::madvise(ring_.large().data() + kept, large_used_ - kept, MADV_REMOVE);
    fault_point("ring.large_freed", false);
  }
  large_used_ = 0;
  large_end_ = 0;
}

bool ring_producer::is_unchanged() const noexcept {
  const auto& line = ring_.header().producers[generation_ & 1U];
  // ORDER: relaxed: both are our own.
  return line.generation.load(std::memory_order_relaxed) == generation_ &&
         line.published.load(std::memory_order_relaxed) == published_;
}

// --- the second consumer -------------------------------------------------------------------------

ring_place ring_producer::admit_second() {
  PEEPER_ASSERT(unpublished_ == 0);
  // ORDER: relaxed: read by this thread, and by the consumer that is started after this.
  ring_.header().consumers[1].released.store(published_, std::memory_order_relaxed);
  return place();
}

void ring_producer::dismiss_second() {
  ring_.header().consumers[1].released.store(no_consumer, std::memory_order_relaxed);
}

}  // namespace peeper::sandbox
