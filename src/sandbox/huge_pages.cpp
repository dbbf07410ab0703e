// SPDX-License-Identifier: Apache-2.0
#include "sandbox/huge_pages.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <sstream>
#include <string>

#include <sys/mman.h>

#include "core/real_clock.hpp"

namespace peeper::sandbox {
namespace {

constexpr std::size_t huge = std::size_t{2} << 20U;
constexpr std::size_t small = 4096;
/// Fewer are not worth it, and would make much of a few.
constexpr std::ptrdiff_t resident_min = huge / small * 3 / 4;
/// One part in this many of a core's time.
constexpr int share = 4;
constexpr duration rest_min = std::chrono::milliseconds{1};
/// No part is begun after that; to move one takes half a millisecond.
constexpr duration step_max = std::chrono::microseconds{200};

/// Linux 6.1, which the headers of Debian 12's C library do not know.
constexpr int madv_collapse = 25;

std::byte* at(std::uintptr_t address) noexcept {
  return reinterpret_cast<std::byte*>(address);  // NOLINT(performance-no-int-to-ptr)
}

bool is_mostly_resident(std::uintptr_t address) noexcept {
  std::array<unsigned char, huge / small> pages{};
  if (::mincore(at(address), huge, pages.data()) != 0) return false;
  const auto resident = std::ranges::count_if(pages, [](auto page) { return (page & 1U) != 0; });
  return resident >= resident_min;
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define PEEPER_SANITIZED
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define PEEPER_SANITIZED
#endif
#endif
#ifdef PEEPER_SANITIZED
constexpr bool possible = false;  // their shadows are memory, too
#else
constexpr bool possible = true;
#endif

}  // namespace

huge_pages::huge_pages(bool on) noexcept : on_{on && possible} {}

void huge_pages::find_ranges() {
  std::ifstream maps{"/proc/self/maps"};
  for (std::string line; std::getline(maps, line);) {
    std::istringstream in{line};
    std::string addresses;
    std::string rights;
    std::string offset;
    std::string device;
    std::string inode;
    std::string name;
    in >> addresses >> rights >> offset >> device >> inode >> name;
    if (rights != "rw-p" || inode != "0" || (!name.empty() && name != "[heap]")) continue;
    char* after = nullptr;
    std::uintptr_t begin = std::strtoul(addresses.c_str(), &after, 16);
    if (*after != '-') continue;
    std::uintptr_t end = std::strtoul(after + 1, nullptr, 16);
    begin = (begin + huge - 1) / huge * huge;
    end = end / huge * huge;
    if (begin < end) ranges_.push_back({begin, end});
  }
}

time_point huge_pages::move_some(time_point now) noexcept {
  if (!on_) return time_point::max();
  if (now < again_) return again_;
  try {
    if (ranges_.empty()) {
      if (!is_due()) return time_point::max();
      written_ = 0;
      find_ranges();
    }
  } catch (const std::exception&) {
    on_ = false;
    return time_point::max();
  }
  time_point after = now;
  while (!ranges_.empty() && after - now < step_max) {
    range& last = ranges_.back();
    const std::uintptr_t part = last.at;
    last.at += huge;
    if (last.at == last.end) ranges_.pop_back();
    // One that cannot be moved stays as it is; one that is huge already takes some microseconds.
    if (is_mostly_resident(part)) static_cast<void>(::madvise(at(part), huge, madv_collapse));
    after = peeper::detail::read_clock(CLOCK_MONOTONIC);
  }
  if (ranges_.empty() && !is_due()) return time_point::max();
  again_ = after + std::max((share - 1) * (after - now), rest_min);
  return again_;
}

}  // namespace peeper::sandbox
