// SPDX-License-Identifier: Apache-2.0
/// Listens, accepts, and spreads connections over its io threads.
///
///     auto server = kv::tcp_server::start(data, statistics, {.port = 6379});
///     if (!server) fmt::print(stderr, "{}\n", server.error());
///     ...
///     (*server)->stop();
///
/// THREADS: start() and stop() by one thread, which is none of the io threads; port() by any.
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <memory>
#include <string>

#include "kv_server.hpp"
#include "statistics.hpp"

namespace kv {

class tcp_server {
 public:
  struct options {
    std::string bind = "127.0.0.1";  ///< an address, not a name
    std::uint16_t port = 6379;       ///< 0: any free one
    unsigned threads = 1;            ///< that read, parse and write; the data has its own
    std::size_t clients_max = 10000;
    resp_limits limits;
  };

  /// RETURNS: a server that listens, or why it cannot, in words for the user.
  static std::expected<std::unique_ptr<tcp_server>, std::string> start(
      peeper::ref<kv_server> data, const std::shared_ptr<server_statistics>& statistics,
      options wanted);

  tcp_server(const tcp_server&) = delete;
  tcp_server& operator=(const tcp_server&) = delete;
  /// As stop().
  ~tcp_server();

  [[nodiscard]] std::uint16_t port() const;
  /// Takes no more connections and no more commands, lets the commands under way end and their
  /// replies go out (for at most a few seconds), closes all, joins the threads. Idempotent.
  void stop();

 private:
  class implementation;
  explicit tcp_server(std::unique_ptr<implementation> parts);

  std::unique_ptr<implementation> parts_;
};

/// Lets this OS process have as many files open as it may. RETURNS: how many that is.
std::size_t raise_open_files_limit();

}  // namespace kv
