// SPDX-License-Identifier: Apache-2.0
#include "tcp_client.hpp"

#include <fmt/format.h>

#include <boost/asio/buffer.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/write.hpp>

namespace kv {
namespace asio = boost::asio;

tcp_client::tcp_client(std::uint16_t port) : buffer_(64 * 1024) {
  boost::system::error_code error;
  socket_.connect({asio::ip::address_v4::loopback(), port}, error);
  if (error) {
    throw connection_lost(fmt::format("cannot connect to port {}: {}", port, error.message()));
  }
  socket_.set_option(asio::ip::tcp::no_delay(true), error);
}

reply tcp_client::command(const words& arguments) {
  std::string wire;
  append_command(wire, std::span(arguments));
  send(wire);
  return receive();
}

std::vector<reply> tcp_client::pipeline(std::span<const words> commands) {
  std::string wire;
  for (const words& command : commands) append_command(wire, std::span(command));
  send(wire);
  std::vector<reply> replies;
  replies.reserve(commands.size());
  while (replies.size() < commands.size()) replies.push_back(receive());
  return replies;
}

void tcp_client::send(std::string_view bytes) {
  boost::system::error_code error;
  asio::write(socket_, asio::buffer(bytes), error);
  if (error) throw connection_lost(fmt::format("cannot send: {}", error.message()));
}

reply tcp_client::receive() {
  while (true) {
    if (auto found = parser_.next()) return std::move(*found);
    if (parser_.broken()) throw connection_lost("the server sent something that is no reply");
    boost::system::error_code error;
    const std::size_t bytes = socket_.read_some(asio::buffer(buffer_), error);
    if (error) throw connection_lost(fmt::format("the connection ended: {}", error.message()));
    parser_.feed({buffer_.data(), bytes});
  }
}

std::string tcp_client::receive_until_closed() {
  std::string received;
  while (true) {
    boost::system::error_code error;
    const std::size_t bytes = socket_.read_some(asio::buffer(buffer_), error);
    received.append(buffer_.data(), bytes);
    if (error) return received;
  }
}

void tcp_client::close_sending_side() {
  boost::system::error_code ignored;
  socket_.shutdown(asio::socket_base::shutdown_send, ignored);
}

}  // namespace kv
