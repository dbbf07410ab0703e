// SPDX-License-Identifier: Apache-2.0
//
// A worker in an OS process of its own, with its follower: what a call into it costs, and how long
// after its death the next call is answered, by the size of its state. Below the calls lie the
// rings (ring_bench.cpp); neither is more than messages without types.
#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <thread>
#include <vector>

#include <fmt/format.h>

#include "bench.hpp"
#include "sandbox/process_pair.hpp"

namespace {

using bench::report;
using namespace peeper::sandbox;  // NOLINT(google-build-using-namespace)

constexpr std::uint16_t ask = 1;
constexpr std::uint16_t crash = 2;
constexpr std::size_t message_bytes = 64;
using message = std::array<std::byte, message_bytes>;
constexpr peeper::time_point never = peeper::time_point::max();

/// Answers with what it was asked; one number of its state changes.
class echo final : public replica {
 public:
  explicit echo(std::size_t bytes) : state_(bytes / sizeof(std::uint64_t), 1) {}

  void start(record_writer& /*record*/) override {}
  void handle(std::uint16_t type, std::span<const std::byte> m, record_writer& record) override {
    if (type == crash) ::raise(SIGSEGV);
    const std::uint64_t at = (random_ = random_ * 6364136223846793005U + 1) % state_.size();
    const change c{at, ++state_[at]};
    record.append(ask, m);
    record.append_delta(std::as_bytes(std::span{&c, 1}));
  }
  void apply(std::span<const std::byte> delta) override {
    change c{};
    std::memcpy(&c, delta.data(), sizeof c);
    state_[c.at] = c.value;
  }

 private:
  struct change {
    std::uint64_t at;
    std::uint64_t value;
  };
  std::vector<std::uint64_t> state_;
  std::uint64_t random_ = 1;
};

std::unique_ptr<replica> make_echo(std::span<const std::byte> argument) {
  std::uint64_t bytes = 0;
  std::memcpy(&bytes, argument.data(), sizeof bytes);
  return std::make_unique<echo>(bytes);
}

class client {
 public:
  explicit client(std::uint64_t state_bytes, bool protect_first = true) {
    pair_options options;
    options.protect_first = protect_first;
    auto made = process_pair::start(options, &make_echo, std::as_bytes(std::span{&state_bytes, 1}));
    bench::require(made.has_value(), "a pair was started");
    pair_ = std::move(*made);
    wait_protected();
  }

  void send(std::uint16_t type, const message& m) {
    bench::require(pair_->send(type, m).has_value(), "a message was sent");
  }
  /// Reads until the next answer, through a death if need be.
  void receive() {
    for (;;) {
      const pair_event e = pair_->next(never);
      if (e.what == pair_event::kind::done && e.number != 0) return;
      bench::require(e.what != pair_event::kind::lost, "the pair was not lost");
    }
  }
  void call() {
    send(ask, {});
    receive();
  }
  void wait_protected() {
    while (!pair_->is_protected()) {
      const pair_event e = pair_->next(bench::clock::now() + std::chrono::microseconds{100});
      bench::require(e.what != pair_event::kind::lost, "the pair was not lost");
    }
  }
  void kill() {
    while (!pair_->kill_worker()) std::this_thread::yield();
  }

 private:
  std::unique_ptr<process_pair> pair_;
};

constexpr std::uint64_t megabyte = 1024UL * 1024;

void one_outstanding(report& r) {
  client c{megabyte};
  auto times = bench::ns_one_by_one(bench::scaled(200'000), [&] { c.call(); });
  r.row("p50", "ns", bench::percentile(times, 0.5));
  r.row("p99", "ns", bench::percentile(times, 0.99));
}

void many_outstanding(report& r) {
  client c{megabyte};
  constexpr std::size_t window = 64;
  const std::size_t n = bench::scaled(1'000'000);
  const auto begin = bench::clock::now();
  std::size_t sent = 0;
  for (std::size_t answered = 0; answered < n; ++answered) {
    for (; sent < n && sent - answered < window; ++sent) c.send(ask, {});
    c.receive();
  }
  r.row("M/s", bench::millions_a_second(bench::ns_since(begin) / static_cast<double>(n)));
}

void death(report& r, std::uint64_t bytes, std::size_t deaths) {
  struct way {
    const char* name;
    bool by_segv;
    bool protect_first;
  };
  for (const way& w : {way{"SIGKILL", false, false}, way{"SIGSEGV", true, false},
                       way{"SIGSEGV, protected first", true, true}}) {
    const std::uint64_t size = bench::short_run() ? megabyte : bytes;
    client c{size, w.protect_first};
    // A server lives for a while before it dies: its follower has put its memory in order.
    std::this_thread::sleep_for(std::chrono::milliseconds{4} * (size / megabyte));
    std::vector<double> answered;
    std::vector<double> protected_again;
    for (std::size_t i = 0; i < std::max<std::size_t>(bench::scaled(deaths), 3); ++i) {
      for (int n = 0; n < 100; ++n) c.call();
      const auto begin = bench::clock::now();
      if (w.by_segv) {
        c.send(crash, {});
      } else {
        c.kill();
      }
      c.call();
      answered.push_back(bench::ns_since(begin) / 1000);
      c.wait_protected();
      protected_again.push_back(bench::ns_since(begin) / 1e6);
    }
    r.row(fmt::format("{}, p50", w.name), "us", bench::percentile(answered, 0.5),
          w.protect_first ? bench::target{} : bench::at_most(200));
    r.row(fmt::format("{}, p99", w.name), "us", bench::percentile(answered, 0.99));
    r.row(fmt::format("{}, protected again, p50", w.name), "ms",
          bench::percentile(protected_again, 0.5), bench::at_most(20));
  }
}
void death_1mb(report& r) { death(r, megabyte, 200); }
void death_64mb(report& r) { death(r, 64 * megabyte, 50); }
void death_1gb(report& r) { death(r, 1024 * megabyte, 15); }

[[maybe_unused]] const bool added[] = {
    bench::add("pair/call, one outstanding", one_outstanding),
    bench::add("pair/call, 64 outstanding", many_outstanding),
    bench::add("pair/death to next answer, 1 MB", death_1mb, 1),
    bench::add("pair/death to next answer, 64 MB", death_64mb, 1),
    bench::add("pair/death to next answer, 1 GB", death_1gb, 1),
};

}  // namespace
