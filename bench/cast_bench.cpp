// SPDX-License-Identifier: Apache-2.0
//
// One-way messages, from foreign threads and from servers, until the last one is handled.
#include <thread>
#include <vector>

#include "servers.hpp"

namespace {

using namespace std::chrono_literals;
using bench::report;

void wait_for(const peeper::ref<bench::counter>& c, std::size_t n) {
  // What casts is not who calls: only the number says that all have arrived.
  while (bench::answer(c, bench::get{}) < static_cast<std::int64_t>(n)) std::this_thread::yield();
  bench::require(bench::answer(c, bench::get{}) == static_cast<std::int64_t>(n),
                 "casts are handled once");
}

void from_threads(report& r, std::size_t senders, std::size_t messages) {
  peeper::runtime rt;
  const auto c = bench::started<bench::counter>(rt);
  const std::size_t each = bench::scaled(messages / senders);
  const auto begin = bench::clock::now();
  std::vector<std::thread> threads;
  for (std::size_t s = 0; s < senders; ++s) {
    threads.emplace_back([&] {
      for (std::size_t i = 0; i < each; ++i) c.cast(bench::increase{});
    });
  }
  for (std::thread& t : threads) t.join();
  const auto handled = c.call(bench::get{}, 60s);
  const double ns = bench::ns_since(begin) / static_cast<double>(each * senders);
  bench::require(handled == static_cast<std::int64_t>(each * senders), "casts are handled once");
  r.row("M/s", bench::millions_a_second(ns), bench::at_least(25));
}
void from_1_thread(report& r) { from_threads(r, 1, 1'000'000); }
void from_8_threads(report& r) { from_threads(r, 8, 1'000'000); }

struct drive {
  std::size_t left;
};
/// Casts in callbacks of 100 each: they leave at the commit of each.
struct caster {
  struct state {};
  explicit caster(peeper::ref<bench::counter> target) : target_{std::move(target)} {}
  void handle_cast(const drive& m) {
    const std::size_t now = std::min<std::size_t>(m.left, 100);
    for (std::size_t i = 0; i < now; ++i) target_.cast(bench::increase{});
    if (m.left > now) peeper::self<caster>().cast(drive{m.left - now});
  }

 private:
  peeper::ref<bench::counter> target_;
};

void from_servers(report& r, std::size_t senders, unsigned threads, std::size_t messages) {
  peeper::runtime rt{{.threads = threads}};
  const auto c = bench::started<bench::counter>(rt);
  std::vector<peeper::ref<caster>> casters;
  for (std::size_t s = 0; s < senders; ++s) {
    auto one = peeper::start<caster>(rt, {}, c);
    bench::require(one.has_value(), "the driver started");
    casters.push_back(*one);
  }
  const std::size_t each = bench::scaled(messages / senders);
  const auto begin = bench::clock::now();
  for (const auto& one : casters) one.cast(drive{each});
  wait_for(c, each * senders);
  const double ns = bench::ns_since(begin) / static_cast<double>(each * senders);
  r.row("M/s", bench::millions_a_second(ns), bench::at_least(25));
}
void from_1_server_1(report& r) { from_servers(r, 1, 1, 1'000'000); }
void from_1_server_2(report& r) { from_servers(r, 1, 2, 1'000'000); }
void from_8_servers_2(report& r) { from_servers(r, 8, 2, 1'000'000); }

[[maybe_unused]] const bool added[] = {
    bench::add("cast/1 foreign thread to 1 server", from_1_thread),
    bench::add("cast/8 foreign threads to 1 server", from_8_threads),
    bench::add("cast/1 server to 1 server, 1 thread", from_1_server_1),
    bench::add("cast/1 server to 1 server, 2 threads", from_1_server_2),
    bench::add("cast/8 servers to 1 server, 2 threads", from_8_servers_2),
};

}  // namespace
