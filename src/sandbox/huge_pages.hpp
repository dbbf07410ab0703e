// SPDX-License-Identifier: Apache-2.0
/// \file
/// `huge_pages`: moves the memory of the calling OS process into huge pages, 2 MiB at a time.
///
/// A fork copies page tables. For 1 GB in pages of 4 KiB that takes 27 ms, in pages of 2 MiB 0.4
/// ms: so long a worker that has just been promoted has no follower. So a follower, which has time,
/// puts its memory in order before. What it shares with its worker since the fork is copied by
/// that.
///
/// THREADS: one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include <peeper/time.hpp>

namespace peeper::sandbox {

class huge_pages {
 public:
  /// `on`: false where /proc cannot be read.
  explicit huge_pages(bool on) noexcept;
  /// So many bytes may have been written since the last call: there may be memory to move.
  void written(std::size_t bytes) noexcept { written_ += bytes; }
  /// Moves some, if it is time for that; takes a millisecond at the most. RETURNS: when to call
  /// again.
  time_point move_some(time_point now) noexcept;

 private:
  struct range {
    std::uintptr_t at;
    std::uintptr_t end;
  };
  void find_ranges();
  [[nodiscard]] bool is_due() const noexcept { return written_ >= written_min; }

  /// To look for memory to move takes 0.1 ms: not for less than that.
  static constexpr std::size_t written_min = std::size_t{1} << 20U;

  bool on_;
  std::size_t written_ = written_min;
  std::vector<range> ranges_;  ///< that are left to be moved
  time_point again_{};
};

}  // namespace peeper::sandbox
