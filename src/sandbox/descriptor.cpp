// SPDX-License-Identifier: Apache-2.0
#include "sandbox/descriptor.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace peeper::sandbox {
namespace {

/// For the descriptors of one message, aligned as the kernel wants it.
struct alignas(cmsghdr) control_block {
  std::array<std::byte, CMSG_SPACE(descriptors_max * sizeof(int))> bytes{};
};

}  // namespace

void descriptor::reset(int number) noexcept {
  if (number_ >= 0) ::close(number_);
  number_ = number;
}

int send_message(int socket, std::span<const std::byte> bytes,
                 std::span<const int> descriptors) noexcept {
  if (descriptors.size() > descriptors_max) return EINVAL;
  iovec part{.iov_base = const_cast<std::byte*>(bytes.data()), .iov_len = bytes.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  control_block control;
  if (!descriptors.empty()) {
    message.msg_control = control.bytes.data();
    message.msg_controllen = CMSG_SPACE(descriptors.size_bytes());
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(descriptors.size_bytes());
    std::memcpy(CMSG_DATA(header), descriptors.data(), descriptors.size_bytes());
  }
  for (;;) {
    if (::sendmsg(socket, &message, MSG_NOSIGNAL) >= 0) return 0;
    if (errno != EINTR) return errno;
  }
}

received_message receive_message(int socket, std::span<std::byte> buffer) {
  received_message result;
  result.descriptors.reserve(descriptors_max);  // nothing may throw once they are ours
  iovec part{.iov_base = buffer.data(), .iov_len = buffer.size()};
  control_block control;
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.bytes.data();
  message.msg_controllen = control.bytes.size();
  ssize_t got = -1;
  do {
    got = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  } while (got < 0 && errno == EINTR);
  if (got < 0) {
    result.error = errno;
    return result;
  }
  result.size = static_cast<std::size_t>(got);
  for (cmsghdr* h = CMSG_FIRSTHDR(&message); h != nullptr; h = CMSG_NXTHDR(&message, h)) {
    if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int number = -1;
      std::memcpy(&number, CMSG_DATA(h) + i * sizeof(int), sizeof number);
      result.descriptors.emplace_back(number);
    }
  }
  return result;
}

void close_all_but(int first, std::span<const int> kept) {
  std::vector<int> sorted{kept.begin(), kept.end()};
  std::ranges::sort(sorted);
  for (const int number : sorted) {
    if (number < first) continue;
    if (number > first) {
      ::close_range(static_cast<unsigned>(first), static_cast<unsigned>(number - 1), 0);
    }
    first = number + 1;
  }
  ::close_range(static_cast<unsigned>(first), ~0U, 0);
}

bool wait_readable(int what, int timeout_ms) noexcept {
  pollfd one{.fd = what, .events = POLLIN, .revents = 0};
  int ready = 0;
  do {
    ready = ::poll(&one, 1, timeout_ms);
  } while (ready < 0 && errno == EINTR);
  return ready > 0;
}

}  // namespace peeper::sandbox
