// SPDX-License-Identifier: Apache-2.0
/// kv: a server that speaks Redis's protocol and survives its own bugs. See README.md.
#include <csignal>
#include <cstdio>
#include <exception>
#include <memory>
#include <string>

#include <CLI/CLI.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <fmt/format.h>

#include <peeper/peeper.hpp>
#include <peeper/zygote.hpp>

#include "kv_server.hpp"
#include "tcp_server.hpp"

namespace {

int serve(const kv::tcp_server::options& wanted, kv::isolation where) {
  peeper::runtime runtime;
  auto statistics = std::make_shared<kv::server_statistics>();
  auto data = peeper::start<kv::kv_server>(runtime, kv::server_options(where));
  if (!data) {
    fmt::print(stderr, "kv: the data server did not start: {}\n", data.error().what());
    return 1;
  }
  auto server = kv::tcp_server::start(*data, statistics, wanted);
  if (!server) {
    fmt::print(stderr, "kv: {}\n", server.error());
    return 1;
  }
  fmt::print("kv: ready on {}:{} for up to {} clients; try: redis-cli -p {} CRASH boom\n",
             wanted.bind, (*server)->port(), statistics->clients_max, (*server)->port());
  std::fflush(stdout);

  boost::asio::io_context signals;
  boost::asio::signal_set wait_for(signals, SIGINT, SIGTERM);
  wait_for.async_wait([](const boost::system::error_code&, int) {});
  signals.run();

  fmt::print("kv: stopping\n");
  (*server)->stop();
  if (const auto stopped = runtime.shutdown(); !stopped) {
    fmt::print(stderr, "kv: {}\n", stopped.error().what());
    return 1;
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const peeper::zygote forks_workers;  // first thing in main: before there is any thread
    CLI::App app{"kv: a key-value server that speaks Redis's protocol (RESP2), as a peeper server"};
    kv::tcp_server::options wanted;
    app.add_option("--port", wanted.port, "TCP port to listen on; 0: any free one")
        ->capture_default_str();
    app.add_option("--bind", wanted.bind, "IP address to listen on")->capture_default_str();
    app.add_option("--threads", wanted.threads, "threads that read from and write to clients")
        ->check(CLI::Range(1, 64))
        ->capture_default_str();
    app.add_option("--max-clients", wanted.clients_max, "clients at the same time")
        ->capture_default_str();
    std::string where = "in-program";
    app.add_option("--isolation", where,
                   "where the commands run: in-program, or os-process, where even a segmentation "
                   "fault is rolled back")
        ->check(CLI::IsMember({"in-program", "os-process"}))
        ->capture_default_str();
    CLI11_PARSE(app, argc, argv);
    return serve(wanted,
                 where == "os-process" ? kv::isolation::os_process : kv::isolation::in_program);
  } catch (const std::exception& error) {
    fmt::print(stderr, "kv: {}\n", error.what());
    return 1;
  }
}
