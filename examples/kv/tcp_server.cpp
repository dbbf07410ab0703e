// SPDX-License-Identifier: Apache-2.0
#include "tcp_server.hpp"

#include <algorithm>
#include <chrono>
#include <future>
#include <optional>
#include <thread>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <vector>

#include <boost/asio/buffer.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <fmt/format.h>
#include <sys/resource.h>

#include "connection.hpp"

namespace kv {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;

constexpr auto expire_interval = std::chrono::milliseconds(100);
constexpr auto accept_pause = std::chrono::milliseconds(100);
constexpr auto drain_time = std::chrono::seconds(5);

std::int64_t wall_clock_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

/// One io thread with the connections that live on it.
/// THREADS: everything but post() and the constructor on the thread itself.
class io_worker {
 public:
  io_worker() : guard_(asio::make_work_guard(context_)), scratch_(scratch_bytes) {}

  void start_thread() {
    thread_ = std::thread([this] { run(); });
  }

  [[nodiscard]] asio::io_context& context() { return context_; }

  void adopt(tcp::socket socket, const std::shared_ptr<const connection_services>& shared) {
    auto made = std::make_shared<connection>(std::move(socket), shared, scratch_,
                                             [this](const connection& closed) {
                                               connections_.erase(&closed);
                                               end_if_empty();
                                             });
    connections_.emplace(made.get(), made);
    made->start();
  }

  /// Ends all connections, then the thread. Called on the thread.
  void begin_stop() {
    stopping_ = true;
    close_all(&connection::close_gracefully);
    drain_timer_.expires_after(drain_time);
    drain_timer_.async_wait([this](const boost::system::error_code& error) {
      if (!error) close_all(&connection::close);
    });
    end_if_empty();
  }

  void join() {
    if (thread_.joinable()) thread_.join();
  }

 private:
  static constexpr std::size_t scratch_bytes = 1 << 16;

  void run() {
    while (true) {
      try {
        context_.run();
        return;
      } catch (const std::exception& error) {
        // Memory ran out while accepting: those who are connected go on.
        fmt::print(stderr, "kv: an event failed: {}\n", error.what());
      }
    }
  }

  void close_all(void (connection::*how)()) {
    std::vector<std::shared_ptr<connection>> all;  // closing changes connections_
    all.reserve(connections_.size());
    for (const auto& [key, value] : connections_) all.push_back(value);
    for (const auto& value : all) (value.get()->*how)();
  }

  /// The thread ends when its last connection has: a run in flight answers to this context, so the
  /// context must not go before the answer.
  void end_if_empty() {
    if (!stopping_ || !connections_.empty()) return;
    drain_timer_.cancel();
    guard_.reset();
  }

  asio::io_context context_{1};
  asio::executor_work_guard<asio::io_context::executor_type> guard_;
  asio::steady_timer drain_timer_{context_};
  std::vector<char> scratch_;
  std::unordered_map<const connection*, std::shared_ptr<connection>> connections_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace

class tcp_server::implementation {
 public:
  implementation(std::shared_ptr<const connection_services> shared, std::size_t threads)
      : shared_(std::move(shared)) {
    for (std::size_t i = 0; i < std::max<std::size_t>(threads, 1); ++i) {
      workers_.push_back(std::make_unique<io_worker>());
    }
    acceptor_.emplace(workers_[0]->context());
    accept_timer_.emplace(workers_[0]->context());
    expire_timer_.emplace(workers_[0]->context());
  }

  // Without the memory to tell its threads to stop there is no way on: the program ends, loudly.
  // NOLINTNEXTLINE(bugprone-exception-escape)
  ~implementation() { stop(); }

  boost::system::error_code listen(const tcp::endpoint& endpoint) {
    boost::system::error_code error;
    std::ignore = acceptor_->open(endpoint.protocol(), error);
    if (!error) std::ignore = acceptor_->set_option(tcp::acceptor::reuse_address(true), error);
    if (!error) std::ignore = acceptor_->bind(endpoint, error);
    // As long as the kernel allows: thousands of clients may come at once.
    if (!error) std::ignore = acceptor_->listen(4096, error);
    if (!error) port_ = acceptor_->local_endpoint(error).port();
    return error;
  }

  /// REQUIRES: listen() succeeded.
  [[nodiscard]] std::uint16_t port() const { return port_; }

  void run() {
    running_ = true;
    accept_next();
    tick();
    for (auto& worker : workers_) worker->start_thread();
  }

  void stop() {
    if (!std::exchange(running_, false)) return;
    std::promise<void> closed;
    asio::post(workers_[0]->context(), [&] {
      boost::system::error_code ignored;
      std::ignore = acceptor_->close(ignored);
      accept_timer_->cancel();
      expire_timer_->cancel();
      stopping_ = true;
      closed.set_value();
    });
    // The first worker hands sockets to the others: it stops doing so before they stop.
    closed.get_future().wait();
    for (auto& worker : workers_) {
      asio::post(worker->context(), [&worker = *worker] { worker.begin_stop(); });
    }
    for (auto& worker : workers_) worker->join();
  }

 private:
  void accept_next() {
    io_worker& target = *workers_[next_worker_++ % workers_.size()];
    acceptor_->async_accept(
        target.context(),
        [this, &target](const boost::system::error_code& error, tcp::socket made) {
          if (stopping_) return;
          if (error) return pause_accepting();
          accepted(target, std::move(made));
          accept_next();
        });
  }

  void accepted(io_worker& target, tcp::socket made) {
    server_statistics& statistics = *shared_->statistics;
    count(statistics.connections_total);
    // ORDER: relaxed; a limit that is off by the few connections just being made is good enough.
    if (statistics.connections_now.load(std::memory_order_relaxed) >= statistics.clients_max) {
      count(statistics.connections_rejected);
      boost::system::error_code ignored;
      std::ignore = made.non_blocking(true, ignored);
      constexpr std::string_view text = "-ERR max number of clients reached\r\n";
      made.write_some(asio::buffer(text), ignored);
      return;
    }
    asio::post(target.context(), [this, &target, socket = std::move(made)]() mutable {
      target.adopt(std::move(socket), shared_);
    });
  }

  /// Out of files or memory: existing clients go on, new ones wait in the kernel.
  void pause_accepting() {
    accept_timer_->expires_after(accept_pause);
    accept_timer_->async_wait([this](const boost::system::error_code& error) {
      if (!error && !stopping_) accept_next();
    });
  }

  void tick() {
    expire_timer_->expires_after(expire_interval);
    expire_timer_->async_wait([this](const boost::system::error_code& error) {
      if (error || stopping_) return;
      shared_->data.cast(expire_tick{shared_->now_ms()});
      tick();
    });
  }

  std::shared_ptr<const connection_services> shared_;
  std::vector<std::unique_ptr<io_worker>> workers_;
  std::uint16_t port_ = 0;
  bool running_ = false;

  // owned by the first worker's thread once it runs
  std::optional<tcp::acceptor> acceptor_;
  std::optional<asio::steady_timer> accept_timer_;
  std::optional<asio::steady_timer> expire_timer_;
  std::size_t next_worker_ = 0;
  bool stopping_ = false;
};

std::expected<std::unique_ptr<tcp_server>, std::string> tcp_server::start(
    peeper::ref<kv_server> data, const std::shared_ptr<server_statistics>& statistics,
    options wanted) {
  boost::system::error_code error;
  const auto address = asio::ip::make_address(wanted.bind, error);
  if (error) {
    return std::unexpected(fmt::format(
        "'{}' is not an IP address to listen on: give one, such as 127.0.0.1", wanted.bind));
  }
  // Some files are needed for other things than clients.
  constexpr std::size_t files_reserved = 64;
  const std::size_t files = raise_open_files_limit();
  const std::size_t clients_possible = files > files_reserved ? files - files_reserved : 1;
  statistics->bind = wanted.bind;
  statistics->clients_max = std::min(wanted.clients_max, clients_possible);
  statistics->limits = wanted.limits;
  auto shared = std::make_shared<connection_services>(connection_services{
      std::move(data), statistics, std::make_shared<client_registry>(), wall_clock_ms});
  auto parts = std::make_unique<implementation>(std::move(shared), wanted.threads);
  error = parts->listen(tcp::endpoint(address, wanted.port));
  if (error) {
    return std::unexpected(fmt::format(
        "cannot listen on {}:{}: {}{}", wanted.bind, wanted.port, error.message(),
        error == asio::error::address_in_use ? "; stop the other server or choose another port"
                                             : ""));
  }
  statistics->port = parts->port();
  parts->run();
  return std::unique_ptr<tcp_server>(new tcp_server(std::move(parts)));
}

tcp_server::tcp_server(std::unique_ptr<implementation> parts) : parts_(std::move(parts)) {}
tcp_server::~tcp_server() = default;

std::uint16_t tcp_server::port() const { return parts_->port(); }
void tcp_server::stop() { parts_->stop(); }

std::size_t raise_open_files_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 1024;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  getrlimit(RLIMIT_NOFILE, &limit);
  return static_cast<std::size_t>(limit.rlim_cur);
}

}  // namespace kv
