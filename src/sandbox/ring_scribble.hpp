// SPDX-License-Identifier: Apache-2.0
/// \file
/// A ring in whose memory somebody writes what he likes, told by a script of bytes: for a test with
/// random scripts and for libFuzzer. Under asan, reading beside the ring ends the program.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <tuple>
#include <utility>
#include <vector>

#include "sandbox/checksum.hpp"
#include "sandbox/ring.hpp"

namespace peeper::sandbox::test {

class scribbled_ring {
 public:
  explicit scribbled_ring(std::span<const std::uint8_t> script) : script_{script} {
    std::memset(memory_.get(), 0, size);
    ring_.emplace(ring_memory::make({memory_.get(), size}, options));
    producer_.emplace(ring_producer::start(*ring_, 1));
    first_.emplace(ring_consumer::attach(*ring_, ring_consumer_id::first, {}));
    second_.emplace(ring_consumer::attach(*ring_, ring_consumer_id::second,
                                          {.from = producer_->admit_second(), .in_place = true}));
  }

  /// RETURNS: whether each read() either went on or said what is wrong.
  [[nodiscard]] bool run() {
    while (!script_.empty() && sane_) step();
    read_all(*first_);
    read_all(*second_);
    return sane_;
  }
  [[nodiscard]] std::size_t frames() const noexcept { return frames_; }
  [[nodiscard]] std::size_t errors() const noexcept { return errors_; }

 private:
  static constexpr ring_options options{.capacity = 4096, .large_bytes = 8192};
  static constexpr std::size_t size = ring_memory::bytes_needed(options);

  std::uint64_t number(std::size_t bytes_of_it = 1) {
    std::uint64_t n = 0;
    const std::size_t count = std::min(bytes_of_it, script_.size());
    if (count != 0) std::memcpy(&n, script_.data(), count);
    script_ = script_.subspan(count);
    return n;
  }
  /// One that may well be right, or nearly, or anything.
  std::uint64_t number_like(std::uint64_t right) {
    switch (number() % 4) {
      case 0: return right;
      case 1: return right + 8 * (number() - 128);
      case 2: return right + number() - 128;
      default: return number(8);
    }
  }

  void step() {
    switch (number() % 12) {
      case 0:
      case 1: return write();
      case 2: return producer_->publish();
      case 3: return producer_->discard();
      case 4: return read_all(*first_);
      case 5: return read_all(*second_);
      case 6: return scribble();
      case 7: return change_a_word();
      case 8:
      case 9: return forge();
      case 10: return replace_a_side();
      default: return sleep_nearly();
    }
  }
  void write() {
    const std::vector<std::byte> payload(number(2) % 3000, std::byte{0x5A});
    std::ignore = producer_->append(1, payload);
  }
  void scribble() {
    const std::size_t at = number(2) % size;
    const std::size_t count = std::min({number() % 64, size - at, script_.size()});
    if (count != 0) std::memcpy(memory_.get() + at, script_.data(), count);
    script_ = script_.subspan(count);
  }
  void change_a_word() {
    detail::ring_header& h = ring_->header();
    const std::uint64_t place = first_->place().position;
    auto& line = h.producers[number() % 2];
    switch (number() % 6) {
      case 0: line.published = number_like(place); return;
      case 1: line.began = number_like(place); return;
      case 2: line.generation = static_cast<std::uint32_t>(number_like(generation_)); return;
      case 3: h.consumers[number() % 2].released = number_like(place); return;
      case 4: h.consumer_sleep[number() % 2].episode = static_cast<std::uint32_t>(number()); return;
      default: h.producer_sleep.episode = static_cast<std::uint32_t>(number()); return;
    }
  }
  /// A frame whose checksum is right, by somebody who knows how: where the first consumer reads.
  void forge() {
    const ring_place place = first_->place();
    const std::size_t at = place.position % options.capacity;
    if (options.capacity - at < sizeof(detail::frame_header)) return;
    const auto kind = static_cast<detail::frame_kind>(number() % 5);
    detail::large_part part{
        .offset = number_like(0), .length = number_like(100), .checksum = 0, .zero = 0};
    const bool is_large = kind == detail::frame_kind::large;
    const auto length = static_cast<std::uint32_t>(number_like(is_large ? sizeof part : 40));
    auto header =
        detail::frame_header::of(length, number_like(place.sequence),
                                 static_cast<std::uint32_t>(number_like(generation_)), 1, kind);
    std::byte* const to = memory_.get() + detail::page + at;
    const std::size_t room = options.capacity - at - sizeof header;
    if (is_large) {
      const std::span<const std::byte> all = ring_->large();
      if (part.offset <= all.size() && part.length <= all.size() - part.offset) {
        part.checksum = crc32c(0, all.subspan(part.offset, part.length));
      }
      std::memcpy(to + sizeof header, &part, std::min(sizeof part, room));
    }
    const std::span<const std::byte> payload{to + sizeof header,
                                             std::min<std::size_t>(length, room)};
    header.length_and_checksum |=
        crc32c(header.length_and_checksum, header.sequence, header.rest,
               kind == detail::frame_kind::skip ? payload.first(0) : payload);
    std::memcpy(to, &header, sizeof header);
    ring_->header().producers[generation_ & 1U].published =
        number_like(place.position + detail::frame_bytes(payload.size()));
  }
  void replace_a_side() {
    switch (number() % 3) {
      case 0: {
        auto next = ring_producer::take_over(*ring_, generation_ + 1, first_->place());
        if (!next) return;
        producer_.emplace(std::move(*next));
        ++generation_;
        first_->follow(generation_);
        second_->follow(generation_);
        return;
      }
      case 1:
        first_.emplace(ring_consumer::attach(
            *ring_, ring_consumer_id::first,
            {.generation = generation_, .from = first_->place(), .in_place = number() % 2 == 0}));
        return;
      default:
        first_->dismiss_second();
        second_.emplace(
            ring_consumer::attach(*ring_, ring_consumer_id::second,
                                  {.generation = generation_, .from = first_->admit_second()}));
        return;
    }
  }
  void sleep_nearly() {
    if (producer_->prepare_sleep()) producer_->end_sleep();
    if (first_->prepare_sleep()) first_->end_sleep();
  }

  void read_all(ring_consumer& in) {
    // No ring has more frames than this, whatever it says.
    constexpr std::size_t frames_max = options.capacity / sizeof(detail::frame_header) + 1;
    for (std::size_t n = 0;; ++n) {
      if (n > frames_max) sane_ = false;
      const std::uint64_t before = in.place().sequence;
      const auto next = in.read();
      if (!next) {
        ++errors_;
        const auto again = in.read();
        sane_ = sane_ && !again.has_value();
        return;
      }
      if (!*next || !sane_) return;
      ++frames_;
      sane_ = (*next)->sequence == before && (*next)->generation <= generation_ &&
              (*next)->payload.size() <= std::max(options.capacity / 4, options.large_bytes);
      for (const std::byte b : (*next)->payload) sum_ += std::to_integer<unsigned>(b);
      in.release();
    }
  }

  struct freed {
    void operator()(std::byte* memory) const { std::free(memory); }
  };
  // Of the heap, so that asan watches its borders.
  std::unique_ptr<std::byte, freed> memory_{
      static_cast<std::byte*>(std::aligned_alloc(detail::page, size))};
  std::span<const std::uint8_t> script_;
  std::optional<ring_memory> ring_;
  std::optional<ring_producer> producer_;
  std::optional<ring_consumer> first_;
  std::optional<ring_consumer> second_;
  std::uint32_t generation_ = 1;
  std::size_t frames_ = 0;
  std::size_t errors_ = 0;
  unsigned sum_ = 0;
  bool sane_ = true;
};

}  // namespace peeper::sandbox::test
