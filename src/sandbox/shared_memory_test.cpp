// SPDX-License-Identifier: Apache-2.0
#include "sandbox/shared_memory.hpp"

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <fstream>
#include <sstream>
#include <string>
#include <utility>

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

namespace {

using peeper::sandbox::shared_memory;

/// Runs `body` in a forked child. RETURNS: its wait status.
template <class Body>
int in_child(Body body) {
  const pid_t child = ::fork();
  if (child == 0) {
    body();
    ::_exit(0);
  }
  int status = -1;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  return status;
}

/// The flags that the kernel has for the mapping at `address`, such as "rd wr sh dd".
std::string flags_of(const void* address) {
  std::ostringstream wanted;
  wanted << std::hex << reinterpret_cast<std::uintptr_t>(address) << '-';
  std::ifstream maps{"/proc/self/smaps"};
  bool here = false;
  for (std::string line; std::getline(maps, line);) {
    if (line.starts_with(wanted.str())) here = true;
    if (here && line.starts_with("VmFlags:")) return line;
  }
  return "not mapped";
}

TEST(shared_memory, WhatAChildWroteIsThereAfterItWasKilled) {
  auto memory = shared_memory::create("test", 8192);
  ASSERT_TRUE(memory.has_value());
  EXPECT_EQ(memory->bytes().size(), 8192U);
  const int status = in_child([&] {
    memory->bytes()[8191] = std::byte{7};
    ::raise(SIGKILL);
  });
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
  EXPECT_EQ(memory->bytes()[8191], std::byte{7});
  EXPECT_EQ(memory->bytes()[0], std::byte{0});
}

TEST(shared_memory, APassedDescriptorMapsTheSameBytes) {
  auto memory = shared_memory::create("test", 4096);
  ASSERT_TRUE(memory.has_value());
  auto other = shared_memory::attach(::dup(memory->descriptor()));
  ASSERT_TRUE(other.has_value());
  EXPECT_NE(other->bytes().data(), memory->bytes().data());
  memory->bytes()[17] = std::byte{42};
  EXPECT_EQ(other->bytes()[17], std::byte{42});
}

TEST(shared_memory, NobodyCanShrinkIt) {
  auto memory = shared_memory::create("test", 8192);
  ASSERT_TRUE(memory.has_value());
  EXPECT_EQ(::ftruncate(memory->descriptor(), 0), -1);
  EXPECT_EQ(errno, EPERM);
}

TEST(shared_memory, MemoryThatCouldShrinkIsNotMapped) {
  const int unsealed = ::memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  ASSERT_EQ(::ftruncate(unsealed, 4096), 0);
  const auto refused = shared_memory::attach(unsealed);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error(), std::errc::operation_not_permitted);
  EXPECT_EQ(::fcntl(unsealed, F_GETFD), -1) << "attach() owns the descriptor when it fails, too";
}

TEST(shared_memory, WhatCannotBeMadeIsAnErrorValue) {
  EXPECT_EQ(shared_memory::create("test", 0).error(), std::errc::invalid_argument);
  EXPECT_FALSE(shared_memory::create("test", std::size_t{1} << 62U).has_value());
  EXPECT_EQ(shared_memory::attach(-1).error(), std::errc::bad_file_descriptor);
}

TEST(shared_memory, OnlyALargeMappingIsLeftOutOfCoreDumps) {
  auto small = shared_memory::create("test", 4096);
  auto large = shared_memory::create("test", shared_memory::left_out_of_dumps_from);
  ASSERT_TRUE(small.has_value() && large.has_value());
  EXPECT_THAT(flags_of(large->bytes().data()), testing::HasSubstr(" dd"));
  EXPECT_THAT(flags_of(small->bytes().data()), testing::Not(testing::HasSubstr(" dd")));
}

TEST(shared_memory, ItsDescriptorIsClosedByExecAndWithTheObject) {
  int descriptor = -1;
  {
    auto memory = shared_memory::create("test", 4096);
    ASSERT_TRUE(memory.has_value());
    auto moved = std::move(*memory);
    descriptor = moved.descriptor();
    EXPECT_EQ(::fcntl(descriptor, F_GETFD), FD_CLOEXEC);
  }
  EXPECT_EQ(::fcntl(descriptor, F_GETFD), -1);
}

}  // namespace
