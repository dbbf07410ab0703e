// SPDX-License-Identifier: Apache-2.0
/// A blocking client: what the demo and the tests talk to the server with.
///
///     kv::tcp_client client(port);
///     client.command({"SET", "key", "value"});
///
/// THREADS: one at a time.
#pragma once

#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "resp.hpp"

namespace kv {

using words = std::vector<std::string>;

/// The server closed the connection, or answered with something that is no reply.
class connection_lost : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// One socket and nothing else: a test holds thousands.
class tcp_client {
 public:
  /// Throws connection_lost if nobody listens on that port of this machine.
  explicit tcp_client(std::uint16_t port);
  tcp_client(const tcp_client&) = delete;
  tcp_client& operator=(const tcp_client&) = delete;
  ~tcp_client();

  /// Sends one command and waits for its reply.
  reply command(const words& arguments);
  /// Sends all commands, and reads as it sends. RETURNS: their replies, in order.
  std::vector<reply> pipeline(std::span<const words> commands);

  void send(std::string_view bytes);
  /// Waits for one reply. Throws connection_lost if the connection ends first.
  reply receive();
  /// Waits for the server to close. RETURNS: what it sent before that, unparsed.
  std::string receive_until_closed();
  /// Tells the server that nothing more will come.
  void close_sending_side();
  /// Vanishes as a program that is killed with unread replies does: the connection is reset.
  void reset();

 private:
  /// RETURNS: how many bytes came; 0 if the connection ended.
  std::size_t read_some();

  int socket_ = -1;
  reply_parser parser_;
  std::string received_;
};

}  // namespace kv
