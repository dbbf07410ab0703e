// SPDX-License-Identifier: Apache-2.0
/// \file
/// What the tests of the rings share.
#pragma once

#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <peeper/detail/fault_point.hpp>

#include "sandbox/ring.hpp"

namespace peeper::sandbox::test {

using bytes = std::vector<std::byte>;

/// Bytes that differ from those of other seeds, and from what lies around them.
inline bytes made_bytes(std::uint64_t seed, std::size_t length) {
  bytes made(length);
  std::uint64_t state = seed * 0x9E3779B97F4A7C15ULL + length + 1;
  for (std::byte& b : made) {
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    b = static_cast<std::byte>(state >> 56U);
  }
  return made;
}
inline bytes copied(std::span<const std::byte> from) { return {from.begin(), from.end()}; }

/// A ring in memory of its own.
class test_ring {
 public:
  explicit test_ring(const ring_options& options = {.capacity = 4096, .large_bytes = 64UL * 1024})
      : options_{options},
        memory_{shared_memory::create("peeper:test", ring_memory::bytes_needed(options)).value()},
        ring_{ring_memory::make(memory_.bytes(), options)} {}

  [[nodiscard]] const ring_memory& ring() const noexcept { return ring_; }
  [[nodiscard]] std::span<std::byte> memory() const noexcept { return memory_.bytes(); }
  [[nodiscard]] const ring_options& options() const noexcept { return options_; }

  [[nodiscard]] ring_producer producer(std::uint32_t generation = 1) const {
    return ring_producer::start(ring_, generation);
  }
  [[nodiscard]] ring_consumer first(const ring_consumer_options& options = {}) const {
    return ring_consumer::attach(ring_, ring_consumer_id::first, options);
  }
  [[nodiscard]] ring_consumer second(ring_consumer_options options) const {
    return ring_consumer::attach(ring_, ring_consumer_id::second, options);
  }

 private:
  ring_options options_;
  shared_memory memory_;
  ring_memory ring_;
};

/// The next frame's payload; nothing if there is none. An error fails the test.
inline std::optional<bytes> take(ring_consumer& from) {
  const auto next = from.read();
  EXPECT_TRUE(next.has_value()) << next.error().text();
  if (!next || !*next) return std::nullopt;
  bytes payload = copied((*next)->payload);
  from.release();
  return payload;
}
inline std::optional<ring_errc> error_of(ring_consumer& from) {
  const auto next = from.read();
  if (next) return std::nullopt;
  return next.error().what;
}

/// Runs `body` in a forked child, which then ends with 0. RETURNS: its pid.
template <class Body>
[[nodiscard]] pid_t forked(Body body) {
  const pid_t child = ::fork();
  if (child == 0) {
    body();
    ::_exit(0);
  }
  EXPECT_GT(child, 0);
  return child;
}
/// RETURNS: the wait status.
inline int ended(pid_t child) {
  int status = -1;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  return status;
}
inline bool ended_well(int status) { return WIFEXITED(status) && WEXITSTATUS(status) == 0; }
inline bool was_killed(int status) { return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL; }

/// Kills this OS process at the `nth` (1 = next) passing of `point`. Never uninstalled: for
/// children.
inline void die_at(std::string_view point, std::uint64_t nth) {
  static std::string_view where;
  static std::uint64_t left;
  where = point;
  left = nth;
  peeper::detail::the_fault_hook.store([](std::string_view reached, bool) {
    if (reached == where && --left == 0) ::raise(SIGKILL);
  });
}

/// Runs `body(seed)` for the seeds 1 to `seeds`, or only for PEEPER_SEED; a failure names its seed.
template <class Body>
void under_seeds(std::uint64_t seeds, Body body) {
  const char* const given = std::getenv("PEEPER_SEED");
  const std::uint64_t only = given != nullptr ? std::strtoull(given, nullptr, 0) : 0;
  for (std::uint64_t seed = given != nullptr ? only : 1; seed <= (given != nullptr ? only : seeds);
       ++seed) {
    const testing::ScopedTrace trace{__FILE__, __LINE__, "PEEPER_SEED=" + std::to_string(seed)};
    body(seed);
    if (testing::Test::HasFailure()) return;
  }
}

/// Random numbers of one seed.
class dice {
 public:
  explicit dice(std::uint64_t seed) : generator_{seed} {}
  [[nodiscard]] std::uint64_t below(std::uint64_t limit) { return generator_() % limit; }
  [[nodiscard]] bool one_in(std::uint64_t n) { return below(n) == 0; }

 private:
  std::mt19937_64 generator_;
};

}  // namespace peeper::sandbox::test
