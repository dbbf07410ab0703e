// SPDX-License-Identifier: Apache-2.0
//
// States and messages as CBOR (RFC 8949). The format is in docs/encoding.md.
//
// Structures are read by reflection (kept/reflect.hpp). One that is described by Boost.Describe is
// a map of names: fields may be added, removed and reordered, as long as a name keeps its meaning.
// Any other is an array of its fields. Bytes come from anywhere: decode() gives a value or an
// error, never a crash, and asks for no more memory than the input justifies.
//
// THREADS: pure functions.
//
//   std::vector<std::byte> bytes = peeper::encode(state);
//   auto again = peeper::decode<my_state>(bytes);   // std::expected<my_state, decode_error>
#pragma once

#include <bitset>
#include <cstdint>
#include <expected>
#include <limits>
#include <string>
#include <type_traits>
#include <vector>

#include <peeper/codec/cbor.hpp>
#include <peeper/codec/versions.hpp>
#include <peeper/kept/reflect.hpp>

namespace peeper::detail {

// ---------------------------------------------------------------------------- what can be encoded

template <class T>
inline constexpr bool is_duration = false;
template <class Number, class Period>
inline constexpr bool is_duration<std::chrono::duration<Number, Period>> = true;
template <class T>
inline constexpr bool is_time_point = false;
template <class Clock, class Duration>
inline constexpr bool is_time_point<std::chrono::time_point<Clock, Duration>> = true;

template <class T>
concept integer_like = std::integral<T> && !std::same_as<T, bool> && sizeof(T) <= 8;
template <class T>
concept byte_like = std::same_as<T, std::byte> || std::same_as<T, unsigned char>;
template <class T>
concept string_like = std::same_as<T, std::string>;
template <class T>
concept sequence_like = std::ranges::range<T> && !string_like<T> && !kept<T> &&
                        requires(T& s, typename T::value_type v) {
                          s.push_back(std::move(v));
                          s.size();
                        };
template <class T>
concept keyed_like = std::ranges::range<T> && !kept<T> && requires(T& s) {
  typename T::key_type;
  typename T::value_type;
  s.size();
};
template <class T>
concept mapping_like = keyed_like<T> && requires { typename T::mapped_type; };

template <class T, class... Seen>
consteval bool can_encode() {
  if constexpr ((false || ... || std::is_same_v<T, Seen>)) {
    return true;
  } else if constexpr (std::is_same_v<T, bool> || integer_like<T> || std::is_enum_v<T> ||
                       std::is_same_v<T, float> || std::is_same_v<T, double> || string_like<T> ||
                       std::is_same_v<T, std::monostate>) {
    return true;
  } else if constexpr (is_duration<T>) {
    return can_encode<typename T::rep>();
  } else if constexpr (is_time_point<T>) {
    return can_encode<typename T::rep>();
  } else if constexpr (kept<T>) {
    return T::template elements_encodable<T, Seen...>();
  } else if constexpr (optional_like<T>) {
    return std::is_default_constructible_v<typename T::value_type> &&
           can_encode<typename T::value_type, T, Seen...>();
  } else if constexpr (variant_like<T>) {
    return all_indices<std::variant_size_v<T>>([](auto i) {
      using alternative = std::variant_alternative_t<i, T>;
      return std::is_default_constructible_v<alternative> && can_encode<alternative, T, Seen...>();
    });
  } else if constexpr (array_like<T>) {
    return can_encode<typename T::value_type, T, Seen...>();
  } else if constexpr (structure<T>) {
    return std::is_default_constructible_v<T> && all_indices<field_count<T>>([](auto i) {
             return can_encode<field_type<i, T>, T, Seen...>();
           });
  } else if constexpr (mapping_like<T>) {
    return std::is_default_constructible_v<typename T::key_type> &&
           std::is_default_constructible_v<typename T::mapped_type> &&
           can_encode<typename T::key_type, T, Seen...>() &&
           can_encode<typename T::mapped_type, T, Seen...>();
  } else if constexpr (keyed_like<T> || sequence_like<T>) {
    return std::is_default_constructible_v<typename T::value_type> &&
           can_encode<typename T::value_type, T, Seen...>();
  } else {
    return false;
  }
}

/// Whether the encoding of T may be null, so that an optional of it needs another way to be empty.
template <class T>
consteval bool can_be_null() {
  if constexpr (kept<T>) {
    return T::template element_can_be_null<void>();
  } else {
    return optional_like<T> || std::is_same_v<T, std::monostate>;
  }
}

}  // namespace peeper::detail

namespace peeper {

/// A type that has an encoding. Keepers beyond this process need it; the one in memory does not.
template <class T>
concept encodable = detail::can_encode<T>();

}  // namespace peeper

namespace peeper::detail {

// ---------------------------------------------------------------------------- encode

template <class T>
void encode_value(cbor_writer& out, const T& value) {
  if constexpr (std::is_same_v<T, bool>) {
    out.boolean(value);
  } else if constexpr (integer_like<T>) {
    if constexpr (std::is_signed_v<T>) {
      out.integer(static_cast<std::int64_t>(value));
    } else {
      out.natural(static_cast<std::uint64_t>(value));
    }
  } else if constexpr (std::is_enum_v<T>) {
    encode_value(out, static_cast<std::underlying_type_t<T>>(value));
  } else if constexpr (std::is_floating_point_v<T>) {
    out.real(value);
  } else if constexpr (string_like<T>) {
    out.text(value);
  } else if constexpr (std::is_same_v<T, std::monostate>) {
    out.null();
  } else if constexpr (is_duration<T>) {
    encode_value(out, value.count());
  } else if constexpr (is_time_point<T>) {
    encode_value(out, value.time_since_epoch().count());
  } else if constexpr (kept<T>) {
    value.encode_contents(out);
  } else if constexpr (optional_like<T>) {
    if (!value) {
      out.null();
      return;
    }
    if constexpr (can_be_null<typename T::value_type>()) out.array(1);
    encode_value(out, *value);
  } else if constexpr (variant_like<T>) {
    if (value.valueless_by_exception()) throw std::bad_variant_access{};
    out.array(2);
    out.natural(value.index());
    for_each_index<std::variant_size_v<T>>([&](auto i) {
      if (const auto* held = std::get_if<i>(&value)) encode_value(out, *held);
    });
  } else if constexpr (array_like<T>) {
    if constexpr (byte_like<typename T::value_type>) {
      out.bytes(std::as_bytes(std::span{value}));
    } else {
      out.array(value.size());
      for (const auto& element : value) encode_value(out, element);
    }
  } else if constexpr (structure<T>) {
    const cbor_writer::nesting level{out};
    if constexpr (described<T>) {
      out.map(field_count<T>);
      for_each_index<field_count<T>>([&](auto i) {
        out.text(field_name<i, T>());
        encode_value(out, field<i>(value));
      });
    } else {
      out.array(field_count<T>);
      for_each_index<field_count<T>>([&](auto i) { encode_value(out, field<i>(value)); });
    }
  } else if constexpr (mapping_like<T>) {
    const cbor_writer::nesting level{out};
    out.map(value.size());
    for (const auto& [key, mapped] : value) {
      encode_value(out, key);
      encode_value(out, mapped);
    }
  } else {
    using element = typename T::value_type;
    if constexpr (sequence_like<T> && byte_like<element> && std::ranges::contiguous_range<T>) {
      out.bytes(std::as_bytes(std::span{value}));
    } else {
      const cbor_writer::nesting level{out};
      out.array(value.size());
      for (const auto& each : value) encode_value<element>(out, each);
    }
  }
}

// ---------------------------------------------------------------------------- decode

template <class T>
[[nodiscard]] bool decode_integer(cbor_reader& in, T& value) {
  using limits = std::numeric_limits<T>;
  if constexpr (std::is_signed_v<T>) {
    std::int64_t wide = 0;
    if (!in.integer(wide)) return false;
    if (wide < static_cast<std::int64_t>(limits::min()) ||
        wide > static_cast<std::int64_t>(limits::max())) {
      return in.fail("integer is out of range");
    }
    value = static_cast<T>(wide);
  } else {
    std::uint64_t wide = 0;
    if (!in.natural(wide)) return false;
    if (wide > static_cast<std::uint64_t>(limits::max())) {
      return in.fail("integer is out of range");
    }
    value = static_cast<T>(wide);
  }
  return true;
}

/// Reads the key that names a field: its name where T is described, else its index.
/// RETURNS: the index, or field_count<T> for a name that T does not have (any more).
template <class T>
[[nodiscard]] bool decode_field_key(cbor_reader& in, std::size_t& index) {
  if constexpr (described<T>) {
    std::string_view name;
    if (!in.text(name)) return false;
    index = 0;
    all_indices<field_count<T>>([&](auto i) {
      if (field_name<i, T>() == name) return false;
      ++index;
      return true;
    });
    return true;
  } else {
    std::uint64_t number = 0;
    if (!in.natural(number)) return false;
    if (number >= field_count<T>) return in.fail("no such field");
    index = static_cast<std::size_t>(number);
    return true;
  }
}

template <class T>
[[nodiscard]] bool decode_structure(cbor_reader& in, T& value) {
  if constexpr (described<T>) {
    std::size_t pairs = 0;
    if (!in.map(pairs)) return false;
    std::bitset<field_count<T> + 1> met;
    for (; pairs > 0; --pairs) {
      std::size_t index = 0;
      if (!decode_field_key<T>(in, index)) return false;
      if (index == field_count<T>) {
        // Written by a version of the program that knew this field.
        if (!in.skip()) return false;
        continue;
      }
      if (met.test(index)) return in.fail("a field is there twice");
      met.set(index);
      const bool ok = all_indices<field_count<T>>(
          [&](auto i) { return i != index || decode_value(in, field<i>(value)); });
      if (!ok) return false;
    }
    return true;
  } else {
    return in.array_of(field_count<T>) &&
           all_indices<field_count<T>>([&](auto i) { return decode_value(in, field<i>(value)); });
  }
}

template <class T>
[[nodiscard]] bool decode_variant(cbor_reader& in, T& value) {
  std::uint64_t index = 0;
  if (!in.array_of(2) || !in.natural(index)) return false;
  if (index >= std::variant_size_v<T>) return in.fail("variant has no such alternative");
  return all_indices<std::variant_size_v<T>>(
      [&](auto i) { return i != index || decode_value(in, value.template emplace<i>()); });
}

template <class T>
[[nodiscard]] bool decode_range(cbor_reader& in, T& value) {
  if constexpr (mapping_like<T>) {
    std::size_t pairs = 0;
    if (!in.map(pairs)) return false;
    value.clear();
    for (; pairs > 0; --pairs) {
      typename T::key_type key{};
      typename T::mapped_type mapped{};
      if (!decode_value(in, key) || !decode_value(in, mapped)) return false;
      const std::size_t before = value.size();
      value.emplace(std::move(key), std::move(mapped));
      if (value.size() == before) return in.fail("a key is there twice");
    }
  } else if constexpr (keyed_like<T>) {
    std::size_t count = 0;
    if (!in.array(count)) return false;
    value.clear();
    for (; count > 0; --count) {
      typename T::value_type element{};
      if (!decode_value(in, element)) return false;
      const std::size_t before = value.size();
      value.insert(std::move(element));
      if (value.size() == before) return in.fail("an element is there twice");
    }
  } else if constexpr (byte_like<typename T::value_type> && std::ranges::contiguous_range<T>) {
    std::span<const std::byte> got;
    if (!in.bytes(got)) return false;
    const auto* first = reinterpret_cast<const typename T::value_type*>(got.data());
    value.assign(first, first + got.size());
  } else {
    std::size_t count = 0;
    if (!in.array(count)) return false;
    value.clear();
    // Not reserved in one go: an element may be larger than its encoding.
    for (; count > 0; --count) {
      typename T::value_type element{};
      if (!decode_value(in, element)) return false;
      value.push_back(std::move(element));
    }
  }
  return true;
}

/// Reads into a value that is default constructed. RETURNS: false after an error, with `value` in
/// any valid state.
template <class T>
[[nodiscard]] bool decode_value(cbor_reader& in, T& value) {
  if constexpr (std::is_same_v<T, bool>) {
    return in.boolean(value);
  } else if constexpr (integer_like<T>) {
    return decode_integer(in, value);
  } else if constexpr (std::is_enum_v<T>) {
    std::underlying_type_t<T> number{};
    if (!decode_value(in, number)) return false;
    value = static_cast<T>(number);
    return true;
  } else if constexpr (std::is_floating_point_v<T>) {
    double wide = 0;
    if (!in.real(wide)) return false;
    value = static_cast<T>(wide);
    return true;
  } else if constexpr (string_like<T>) {
    std::string_view text;
    if (!in.text(text)) return false;
    value.assign(text);
    return true;
  } else if constexpr (std::is_same_v<T, std::monostate>) {
    return in.null();
  } else if constexpr (is_duration<T>) {
    typename T::rep count{};
    if (!decode_value(in, count)) return false;
    value = T{count};
    return true;
  } else if constexpr (is_time_point<T>) {
    typename T::duration since{};
    if (!decode_value(in, since)) return false;
    value = T{since};
    return true;
  } else {
    const cbor_reader::nesting level{in};
    if (!level.ok()) return false;
    if constexpr (kept<T>) {
      return value.decode_contents(in);
    } else if constexpr (optional_like<T>) {
      if (in.next_is_null()) {
        value.reset();
        return in.null();
      }
      if constexpr (can_be_null<typename T::value_type>()) {
        if (!in.array_of(1)) return false;
      }
      return decode_value(in, value.emplace());
    } else if constexpr (variant_like<T>) {
      return decode_variant(in, value);
    } else if constexpr (array_like<T>) {
      if constexpr (byte_like<typename T::value_type>) {
        std::span<const std::byte> got;
        if (!in.bytes(got)) return false;
        if (got.size() != value.size()) return in.fail("byte string has the wrong length");
        std::ranges::transform(got, value.begin(),
                               [](std::byte b) { return static_cast<typename T::value_type>(b); });
        return true;
      } else {
        if (!in.array_of(value.size())) return false;
        for (auto& element : value) {
          if (!decode_value(in, element)) return false;
        }
        return true;
      }
    } else if constexpr (structure<T>) {
      return decode_structure(in, value);
    } else {
      return decode_range(in, value);
    }
  }
}

// ---------------------------------------------------------------------------- the plain part

/// Encodes what save() would copy: kept containers stand as null.
template <class T>
void encode_saved(cbor_writer& out, const T& object) {
  if constexpr (!holds_kept<T>) {
    encode_value(out, object);
  } else if constexpr (kept<T>) {
    out.null();
  } else if constexpr (structure<T>) {
    out.array(field_count<T>);
    for_each_index<field_count<T>>([&](auto i) { encode_saved(out, field<i>(object)); });
  } else if constexpr (array_like<T>) {
    out.array(object.size());
    for (const auto& element : object) encode_saved(out, element);
  } else if constexpr (optional_like<T>) {
    out.array(object ? 1 : 0);
    if (object) encode_saved(out, *object);
  } else {
    out.array(2);
    out.natural(object.index());
    for_each_index<std::variant_size_v<T>>([&](auto i) {
      if (const auto* held = std::get_if<i>(&object)) encode_saved(out, *held);
    });
  }
}

template <class T>
[[nodiscard]] bool decode_saved(cbor_reader& in, saved<T>& value) {
  if constexpr (!holds_kept<T>) {
    return decode_value(in, value);
  } else if constexpr (kept<T>) {
    return in.null();
  } else if constexpr (structure<T>) {
    return in.array_of(field_count<T>) && all_indices<field_count<T>>([&](auto i) {
             return decode_saved<field_type<i, T>>(in, std::get<i>(value));
           });
  } else if constexpr (array_like<T>) {
    if (!in.array_of(value.size())) return false;
    for (auto& element : value) {
      if (!decode_saved<typename T::value_type>(in, element)) return false;
    }
    return true;
  } else if constexpr (optional_like<T>) {
    std::size_t count = 0;
    if (!in.array(count)) return false;
    if (count > 1) return in.fail("an optional holds at most one value");
    value.reset();
    return count == 0 || decode_saved<typename T::value_type>(in, value.emplace());
  } else {
    std::uint64_t index = 0;
    if (!in.array_of(2) || !in.natural(index)) return false;
    if (index >= std::variant_size_v<T>) return in.fail("variant has no such alternative");
    return all_indices<std::variant_size_v<T>>([&](auto i) {
      return i != index ||
             decode_saved<std::variant_alternative_t<i, T>>(in, value.template emplace<i>());
    });
  }
}

}  // namespace peeper::detail

namespace peeper {

/// Throws std::bad_alloc; std::length_error if `value` nests deeper than nesting_limit.
template <encodable T>
[[nodiscard]] std::vector<std::byte> encode(const T& value) {
  cbor_writer out;
  out.array(3);
  out.natural(encoding_version);
  out.natural(detail::state_version<T>());
  detail::encode_value(out, value);
  return out.take();
}

/// Reads what encode() wrote for a T, or for an older version of it: that is decoded as what it was
/// and migrated, step by step (codec/versions.hpp).
///
/// RETURNS: the value; a decode_error for everything that can be wrong with the bytes: also a newer
/// version, one older than the chain (both versions are named), and a migrate() that throws.
/// Throws std::bad_alloc, and what constructors of T's parts throw.
template <encodable T>
  requires std::default_initializable<T>
[[nodiscard]] std::expected<T, decode_error> decode(std::span<const std::byte> bytes) {
  static_assert(detail::chain_holds<T>());
  cbor_reader in{bytes};
  std::expected<T, decode_error> result{std::in_place};
  std::uint64_t version = 0;
  if (!in.array_of(3) || !detail::read_versions(in, version) ||
      !detail::decode_version(in, version, *result) || !in.end()) {
    result = std::unexpected{in.error()};
  }
  return result;
}

}  // namespace peeper
