// SPDX-License-Identifier: Apache-2.0
/// \file
/// How a coroutine handler waits for an answer: a waiter that tells the server to go on, and a
/// timer for the deadline.
#pragma once

#include <coroutine>
#include <cstdint>

#include <peeper/detail/branch.hpp>
#include <peeper/detail/request.hpp>

namespace peeper::detail {

class await_step {
 public:
  explicit await_step(request& r) noexcept : request_{&r} {}
  await_step(const await_step&) = delete;
  await_step& operator=(const await_step&) = delete;
  /// Also when the coroutine is destroyed while it waits.
  ~await_step();

  /// RETURNS: false if the answer is there already: do not suspend.
  /// Lets go what is staged for `server` up to `asked`.
  [[nodiscard]] bool suspend(std::coroutine_handle<> h, branch& server, const message* asked,
                             time_point deadline);
  /// After going on. RETURNS: false if the deadline has passed without an answer.
  [[nodiscard]] bool resumed() noexcept;

 private:
  struct server_waiter;
  void stop_waiting() noexcept;

  request* request_;
  server_waiter* waiter_ = nullptr;
  branch* self_ = nullptr;
  std::uint64_t timer_ = 0;
};

}  // namespace peeper::detail
