// SPDX-License-Identifier: Apache-2.0
/// One client's TCP connection: reads commands, has them run by the kv server, writes the replies
/// in the order of the commands.
///
/// At most one run of commands is in flight, and nothing is read meanwhile, nor while the client
/// leaves replies lying: what a connection can hold is bounded, and TCP makes the client wait.
///
/// THREADS: all of it on the io thread the connection was given to, except name and id for
/// CLIENT LIST, which client_registry guards.
/// CRASH: of the kv server's worker or keeper: the run in flight was rolled back as a whole.
///   - The worker was killed: the commands did nothing wrong. The run is sent again.
///   - A command threw, or its OS process died: it is not known which. The run's commands are sent
///     again one by one, so that the one that does it is alone; it is answered with -CRASH, and the
///     others count.
///   - Its OS process was killed by SIGKILL: by a command, or by somebody else. As above, but one
///     that is alone is sent again a few times before it is blamed.
///   In all cases nothing of the run had happened, so nothing can happen twice.
#pragma once

#include <cstdint>
#include <expected>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>

#include "kv_server.hpp"
#include "resp.hpp"
#include "statistics.hpp"

namespace kv {

/// What CLIENT LIST tells of each connection.
class client_registry {
 public:
  struct client {
    std::uint64_t id = 0;
    std::string address;
    std::string name;
  };

  std::uint64_t add(std::string address);
  void remove(std::uint64_t id);
  void set_name(std::uint64_t id, std::string name);
  [[nodiscard]] client get(std::uint64_t id) const;
  [[nodiscard]] std::vector<client> all() const;

 private:
  mutable std::mutex mutex_;
  std::map<std::uint64_t, client> clients_;  // guarded by mutex_
  std::uint64_t last_id_ = 0;                // guarded by mutex_
};

/// What all connections of a server share.
struct connection_services {
  peeper::ref<kv_server> data;
  std::shared_ptr<server_statistics> statistics;
  std::shared_ptr<client_registry> clients;
  std::function<std::int64_t()> now_ms;
};

class connection : public std::enable_shared_from_this<connection> {
 public:
  /// `scratch`: read into, and never used across two events; one for each io thread.
  /// `on_closed`: called once, on the io thread.
  connection(boost::asio::ip::tcp::socket socket, std::shared_ptr<const connection_services> shared,
             std::vector<char>& scratch, std::function<void(const connection&)> on_closed);

  void start();
  /// Lets the run in flight end and its replies go out, then closes.
  void close_gracefully();
  /// Closes now, whatever is under way.
  void close();

 private:
  using call_result = std::expected<outcome, peeper::call_error>;
  struct next_run {
    std::uint32_t commands = 0;
    bool only_reads = true;
    bool tells_of_server = false;
  };

  template <typename Fn>
  void guarded(Fn fn);
  void read_more();
  void on_readable(const boost::system::error_code& error);
  void take_commands();
  void advance();
  void run_commands();
  void submit();
  [[nodiscard]] next_run choose_run() const;
  void on_outcome(call_result result, std::uint32_t commands);
  void on_crash(const peeper::call_error& error, std::uint32_t commands);
  void run_connection_command(const command_view& arguments);
  void run_client_command(const command_view& arguments, reply_writer& reply);
  void flush();
  void linger();
  void discard_input();
  [[nodiscard]] bool output_is_full() const;

  boost::asio::ip::tcp::socket socket_;
  boost::asio::steady_timer linger_timer_;
  std::shared_ptr<const connection_services> shared_;
  std::vector<char>& scratch_;
  std::function<void(const connection&)> on_closed_;
  std::uint64_t id_ = 0;

  request_parser parser_;
  request_batch batch_;  // being run, from next_ on; empty: none is
  std::uint32_t next_ = 0;
  std::uint32_t alone_until_ = 0;  // up to here one command per message: one of them crashed
  std::uint32_t killed_in_a_row_ = 0;
  std::uint32_t sigkilled_alone_ = 0;

  std::string output_;
  std::size_t written_ = 0;

  bool in_flight_ = false;
  bool reading_ = false;
  bool writing_ = false;
  bool input_over_ = false;  // the client closed its side, or broke the protocol, or said QUIT
  bool lingering_ = false;   // the last reply must arrive: do not just close
  bool said_goodbye_ = false;
  bool closed_ = false;
};

}  // namespace kv
