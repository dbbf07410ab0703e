// SPDX-License-Identifier: Apache-2.0
#include <cerrno>
#include <cstdint>
#include <random>
#include <string>
#include <thread>
#include <utility>

#include <linux/futex.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <peeper/environment.hpp>

#include "core/real_clock.hpp"

namespace peeper {
namespace {

using detail::read_clock;

class real_thread final : public environment::thread {
 public:
  explicit real_thread(std::move_only_function<void()> body) : thread_{std::move(body)} {}
  ~real_thread() override { thread_.join(); }
  real_thread(const real_thread&) = delete;
  real_thread& operator=(const real_thread&) = delete;

 private:
  std::thread thread_;
};

class machine final : public environment {
 public:
  machine() : spins_{std::thread::hardware_concurrency() > 1 ? 200U : 0U} {}

  time_point now() noexcept override { return read_clock(CLOCK_MONOTONIC); }
  time_point coarse_now() noexcept override { return detail::real_coarse_now(); }

  std::uint64_t random() noexcept override {
    thread_local std::mt19937_64 generator{[] {
      std::random_device device;
      return (std::uint64_t{device()} << 32U) | device();
    }()};
    return generator();
  }

  unsigned default_threads() noexcept override {
    const unsigned n = std::thread::hardware_concurrency();
    return n == 0 ? 1 : n;
  }

  std::unique_ptr<thread> start_thread(std::string_view name,
                                       std::move_only_function<void()> body) override {
    // The kernel takes 15 characters.
    std::string short_name{name.substr(0, 15)};
    return std::make_unique<real_thread>(
        [short_name = std::move(short_name), body = std::move(body)]() mutable {
          pthread_setname_np(pthread_self(), short_name.c_str());
          body();
        });
  }

  bool park(parker& self, time_point deadline) noexcept override {
    for (;;) {
      std::uint32_t one = 1;
      // ORDER: acquire pairs with unpark(): what the waker did is seen.
      if (self.token.compare_exchange_strong(one, 0, std::memory_order_acquire,
                                             std::memory_order_relaxed)) {
        return true;
      }
      timespec at{};
      timespec* limit = nullptr;
      if (deadline != time_point::max()) {
        const auto left = deadline.time_since_epoch().count();
        if (left <= 0 || now() >= deadline) return false;
        at.tv_sec = left / 1'000'000'000;
        at.tv_nsec = left % 1'000'000'000;
        limit = &at;
      }
      // Absolute deadline on CLOCK_MONOTONIC: FUTEX_WAIT_BITSET without FUTEX_CLOCK_REALTIME.
      syscall(SYS_futex, reinterpret_cast<std::uint32_t*>(&self.token),
              FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, 0U, limit, nullptr, FUTEX_BITSET_MATCH_ANY);
    }
  }

  void unpark(parker& other) noexcept override {
    auto* address = reinterpret_cast<std::uint32_t*>(&other.token);
    // ORDER: releases what the waker did. After this store `other` may be gone: the wake-up below
    // uses the address only, and a wake-up too many is harmless to whoever is there then.
    if (other.token.exchange(1, std::memory_order_acq_rel) == 0) {
      syscall(SYS_futex, address, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1U, nullptr, nullptr, 0U);
    }
  }

  unsigned spin_limit() noexcept override { return spins_; }

 private:
  const unsigned spins_;
};

}  // namespace

environment& real_environment() noexcept {
  static auto* const the_machine = new machine;  // never destroyed: handles may outlive main()
  return *the_machine;
}

}  // namespace peeper
