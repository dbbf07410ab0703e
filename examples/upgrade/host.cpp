// SPDX-License-Identifier: Apache-2.0
/// Upgrades a server under load: host v1.so v2.so v3_broken.so
///
/// Threads count and now and then crash the worker, while its class is replaced by one from another
/// library. At the end each thread's acknowledged counts are compared with the server's.
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

#include "protocol.hpp"

namespace {

using tally::protocol;
constexpr std::uint32_t senders = 4;
constexpr std::uint64_t each_phase = 10'000;  ///< acknowledged calls before the next thing is done

void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "FAILED: %s\n", what);
  std::_Exit(1);
}

/// A client: counts until it is told to stop, and notes what it was told.
struct client {
  std::uint64_t acknowledged = 0;
  std::uint64_t crashed = 0;

  void run(const peeper::ref<tally::server>& server, std::uint32_t id,
           std::atomic<std::uint64_t>& all, const std::atomic<bool>& stop) {
    for (std::uint64_t n = 1; !stop; ++n) {
      const auto count = server.call(tally::add{id, n % 250 == 0}, peeper::infinity);
      if (count) {
        require(*count == ++acknowledged, "an acknowledged call was lost, or done twice");
        ++all;
        all.notify_all();
      } else {
        require(count.error().code() == peeper::call_errc::crashed, "only poison may fail");
        ++crashed;
      }
    }
  }
};

void wait_for(std::atomic<std::uint64_t>& all, std::uint64_t more) {
  const std::uint64_t target = all + more;
  for (std::uint64_t now = all; now < target; now = all) all.wait(now);
}

}  // namespace

int main(int argc, char** argv) {
  require(argc == 4, "usage: host v1.so v2.so v3_broken.so");
  const auto v1 = peeper::implementation<protocol>::load(argv[1]);
  if (!v1) require(false, v1.error().what().c_str());

  peeper::runtime rt;
  const auto server =
      peeper::start<tally::server>(rt, {.name = "tally", .state = *v1, .max_restarts = 1'000'000})
          .value();

  std::atomic<std::uint64_t> all{0};
  std::atomic<bool> stop{false};
  std::vector<client> clients(senders);
  std::vector<std::jthread> threads;
  for (std::uint32_t id = 0; id < senders; ++id) {
    threads.emplace_back([&, id] { clients[id].run(server, id, all, stop); });
  }

  wait_for(all, each_phase);
  const auto to_v2 = peeper::upgrade(server, argv[2], peeper::infinity);
  if (!to_v2) require(false, to_v2.error().what().c_str());
  const std::uint64_t at_upgrade = all;
  wait_for(all, each_phase);

  const auto to_v3 = peeper::upgrade(server, argv[3], peeper::infinity);
  require(!to_v3, "the broken version must be refused");
  const auto back = peeper::upgrade(server, *v1, peeper::infinity);
  require(!back, "a state must not go back to an older version");
  wait_for(all, each_phase);

  stop = true;
  threads.clear();
  const tally::summary end = server.call(tally::report{}).value();
  std::uint64_t acknowledged = 0;
  std::uint64_t crashed = 0;
  for (std::uint32_t id = 0; id < senders; ++id) {
    acknowledged += clients[id].acknowledged;
    crashed += clients[id].crashed;
    require(end.counts.at(id) == clients[id].acknowledged, "the server's count is another one");
  }
  require(end.since_upgrade > 0, "version 2 has counted nothing");
  require(end.since_upgrade + at_upgrade + senders >= acknowledged, "version 1 went on");

  std::printf("acknowledged         %llu\n", static_cast<unsigned long long>(acknowledged));
  std::printf("  by version 2       %llu\n", static_cast<unsigned long long>(end.since_upgrade));
  std::printf("crashes              %llu\n", static_cast<unsigned long long>(crashed));
  std::printf("lost, or done twice  0, 0\n");
  std::printf("v3: %s\n", to_v3.error().what().c_str());
  std::printf("v1: %s\n", back.error().what().c_str());
}
