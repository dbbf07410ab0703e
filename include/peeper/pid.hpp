// SPDX-License-Identifier: Apache-2.0
/// \file
/// `pid`: the identifier of a process of this runtime: one incarnation, never reused.
///
///     peeper::pid w = peeper::worker_of(counter);   // this worker, not its successor
///     peeper::kill(w);                              // true: it was alive
///
/// THREADS: a value; any.  CRASH: outlives what it names; a dead pid is answered with "no process".
#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace peeper {

/// What a pid stands for. A server is a branch of three processes that share one slot.
/// `server` is the branch as a whole: it lasts as long as the server, whichever of the three die.
enum class process_role : std::uint8_t { supervisor = 0, keeper = 1, worker = 2, server = 3 };

/// 64 bits: slot (30), role (2), generation (32). Equal pids name the same incarnation.
class pid {
 public:
  constexpr pid() noexcept = default;
  constexpr pid(std::uint32_t slot, process_role role, std::uint32_t generation) noexcept
      : raw_{(std::uint64_t{slot} << 34U) |
             (std::uint64_t{static_cast<std::uint8_t>(role)} << 32U) | generation} {}

  [[nodiscard]] static constexpr pid from_raw(std::uint64_t raw) noexcept {
    pid result;
    result.raw_ = raw;
    return result;
  }
  [[nodiscard]] constexpr std::uint64_t raw() const noexcept { return raw_; }
  [[nodiscard]] constexpr std::uint32_t slot() const noexcept {
    return static_cast<std::uint32_t>(raw_ >> 34U);
  }
  [[nodiscard]] constexpr process_role role() const noexcept {
    return static_cast<process_role>((raw_ >> 32U) & 3U);
  }
  [[nodiscard]] constexpr std::uint32_t generation() const noexcept {
    return static_cast<std::uint32_t>(raw_);
  }
  /// False for a default-constructed pid, which names nothing.
  constexpr explicit operator bool() const noexcept { return raw_ != 0; }

  friend constexpr bool operator==(pid, pid) noexcept = default;
  friend constexpr auto operator<=>(pid, pid) noexcept = default;

 private:
  std::uint64_t raw_ = 0;
};

/// "<worker 17.3>": role, slot, generation. For logs.
[[nodiscard]] std::string to_string(pid id);

}  // namespace peeper

template <>
struct std::hash<peeper::pid> {
  std::size_t operator()(peeper::pid id) const noexcept {
    return std::hash<std::uint64_t>{}(id.raw());
  }
};
