// SPDX-License-Identifier: Apache-2.0
/// The ways to die that CRASH knows: what ends an OS process, whatever its code would like to do
/// about it.
///
/// THREADS: any.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

namespace kv {

enum class death : std::uint8_t {
  segv,   ///< writes where nothing may be written: SIGSEGV
  abort,  ///< SIGABRT
  kill,   ///< SIGKILL, which nobody can catch
  hang,   ///< never returns; somebody else has to end it
  leak,   ///< takes memory until there is no more
  stack,  ///< calls itself until the stack is over
};
inline constexpr std::array all_deaths = {death::segv, death::abort, death::kill,
                                          death::hang, death::leak,  death::stack};

/// As CRASH wants it: "segv", ...
[[nodiscard]] std::string_view to_string(death way);
/// RETURNS: nothing if the word, in any case, is none.
[[nodiscard]] std::optional<death> death_of(std::string_view word);

/// This code runs in the OS process in which the program was started: its death is the program's.
[[nodiscard]] bool in_the_program();

/// A sanitizer's shadow memory is above any limit: there a leak would not end.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool memory_can_be_limited = false;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
inline constexpr bool memory_can_be_limited = false;
#else
inline constexpr bool memory_can_be_limited = true;
#endif
#else
inline constexpr bool memory_can_be_limited = true;
#endif

[[noreturn]] void die(death way);

}  // namespace kv
