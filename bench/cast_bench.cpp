// SPDX-License-Identifier: Apache-2.0
//
// One-way messages, from foreign threads and from servers, until the last one is handled.
#include <thread>
#include <vector>

#include "servers.hpp"
#include "workload.hpp"

namespace {

using bench::report;

/// A counter that tells when it has counted to the end.
struct tally {
  using state = std::int64_t;
  explicit tally(bench::finish_line* line) : line_{line} {}
  void handle_cast(bench::increase m, state& n) {
    n += m.by;
    line_->passed(n);
  }
  std::int64_t handle_call(bench::get /*m*/, const state& n) { return n; }

 private:
  bench::finish_line* line_;
};

peeper::ref<tally> started_tally(peeper::runtime& rt, bench::finish_line& line) {
  auto server = peeper::start<tally>(rt, {}, &line);
  bench::require(server.has_value(), "the server started");
  return *server;
}

double ns_from_threads(std::size_t senders, std::size_t each) {
  peeper::runtime rt;
  bench::finish_line line{.at = static_cast<std::int64_t>(each * senders)};
  const auto c = started_tally(rt, line);
  const double ns = bench::ns_of_casts(line, senders, each, [&] { c.cast(bench::increase{}); });
  bench::require(bench::answer(c, bench::get{}) == line.at, "casts are handled once");
  return ns;
}
void from_threads(report& r, std::size_t senders) {
  bench::report_casts(r, ns_from_threads(senders, bench::scaled(1'000'000 / senders)));
}
void producers(report& r) { bench::producers_curve(r, ns_from_threads); }
void from_1_thread(report& r) { from_threads(r, 1); }
void from_8_threads(report& r) { from_threads(r, 8); }

struct drive {
  std::size_t left;
};
/// Casts in callbacks of 100 each: they leave at the commit of each.
struct caster {
  struct state {};
  explicit caster(peeper::ref<tally> target) : target_{std::move(target)} {}
  void handle_cast(const drive& m) {
    const std::size_t now = std::min<std::size_t>(m.left, 100);
    for (std::size_t i = 0; i < now; ++i) target_.cast(bench::increase{});
    if (m.left > now) peeper::self<caster>().cast(drive{m.left - now});
  }

 private:
  peeper::ref<tally> target_;
};

void from_servers(report& r, std::size_t senders, unsigned threads) {
  const std::size_t each = bench::scaled(1'000'000 / senders);
  bench::finish_line line{.at = static_cast<std::int64_t>(each * senders)};
  peeper::runtime rt{{.threads = threads}};
  const auto c = started_tally(rt, line);
  std::vector<peeper::ref<caster>> casters;
  for (std::size_t s = 0; s < senders; ++s) {
    auto one = peeper::start<caster>(rt, {}, c);
    bench::require(one.has_value(), "the driver started");
    casters.push_back(*one);
  }
  const auto begin = bench::clock::now();
  for (const auto& one : casters) one.cast(drive{each});
  line.wait();
  const double ns = bench::ns_since(begin) / static_cast<double>(each * senders);
  bench::require(bench::answer(c, bench::get{}) == line.at, "casts are handled once");
  bench::report_casts(r, ns);
}
void from_1_server_1(report& r) { from_servers(r, 1, 1); }
void from_1_server_2(report& r) { from_servers(r, 1, 2); }
void from_8_servers_2(report& r) { from_servers(r, 8, 2); }

[[maybe_unused]] const bool added[] = {
    bench::add("cast/1 foreign thread to 1 server", from_1_thread),
    bench::add("cast/8 foreign threads to 1 server", from_8_threads),
    bench::add("growth/producers", producers, 3),
    bench::add("cast/1 server to 1 server, 1 thread", from_1_server_1),
    bench::add("cast/1 server to 1 server, 2 threads", from_1_server_2),
    bench::add("cast/8 servers to 1 server, 2 threads", from_8_servers_2),
};

}  // namespace
