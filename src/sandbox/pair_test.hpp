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
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <exception>
#include <fstream>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <peeper/detail/assert.hpp>
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
  // These are no deaths either; what comes of them is another matter.
  closed,      // all its descriptors
  records,     // its side of the rings is overwritten; so is the hub's, since it can
  messages,    // the other ring
  control,     // what is beside the rings
  all,         // everything
  cursor,      // it says that it has recorded more than there is room for, and dies
  unwoken,     // who sleeps is not woken any more
  unheard,     // what tells of its death, and then it ends: nobody hears of it but the zygote
  undead,      // the same, but it lives on: it is taken for dead
  follower,    // a follower that does not exist is to go on; then it dies
  generation,  // the follower is to wait for ever; then it dies
  liar,        // it says that it has begun nothing, and loops
  forker,      // it says that it makes a follower, three times
  claim,       // it says so, and does not
  file,        // these are deaths with less power: a system call that is not needed
  socket,
  fork,
};
/// The thread sanitizer's own handler does not survive a stack overflow.
inline constexpr auto all_deaths =
    std::to_array({death::kill, death::segv, death::abort, death::bus, death::fpe, death::exit,
                   death::terminate, thread_sanitized ? death::kill : death::stack});

inline int overflow_stack(int depth) {
  std::array<volatile char, 4096> frame{};
  frame[0] = static_cast<char>(depth);
  return depth < 0 ? 0 : overflow_stack(depth + 1) + frame[0];
}

inline constexpr pair_options small{.messages = {.capacity = 4096, .large_bytes = 64UL * 1024},
                                    .records = {.capacity = 4096, .large_bytes = 2048UL * 1024}};

/// Of the calling member: all that it shares with the hub.
inline std::span<std::byte> pair_bytes() {
  static const std::span<std::byte> bytes = [] {
    std::ifstream maps{"/proc/self/maps"};
    for (std::string line; std::getline(maps, line);) {
      if (line.find("/memfd:peeper:pair") == std::string::npos) continue;
      std::uintptr_t begin = 0;
      std::uintptr_t end = 0;
      PEEPER_ASSERT(std::sscanf(line.c_str(), "%lx-%lx", &begin, &end) == 2);
      return std::span{reinterpret_cast<std::byte*>(begin), end - begin};
    }
    return std::span<std::byte>{};
  }();
  return bytes;
}
inline pair_memory the_pair() { return pair_memory::find(pair_bytes(), small); }
inline std::span<std::byte> ring_bytes(const ring_memory& ring) {
  return {reinterpret_cast<std::byte*>(&ring.header()), detail::page + ring.capacity()};
}
template <class T>
std::span<std::byte> bytes_of_memory(T& value) {
  return {reinterpret_cast<std::byte*>(&value), sizeof value};
}
inline void clear(std::span<std::byte> bytes) {
  for (std::byte& one : bytes) one = std::byte{0};
}
inline void overwrite(std::span<std::byte> bytes) {
  static std::mt19937 random{20261123};
  for (std::byte& one : bytes) one = static_cast<std::byte>(random());
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
    case death::closed: ::close_range(3, ~0U, 0); return;
    case death::records: overwrite(ring_bytes(the_pair().records)); return;
    case death::messages: overwrite(ring_bytes(the_pair().messages)); return;
    case death::control: overwrite(bytes_of_memory(*the_pair().control)); return;
    case death::all: overwrite(pair_bytes()); return;
    case death::cursor:
      for (auto& one : the_pair().records.header().producers) one.published = ~std::uint64_t{7};
      ::raise(SIGKILL);
      break;
    case death::unwoken: {
      auto& header = the_pair().records.header();
      for (auto& one : header.consumer_sleep) overwrite(bytes_of_memory(one));
      overwrite(bytes_of_memory(the_pair().messages.header().consumer_sleep[0]));
      return;
    }
    case death::unheard:
      for (auto& one : the_pair().control->lives) clear(bytes_of_memory(one));
      ::_exit(3);
    case death::undead:
      for (auto& one : the_pair().control->lives) overwrite(bytes_of_memory(one));
      for (;;) ::pause();
    case death::follower: the_pair().control->worker = 7; ::_exit(3);
    case death::generation: the_pair().control->known_generation = 0; ::_exit(3);
    case death::liar:
      the_pair().control->began = 0;
      for (volatile unsigned i = 0;;) i = i + 1;
    case death::forker:
      the_pair().control->forking = 1;
      for (int i = 0; i < 3; ++i) {
        if (::fork() == 0) ::_exit(0);
      }
      return;
    case death::claim: the_pair().control->forking = 1; return;
    case death::file: ::open("/dev/null", O_RDONLY | O_CLOEXEC); return;
    case death::socket: ::socket(AF_INET, SOCK_STREAM, 0); return;
    case death::fork:
      if (::fork() == 0) ::_exit(0);
      return;
    case death::stack: std::exit(overflow_stack(0));  // NOLINT(concurrency-mt-unsafe)
  }
  ::_exit(1);
}

/// Where a member dies, and how: at the `nth` time that anyone of the pair reaches `point`.
struct trap {
  std::atomic<death> how{death::kill};
  std::atomic<const char*> point{nullptr};
  std::atomic<int> nth{0};
  std::atomic<int> sprung{0};
};
inline trap* the_trap = nullptr;

inline void spring(std::string_view point, bool /*may_throw*/) {
  const char* const wanted = the_trap->point.load();
  if (wanted == nullptr || point != wanted || the_trap->nth.fetch_sub(1) != 1) return;
  the_trap->sprung = 1;
  die_of(the_trap->how);
}

inline std::vector<std::string_view> all_fault_points() {
  std::vector<std::string_view> points{ring_fault_points.begin(), ring_fault_points.end()};
  points.insert(points.end(), pair_fault_points.begin(), pair_fault_points.end());
  // That death is told by SIGCHLD alone, and the thread sanitizer puts signals off.
  if (thread_sanitized) std::erase(points, "pair.made");
  return points;
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
  pair_bytes();  // while it may open files
  return std::make_unique<ledger>();
}

inline constexpr time_point never = time_point::max();

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
      if (sent.error().what != ring_errc::corrupt_cursor) {
        ASSERT_EQ(sent.error().what, ring_errc::full);
      }
      if (!step(never)) return;
    }
  }
  /// Reads one event. RETURNS: false if the pair is lost.
  bool step(time_point deadline) {
    const pair_event e = pair_->next(deadline);
    switch (e.what) {
      case pair_event::kind::timed_out: break;
      case pair_event::kind::question: ADD_FAILURE() << "nobody asks"; break;
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
  bool finish(time_point deadline = never) {
    while (!under_way_.empty()) {
      if (!step(deadline)) return false;
      if (std::chrono::steady_clock::now() >= deadline) {
        ADD_FAILURE() << "nothing is heard of it";
        return false;
      }
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
