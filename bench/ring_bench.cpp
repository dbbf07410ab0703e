// SPDX-License-Identifier: Apache-2.0
//
// The rings between OS processes, and a socket beside them: no call into a worker's OS process can
// be below these.
#include <algorithm>
#include <array>
#include <cstdint>
#include <functional>
#include <tuple>
#include <vector>

#include <benchmark/benchmark.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.hpp"
#include "sandbox/checksum.hpp"
#include "sandbox/ring.hpp"

namespace {

using bench::report;
using namespace peeper::sandbox;  // NOLINT(google-build-using-namespace)

constexpr std::size_t message_bytes = 64;
using message = std::array<std::byte, message_bytes>;

/// A ring in memory of its own.
struct one_ring {
  static constexpr ring_options options{.capacity = 256UL * 1024, .large_bytes = 4096};
  shared_memory memory =
      shared_memory::create("peeper:bench", ring_memory::bytes_needed(options)).value();
  ring_memory ring = ring_memory::make(memory.bytes(), options);
  ring_producer producer = ring_producer::start(ring, 1);
  ring_consumer consumer = ring_consumer::attach(ring, ring_consumer_id::first, {});
};

/// Another OS process that runs `body`. Its end is waited for.
class other_process {
 public:
  explicit other_process(const std::function<void()>& body) : pid_{::fork()} {
    if (pid_ != 0) return;
    body();
    ::_exit(0);
  }
  other_process(const other_process&) = delete;
  other_process& operator=(const other_process&) = delete;
  ~other_process() {
    int status = -1;
    bench::require(pid_ > 0 && ::waitpid(pid_, &status, 0) == pid_ && status == 0,
                   "the other OS process did all its work");
  }

 private:
  pid_t pid_;
};

void send(ring_producer& out, const message& m) {
  bench::require(out.append(1, m, peeper::time_point::max()).has_value(), "a frame was written");
  out.publish();
}
/// RETURNS: whether there was one.
bool receive(ring_consumer& in, message& m) {
  const auto next = in.read();
  bench::require(next.has_value(), "a frame was read");
  if (!*next) return false;
  std::ranges::copy((*next)->payload, m.begin());
  in.release();
  return true;
}
void receive_one(ring_consumer& in, message& m) {
  while (!receive(in, m)) std::ignore = in.wait(peeper::time_point::max());
}

void there_and_back(report& r) {
  one_ring there;
  one_ring back;
  const std::size_t n = bench::scaled(200'000);
  message m{};
  std::vector<double> times;
  {
    const message stop{std::byte{1}};
    const other_process answering{[&] {
      message got{};
      do {
        receive_one(there.consumer, got);
        send(back.producer, got);
      } while (got != stop);
    }};
    times = bench::ns_one_by_one(n, [&] {
      send(there.producer, m);
      receive_one(back.consumer, m);
    });
    send(there.producer, stop);
    receive_one(back.consumer, m);
    bench::require(m == stop, "every message came back");
  }
  r.row("p50", "ns", bench::percentile(times, 0.5));
  r.row("p99", "ns", bench::percentile(times, 0.99));
}

void outstanding(report& r) {
  one_ring there;
  one_ring back;
  constexpr std::size_t window = 64;
  const std::size_t n = bench::scaled(2'000'000);
  const other_process answering{[&] {
    message m{};
    for (std::size_t done = 0; done < n;) {
      receive_one(there.consumer, m);
      do {
        send(back.producer, m);
        ++done;
      } while (receive(there.consumer, m));
    }
  }};
  message m{};
  std::size_t sent = 0;
  std::size_t answered = 0;
  const auto begin = bench::clock::now();
  while (answered < n) {
    while (sent < n && sent - answered < window) {
      send(there.producer, m);
      ++sent;
    }
    receive_one(back.consumer, m);
    ++answered;
    while (receive(back.consumer, m)) ++answered;
  }
  r.row("M/s", bench::millions_a_second(bench::ns_since(begin) / static_cast<double>(n)));
}

/// Writing and reading, each alone, in a ring that fits into the cache.
template <std::size_t Bytes>
void one_side(report& r) {
  one_ring own;
  constexpr std::size_t batch = 512;
  const std::size_t rounds = bench::scaled(2'000);
  const std::array<std::byte, Bytes> payload{};
  double writing = 0;
  double reading = 0;
  for (std::size_t i = 0; i < rounds; ++i) {
    writing += bench::ns_each(batch, [&] {
      bench::require(own.producer.append(1, payload).has_value(), "there is room");
      own.producer.publish();
    });
    reading += bench::ns_each(batch, [&] {
      const auto next = own.consumer.read();
      bench::require(next && *next && (*next)->payload.size() == Bytes, "a frame was read");
      own.consumer.release();
    });
    bench::require(!own.consumer.read().value(), "all was read");
  }
  r.row("write", "ns", writing / static_cast<double>(rounds));
  r.row("read", "ns", reading / static_cast<double>(rounds));
}

void checksum(report& r) {
  const std::array<std::byte, 128> payload{};
  std::uint32_t sum = 0;
  r.row("ns", bench::ns_each(bench::scaled(1'000'000), [&] { sum = crc32c(sum, payload); }));
  benchmark::DoNotOptimize(sum);
}

void socket_pair(report& r) {
  std::array<int, 2> ends{};
  bench::require(::socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends.data()) == 0, "a socket pair");
  const auto size = static_cast<ssize_t>(message_bytes);
  const message stop{std::byte{1}};
  message m{};
  std::vector<double> times;
  {
    const other_process answering{[&] {
      message got{};
      do {
        bench::require(::read(ends[1], got.data(), got.size()) == size, "a message came");
        bench::require(::write(ends[1], got.data(), got.size()) == size, "it went back");
      } while (got != stop);
    }};
    const auto round_trip = [&] {
      bench::require(::write(ends[0], m.data(), m.size()) == size, "a message went");
      bench::require(::read(ends[0], m.data(), m.size()) == size, "it came back");
    };
    times = bench::ns_one_by_one(bench::scaled(50'000), round_trip);
    m = stop;
    round_trip();
  }
  ::close(ends[0]);
  ::close(ends[1]);
  r.row("p50", "ns", bench::percentile(times, 0.5));
  r.row("p99", "ns", bench::percentile(times, 0.99));
}

[[maybe_unused]] const bool added[] = {
    bench::add("ring/there and back, two OS processes", there_and_back),
    bench::add("ring/64 outstanding, two OS processes", outstanding),
    bench::add("ring/frame of 64 bytes", one_side<64>),
    bench::add("ring/frame of 128 bytes", one_side<128>),
    bench::add("ring/checksum of 128 bytes", checksum),
    bench::add("floor/Unix socket pair, there and back", socket_pair),
};

}  // namespace
