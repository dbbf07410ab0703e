// SPDX-License-Identifier: Apache-2.0
/// \file
/// The bytes of a ring, and who writes which of them; drawn in docs/ring.md.
///
///     header, one page | data: `capacity` bytes | large: `large_bytes` bytes, untouched until used
///
/// A *position* counts bytes of data from the ring's beginning and never turns back; it lies at
/// position % capacity. Every frame begins at a multiple of 8.
///
/// Everything in here may have been overwritten by a worker gone mad. So each side keeps what it
/// relies on in private memory, writes here what the other side must know, and checks whatever it
/// reads from here before it believes it.
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <span>
#include <string>
#include <string_view>

namespace peeper::sandbox {

enum class ring_errc : std::uint8_t {
  full,              ///< no room until the consumers have gone on; wait, then try again
  too_large,         ///< will never fit: larger than ring_options::large_bytes
  no_memory,         ///< the private copy of a large frame could not be made
  not_a_ring,        ///< the memory has no ring of this version and these options
  corrupt_cursor,    ///< the other side's cursor says what cannot be
  corrupt_length,    ///< a frame that is longer than what was published, or than can be
  corrupt_kind,      ///< not a frame
  corrupt_sequence,  ///< not the frame that comes next
  corrupt_checksum,  ///< a frame whose bytes have changed
  old_generation,    ///< a frame of a producer that has been replaced (P5), or was never announced
};
[[nodiscard]] std::string_view to_string(ring_errc code) noexcept;

/// Why a ring did not do what was asked. `corrupt_*` and `old_generation` mean that the other side
/// wrote what it must not: the ring stays where it is and says so each time.
struct ring_error {
  ring_errc what;
  std::uint64_t position;  ///< where in the ring

  [[nodiscard]] std::string text() const;
  bool operator==(const ring_error&) const = default;
};

/// Both sides must use the same; neither believes what the memory says about it.
struct ring_options {
  /// Bytes for frames. A power of two, 4 KB to 1 GB.
  std::size_t capacity = 256UL * 1024;
  /// The largest record: room for the frames of one publish() that the ring itself cannot hold. A
  /// multiple of 4 KB, at most 1 TB. It takes no memory before it is used.
  std::size_t large_bytes = 64UL * 1024 * 1024;
};

/// Where a reader is, or a writer goes on: before the frame number `sequence`. Fits in a record.
struct ring_place {
  std::uint64_t position = 0;
  std::uint64_t sequence = 1;
  bool operator==(const ring_place&) const = default;
};

/// `second` may come and go while the producer runs.
enum class ring_consumer_id : std::uint8_t { first, second };

namespace detail {

static_assert(std::atomic<std::uint32_t>::is_always_lock_free &&
              std::atomic<std::uint64_t>::is_always_lock_free);
static_assert(std::endian::native == std::endian::little, "docs/ring.md says little-endian");

inline constexpr std::uint64_t ring_magic = 0x31676E6972727070ULL;  // "pprring1"
inline constexpr std::uint32_t ring_version = 1;
inline constexpr std::size_t page = 4096;
inline constexpr std::uint64_t no_consumer = ~std::uint64_t{0};
/// Two cache lines: processors fetch them in pairs.
inline constexpr std::size_t line = 128;

/// One producer's, found by its generation's lowest bit: a predecessor that wakes up late publishes
/// where nobody looks any more (P5).
struct alignas(line) ring_producer_line {
  std::atomic<std::uint64_t> published;   ///< everything before it has happened
  std::atomic<std::uint64_t> began;       ///< where this generation took over
  std::atomic<std::uint32_t> generation;  ///< 0: being changed, do not look
};
struct alignas(line) ring_consumer_line {
  std::atomic<std::uint64_t> released;  ///< everything before it may be overwritten; or no_consumer
};
/// How one side sleeps. Each word has one kind of writer, so neither can undo the other's.
struct alignas(line) ring_sleep_line {
  std::atomic<std::uint32_t> episode;  ///< by who sleeps: odd = asleep or about to be
  std::atomic<std::uint32_t> woken;    ///< by who wakes: one more each time; what is slept on
};

struct ring_header {
  alignas(line) std::atomic<std::uint64_t> magic;
  std::uint32_t version;
  std::uint32_t header_bytes;
  std::uint64_t capacity;
  std::uint64_t large_bytes;
  std::array<ring_producer_line, 2> producers;
  std::array<ring_consumer_line, 2> consumers;
  ring_sleep_line producer_sleep;
  std::array<ring_sleep_line, 2> consumer_sleep;
};
static_assert(sizeof(ring_header) == 8 * line && sizeof(ring_header) <= page);

enum class frame_kind : std::uint16_t {
  inside = 1,  ///< the payload follows
  skip = 2,    ///< nothing: the next frame is at the beginning of the data
  large = 3,   ///< a large_part follows, which says where the payload is
};

/// Three words, so that it goes between registers and memory in whole words:
///
///     0  checksum    32 bits: CRC-32C of this header with zeroes here, and of what follows
///     4  length      32 bits: of what follows, in bytes, without padding
///     8  sequence    64 bits
///     16 generation  32 bits
///     20 type        16 bits: the user's
///     22 kind        16 bits
struct frame_header {
  std::uint64_t length_and_checksum;
  std::uint64_t sequence;
  std::uint64_t rest;

  [[nodiscard]] static constexpr frame_header of(std::uint32_t length, std::uint64_t sequence,
                                                 std::uint32_t generation, std::uint16_t type,
                                                 frame_kind kind) noexcept {
    return {std::uint64_t{length} << 32U, sequence,
            generation | std::uint64_t{type} << 32U |
                std::uint64_t{static_cast<std::uint16_t>(kind)} << 48U};
  }
  [[nodiscard]] constexpr std::uint32_t checksum() const noexcept {
    return static_cast<std::uint32_t>(length_and_checksum);
  }
  [[nodiscard]] constexpr std::uint32_t length() const noexcept {
    return static_cast<std::uint32_t>(length_and_checksum >> 32U);
  }
  [[nodiscard]] constexpr std::uint32_t generation() const noexcept {
    return static_cast<std::uint32_t>(rest);
  }
  [[nodiscard]] constexpr std::uint16_t type() const noexcept {
    return static_cast<std::uint16_t>(rest >> 32U);
  }
  [[nodiscard]] constexpr frame_kind kind() const noexcept {
    return static_cast<frame_kind>(rest >> 48U);
  }
};
static_assert(sizeof(frame_header) == 24);

struct large_part {
  std::uint64_t offset;  ///< from the beginning of the large area
  std::uint64_t length;
  std::uint32_t checksum;  ///< CRC-32C of the payload
  std::uint32_t zero;
};
static_assert(sizeof(large_part) == 24);

[[nodiscard]] constexpr std::uint64_t frame_bytes(std::uint64_t length) noexcept {
  return sizeof(frame_header) + ((length + 7) & ~std::uint64_t{7});
}

}  // namespace detail

/// The memory of one ring, as one OS process sees it. Does not own it. A value.
class ring_memory {
 public:
  [[nodiscard]] static constexpr std::size_t bytes_needed(const ring_options& options) noexcept {
    return detail::page + options.capacity + options.large_bytes;
  }
  /// Makes an empty ring with both consumers' cursors at its beginning and the second absent.
  /// REQUIRES: nobody uses it; bytes_needed() bytes that begin on a page; sane options.
  [[nodiscard]] static ring_memory make(std::span<std::byte> memory, const ring_options& options);
  /// RETURNS: the ring that is there, or not_a_ring.
  [[nodiscard]] static std::expected<ring_memory, ring_error> find(std::span<std::byte> memory,
                                                                   const ring_options& options);

  [[nodiscard]] detail::ring_header& header() const noexcept { return *header_; }
  [[nodiscard]] std::span<std::byte> data() const noexcept { return data_; }
  [[nodiscard]] std::span<std::byte> large() const noexcept { return large_; }
  [[nodiscard]] std::uint64_t capacity() const noexcept { return data_.size(); }
  /// The largest frame, with its header, that is put inside; a larger one goes into large(). So
  /// that some fit side by side, and one always fits behind a skip.
  [[nodiscard]] std::uint64_t inside_max() const noexcept { return data_.size() / 4; }

 private:
  ring_memory(std::span<std::byte> memory, const ring_options& options);
  detail::ring_header* header_;
  std::span<std::byte> data_;
  std::span<std::byte> large_;
};

/// Fault points of the rings, in the order in which they are reached. Tests walk them all.
inline constexpr std::array<std::string_view, 14> ring_fault_points{
    "ring.skip_written",       // the rest of the lap is left out, nothing follows yet
    "ring.payload_written",    // of an unpublished frame
    "ring.header_written",     // the frame is whole, nobody looks at it yet
    "ring.publishing",         // the frame or the group is whole
    "ring.published",          // it has happened; who sleeps does not know yet
    "ring.waking",             // the word it sleeps on has changed, it is not woken yet
    "ring.large_freed",        // memory of large frames has been given back
    "ring.sleep_marked",       // about to sleep, has not looked for the last time
    "ring.sleep_ended",        // awake again
    "ring.releasing",          // has read, the space is not free yet
    "ring.released",           // the space is free, a producer that waits does not know yet
    "ring.take_over_closed",   // the old generation's line is closed, the new one's not written
    "ring.take_over_written",  // the line is written, not yet valid
    "ring.taken_over",         // it is
};

}  // namespace peeper::sandbox
