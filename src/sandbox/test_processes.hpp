// SPDX-License-Identifier: Apache-2.0
/// \file
/// OS processes for tests: the test program's zygote, made before any test has threads, and memory
/// that all see at the same address. What is tested runs in a real OS process:
///
///     auto& seen = shared<std::atomic<int>>();
///     const auto worker = run([&seen](std::span<const int>) { seen = 1; return 7; });
///     EXPECT_EQ(exit_status(worker), 7);
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <expected>
#include <fstream>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <peeper/detail/assert.hpp>
#include <peeper/os_process.hpp>

#include "sandbox/descriptor.hpp"
#include "sandbox/ring_wait.hpp"
#include "sandbox/zygote.hpp"

namespace peeper::sandbox::test {

#if defined(__SANITIZE_THREAD__)
inline constexpr bool thread_sanitized = true;
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
inline constexpr bool thread_sanitized = true;
#else
inline constexpr bool thread_sanitized = false;
#endif
#else
inline constexpr bool thread_sanitized = false;
#endif

/// Address space that a sanitizer keeps counts as memory.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool sanitized = true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
inline constexpr bool sanitized = true;
#else
inline constexpr bool sanitized = false;
#endif
#else
inline constexpr bool sanitized = false;
#endif
#define PEEPER_SKIP_WITHOUT_MEMORY_LIMITS() \
  if (sanitized) GTEST_SKIP() << "a sanitizer's shadow memory is above any limit"

/// Handlers run only where the program calls one of the sanitizer's functions, and it makes system
/// calls of its own in them.
#define PEEPER_SKIP_WITH_THREAD_SANITIZER() \
  if (thread_sanitized) GTEST_SKIP() << "the thread sanitizer puts signals off"

class os_processes : public ::testing::Environment {
 public:
  void SetUp() override {
    void* at = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    PEEPER_ASSERT(at != MAP_FAILED);
    next_ = static_cast<std::byte*>(at);
    left_ = size;
    zygote_.emplace();
  }
  void TearDown() override { zygote_.reset(); }

  void* take(std::size_t bytes, std::size_t alignment) {
    void* at = next_;
    PEEPER_ASSERT(std::align(alignment, bytes, at, left_) != nullptr);
    next_ = static_cast<std::byte*>(at) + bytes;
    left_ -= bytes;
    return at;
  }

  int status_of(pid_t pid) {
    ended_processes& ends = zygote_link::current()->ends();
    for (;;) {
      const std::uint32_t seen = ends.changes().load();
      if (const auto status = ends.status_of(pid, 0)) return *status;
      static_cast<void>(sleep_on({&ends.changes(), seen}, time_point::max()));
    }
  }

 private:
  static constexpr std::size_t size = std::size_t{8} << 20U;
  std::optional<zygote> zygote_;
  std::byte* next_ = nullptr;
  std::size_t left_ = 0;
};

inline os_processes& the_os_processes() {
  static auto* const all = new os_processes;
  return *all;
}
inline ::testing::Environment* const registered =
    ::testing::AddGlobalTestEnvironment(&the_os_processes());

/// A value that all OS processes of the test see. Lives as long as the test program.
template <class Value>
Value& shared() {
  return *::new (the_os_processes().take(sizeof(Value), alignof(Value))) Value{};
}

/// Runs `body(descriptors)` in an OS process forked by `link`'s zygote; its result is the exit
/// status. What it captures is copied: references must be to shared() values.
template <class Body>
std::expected<forked_process, fork_error> try_run_by(zygote_link& link, const Body& body,
                                                     std::span<const int> descriptors = {},
                                                     std::string_view name = "peeper:test") {
  static_assert(std::is_trivially_copyable_v<Body>);
  const auto entry = [](const worker_start& start) -> int {
    alignas(Body) std::array<std::byte, sizeof(Body)> bytes;
    std::memcpy(bytes.data(), start.argument.data(), sizeof(Body));
    return (*std::launder(reinterpret_cast<Body*>(bytes.data())))(start.descriptors);
  };
  return link.fork({.entry = entry,
                    .argument = std::as_bytes(std::span{&body, 1}),
                    .descriptors = descriptors,
                    .name = name});
}
template <class Body>
forked_process run_by(zygote_link& link, const Body& body, std::span<const int> descriptors = {},
                      std::string_view name = "peeper:test") {
  auto forked = try_run_by(link, body, descriptors, name);
  PEEPER_ASSERT(forked.has_value());
  return std::move(*forked);
}
template <class Body>
forked_process run(const Body& body, std::span<const int> descriptors = {}) {
  return run_by(*zygote_link::current(), body, descriptors);
}

/// Waits for its end. RETURNS: as waitpid().
inline int wait_status(pid_t pid) { return the_os_processes().status_of(pid); }
inline int wait_status(const forked_process& process) { return wait_status(process.pid); }
/// RETURNS: -1 if it was killed by a signal.
inline int exit_status(const forked_process& process) {
  const int status = wait_status(process);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}
/// RETURNS: 0 if it exited.
inline int end_signal(const forked_process& process) {
  const int status = wait_status(process);
  return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

/// RETURNS: its only child, at this moment; nothing if it has none.
inline std::optional<pid_t> child_of(pid_t parent) {
  std::ifstream children{"/proc/" + std::to_string(parent) + "/task/" + std::to_string(parent) +
                         "/children"};
  pid_t child = 0;
  return children >> child ? std::optional{child} : std::nullopt;
}

inline std::string name_of(const ::testing::TestParamInfo<followers>& tested) {
  switch (tested.param) {
    case followers::none: return "none";
    case followers::one: return "one";
    case followers::two: return "two";
  }
  return {};
}

struct pipe_ends {
  descriptor read;
  descriptor write;
};
inline pipe_ends make_pipe() {
  std::array<int, 2> ends{};
  PEEPER_ASSERT(::pipe2(ends.data(), O_CLOEXEC) == 0);
  return {.read = descriptor{ends[0]}, .write = descriptor{ends[1]}};
}
/// Waits until nobody has the write end any more. RETURNS: what was written.
inline std::string read_to_end(const descriptor& from) {
  std::string all;
  std::array<char, 256> part{};
  for (ssize_t got = 0; (got = ::read(from.get(), part.data(), part.size())) > 0;) {
    all.append(part.data(), static_cast<std::size_t>(got));
  }
  return all;
}

/// Waits until `value` is at least `least`. Others give way, so this ends as soon as they get
/// there.
template <class Integer>
void wait_until_at_least(const std::atomic<Integer>& value, Integer least) {
  while (value.load() < least) ::sched_yield();
}

}  // namespace peeper::sandbox::test
