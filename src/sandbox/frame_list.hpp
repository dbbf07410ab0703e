// SPDX-License-Identifier: Apache-2.0
/// \file
/// `frame_list`: frames that wait for their record, one after the other in memory that is used
/// again.
///
/// THREADS: one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace peeper::sandbox {

class frame_list {
 public:
  /// Throws std::bad_alloc: nothing is added.
  void add(std::uint16_t type, std::span<const std::byte> head,
           std::span<const std::byte> payload = {}) {
    frames_.push_back({type, bytes_.size(), head.size() + payload.size()});
    bytes_.insert(bytes_.end(), head.begin(), head.end());
    bytes_.insert(bytes_.end(), payload.begin(), payload.end());
  }
  template <class Take>
  void for_each(Take take) const {
    for (const frame& f : frames_) take(f.type, std::span{bytes_}.subspan(f.begin, f.length));
  }
  void clear() noexcept {
    frames_.clear();
    bytes_.clear();
  }

 private:
  struct frame {
    std::uint16_t type;
    std::size_t begin;
    std::size_t length;
  };
  std::vector<frame> frames_;
  std::vector<std::byte> bytes_;
};

}  // namespace peeper::sandbox
