// SPDX-License-Identifier: Apache-2.0
//
// Versions of a type that is kept for longer than one program: a state, a table's row, a message.
// Each names the one before it and how to come from there (OTP's code_change):
//
//   struct account_v1 { static constexpr unsigned version = 1; std::string owner; };
//   struct account {
//     static constexpr unsigned version = 2;
//     using previous = account_v1;
//     static account migrate(account_v1&& old) { return {std::move(old.owner), 100}; }
//     std::string owner;
//     int limit = 0;
//   };
//
// decode<account>() then reads what either of them wrote. The chain may have any length. A type
// without a version has version 0, and may be the first of a chain. Only the outermost type's
// version is written, so the chain is that of the type that is encoded, not of its fields.
//
// THREADS: pure functions.
#pragma once

#include <concepts>
#include <cstdint>
#include <exception>
#include <new>
#include <type_traits>
#include <utility>

#include <peeper/codec/cbor.hpp>

namespace peeper::detail {

template <class T>
concept has_version = requires { typename std::integral_constant<std::uint64_t, T::version>; };
template <class T>
concept has_previous = requires { typename T::previous; };
template <class T>
concept migrates = has_previous<T> && requires(typename T::previous&& old) {
  { T::migrate(std::move(old)) } -> std::same_as<T>;
};

template <class T>
consteval std::uint64_t version_of() {
  if constexpr (has_version<T>) {
    return T::version;
  } else {
    return 0;
  }
}

template <class T, class... Seen>
consteval bool can_encode();

/// Whether the chain can be followed from T down to its first version.
template <class T>
consteval bool chain_holds() {
  if constexpr (has_previous<T>) {
    using previous = typename T::previous;
    static_assert(has_version<T>,
                  "peeper: a type with a `previous` needs a version of its own: "
                  "`static constexpr unsigned version = 2;`");
    static_assert(version_of<T>() > version_of<previous>(),
                  "peeper: the version of a type must be higher than that of its `previous`");
    static_assert(migrates<T>,
                  "peeper: a type with a `previous` says how to come from there: "
                  "`static T migrate(previous&& old);`");
    static_assert(can_encode<previous>() && std::is_default_constructible_v<previous>,
                  "peeper: the `previous` of a type must be one that can be decoded: default "
                  "constructible, of encodable fields");
    if constexpr (has_version<T> && version_of<T>() > version_of<previous>() && migrates<T>) {
      return chain_holds<previous>();
    } else {
      return false;
    }
  } else {
    static_assert(
        !requires { &T::migrate; },
        "peeper: migrate() is never called without the type that it starts from: add "
        "`using previous = ...;`");
    return true;
  }
}

/// The version written with T: its `static constexpr unsigned version = n;`, 0 where it has none.
template <class T>
consteval std::uint64_t state_version() {
  static_assert(chain_holds<T>());
  return version_of<T>();
}
/// The oldest version that T can be read from.
template <class T>
consteval std::uint64_t oldest_version() {
  if constexpr (has_previous<T>) {
    return oldest_version<typename T::previous>();
  } else {
    return version_of<T>();
  }
}

/// Reads format and version. RETURNS: false after an error: another format.
[[nodiscard]] bool read_versions(cbor_reader& in, std::uint64_t& version);
/// As read_versions(), for what cannot be migrated: a delta.
[[nodiscard]] bool decode_versions(cbor_reader& in, std::uint64_t version);
bool fail_version(cbor_reader& in, std::uint64_t found, std::uint64_t own, std::uint64_t oldest);
bool fail_migrate(cbor_reader& in, std::uint64_t from, std::uint64_t to, const char* why);

template <class T>
[[nodiscard]] bool decode_value(cbor_reader& in, T& value);

/// Reads a value that was written as version `found` of Newest or of one before it, as a T.
/// REQUIRES: `value` is default constructed. RETURNS: false after an error.
template <class T, class Newest = T>
[[nodiscard]] bool decode_version(cbor_reader& in, std::uint64_t found, T& value) {
  if (found == version_of<T>()) return decode_value(in, value);
  if constexpr (has_previous<T>) {
    if (found < version_of<T>()) {
      using previous = typename T::previous;
      previous old{};
      if (!decode_version<previous, Newest>(in, found, old)) return false;
      try {
        value = T::migrate(std::move(old));
        return true;
      } catch (const std::bad_alloc&) {
        throw;
      } catch (const std::exception& e) {
        return fail_migrate(in, version_of<previous>(), version_of<T>(), e.what());
      } catch (...) {
        return fail_migrate(in, version_of<previous>(), version_of<T>(),
                            "something that is no std::exception");
      }
    }
  }
  return fail_version(in, found, version_of<Newest>(), oldest_version<Newest>());
}

}  // namespace peeper::detail
