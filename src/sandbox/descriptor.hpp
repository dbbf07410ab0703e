// SPDX-License-Identifier: Apache-2.0
/// \file
/// `descriptor`: owns a file descriptor. Messages with descriptors over a socket.
#pragma once

#include <cstddef>
#include <span>
#include <utility>
#include <vector>

#include <sys/types.h>

namespace peeper::sandbox {

/// Closes what it holds. -1 is none.
class descriptor {
 public:
  descriptor() noexcept = default;
  explicit descriptor(int number) noexcept : number_{number} {}
  descriptor(descriptor&& other) noexcept : number_{other.release()} {}
  descriptor& operator=(descriptor&& other) noexcept {
    if (this != &other) reset(other.release());
    return *this;
  }
  ~descriptor() { reset(); }

  [[nodiscard]] int get() const noexcept { return number_; }
  [[nodiscard]] int release() noexcept { return std::exchange(number_, -1); }
  void reset(int number = -1) noexcept;
  explicit operator bool() const noexcept { return number_ >= 0; }

 private:
  int number_ = -1;
};

/// As many descriptors go with one message.
inline constexpr std::size_t descriptors_max = 16;

/// Over a SOCK_SEQPACKET socket. Blocks while its buffer is full. Without SIGPIPE.
/// RETURNS: 0, or errno.
[[nodiscard]] int send_message(int socket, std::span<const std::byte> bytes,
                               std::span<const int> descriptors = {}) noexcept;

struct received_message {
  std::size_t size = 0;  ///< 0: the other end is closed
  std::vector<descriptor> descriptors;
  int error = 0;  ///< errno
};
/// Blocks until one is there. What does not fit into `buffer` is lost.
[[nodiscard]] received_message receive_message(int socket, std::span<std::byte> buffer);

/// Closes all descriptors of this OS process from `first` on, but those in `kept`.
void close_all_but(int first, std::span<const int> kept);

/// Blocks until `what` can be read, or is closed, or `timeout_ms` is over (-1: never).
/// RETURNS: it can.
bool wait_readable(int what, int timeout_ms = -1) noexcept;

}  // namespace peeper::sandbox
