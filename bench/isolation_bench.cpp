// SPDX-License-Identifier: Apache-2.0
//
// Typed servers whose callbacks run in an OS process of their own: what a call costs there, what
// keeping a change costs, and how long after a death the next call is answered. The floors are the
// rows of ring/ and pair/.
#include <chrono>
#include <csignal>
#include <cstdint>
#include <string>
#include <thread>
#include <vector>

#include <fmt/format.h>
#include <unistd.h>

#include <peeper/os_process.hpp>
#include <peeper/peeper.hpp>

#include "bench.hpp"

namespace {

using bench::report;

struct look {
  using reply = std::uint64_t;
};
struct put {
  using reply = std::uint64_t;
  std::uint64_t key = 0;
};
struct grow {
  using reply = std::uint64_t;
  std::uint64_t by = 0;
};
struct crash {
  using reply = int;
};
struct who {
  using reply = std::int64_t;
};

using page = std::string;

struct table {
  static constexpr bool isolatable = true;
  struct state {
    peeper::kept_map<std::uint64_t, std::uint64_t> entries;
    peeper::kept_vector<page> bulk;
  };
  static std::uint64_t handle_call(look /*m*/, state& s) { return s.entries.size(); }
  static std::uint64_t handle_call(put m, state& s) {
    s.entries.insert_or_assign(m.key, m.key + ++count);
    return s.entries.size();
  }
  static std::uint64_t handle_call(grow m, state& s) {
    for (std::uint64_t i = 0; i < m.by; ++i) s.bulk.push_back(page(4096, 'x'));
    return s.bulk.size();
  }
  static int handle_call(crash /*m*/, state& /*s*/) { return ::raise(SIGSEGV); }
  static std::int64_t handle_call(who /*m*/, const state& /*s*/) { return ::getpid(); }
  static inline std::uint64_t count = 0;
};

peeper::ref<table> start(peeper::runtime& rt, bool isolated) {
  peeper::options<table> o;
  o.max_restarts = 1'000'000;
  if (isolated) o.isolation = peeper::os_process;
  auto made = peeper::start<table>(rt, std::move(o));
  bench::require(made.has_value(), "a server was started");
  return *made;
}

double p50_of(std::vector<double> times) { return bench::percentile(times, 0.5); }

void one_outstanding(report& r) {
  peeper::runtime rt;
  const auto c = start(rt, true);
  auto times = bench::ns_one_by_one(bench::scaled(200'000), [&] {
    bench::require(c.call(look{}).has_value(), "a call was answered");
  });
  r.row("p50", "ns", bench::percentile(times, 0.5));
  r.row("p99", "ns", bench::percentile(times, 0.99));
}

/// What the change adds to a call, there and in the program.
void one_entry(report& r) {
  constexpr std::uint64_t entries = 100'000;
  double added[2] = {};
  for (const bool isolated : {false, true}) {
    peeper::runtime rt;
    const auto c = start(rt, isolated);
    for (std::uint64_t i = 0; i < entries; ++i) bench::require(c.call(put{i}).has_value(), "put");
    std::uint64_t key = 0;
    const auto n = bench::scaled(100'000);
    const double without = p50_of(bench::ns_one_by_one(n, [&] { (void)c.call(look{}); }));
    const double with = p50_of(bench::ns_one_by_one(n, [&] {
      key = (key * 1664525 + 1013904223) % entries;
      (void)c.call(put{key});
    }));
    added[isolated ? 1 : 0] = with - without;
  }
  r.row("over the same in the program", "ns", added[1] - added[0], bench::at_most(1000));
}

void death(report& r) {
  struct size {
    const char* name;
    std::uint64_t pages;
  };
  for (const size& of : {size{"1 MB", 256}, size{"64 MB", 16'384}, size{"1 GB", 262'144}}) {
    peeper::runtime rt;
    const auto c = start(rt, true);
    const std::uint64_t wanted = bench::short_run() ? 10 : of.pages;
    for (std::uint64_t have = 0; have < wanted;) {
      have = c.call(grow{std::min<std::uint64_t>(wanted - have, 1024)}).value();
    }
    // It lives for a while before it dies: its follower has put its memory in order.
    std::this_thread::sleep_for(std::chrono::microseconds{wanted * 16});
    for (const bool by_segv : {false, true}) {
      std::vector<double> times;
      for (std::size_t i = 0; i < bench::scaled(100); ++i) {
        const auto pid = static_cast<pid_t>(c.call(who{}).value());
        ::usleep(static_cast<useconds_t>(bench::short_run() ? 1000 : 30'000));  // protected again
        const auto begin = bench::clock::now();
        if (by_segv) {
          bench::require(!c.call(crash{}).has_value(), "it died");
        } else {
          ::kill(pid, SIGKILL);
        }
        bench::require(c.call(look{}).has_value(), "its successor answers");
        times.push_back(bench::ns_since(begin));
      }
      r.row(fmt::format("{}, {}", by_segv ? "SIGSEGV" : "SIGKILL", of.name), "ns",
            bench::percentile(times, 0.5));
    }
  }
}

[[maybe_unused]] const bool added[] = {
    bench::add("isolation/call, one outstanding", one_outstanding),
    bench::add("isolation/one entry of a kept_map of 100,000", one_entry),
    bench::add("isolation/death to next answer", death),
};

}  // namespace
