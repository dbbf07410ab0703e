// SPDX-License-Identifier: Apache-2.0
#include "tcp_client.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

namespace kv {

tcp_client::tcp_client(std::uint16_t port)
    : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (socket_ < 0 ||
      ::connect(socket_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    const int failed = errno;
    if (socket_ >= 0) ::close(socket_);
    throw connection_lost(
        fmt::format("cannot connect to port {}: {}", port, std::strerror(failed)));
  }
  const int on = 1;
  ::setsockopt(socket_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

tcp_client::~tcp_client() {
  if (socket_ >= 0) ::close(socket_);
}

reply tcp_client::command(const words& arguments) {
  std::string wire;
  append_command(wire, std::span(arguments));
  send(wire);
  return receive();
}

std::vector<reply> tcp_client::pipeline(std::span<const words> commands) {
  // A server that waits for us to read must not wait for ever: never send much ahead.
  constexpr std::size_t ahead_max = 256;
  std::vector<reply> replies;
  replies.reserve(commands.size());
  std::string wire;
  for (std::size_t sent = 0; sent < commands.size();) {
    wire.clear();
    const std::size_t end = std::min(commands.size(), sent + ahead_max);
    for (; sent < end; ++sent) append_command(wire, std::span(commands[sent]));
    send(wire);
    while (replies.size() < sent) replies.push_back(receive());
  }
  return replies;
}

void tcp_client::send(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) throw connection_lost(fmt::format("cannot send: {}", std::strerror(errno)));
    bytes.remove_prefix(static_cast<std::size_t>(sent));
  }
}

std::size_t tcp_client::read_some() {
  std::array<char, 16 * 1024> buffer;
  while (true) {
    const ssize_t bytes = ::recv(socket_, buffer.data(), buffer.size(), 0);
    if (bytes < 0 && errno == EINTR) continue;
    if (bytes <= 0) return 0;
    received_.assign(buffer.data(), static_cast<std::size_t>(bytes));
    return static_cast<std::size_t>(bytes);
  }
}

reply tcp_client::receive() {
  while (true) {
    if (auto found = parser_.next()) return std::move(*found);
    if (parser_.broken()) throw connection_lost("the server sent something that is no reply");
    if (read_some() == 0) throw connection_lost("the connection ended");
    parser_.feed(received_);
  }
}

std::string tcp_client::receive_until_closed() {
  std::string all;
  while (read_some() > 0) all += received_;
  return all;
}

void tcp_client::close_sending_side() { ::shutdown(socket_, SHUT_WR); }

void tcp_client::reset() {
  const linger now{.l_onoff = 1, .l_linger = 0};
  ::setsockopt(socket_, SOL_SOCKET, SO_LINGER, &now, sizeof now);
  ::close(std::exchange(socket_, -1));
}

}  // namespace kv
