// SPDX-License-Identifier: Apache-2.0
#include <cbor.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <utility>

#include <peeper/codec/cbor.hpp>

namespace peeper {
namespace {

// The largest head of a CBOR item: the initial byte and a 64-bit argument.
constexpr std::size_t head_bytes_max = 9;

// RFC 3629, without overlong forms and surrogates. Eight ASCII bytes at a time, as most text is.
bool is_utf8(std::string_view text) noexcept {
  const auto byte_at = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const auto continues = [&](std::size_t i) { return (byte_at(i) & 0xC0U) == 0x80U; };
  std::size_t i = 0;
  while (i < text.size()) {
    if (text.size() - i >= 8) {
      std::uint64_t eight = 0;
      std::memcpy(&eight, text.data() + i, sizeof eight);
      if ((eight & 0x8080808080808080ULL) == 0) {
        i += 8;
        continue;
      }
    }
    const unsigned lead = byte_at(i);
    const std::size_t left = text.size() - i;
    if (lead < 0x80U) {
      i += 1;
    } else if (lead >= 0xC2U && lead <= 0xDFU) {
      if (left < 2 || !continues(i + 1)) return false;
      i += 2;
    } else if (lead >= 0xE0U && lead <= 0xEFU) {
      if (left < 3 || !continues(i + 1) || !continues(i + 2)) return false;
      const unsigned second = byte_at(i + 1);
      if ((lead == 0xE0U && second < 0xA0U) || (lead == 0xEDU && second > 0x9FU)) return false;
      i += 3;
    } else if (lead >= 0xF0U && lead <= 0xF4U) {
      if (left < 4 || !continues(i + 1) || !continues(i + 2) || !continues(i + 3)) return false;
      const unsigned second = byte_at(i + 1);
      if ((lead == 0xF0U && second < 0x90U) || (lead == 0xF4U && second > 0x8FU)) return false;
      i += 4;
    } else {
      return false;
    }
  }
  return true;
}

}  // namespace

// ---------------------------------------------------------------------------- cbor_writer

void cbor_writer::grow(std::size_t count) {
  bytes_.resize(std::max({std::size_t{64}, bytes_.size() * 2, used_ + count}));
}

void cbor_writer::natural(std::uint64_t value) {
  unsigned char* at = room(head_bytes_max);
  used_ += cbor_encode_uint(value, at, head_bytes_max);
}

void cbor_writer::integer(std::int64_t value) {
  unsigned char* at = room(head_bytes_max);
  // CBOR stores a negative number n as -1 - n, which is its bitwise complement.
  used_ += value < 0 ? cbor_encode_negint(~static_cast<std::uint64_t>(value), at, head_bytes_max)
                     : cbor_encode_uint(static_cast<std::uint64_t>(value), at, head_bytes_max);
}

void cbor_writer::real(float value) {
  unsigned char* at = room(head_bytes_max);
  used_ += cbor_encode_single(value, at, head_bytes_max);
}

void cbor_writer::real(double value) {
  unsigned char* at = room(head_bytes_max);
  used_ += cbor_encode_double(value, at, head_bytes_max);
}

void cbor_writer::boolean(bool value) {
  unsigned char* at = room(1);
  used_ += cbor_encode_bool(value, at, 1);
}

void cbor_writer::null() {
  unsigned char* at = room(1);
  used_ += cbor_encode_null(at, 1);
}

void cbor_writer::text(std::string_view value) {
  unsigned char* at = room(head_bytes_max + value.size());
  const std::size_t head = is_utf8(value)
                               ? cbor_encode_string_start(value.size(), at, head_bytes_max)
                               : cbor_encode_bytestring_start(value.size(), at, head_bytes_max);
  if (!value.empty()) std::memcpy(at + head, value.data(), value.size());
  used_ += head + value.size();
}

void cbor_writer::bytes(std::span<const std::byte> value) {
  unsigned char* at = room(head_bytes_max + value.size());
  const std::size_t head = cbor_encode_bytestring_start(value.size(), at, head_bytes_max);
  if (!value.empty()) std::memcpy(at + head, value.data(), value.size());
  used_ += head + value.size();
}

void cbor_writer::array(std::size_t count) {
  unsigned char* at = room(head_bytes_max);
  used_ += cbor_encode_array_start(count, at, head_bytes_max);
}

void cbor_writer::map(std::size_t pairs) {
  unsigned char* at = room(head_bytes_max);
  used_ += cbor_encode_map_start(pairs, at, head_bytes_max);
}

void cbor_writer::open_array() {
  unsigned char* at = room(1);
  used_ += cbor_encode_indef_array_start(at, 1);
}

void cbor_writer::close() {
  unsigned char* at = room(1);
  used_ += cbor_encode_break(at, 1);
}

std::vector<std::byte> cbor_writer::take() noexcept {
  bytes_.resize(used_);
  used_ = 0;
  return std::exchange(bytes_, {});
}

void cbor_writer::shrink(std::size_t limit_bytes) noexcept {
  if (bytes_.size() > limit_bytes) std::vector<std::byte>{}.swap(bytes_);
}

cbor_writer::nesting::nesting(cbor_writer& writer) : writer_(writer) {
  if (writer_.depth_ >= nesting_limit) {
    throw std::length_error(
        "peeper: a value nests too deep to be encoded; keep a recursive structure flat, as a kept "
        "container of nodes that name each other by key");
  }
  ++writer_.depth_;
}

// ---------------------------------------------------------------------------- cbor_reader

struct cbor_reader::item {
  enum class type : std::uint8_t {
    none,
    natural,
    negative,
    bytes,
    text,
    array,
    open_array,
    map,
    open_other,
    tag,
    real,
    null,
    boolean,
    close,
  };

  type kind = type::none;
  std::uint64_t number = 0;  // the value, -1 - value, the count, the tag, or 0 / 1
  double real = 0;
  cbor_data data = nullptr;

  void set(type what, std::uint64_t value) noexcept {
    kind = what;
    number = value;
  }
};

bool cbor_reader::next(item& result) {
  using type = item::type;
  static const cbor_callbacks callbacks = [] {
    cbor_callbacks c = cbor_empty_callbacks;
    c.uint8 = [](void* to, std::uint8_t v) { static_cast<item*>(to)->set(type::natural, v); };
    c.uint16 = [](void* to, std::uint16_t v) { static_cast<item*>(to)->set(type::natural, v); };
    c.uint32 = [](void* to, std::uint32_t v) { static_cast<item*>(to)->set(type::natural, v); };
    c.uint64 = [](void* to, std::uint64_t v) { static_cast<item*>(to)->set(type::natural, v); };
    c.negint8 = [](void* to, std::uint8_t v) { static_cast<item*>(to)->set(type::negative, v); };
    c.negint16 = [](void* to, std::uint16_t v) { static_cast<item*>(to)->set(type::negative, v); };
    c.negint32 = [](void* to, std::uint32_t v) { static_cast<item*>(to)->set(type::negative, v); };
    c.negint64 = [](void* to, std::uint64_t v) { static_cast<item*>(to)->set(type::negative, v); };
    c.byte_string = [](void* to, cbor_data at, std::size_t count) {
      static_cast<item*>(to)->set(type::bytes, count);
      static_cast<item*>(to)->data = at;
    };
    c.byte_string_start = [](void* to) { static_cast<item*>(to)->set(type::open_other, 0); };
    c.string = [](void* to, cbor_data at, std::size_t count) {
      static_cast<item*>(to)->set(type::text, count);
      static_cast<item*>(to)->data = at;
    };
    c.string_start = [](void* to) { static_cast<item*>(to)->set(type::open_other, 0); };
    c.array_start = [](void* to, std::size_t n) { static_cast<item*>(to)->set(type::array, n); };
    c.indef_array_start = [](void* to) { static_cast<item*>(to)->set(type::open_array, 0); };
    c.map_start = [](void* to, std::size_t n) { static_cast<item*>(to)->set(type::map, n); };
    c.indef_map_start = [](void* to) { static_cast<item*>(to)->set(type::open_other, 0); };
    c.tag = [](void* to, std::uint64_t v) { static_cast<item*>(to)->set(type::tag, v); };
    c.float2 = [](void* to, float v) {
      static_cast<item*>(to)->set(type::real, 0);
      static_cast<item*>(to)->real = static_cast<double>(v);
    };
    c.float4 = c.float2;
    c.float8 = [](void* to, double v) {
      static_cast<item*>(to)->set(type::real, 0);
      static_cast<item*>(to)->real = v;
    };
    c.undefined = [](void* to) { static_cast<item*>(to)->set(type::null, 1); };
    c.null = [](void* to) { static_cast<item*>(to)->set(type::null, 0); };
    c.boolean = [](void* to, bool v) { static_cast<item*>(to)->set(type::boolean, v ? 1U : 0U); };
    c.indef_break = [](void* to) { static_cast<item*>(to)->set(type::close, 0); };
    return c;
  }();

  if (failed()) return false;
  last_ = offset_;
  if (left() == 0) return fail("ends too early");
  const auto* at = reinterpret_cast<cbor_data>(input_.data()) + offset_;
  const cbor_decoder_result got = cbor_stream_decode(at, left(), &callbacks, &result);
  if (got.status == CBOR_DECODER_NEDATA) return fail("ends too early");
  if (got.status != CBOR_DECODER_FINISHED || result.kind == item::type::none || got.read == 0 ||
      got.read > left()) {
    return fail("is not CBOR");
  }
  offset_ += got.read;
  return true;
}

bool cbor_reader::count_fits(std::uint64_t count, std::uint64_t bytes_each) {
  return count <= left() / bytes_each || fail("announces more items than the input can hold");
}

bool cbor_reader::natural(std::uint64_t& value) {
  item got;
  if (!next(got)) return false;
  if (got.kind != item::type::natural) return fail("expected a natural number");
  value = got.number;
  return true;
}

bool cbor_reader::integer(std::int64_t& value) {
  item got;
  if (!next(got)) return false;
  if (got.kind != item::type::natural && got.kind != item::type::negative) {
    return fail("expected an integer");
  }
  constexpr auto most = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  if (got.number > most) return fail("integer is out of range");
  const auto number = static_cast<std::int64_t>(got.number);
  value = got.kind == item::type::natural ? number : -1 - number;
  return true;
}

bool cbor_reader::real(double& value) {
  item got;
  if (!next(got)) return false;
  if (got.kind != item::type::real) return fail("expected a floating-point number");
  value = got.real;
  return true;
}

bool cbor_reader::boolean(bool& value) {
  item got;
  if (!next(got)) return false;
  if (got.kind != item::type::boolean) return fail("expected true or false");
  value = got.number != 0;
  return true;
}

bool cbor_reader::null() {
  item got;
  if (!next(got)) return false;
  if (got.kind != item::type::null || got.number != 0) return fail("expected null");
  return true;
}

bool cbor_reader::text(std::string_view& value) {
  item got;
  if (!next(got)) return false;
  if (got.kind != item::type::text && got.kind != item::type::bytes) {
    return fail("expected a string");
  }
  value = {reinterpret_cast<const char*>(got.data), static_cast<std::size_t>(got.number)};
  return true;
}

bool cbor_reader::bytes(std::span<const std::byte>& value) {
  item got;
  if (!next(got)) return false;
  if (got.kind != item::type::bytes) return fail("expected a byte string");
  value = {reinterpret_cast<const std::byte*>(got.data), static_cast<std::size_t>(got.number)};
  return true;
}

bool cbor_reader::array(std::size_t& count) {
  item got;
  if (!next(got)) return false;
  if (got.kind != item::type::array) return fail("expected an array");
  if (!count_fits(got.number, 1)) return false;
  count = static_cast<std::size_t>(got.number);
  return true;
}

bool cbor_reader::array_of(std::size_t count) {
  std::size_t got = 0;
  if (!array(got)) return false;
  return got == count || fail("array has the wrong number of items");
}

bool cbor_reader::map(std::size_t& pairs) {
  item got;
  if (!next(got)) return false;
  if (got.kind != item::type::map) return fail("expected a map");
  if (!count_fits(got.number, 2)) return false;
  pairs = static_cast<std::size_t>(got.number);
  return true;
}

bool cbor_reader::open_array() {
  item got;
  if (!next(got)) return false;
  return got.kind == item::type::open_array || fail("expected an open array");
}

bool cbor_reader::close() {
  item got;
  if (!next(got)) return false;
  return got.kind == item::type::close || fail("expected the end of an open array");
}

bool cbor_reader::skip() {
  // Counts what is still owed instead of recursing: an unknown item may nest as it likes.
  std::uint64_t owed = 1;
  while (owed > 0) {
    item got;
    if (!next(got)) return false;
    --owed;
    switch (got.kind) {
      case item::type::array:
        if (!count_fits(got.number, 1)) return false;
        owed += got.number;
        break;
      case item::type::map:
        if (!count_fits(got.number, 2)) return false;
        owed += 2 * got.number;
        break;
      case item::type::tag: owed += 1; break;
      case item::type::open_array:
      case item::type::open_other:
      case item::type::close: return fail("items of unknown length are not accepted here");
      default: break;
    }
    if (owed > left()) return fail("announces more items than the input can hold");
  }
  return true;
}

bool cbor_reader::end() {
  last_ = offset_;
  return !failed() && (left() == 0 || fail("bytes are left over after the end"));
}

bool cbor_reader::next_is_null() const noexcept {
  return left() > 0 && input_[offset_] == std::byte{0xF6};
}

bool cbor_reader::next_is_map() const noexcept {
  return left() > 0 && (input_[offset_] & std::byte{0xE0}) == std::byte{0xA0};
}

bool cbor_reader::next_is_close() const noexcept {
  return left() > 0 && input_[offset_] == std::byte{0xFF};
}

bool cbor_reader::fail(std::string_view text) {
  if (!error_) error_ = decode_error{.offset = last_, .text = std::string{text}};
  return false;
}

}  // namespace peeper
