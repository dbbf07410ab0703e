// SPDX-License-Identifier: Apache-2.0
#include "connection.hpp"

#include <algorithm>
#include <tuple>
#include <utility>

#include <boost/asio/buffer.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>
#include <fmt/format.h>

#include "commands.hpp"

namespace kv {
namespace {

/// Replies a client has not taken: beyond this, none of its commands is run.
constexpr std::size_t output_bytes_max = 1 << 20;
/// One callback runs no more commands than this, so that other clients get their turn.
constexpr std::uint32_t run_commands_max = 1024;
/// Nor more bytes of them, but for the first: they are copied into the message.
constexpr std::ptrdiff_t run_bytes_max = 1 << 20;
/// A run whose worker was killed did nothing wrong, but not for ever.
constexpr std::uint32_t killed_in_a_row_max = 1000;
/// So often a command that runs alone may meet a SIGKILL before it counts as the one that sends it.
constexpr std::uint32_t sigkilled_alone_max = 4;
/// How long a client may take to read the last reply before its connection is closed under it.
constexpr auto linger_time = std::chrono::seconds(1);

std::string address_of(const boost::asio::ip::tcp::socket& socket) {
  boost::system::error_code error;
  const auto endpoint = socket.remote_endpoint(error);
  if (error) return "?";
  const std::string address = endpoint.address().to_string();
  return fmt::format(fmt::runtime(endpoint.address().is_v6() ? "[{}]:{}" : "{}:{}"), address,
                     endpoint.port());
}

/// The start of an HTTP request: some web page makes a browser talk to us. Nothing of it is run.
bool is_http(const command_view& arguments) {
  return equal_ignoring_case(arguments[0], "POST") || equal_ignoring_case(arguments[0], "Host:");
}

bool is_printable_word(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return c >= '!' && c <= '~'; });
}

/// An OS process that was sent SIGKILL leaves no word of it; the kernel's comes later than ours.
bool may_be_sigkill(const peeper::exit_reason& reason) {
  return reason.kind() == peeper::exit_kind::signalled &&
         (reason.detail().starts_with("SIGKILL") || reason.detail() == "not known yet");
}

std::string describe(const client_registry::client& client) {
  return fmt::format("id={} addr={} name={} db=0 resp=2\n", client.id, client.address, client.name);
}

}  // namespace

std::uint64_t client_registry::add(std::string address) {
  const std::lock_guard lock(mutex_);
  const std::uint64_t id = ++last_id_;
  clients_.emplace(id, client{id, std::move(address), {}});
  return id;
}

void client_registry::remove(std::uint64_t id) {
  const std::lock_guard lock(mutex_);
  clients_.erase(id);
}

void client_registry::set_name(std::uint64_t id, std::string name) {
  const std::lock_guard lock(mutex_);
  clients_[id].name = std::move(name);
}

client_registry::client client_registry::get(std::uint64_t id) const {
  const std::lock_guard lock(mutex_);
  const auto found = clients_.find(id);
  return found == clients_.end() ? client{} : found->second;
}

std::vector<client_registry::client> client_registry::all() const {
  const std::lock_guard lock(mutex_);
  std::vector<client> list;
  list.reserve(clients_.size());
  for (const auto& [id, value] : clients_) list.push_back(value);
  return list;
}

connection::connection(boost::asio::ip::tcp::socket socket,
                       std::shared_ptr<const connection_services> shared,
                       std::vector<char>& scratch, std::function<void(const connection&)> on_closed)
    : socket_(std::move(socket)),
      linger_timer_(socket_.get_executor()),
      shared_(std::move(shared)),
      scratch_(scratch),
      on_closed_(std::move(on_closed)),
      parser_(shared_->statistics->limits) {}

void connection::start() {
  boost::system::error_code ignored;  // an option that fails leaves a slower connection, no more
  std::ignore = socket_.set_option(boost::asio::ip::tcp::no_delay(true), ignored);
  // A peer that vanished without a word is found by the kernel, as with Redis's tcp-keepalive.
  std::ignore = socket_.set_option(boost::asio::socket_base::keep_alive(true), ignored);
  std::ignore = socket_.non_blocking(true, ignored);
  id_ = shared_->clients->add(address_of(socket_));
  count(shared_->statistics->connections_now);
  read_more();
}

void connection::close_gracefully() {
  if (closed_) return;
  input_over_ = true;
  boost::system::error_code ignored;
  std::ignore = socket_.cancel(ignored);  // wakes the wait for input
  advance();
}

void connection::close() {
  if (!closed_) {
    closed_ = true;
    boost::system::error_code ignored;
    std::ignore = socket_.close(ignored);
    linger_timer_.cancel();
    shared_->clients->remove(id_);
    shared_->statistics->connections_now.fetch_sub(1, std::memory_order_relaxed);
  }
  // While a run is in flight its answer will be posted to our executor, which on_closed_ may let
  // go.
  if (!in_flight_ && on_closed_) std::exchange(on_closed_, nullptr)(*this);
}

/// Ends this connection, and no other, when memory runs out for it.
template <typename Fn>
void connection::guarded(Fn fn) {
  try {
    fn();
  } catch (const std::exception& error) {
    fmt::print(stderr, "kv: connection {} is closed: {}\n", id_, error.what());
    close();
  }
}

void connection::read_more() {
  if (reading_ || closed_ || input_over_) return;
  reading_ = true;
  socket_.async_wait(boost::asio::socket_base::wait_read,
                     [self = shared_from_this()](const boost::system::error_code& error) {
                       self->reading_ = false;
                       self->guarded([&] { self->on_readable(error); });
                     });
}

void connection::on_readable(const boost::system::error_code& error) {
  if (closed_ || input_over_) return;
  boost::system::error_code failed = error;
  std::size_t bytes = 0;
  if (!failed) bytes = socket_.read_some(boost::asio::buffer(scratch_), failed);
  if (failed == boost::asio::error::would_block || failed == boost::asio::error::interrupted) {
    return read_more();
  }
  if (failed == boost::asio::error::eof) {
    // The client may have closed only its side, and still want the replies.
    input_over_ = true;
    return advance();
  }
  if (failed) return close();
  count(shared_->statistics->bytes_in, bytes);
  parser_.feed({scratch_.data(), bytes});
  advance();
}

bool connection::output_is_full() const { return output_.size() - written_ >= output_bytes_max; }

/// Takes the next commands from the parser, or finds that there are none.
void connection::take_commands() {
  next_ = 0;
  alone_until_ = 0;
  batch_ = parser_.take();
  if (batch_.empty() && !parser_.error().empty() && !input_over_) {
    count(shared_->statistics->protocol_errors);
    reply_writer(output_).error("ERR " + parser_.error());
    input_over_ = true;
    lingering_ = true;
  }
}

/// Does whatever can be done now; every event ends here.
void connection::advance() {
  do {
    run_commands();
    if (closed_) return;
    flush();
  } while (!closed_ && !in_flight_ && !writing_ && !batch_.empty());
  if (closed_ || in_flight_ || writing_) return;
  if (!input_over_) return read_more();
  if (!lingering_) return close();
  linger();
}

/// Runs commands until there are none, or an answer must come first, or the client must read.
void connection::run_commands() {
  while (!closed_ && !in_flight_ && !output_is_full()) {
    if (next_ >= batch_.size()) {
      take_commands();
      if (batch_.empty()) return;
    }
    const command_view arguments = batch_[next_];
    const command* found = find_command(arguments[0]);
    if (found != nullptr && found->of_connection) {
      ++next_;
      count(shared_->statistics->commands);
      run_connection_command(arguments);
    } else if (is_http(arguments)) {
      close();
    } else {
      submit();
    }
  }
}

/// Chooses the next run: what starts at next_ and may go together.
connection::next_run connection::choose_run() const {
  const auto size = static_cast<std::uint32_t>(batch_.size());
  const std::uint32_t end_max = next_ < alone_until_ ? next_ + 1 : next_ + run_commands_max;
  const char* const first_byte = batch_[next_][0].data();
  next_run run;
  for (std::uint32_t at = next_; at < std::min(size, end_max); ++at) {
    const command_view arguments = batch_[at];
    const command* found = find_command(arguments[0]);
    if (found != nullptr && found->of_connection) break;
    if (is_http(arguments)) break;
    const std::string_view last = arguments[arguments.size() - 1];
    if (run.commands > 0 && last.data() + last.size() - first_byte > run_bytes_max) break;
    run.only_reads = run.only_reads && (found == nullptr || found->read != nullptr);
    run.tells_of_server = run.tells_of_server || (found != nullptr && found->tells_of_server);
    ++run.commands;
  }
  return run;
}

/// Sends the next run of commands to the kv server.
void connection::submit() {
  const next_run run = choose_run();
  const std::uint32_t commands = run.commands;
  command_run message{
      .commands = batch_.pack(next_, commands),
      .count = commands,
      .now_ms = shared_->now_ms(),
      .value_bytes_max = shared_->statistics->limits.bulk_bytes_max,
      .figures =
          run.tells_of_server ? std::optional(figures_of(*shared_->statistics)) : std::nullopt,
  };
  auto answer = [self = shared_from_this(), commands](call_result result) {
    auto executor = self->socket_.get_executor();
    boost::asio::post(executor, [self, commands, moved = std::move(result)]() mutable {
      self->guarded([&] { self->on_outcome(std::move(moved), commands); });
    });
  };
  // No deadline: a time-out would leave the outcome unknown, and every run is answered, if need be
  // by the news that the server stopped.
  if (run.only_reads) {
    shared_->data.ask(query{std::move(message)}, peeper::infinity).then(std::move(answer));
  } else {
    shared_->data.ask(execute{std::move(message)}, peeper::infinity).then(std::move(answer));
  }
  in_flight_ = true;  // the answer is posted, so it cannot have been handled yet
}

void connection::on_outcome(call_result result, std::uint32_t commands) {
  in_flight_ = false;
  if (closed_) return close();
  if (result) {
    killed_in_a_row_ = 0;
    sigkilled_alone_ = 0;
    next_ += result->done;
    count(shared_->statistics->commands, result->done);
    if (output_.empty()) {
      output_ = std::move(result->replies);
    } else {
      output_ += result->replies;
    }
  } else {
    on_crash(result.error(), commands);
  }
  advance();
}

void connection::on_crash(const peeper::call_error& error, std::uint32_t commands) {
  if (error.code() != peeper::call_errc::crashed) {
    reply_writer(output_).error("ERR " + error.what());
    batch_ = {};
    input_over_ = true;
    lingering_ = true;
    return;
  }
  const peeper::exit_reason reason = error.reason();
  if (reason.kind() == peeper::exit_kind::killed && ++killed_in_a_row_ < killed_in_a_row_max) {
    count(shared_->statistics->batches_retried);
    return;  // next_ has not moved: advance() sends the same run again
  }
  if (commands > 1) {
    count(shared_->statistics->batches_retried);
    alone_until_ = next_ + commands;
    return;
  }
  // Did the command send it, or somebody else?
  if (may_be_sigkill(reason) && ++sigkilled_alone_ < sigkilled_alone_max) {
    count(shared_->statistics->batches_retried);
    return;
  }
  killed_in_a_row_ = 0;
  sigkilled_alone_ = 0;
  ++next_;
  count(shared_->statistics->commands);
  count(shared_->statistics->crashes_answered);
  const std::string what = reason.kind() == peeper::exit_kind::exception
                               ? std::string(reason.detail())
                               : reason.to_string();
  reply_writer(output_).error(fmt::format("CRASH worker crashed: {}; state rolled back", what));
}

void connection::run_connection_command(const command_view& arguments) {
  reply_writer reply(output_);
  const command& found = *find_command(arguments[0]);
  if (!arity_fits(found, arguments.size())) return reply.error(wrong_arity(found.name));
  if (found.name == "client") return run_client_command(arguments, reply);
  if (found.name == "quit") {
    reply.ok();
    batch_ = {};  // what a client sends behind its QUIT is not run
    input_over_ = true;
    lingering_ = true;
  } else if (found.name == "select") {
    const auto index = parse_integer(arguments[1]);
    if (!index) return reply.error(errors::not_an_integer);
    if (*index != 0) return reply.error("ERR DB index is out of range");
    reply.ok();
  } else if (found.name == "reset") {
    shared_->clients->set_name(id_, {});
    reply.simple("RESET");
  } else if (found.name == "auth") {
    if (arguments.size() > 3) return reply.error(errors::syntax);
    reply.error(
        "ERR AUTH <password> called without any password configured for the default user. Are you "
        "sure your configuration is correct?");
  } else {  // hello
    if (arguments.size() > 1) {
      const auto version = parse_integer(arguments[1]);
      if (!version) return reply.error("ERR Protocol version is not an integer or out of range");
      if (*version != 2) return reply.error("NOPROTO unsupported protocol version");
      if (arguments.size() > 2) return reply.error(errors::syntax);
    }
    reply.array(12);
    reply.bulk("server");
    reply.bulk("peeper-kv");
    reply.bulk("version");
    reply.bulk("7.0.0");
    reply.bulk("proto");
    reply.integer(2);
    reply.bulk("id");
    reply.integer(static_cast<std::int64_t>(id_));
    reply.bulk("mode");
    reply.bulk("standalone");
    reply.bulk("role");
    reply.bulk("master");
  }
}

void connection::run_client_command(const command_view& arguments, reply_writer& reply) {
  const std::string verb = lower_case(arguments[1]);
  const std::size_t words = arguments.size();
  client_registry& clients = *shared_->clients;
  const auto fits = [&](std::size_t wanted) {
    if (words != wanted) reply.error(wrong_arity("client|" + verb));
    return words == wanted;
  };
  if (verb == "id") {
    if (fits(2)) reply.integer(static_cast<std::int64_t>(id_));
  } else if (verb == "info") {
    if (fits(2)) reply.bulk(describe(clients.get(id_)));
  } else if (verb == "list") {
    std::string text;
    for (const auto& client : clients.all()) text += describe(client);
    if (fits(2)) reply.bulk(text);
  } else if (verb == "getname") {
    if (!fits(2)) return;
    const std::string name = clients.get(id_).name;
    if (name.empty()) return reply.null();
    reply.bulk(name);
  } else if (verb == "setname") {
    if (!fits(3)) return;
    if (!is_printable_word(arguments[2])) {
      return reply.error("ERR Client names cannot contain spaces, newlines or special characters.");
    }
    clients.set_name(id_, std::string(arguments[2]));
    reply.ok();
  } else if (verb == "setinfo") {
    if (fits(4)) reply.ok();
  } else {
    reply.error(unknown_subcommand(arguments));
  }
}

void connection::flush() {
  if (writing_ || closed_) return;
  while (written_ < output_.size()) {
    boost::system::error_code failed;
    const std::size_t bytes = socket_.write_some(
        boost::asio::buffer(output_.data() + written_, output_.size() - written_), failed);
    if (failed == boost::asio::error::interrupted) continue;
    if (failed == boost::asio::error::would_block) {
      writing_ = true;
      socket_.async_wait(boost::asio::socket_base::wait_write,
                         [self = shared_from_this()](const boost::system::error_code& error) {
                           self->writing_ = false;
                           // Cancelled by close_gracefully(): go on writing.
                           if (error && error != boost::asio::error::operation_aborted) {
                             return self->close();
                           }
                           self->guarded([&] { self->advance(); });
                         });
      return;
    }
    if (failed) return close();
    written_ += bytes;
    count(shared_->statistics->bytes_out, bytes);
  }
  output_.clear();
  written_ = 0;
  constexpr std::size_t idle_capacity_max = 1 << 16;
  if (output_.capacity() > idle_capacity_max) output_.shrink_to_fit();
}

/// Says "no more", and waits for the client to do so too: closing with unread input would reset the
/// connection, and the last reply might be lost on its way.
void connection::linger() {
  if (said_goodbye_) return;
  said_goodbye_ = true;
  boost::system::error_code ignored;
  std::ignore = socket_.shutdown(boost::asio::socket_base::shutdown_send, ignored);
  linger_timer_.expires_after(linger_time);
  linger_timer_.async_wait([self = shared_from_this()](const boost::system::error_code& error) {
    if (!error) self->close();
  });
  discard_input();
}

void connection::discard_input() {
  socket_.async_wait(boost::asio::socket_base::wait_read,
                     [self = shared_from_this()](const boost::system::error_code& error) {
                       if (self->closed_) return;
                       boost::system::error_code failed = error;
                       if (!failed) {
                         self->socket_.read_some(boost::asio::buffer(self->scratch_), failed);
                       }
                       if (failed && failed != boost::asio::error::would_block) {
                         return self->close();
                       }
                       self->discard_input();
                     });
}

}  // namespace kv
