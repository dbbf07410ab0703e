// SPDX-License-Identifier: Apache-2.0
/// \file
/// `ref<S>`: names a server for good, through all its crashes (P4). Cheap to copy; keeps the
/// server's cell in memory, not the server running.
///
///     auto r = c.call(get{});            // std::expected<int, call_error>
///     c.cast(inc{2});                    // void: sent, or the server is gone
///     auto p = c.ask(get{});             // pending<int>
///
/// THREADS: any. Inside a callback, casts and infos leave at its commit (P2); a call first lets go
/// what was queued for the same server (P6).
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <utility>

#include <peeper/detail/branch.hpp>
#include <peeper/detail/handlers.hpp>
#include <peeper/pending.hpp>
#include <peeper/time.hpp>

namespace peeper {

template <class S>
class ref {
 public:
  using server_type = S;

  /// Names nothing; calls answer noproc.
  ref() noexcept = default;

  /// Sends `message` and waits for its reply. COMPLEXITY: O(1), whatever else runs; `make bench`
  /// has figures.
  ///
  /// `limit`: how long to wait; the request carries the deadline, and is skipped when its turn
  /// comes after it. Default 5 s (OTP), or what is left of the running callback's own request. Zero
  /// or less: sent, not waited for. RETURNS: the reply; or what happened instead, each outcome its
  /// own code (P8). A reply is given only for what is committed (P1).
  template <class M>
  [[nodiscard]] std::expected<detail::reply_of<M>, call_error> call(M message) const {
    const detail::default_limit limit{cell_.get()};
    return call_until(std::move(message), limit.deadline, limit.patient);
  }
  template <class M>
  [[nodiscard]] std::expected<detail::reply_of<M>, call_error> call(M message,
                                                                    duration limit) const {
    return call_until(std::move(message), detail::deadline_for(cell_.get(), limit),
                      limit >= detail::patience_min);
  }

  /// Sends `message`; nobody learns what becomes of it (OTP: always ok, even to a dead server).
  /// Throws only what moving `message` throws, and std::bad_alloc. COMPLEXITY: O(1), no lock. With
  /// overflow::block it waits for room, without limit.
  template <class M>
  void cast(M message) const;
  /// As cast(), but says if the mailbox is full or the server gone. Inside a callback it tells what
  /// is so now; the message leaves at the commit (P2).
  template <class M>
  [[nodiscard]] std::expected<void, cast_error> try_cast(M message) const;

  /// Sends `message`; the reply is fetched from the pending. The deadlines are those of call().
  template <class M>
  [[nodiscard]] pending<detail::reply_of<M>> ask(M message) const {
    return ask_until(std::move(message), detail::default_limit{cell_.get()}.deadline);
  }
  template <class M>
  [[nodiscard]] pending<detail::reply_of<M>> ask(M message, duration limit) const {
    return ask_until(std::move(message), detail::deadline_for(cell_.get(), limit));
  }

  /// As cast(), for handle_info: what is not part of the server's own protocol.
  template <class M>
  void send(M message) const;

  /// The server as a whole: its pid lasts as long as the server.
  [[nodiscard]] peeper::pid pid() const noexcept {
    return cell_ ? cell_->server_pid() : peeper::pid{};
  }
  /// Its name, or its pid in words.
  [[nodiscard]] std::string name() const { return cell_ ? cell_->display_name() : "<no server>"; }
  /// False once it has stopped for good; a restarting server is alive.
  [[nodiscard]] bool alive() const noexcept { return cell_ && !cell_->closed(); }
  explicit operator bool() const noexcept { return static_cast<bool>(cell_); }

  friend bool operator==(const ref& a, const ref& b) noexcept {
    return a.cell_.get() == b.cell_.get();
  }

  // --- for the library's own headers
  explicit ref(detail::process_ptr<detail::branch> cell) noexcept : cell_{std::move(cell)} {}
  [[nodiscard]] const detail::process_ptr<detail::branch>& cell() const noexcept { return cell_; }

 private:
  template <class M>
  [[nodiscard]] [[gnu::hot]] std::expected<detail::reply_of<M>, call_error> call_until(
      M message, time_point deadline, bool patient) const;
  template <class M>
  [[nodiscard]] pending<detail::reply_of<M>> ask_until(M message, time_point deadline) const;
  detail::process_ptr<detail::branch> cell_;
};

}  // namespace peeper
