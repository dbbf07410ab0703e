// SPDX-License-Identifier: Apache-2.0
/// \file
/// Tests under the simulation: each body runs under many seeds, and a failure names its seed.
///
///     PEEPER_SIM_TEST(counter, Counts) {        // has `sim` and `rt`
///       auto c = peeper::start<counter>(rt).value();
///       EXPECT_EQ(c.call(get{}), 0);
///     }
///
/// PEEPER_SEED=n runs only that seed.
#pragma once

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <expected>
#include <ostream>
#include <string>
#include <type_traits>

#include <gtest/gtest.h>
#include <spdlog/spdlog.h>

#include <peeper/peeper.hpp>
#include <peeper/sim.hpp>

namespace peeper {

/// So that a failure shows what the call answered.
template <class T>
void PrintTo(const std::expected<T, call_error>& r, std::ostream* out) {
  if (!r) {
    *out << r.error().what();
  } else if constexpr (std::is_void_v<T>) {
    *out << "ok";
  } else {
    *out << testing::PrintToString(*r);
  }
}

}  // namespace peeper

namespace peeper::test {

inline constexpr std::uint64_t seeds_default = 20;
/// After so long also a listener that rests has heard all.
inline constexpr duration listener_rest = std::chrono::milliseconds{2};

/// Crashes are what the tests are about; their log lines would bury a failure.
inline const bool log_is_quiet = (spdlog::set_level(spdlog::level::off), true);

using sim_body = void (*)(simulation& sim, runtime& rt);

inline void under_seeds(sim_body body, std::uint64_t seeds = seeds_default) {
  const bool given = std::getenv("PEEPER_SEED") != nullptr;  // NOLINT(concurrency-mt-unsafe)
  const std::uint64_t first = given ? simulation::default_seed() : 1;
  const std::uint64_t last = given ? first : seeds;
  for (std::uint64_t seed = first; seed <= last; ++seed) {
    const testing::ScopedTrace trace{__FILE__, __LINE__, "PEEPER_SEED=" + std::to_string(seed)};
    try {
      simulation sim{seed};
      runtime rt{{.env = &sim.env()}};
      body(sim, rt);
    } catch (const std::exception& e) {
      ADD_FAILURE() << "the test threw: " << e.what();
    }
    if (testing::Test::HasFailure()) return;
  }
}

}  // namespace peeper::test

#define PEEPER_SIM_TEST(suite, name)                                               \
  static void suite##_##name##_body(peeper::simulation& sim, peeper::runtime& rt); \
  TEST(suite, name) { peeper::test::under_seeds(&suite##_##name##_body); }         \
  static void suite##_##name##_body([[maybe_unused]] peeper::simulation& sim,      \
                                    [[maybe_unused]] peeper::runtime& rt)
