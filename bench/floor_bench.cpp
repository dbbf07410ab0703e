// SPDX-License-Identifier: Apache-2.0
//
// What the machine itself costs: no server can be below these.
#include <atomic>
#include <cstdlib>
#include <stdexcept>
#include <thread>

#include <benchmark/benchmark.h>

#include <peeper/environment.hpp>

#include "bench.hpp"

namespace {

using bench::report;

void clock_reading(report& r) {
  auto& env = peeper::real_environment();
  r.row("steady", "ns",
        bench::ns_each(bench::scaled(500'000), [&] { benchmark::DoNotOptimize(env.now()); }));
  r.row("coarse", "ns", bench::ns_each(bench::scaled(500'000), [&] {
          benchmark::DoNotOptimize(env.coarse_now());
        }));
}

void malloc_free(report& r) {
  r.row("ns", bench::ns_each(bench::scaled(500'000), [] {
          void* p = std::malloc(128);
          benchmark::DoNotOptimize(p);
          std::free(p);
        }));
}

void throw_catch(report& r) {
  std::size_t caught = 0;
  const std::size_t n = bench::scaled(20'000);
  r.row("ns", bench::ns_each(n, [&] {
          try {
            throw std::runtime_error{"unlucky"};
          } catch (const std::exception& e) {
            benchmark::DoNotOptimize(e.what());
            ++caught;
          }
        }));
  bench::require(caught == n, "every exception was caught");
}

/// Two threads hand a number to and fro. With one core there is nobody to hand it to.
template <class Wait, class Tell>
double there_and_back(std::size_t n, Wait wait, Tell tell) {
  std::atomic<std::uint32_t> turn{0};
  std::thread other{[&] {
    for (std::size_t i = 0; i < n; ++i) {
      wait(turn, 1U);
      tell(turn, 0U);
    }
  }};
  const double ns = bench::ns_each(n, [&] {
    tell(turn, 1U);
    wait(turn, 0U);
  });
  other.join();
  return ns;
}

void cache_line(report& r) {
  if (std::thread::hardware_concurrency() < 2) return;
  r.row("ns", there_and_back(
                  bench::scaled(100'000),
                  [](std::atomic<std::uint32_t>& a, std::uint32_t want) {
                    while (a.load(std::memory_order_acquire) != want) {
                    }
                  },
                  [](std::atomic<std::uint32_t>& a, std::uint32_t now) {
                    a.store(now, std::memory_order_release);
                  }));
}

void futex(report& r) {
  r.row("ns", there_and_back(
                  bench::scaled(20'000),
                  [](std::atomic<std::uint32_t>& a, std::uint32_t want) { a.wait(1U - want); },
                  [](std::atomic<std::uint32_t>& a, std::uint32_t now) {
                    a.store(now);
                    a.notify_one();
                  }));
}

[[maybe_unused]] const bool added[] = {
    bench::add("floor/clock", clock_reading),
    bench::add("floor/malloc and free", malloc_free),
    bench::add("floor/throw and catch", throw_catch),
    bench::add("floor/cache line there and back, 2 cores", cache_line),
    bench::add("floor/std::atomic wait and notify, there and back", futex),
};

}  // namespace
