// SPDX-License-Identifier: Apache-2.0
//
// CBOR (RFC 8949) as a stream: a writer that appends, a reader that never trusts.
//
// Both stand on libcbor's streaming functions; no tree is built. What the encodings of states and
// deltas look like is in docs/encoding.md.
//
// THREADS: a writer or reader belongs to one thread at a time.
//
//   peeper::cbor_writer w;
//   w.array(2);
//   w.integer(-1);
//   w.text("hello");
//   peeper::cbor_reader r{w.view()};
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace peeper {

/// The format that docs/encoding.md describes; the first item of every encoding.
inline constexpr std::uint64_t encoding_version = 1;

/// How deep a value may nest. Types may be recursive, and then the data decides how deep: reading
/// must not overflow a stack, and nothing may be written that could not be read again.
inline constexpr unsigned nesting_limit = 128;

/// Why an encoding was refused. `offset` counts bytes from the start of what was given.
struct decode_error {
  std::size_t offset = 0;
  std::string text;

  friend bool operator==(const decode_error&, const decode_error&) = default;
};

/// Appends CBOR items to a growing buffer. Every call may throw std::bad_alloc and then has
/// appended nothing, or part of one item that truncate() removes.
class cbor_writer {
 public:
  void natural(std::uint64_t value);
  void integer(std::int64_t value);
  void real(float value);
  void real(double value);
  void boolean(bool value);
  void null();
  /// Writes a text string where `value` is UTF-8 and a byte string where it is not, so that
  /// readable data stays readable and binary data stays legal CBOR.
  void text(std::string_view value);
  void bytes(std::span<const std::byte> value);
  void array(std::size_t count);
  void map(std::size_t pairs);
  void open_array();
  void close();

  [[nodiscard]] std::size_t size() const noexcept { return used_; }
  [[nodiscard]] std::span<const std::byte> view() const noexcept { return {bytes_.data(), used_}; }
  /// REQUIRES: size <= this->size().
  void truncate(std::size_t size) noexcept { used_ = size; }
  [[nodiscard]] std::vector<std::byte> take() noexcept;
  void swap(cbor_writer& other) noexcept {
    bytes_.swap(other.bytes_);
    std::swap(used_, other.used_);
  }
  /// Gives memory beyond `limit_bytes` back. REQUIRES: size() == 0.
  void shrink(std::size_t limit_bytes) noexcept;

  /// One level of nesting, as long as it lives. Throws std::length_error beyond nesting_limit.
  class nesting {
   public:
    explicit nesting(cbor_writer& writer);
    ~nesting() { --writer_.depth_; }
    nesting(const nesting&) = delete;
    nesting& operator=(const nesting&) = delete;

   private:
    cbor_writer& writer_;
  };

 private:
  /// RETURNS: room for `count` bytes. Those that are used are added to `used_`.
  unsigned char* room(std::size_t count) {
    if (bytes_.size() - used_ < count) [[unlikely]]
      grow(count);
    return reinterpret_cast<unsigned char*>(bytes_.data()) + used_;
  }
  void grow(std::size_t count);

  // Only the first `used_` bytes are written; the rest is room that need not be cleared again.
  std::vector<std::byte> bytes_;
  std::size_t used_ = 0;
  unsigned depth_ = 0;
};

/// Reads CBOR items from bytes somebody else wrote. A function that returns false has recorded
/// an error; the first one is kept. Nothing here allocates, except the text of that error.
class cbor_reader {
 public:
  explicit cbor_reader(std::span<const std::byte> input) noexcept : input_(input) {}

  [[nodiscard]] bool natural(std::uint64_t& value);
  [[nodiscard]] bool integer(std::int64_t& value);
  [[nodiscard]] bool real(double& value);
  [[nodiscard]] bool boolean(bool& value);
  [[nodiscard]] bool null();
  /// Accepts a text string or a byte string. `value` points into the input.
  [[nodiscard]] bool text(std::string_view& value);
  [[nodiscard]] bool bytes(std::span<const std::byte>& value);
  /// The count is at most the number of bytes left: an array that announces more than the input
  /// can hold is an error here, before anybody reserves memory for it.
  [[nodiscard]] bool array(std::size_t& count);
  [[nodiscard]] bool array_of(std::size_t count);
  [[nodiscard]] bool map(std::size_t& pairs);
  [[nodiscard]] bool open_array();
  [[nodiscard]] bool close();
  /// Passes over one item, whatever it holds.
  [[nodiscard]] bool skip();
  /// RETURNS: an error if anything is left.
  [[nodiscard]] bool end();

  [[nodiscard]] bool next_is_null() const noexcept;
  [[nodiscard]] bool next_is_map() const noexcept;
  [[nodiscard]] bool next_is_close() const noexcept;
  [[nodiscard]] std::size_t offset() const noexcept { return offset_; }
  [[nodiscard]] std::size_t left() const noexcept { return input_.size() - offset_; }

  /// Records an error at the item read last; the first error wins. RETURNS: false, always.
  bool fail(std::string_view text);
  [[nodiscard]] bool failed() const noexcept { return error_.has_value(); }
  /// REQUIRES: failed().
  [[nodiscard]] decode_error error() const { return *error_; }

  /// One level of nesting, as long as it lives.
  class nesting {
   public:
    explicit nesting(cbor_reader& reader) noexcept : reader_(reader) { ++reader_.depth_; }
    ~nesting() { --reader_.depth_; }
    nesting(const nesting&) = delete;
    nesting& operator=(const nesting&) = delete;
    [[nodiscard]] bool ok() const {
      return reader_.depth_ <= nesting_limit || reader_.fail("nested too deep");
    }

   private:
    cbor_reader& reader_;
  };

 private:
  struct item;
  bool next(item& result);
  bool count_fits(std::uint64_t count, std::uint64_t bytes_each);

  std::span<const std::byte> input_;
  std::size_t offset_ = 0;
  std::size_t last_ = 0;
  unsigned depth_ = 0;
  std::optional<decode_error> error_;
};

}  // namespace peeper
