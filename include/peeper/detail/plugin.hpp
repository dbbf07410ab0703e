// SPDX-License-Identifier: Apache-2.0
/// \file
/// What a shared library shows of the class that it brings, and how it is loaded.
///
/// A program and a plugin share C++ types, so both must have been built from the same headers: the
/// key says so. It is computed by the compiler, since a function could be replaced by the program's
/// own when the library is loaded.
///
/// THREADS: any.
#pragma once

#include <cstdint>
#include <expected>
#include <filesystem>
#include <initializer_list>
#include <string_view>

#include <peeper/detail/instance.hpp>

namespace peeper {
class upgrade_error;
}  // namespace peeper

namespace peeper::detail {

/// What must be the same on both sides. `layout` comes first, whatever else changes.
struct plugin_key {
  std::uint64_t layout = 0;              ///< of peeper's types and the standard library's
  std::uint64_t protocol = 0;            ///< names and sizes of its messages
  std::string_view (*name)() = nullptr;  ///< of the protocol, for people
};
struct plugin {
  plugin_key key;
  const void* type;  ///< implementation_type<Protocol>
};

/// FNV-1a.
consteval std::uint64_t fingerprint(std::string_view text,
                                    std::uint64_t h = 14695981039346656037U) {
  for (const char c : text) h = (h ^ static_cast<unsigned char>(c)) * 1099511628211U;
  return h;
}
consteval std::uint64_t fingerprint_of(std::uint64_t h, std::initializer_list<std::size_t> sizes) {
  for (const std::size_t size : sizes) h = (h ^ size) * 1099511628211U;
  return h;
}
template <class T>
constexpr std::string_view name_in_full() {
  return __PRETTY_FUNCTION__;
}
template <class M>
consteval std::size_t reply_size() {
  if constexpr (!call_message_type<M>) {
    return 0;
  } else if constexpr (std::is_void_v<reply_of<M>>) {
    return 1;
  } else {
    return sizeof(reply_of<M>);
  }
}
template <class... M>
consteval std::uint64_t fingerprint_of(std::uint64_t h, types<M...> /*list*/) {
  return fingerprint_of(fingerprint(name_in_full<types<M...>>(), h),
                        {sizeof(M)..., alignof(M)..., reply_size<M>()...});
}
template <class P>
constexpr plugin_key plugin_key_of() {
  constexpr std::uint64_t layout = fingerprint_of(
      fingerprint("peeper plugin 1"),
      {sizeof(branch), sizeof(process), sizeof(execution), sizeof(message), sizeof(message_type),
       sizeof(instance), sizeof(exit_reason), sizeof(std::string), __GLIBCXX__});
  constexpr std::uint64_t lists[] = {
      fingerprint_of(fingerprint(name_in_full<P>()), calls_of<P>{}),
      fingerprint_of(1, deferred_calls_of<P>{}), fingerprint_of(2, casts_of<P>{}),
      fingerprint_of(3, infos_of<P>{}), fingerprint_of(4, continues_of<P>{})};
  constexpr std::uint64_t protocol =
      fingerprint_of(0, {lists[0], lists[1], lists[2], lists[3], lists[4]});
  return {layout, protocol, &type_name_of<P>};
}

/// RETURNS: the type of the plugin at that path, which stays loaded; bad_library or mismatch.
[[nodiscard]] std::expected<const void*, upgrade_error> load_plugin(
    const std::filesystem::path& library, const plugin_key& wanted);

}  // namespace peeper::detail
