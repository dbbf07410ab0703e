// SPDX-License-Identifier: Apache-2.0
/// \file
/// A pair for tests: a ledger of numbers, whose worker and follower die when and how they are told,
/// and a client that knows what must come of each message.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <exception>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <peeper/detail/fault_point.hpp>

#include "sandbox/process_pair.hpp"
#include "sandbox/test_processes.hpp"

namespace peeper::sandbox::test {

inline constexpr std::uint16_t add = 1;
inline constexpr std::uint16_t die = 2;
inline constexpr std::uint16_t add_much = 3;
inline constexpr std::uint16_t add_huge = 4;
inline constexpr std::uint16_t die_applied = 5;  // is handled, but its follower dies of it
inline constexpr std::uint16_t started = 9;

enum class death : std::uint64_t {
  kill,
  segv,
  abort,
  bus,
  fpe,
  exit,
  terminate,
  stack,
  hang,         // asleep
  loop,         // not asleep
  leak,         // REQUIRES: a limit of memory
  descriptors,  // no death: uses up all that it may have
  file,         // these are deaths with less power: a system call that is not needed
  socket,
  fork,
};
/// The thread sanitizer's own handler does not survive a stack overflow.
inline constexpr auto all_deaths =
    std::to_array({death::kill, death::segv, death::abort, death::bus, death::fpe, death::exit,
                   death::terminate, thread_sanitized ? death::kill : death::stack});

/// Where a member kills itself: at the `nth` time that anyone of the pair reaches `point`.
struct trap {
  std::atomic<const char*> point{nullptr};
  std::atomic<int> nth{0};
  std::atomic<int> sprung{0};
};
inline trap* the_trap = nullptr;

inline void spring(std::string_view point, bool /*may_throw*/) {
  const char* const wanted = the_trap->point.load();
  if (wanted == nullptr || point != wanted || the_trap->nth.fetch_sub(1) != 1) return;
  the_trap->sprung = 1;
  ::raise(SIGKILL);
}

inline int overflow_stack(int depth) {
  std::array<volatile char, 4096> frame{};
  frame[0] = static_cast<char>(depth);
  return depth < 0 ? 0 : overflow_stack(depth + 1) + frame[0];
}

inline void die_of(death how) {
  switch (how) {
    case death::kill: ::raise(SIGKILL); break;
    case death::segv: ::raise(SIGSEGV); break;
    case death::abort: std::abort();
    case death::bus: ::raise(SIGBUS); break;
    case death::fpe: ::raise(SIGFPE); break;
    case death::exit: ::_exit(3);
    case death::terminate: std::terminate();
    case death::hang:
      for (;;) ::pause();
    case death::loop:
      for (volatile unsigned i = 0;;) i = i + 1;
    case death::leak:
      for (;;) {
        auto* const leaked = new std::vector<char>(std::size_t{1} << 20U, 'x');
        if (leaked->back() != 'x') break;
      }
      break;
    case death::descriptors:
      while (::dup(2) >= 0) {
      }
      return;
    case death::file: ::open("/dev/null", O_RDONLY | O_CLOEXEC); return;
    case death::socket: ::socket(AF_INET, SOCK_STREAM, 0); return;
    case death::fork:
      if (::fork() == 0) ::_exit(0);
      return;
    case death::stack: std::exit(overflow_stack(0));  // NOLINT(concurrency-mt-unsafe)
  }
  ::_exit(1);
}

struct account {
  std::uint64_t entries = 0;
  std::uint64_t sum = 0;
  friend bool operator==(const account&, const account&) = default;
};
template <class T>
std::span<const std::byte> bytes_of(const T& value) {
  return std::as_bytes(std::span{&value, 1});
}
template <class T>
T read_as(std::span<const std::byte> bytes) {
  T value{};
  EXPECT_EQ(bytes.size(), sizeof value);
  if (bytes.size() == sizeof value) std::memcpy(&value, bytes.data(), sizeof value);
  return value;
}

class ledger final : public replica {
 public:
  void start(record_writer& record) override { record.append(started, bytes_of(total_)); }
  void handle(std::uint16_t type, std::span<const std::byte> message,
              record_writer& record) override {
    const auto value = read_as<std::uint64_t>(message);
    if (type == die) die_of(static_cast<death>(value));
    ++total_.entries;
    total_.sum += value;
    record.append(add, bytes_of(total_));
    record.append_delta(bytes_of(delta{total_, type == die_applied, static_cast<death>(value)}));
    // And so much that its memory is given back afterwards.
    if (type == add_huge) record.append(add_huge, std::vector<std::byte>(1'200'000));
    if (type != add_much) return;
    // More than the ring has room for: it goes beside it.
    for (std::size_t i = 0; i < 10; ++i) record.append(add_much, std::vector<std::byte>(i * 200));
  }
  void apply(std::span<const std::byte> bytes) override {
    const auto read = read_as<delta>(bytes);
    if (read.dies != 0) die_of(read.how);
    total_ = read.total;
  }

 private:
  struct delta {
    account total;
    std::uint64_t dies;
    death how;
  };
  account total_;
};

inline std::unique_ptr<replica> make_ledger(std::span<const std::byte> argument) {
  if (argument.size() == sizeof(trap*)) {
    std::memcpy(&the_trap, argument.data(), sizeof(trap*));
    peeper::detail::the_fault_hook.store(&spring);
  }
  return std::make_unique<ledger>();
}

inline constexpr time_point never = time_point::max();
inline const pair_options small{.messages = {.capacity = 4096, .large_bytes = 64UL * 1024},
                                .records = {.capacity = 4096, .large_bytes = 2048UL * 1024}};

/// REQUIRES: it is not waited for by us.
inline void kill_and_wait(pid_t pid) {
  const descriptor pidfd{static_cast<int>(::syscall(SYS_pidfd_open, pid, 0U))};
  ASSERT_TRUE(pidfd);
  ASSERT_EQ(::kill(pid, SIGKILL), 0);
  wait_readable(pidfd.get());
}

/// A client that knows what must come.
class bank {
 public:
  explicit bank(const pair_options& options = small, trap* t = nullptr) {
    std::span<const std::byte> argument{};
    if (t != nullptr) argument = bytes_of(t);
    auto made = process_pair::start(options, &make_ledger, argument);
    EXPECT_TRUE(made.has_value()) << made.error();
    pair_ = std::move(*made);
  }

  /// Sends it, reading what comes while there is no room.
  void send(std::uint16_t type, std::uint64_t value) {
    for (;;) {
      const auto sent = pair_->send(type, bytes_of(value));
      if (sent) {
        under_way_.push_back({*sent, type, value});
        return;
      }
      ASSERT_EQ(sent.error().what, ring_errc::full);
      if (!step(never)) return;
    }
  }
  /// Reads one event. RETURNS: false if the pair is lost.
  bool step(time_point deadline) {
    const pair_event e = pair_->next(deadline);
    switch (e.what) {
      case pair_event::kind::timed_out: break;
      case pair_event::kind::lost: lost_ = e.why; return false;
      case pair_event::kind::crashed: {
        ++crashes_;
        if (e.hung) ++hung_;
        if (e.began == 0) {
          EXPECT_FALSE(e.skipped);
          break;
        }
        EXPECT_EQ(e.began, under_way_.front().number);
        if (!e.skipped) break;
        under_way_.pop_front();  // P3: it, and nothing else
        ++poison_;
        break;
      }
      case pair_event::kind::part:
        if (e.type == started) {
          EXPECT_EQ(read_as<account>(e.bytes), expected_) << "P1: nothing recorded is undone";
        } else if (e.type == add) {
          EXPECT_FALSE(under_way_.empty());
          const account next{expected_.entries + 1, expected_.sum + under_way_.front().value};
          EXPECT_EQ(read_as<account>(e.bytes), next) << "once, and in order";
        }
        break;
      case pair_event::kind::done:
        if (e.number == 0) break;
        EXPECT_EQ(e.number, under_way_.front().number);
        ++expected_.entries;
        expected_.sum += under_way_.front().value;
        under_way_.pop_front();
        break;
    }
    return true;
  }
  /// RETURNS: false if the pair is lost.
  bool finish() {
    while (!under_way_.empty()) {
      if (!step(never)) return false;
    }
    return true;
  }
  /// Until there is a follower that can be relied on.
  bool wait_protected() {
    while (!pair_->is_protected()) {
      if (!step(std::chrono::steady_clock::now() + std::chrono::milliseconds{1})) return false;
    }
    return true;
  }

  [[nodiscard]] process_pair& pair() { return *pair_; }
  [[nodiscard]] std::uint64_t handled() const { return expected_.entries; }
  [[nodiscard]] int crashes() const { return crashes_; }
  [[nodiscard]] int poison() const { return poison_; }
  [[nodiscard]] int hung() const { return hung_; }
  [[nodiscard]] const std::string& lost() const { return lost_; }

 private:
  struct message {
    std::uint64_t number;
    std::uint16_t type;
    std::uint64_t value;
  };
  std::unique_ptr<process_pair> pair_;
  std::deque<message> under_way_;
  account expected_;
  int crashes_ = 0;
  int poison_ = 0;
  int hung_ = 0;
  std::string lost_;
};

}  // namespace peeper::sandbox::test
