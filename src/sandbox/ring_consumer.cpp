// SPDX-License-Identifier: Apache-2.0
#include "sandbox/ring_consumer.hpp"

#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

#include <peeper/detail/assert.hpp>
#include <peeper/detail/fault_point.hpp>

#include "sandbox/checksum.hpp"

namespace peeper::sandbox {

using detail::frame_bytes;
using detail::frame_header;
using detail::frame_kind;
using detail::large_part;
using peeper::detail::fault_point;

ring_consumer::ring_consumer(const ring_memory& ring, ring_consumer_id id,
                             ring_consumer_options options)
    : ring_{ring},
      id_{id},
      in_place_{options.in_place},
      tell_at_{ring.capacity() / 8},
      generation_{options.generation},
      place_{options.from},
      releasable_{options.from.position},
      told_{options.from.position},
      limit_{options.from.position},
      sleeper_{ring.header().consumer_sleep[std::to_underlying(id)]},
      producer_{ring.header().producer_sleep} {
  // Not touched before it is needed.
  if (!in_place_) copy_ = std::make_unique_for_overwrite<std::byte[]>(ring.inside_max());
}

ring_consumer ring_consumer::attach(const ring_memory& ring, ring_consumer_id id,
                                    ring_consumer_options options) {
  ring_consumer made{ring, id, options};
  made.tell();
  return made;
}

std::atomic<std::uint64_t>& ring_consumer::released_word() const noexcept {
  return ring_.header().consumers[std::to_underlying(id_)].released;
}

std::unexpected<ring_error> ring_consumer::wrong(ring_errc what) const {
  return std::unexpected{ring_error{what, place_.position}};
}

// --- reading -------------------------------------------------------------------------------------

/// How far may be read. RETURNS: what is wrong with what the producer says.
std::optional<ring_error> ring_consumer::look(std::memory_order order) {
  const auto& line = ring_.header().producers[generation_ & 1U];
  // ORDER: acquire (or seq_cst, before sleeping) pairs with ring_producer::take_line().
  if (line.generation.load(order) != generation_) return std::nullopt;
  if (!began_) {
    // ORDER: relaxed: written before the generation, which was acquired.
    const std::uint64_t began = line.began.load(std::memory_order_relaxed);
    if (followed_ && (began < place_.position || began - place_.position > ring_.capacity())) {
      return ring_error{ring_errc::corrupt_cursor, began};
    }
    began_ = began;
  }
  // ORDER: acquire (or seq_cst) pairs with ring_producer::publish(): the frames before it are
  // whole.
  const std::uint64_t published = line.published.load(order);
  if (published < place_.position || published - place_.position > ring_.capacity() ||
      published % 8 != 0) {
    return ring_error{ring_errc::corrupt_cursor, published};
  }
  limit_ = published;
  return std::nullopt;
}

/// All that can be said of a frame before its payload is looked at. `room`: it must end there.
std::optional<ring_errc> ring_consumer::check(const frame_header& header,
                                              std::uint64_t room) const {
  if (header.length() > room || frame_bytes(header.length()) > room)
    return ring_errc::corrupt_length;
  if (header.sequence != place_.sequence) return ring_errc::corrupt_sequence;
  const bool after_take_over = place_.position >= *began_;
  if (header.generation() < generation_read_ || header.generation() > generation_ ||
      (header.generation() == generation_) != after_take_over) {
    return ring_errc::old_generation;
  }
  switch (header.kind()) {
    case frame_kind::inside:
      return frame_bytes(header.length()) <= ring_.inside_max()
                 ? std::nullopt
                 : std::optional{ring_errc::corrupt_length};
    case frame_kind::large:
      return header.length() == sizeof(large_part) ? std::nullopt
                                                   : std::optional{ring_errc::corrupt_length};
    case frame_kind::skip: {
      // To the end of the lap, and never a whole lap: nobody is led round and round.
      const std::uint64_t offset = place_.position & (ring_.capacity() - 1);
      return offset != 0 && offset + frame_bytes(header.length()) == ring_.capacity()
                 ? std::nullopt
                 : std::optional{ring_errc::corrupt_length};
    }
  }
  return ring_errc::corrupt_kind;
}

std::expected<std::optional<ring_frame>, ring_error> ring_consumer::read() {
  large_copy_.reset();
  for (;;) {
    if (place_.position == limit_) {
      if (const auto error = look(std::memory_order_acquire)) return std::unexpected{*error};
      if (place_.position == limit_) {
        if (releasable_ != told_) tell();
        return std::nullopt;
      }
    }
    const std::uint64_t offset = place_.position & (ring_.capacity() - 1);
    const std::uint64_t lap_left = ring_.capacity() - offset;
    const std::uint64_t room = std::min(limit_ - place_.position, lap_left);
    if (lap_left < sizeof(frame_header)) {
      // Where not even a header fits nothing was written; what was published goes on behind it.
      if (room < lap_left) return wrong(ring_errc::corrupt_length);
      place_.position += lap_left;
      continue;
    }
    if (room < sizeof(frame_header)) return wrong(ring_errc::corrupt_length);
    // Looked at once: what is checked is what is used, whatever happens to the ring meanwhile.
    const std::byte* const at = ring_.data().data() + offset;
    frame_header header;
    std::memcpy(&header, at, sizeof header);
    if (const auto error = check(header, room)) [[unlikely]]
      return wrong(*error);

    std::span<const std::byte> payload{at + sizeof header, header.length()};
    if (header.kind() == frame_kind::skip) {
      payload = {};
    } else if (!in_place_) {
      std::memcpy(copy_.get(), payload.data(), payload.size());
      payload = {copy_.get(), payload.size()};
    }
    constexpr std::uint64_t without_checksum = 0xFFFFFFFF00000000;
    if (crc32c(header.length_and_checksum & without_checksum, header.sequence, header.rest,
               payload) != header.checksum()) [[unlikely]] {
      return wrong(ring_errc::corrupt_checksum);
    }
    if (header.kind() == frame_kind::large) [[unlikely]] {
      const auto large = large_payload(payload);
      if (!large) return wrong(large.error());
      payload = *large;
      large_read_ = true;
    }
    place_.position += frame_bytes(header.length());
    if (header.kind() == frame_kind::skip) continue;
    ++place_.sequence;
    generation_read_ = header.generation();
    ++unreleased_;
    // Made where the caller has it: copying it would cost a part of the time of reading it.
    return std::expected<std::optional<ring_frame>, ring_error>{
        std::in_place, std::in_place, header.sequence, header.generation(), header.type(), payload};
  }
}

std::expected<std::span<const std::byte>, ring_errc> ring_consumer::large_payload(
    std::span<const std::byte> part_bytes) {
  large_part part;
  std::memcpy(&part, part_bytes.data(), sizeof part);
  const std::span<const std::byte> all = ring_.large();
  if (part.offset > all.size() || part.length > all.size() - part.offset) {
    return std::unexpected{ring_errc::corrupt_length};
  }
  std::span<const std::byte> payload = all.subspan(part.offset, part.length);
  if (!in_place_) {
    large_copy_.reset(new (std::nothrow) std::byte[part.length]);
    if (!large_copy_) return std::unexpected{ring_errc::no_memory};
    std::memcpy(large_copy_.get(), payload.data(), payload.size());
    payload = {large_copy_.get(), payload.size()};
  }
  if (crc32c(0, payload) != part.checksum) return std::unexpected{ring_errc::corrupt_checksum};
  return payload;
}

void ring_consumer::tell() {
  // CRASH: read and not released: a successor that begins at our place releases it.
  fault_point("ring.releasing", false);
  told_ = releasable_;
  large_read_ = false;
  // ORDER: releases our reading; pairs with ring_producer::released(). seq_cst, since whether the
  // producer sleeps is looked at after it.
  released_word().store(told_, std::memory_order_seq_cst);
  // CRASH: a producer that waits for room waits on, until it sees us dead.
  fault_point("ring.released", false);
  producer_.wake_if_asleep();
}

// --- waiting -------------------------------------------------------------------------------------

bool ring_consumer::came() {
  // An error is something, too: read() meets it again.
  return place_.position != limit_ || look(std::memory_order_seq_cst).has_value() ||
         place_.position != limit_;
}

bool ring_consumer::wait(time_point deadline) {
  if (releasable_ != told_) tell();
  return detail::ring_wait(sleeper_, spin_, [this] { return came(); }, deadline);
}

std::optional<sleep_ticket> ring_consumer::prepare_sleep() {
  if (releasable_ != told_) tell();
  const sleep_ticket ticket = sleeper_.begin();
  if (!came()) return ticket;
  sleeper_.end();
  return std::nullopt;
}

// --- who else reads and writes -------------------------------------------------------------------

void ring_consumer::follow(std::uint32_t generation) {
  PEEPER_ASSERT(generation > generation_);
  generation_ = generation;
  followed_ = true;
  began_.reset();
  limit_ = place_.position;  // what the predecessor said of it counts no more
}

ring_place ring_consumer::admit_second() {
  PEEPER_ASSERT(id_ == ring_consumer_id::first);
  // ORDER: relaxed: before the next tell(), whose store releases it; pairs with the order of the
  // loads in ring_producer::released(). Until then our own cursor is in the way.
  ring_.header().consumers[1].released.store(releasable_, std::memory_order_relaxed);
  return {releasable_, place_.sequence - unreleased_};
}

void ring_consumer::dismiss_second() {
  // ORDER: seq_cst, since whether the producer sleeps is looked at after it.
  ring_.header().consumers[1].released.store(detail::no_consumer, std::memory_order_seq_cst);
  producer_.wake_if_asleep();
}

}  // namespace peeper::sandbox
