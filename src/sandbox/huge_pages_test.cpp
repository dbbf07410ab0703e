// SPDX-License-Identifier: Apache-2.0
/// \file
/// What a follower does to its memory before it is needed: the same bytes, in huge pages; and no
/// more memory than there was.
#include "sandbox/huge_pages.hpp"

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <string>

#include <gtest/gtest.h>
#include <sys/mman.h>

#include "sandbox/test_processes.hpp"

namespace peeper::sandbox {
namespace {

constexpr std::size_t huge = std::size_t{2} << 20U;

class memory {
 public:
  explicit memory(std::size_t bytes) : bytes_{bytes} {
    at_ = static_cast<std::byte*>(::mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  }
  memory(const memory&) = delete;
  memory& operator=(const memory&) = delete;
  ~memory() { ::munmap(at_, bytes_); }
  [[nodiscard]] std::byte* begin() const { return at_; }

  /// In kB, of the mapping that `key` in /proc/self/smaps is about.
  [[nodiscard]] std::size_t kilobytes(const std::string& key) const {
    std::ifstream maps{"/proc/self/smaps"};
    bool here = false;
    for (std::string line; std::getline(maps, line);) {
      std::uintptr_t from = 0;
      std::uintptr_t to = 0;
      if (std::sscanf(line.c_str(), "%lx-%lx ", &from, &to) == 2) {
        const auto at = reinterpret_cast<std::uintptr_t>(at_);
        here = from <= at && at < to;
      } else if (here && line.starts_with(key)) {
        return std::stoul(line.substr(key.size()));
      }
    }
    return 0;
  }

 private:
  std::size_t bytes_;
  std::byte* at_;
};

void move_all() {
  huge_pages pages{true};
  time_point now{};
  while (now != time_point::max()) now = pages.move_some(now);
}

TEST(huge_pages, TakeOverWhatIsThereAndChangeNothing) {
  if (test::sanitized) GTEST_SKIP() << "a sanitizer's shadow is memory, too";
  const memory m{8 * huge};
  ASSERT_EQ(::madvise(m.begin(), 8 * huge, MADV_NOHUGEPAGE), 0);
  for (std::size_t i = 0; i < 8 * huge; i += 8) std::memcpy(m.begin() + i, &i, sizeof i);
  ASSERT_EQ(m.kilobytes("AnonHugePages:"), 0U);
  if (::madvise(m.begin(), 8 * huge, MADV_HUGEPAGE) != 0) {
    GTEST_SKIP() << "this kernel has no huge pages";
  }
  move_all();
  EXPECT_GE(m.kilobytes("AnonHugePages:"), 7 * huge / 1024);
  for (std::size_t i = 0; i < 8 * huge; i += 8) {
    ASSERT_EQ(std::memcmp(m.begin() + i, &i, sizeof i), 0) << i;
  }
}

TEST(huge_pages, MakeNoMemoryOfWhatIsHardlyUsed) {
  if (test::sanitized) GTEST_SKIP() << "a sanitizer's shadow is memory, too";
  const memory m{64 * huge};
  ASSERT_EQ(::madvise(m.begin(), 64 * huge, MADV_NOHUGEPAGE), 0);
  for (std::size_t i = 0; i < 64; ++i) m.begin()[i * huge] = std::byte{1};
  static_cast<void>(::madvise(m.begin(), 64 * huge, MADV_HUGEPAGE));
  const std::size_t before = m.kilobytes("Rss:");
  move_all();
  EXPECT_EQ(m.kilobytes("Rss:"), before);
}

}  // namespace
}  // namespace peeper::sandbox
