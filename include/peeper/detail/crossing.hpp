// SPDX-License-Identifier: Apache-2.0
/// \file
/// `crossing`: how messages and answers of a server class that says `isolatable` go from one OS
/// process to another: as the bytes of the value where any bytes are a value, else as CBOR.
///
/// Who reads does not trust who wrote: what cannot be read throws bad_crossing.
/// THREADS: pure functions; the registry is complete before main().
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <stdexcept>
#include <type_traits>
#include <typeinfo>
#include <utility>

#include <peeper/codec.hpp>
#include <peeper/detail/message.hpp>
#include <peeper/detail/request.hpp>
#include <peeper/from.hpp>
#include <peeper/info.hpp>
#include <peeper/next.hpp>

namespace peeper::detail {

/// The class says that its messages can cross: `static constexpr bool isolatable = true;`.
template <class S>
concept isolatable = requires { requires S::isolatable; };

class bad_crossing : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// --- values --------------------------------------------------------------------------------------

/// Any bytes are one: it is copied as it is. (Not so a bool.)
template <class T>
consteval bool any_bytes_are() {
  if constexpr (!std::is_trivially_copyable_v<T> || !std::is_default_constructible_v<T>) {
    return false;
  } else if constexpr (std::is_same_v<T, bool>) {
    return false;
  } else if constexpr (std::is_arithmetic_v<T> || std::is_same_v<T, std::byte>) {
    return true;
  } else if constexpr (array_like<T>) {
    return any_bytes_are<typename T::value_type>();
  } else if constexpr (structure<T>) {
    return all_indices<field_count<T>>(
        [](auto i) { return any_bytes_are<std::remove_cv_t<field_type<i, T>>>(); });
  } else {
    return false;
  }
}

void write_reason(cbor_writer& out, const exit_reason& reason);
[[nodiscard]] bool read_reason(cbor_reader& in, exit_reason& reason);

/// What the library itself sends to handle_info is not seen through by reflection.
template <class T>
inline constexpr bool of_the_library = std::same_as<T, down> || std::same_as<T, exit_signal>;

template <class T>
concept can_cross =
    std::is_void_v<T> || of_the_library<T> || (encodable<T> && std::is_default_constructible_v<T>);

/// RETURNS: its bytes: in `value` itself, or in `scratch`.
template <can_cross T>
[[nodiscard]] std::span<const std::byte> to_bytes(const T& value, cbor_writer& scratch) {
  if constexpr (std::is_empty_v<T>) {
    return {};
  } else if constexpr (any_bytes_are<T>()) {
    return std::as_bytes(std::span{&value, 1});
  } else {
    scratch.truncate(0);
    if constexpr (std::same_as<T, down>) {
      scratch.natural(value.id.value);
      scratch.natural(value.process.raw());
      write_reason(scratch, value.reason);
    } else if constexpr (std::same_as<T, exit_signal>) {
      scratch.natural(value.from.raw());
      write_reason(scratch, value.reason);
    } else {
      encode_value(scratch, value);
    }
    return scratch.view();
  }
}

[[noreturn]] void refuse_crossing(std::string_view type, const cbor_reader& in);
[[noreturn]] void refuse_crossing(std::string_view type);

template <can_cross T>
[[nodiscard]] T from_bytes(std::span<const std::byte> bytes) {
  T value{};
  if constexpr (std::is_empty_v<T>) {
    if (!bytes.empty()) refuse_crossing(type_name_of<T>());
  } else if constexpr (any_bytes_are<T>()) {
    if (bytes.size() != sizeof value) refuse_crossing(type_name_of<T>());
    std::memcpy(&value, bytes.data(), sizeof value);
  } else {
    cbor_reader in{bytes};
    bool ok = false;
    if constexpr (of_the_library<T>) {
      std::uint64_t id = 0;
      std::uint64_t process = 0;
      if constexpr (std::same_as<T, down>) {
        ok = in.natural(id) && in.natural(process) && read_reason(in, value.reason);
        value.id = {id};
        value.process = pid::from_raw(process);
      } else {
        ok = in.natural(process) && read_reason(in, value.reason);
        value.from = pid::from_raw(process);
      }
    } else {
      ok = decode_value(in, value);
    }
    if (!ok || !in.end()) refuse_crossing(type_name_of<T>(), in);
  }
  return value;
}

// --- messages ------------------------------------------------------------------------------------

/// The right to answer one call that is handled elsewhere: a from<R> without its type.
class open_call {
 public:
  open_call() = default;
  open_call(const open_call&) = delete;
  open_call& operator=(const open_call&) = delete;
  virtual ~open_call() = default;
  virtual void answer(std::span<const std::byte> value) = 0;
};

/// One object for each message type of each isolatable server class.
struct crossing {
  /// The server class that it is for: what a worker names is checked.
  const std::type_info* server;
  /// What it carries. RETURNS: bytes in `m` or in `scratch`.
  std::span<const std::byte> (*write)(message& m, cbor_writer& scratch);
  /// Throws bad_crossing, std::bad_alloc.
  message* (*read)(std::span<const std::byte> bytes);

  // calls
  request& (*request_of)(message& m) = nullptr;
  /// Its error is set, and not a value. REQUIRES: it is answered.
  const call_error* (*error)(message& m) = nullptr;
  std::span<const std::byte> (*write_reply)(message& m, cbor_writer& scratch) = nullptr;
  /// Stores the answer; it has not left yet.
  void (*set_reply)(message& m, std::span<const std::byte> bytes) = nullptr;
  /// Only where a handler takes a from<R>.
  std::unique_ptr<open_call> (*hold)(message& m) = nullptr;

  /// Of an interval timer: makes what fires.
  message* (*copy)(message& m) = nullptr;
};

using crossing_number = std::uint32_t;
/// Called before main() only: the numbers are the same in all OS processes forked from one.
crossing_number register_crossing(const crossing& c) noexcept;
/// RETURNS: null if there is none.
[[nodiscard]] const crossing* find_crossing(crossing_number number) noexcept;
[[nodiscard]] crossing_number crossings_registered() noexcept;

struct numbered_crossing : crossing {
  explicit numbered_crossing(const crossing& c) noexcept
      : crossing{c}, number{register_crossing(*this)} {}
  numbered_crossing(const numbered_crossing&) = delete;
  numbered_crossing& operator=(const numbered_crossing&) = delete;
  ~numbered_crossing() = default;
  crossing_number number;
};

template <class S, class M>
consteval void explain_crossing() {
  static_assert(can_cross<M>,
                "peeper: this server class is isolatable, so its messages must be able to go to "
                "another OS process: default constructible, encodable fields (numbers, strings, "
                "containers and structures of such), no pointers, no handles");
}
template <class S, class R>
consteval void explain_reply_crossing() {
  static_assert(can_cross<R>,
                "peeper: this server class is isolatable, so its replies must be able to come "
                "from another OS process: default constructible, encodable fields, no pointers, "
                "no handles");
}

}  // namespace peeper::detail
