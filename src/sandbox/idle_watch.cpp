// SPDX-License-Identifier: Apache-2.0
#include "sandbox/idle_watch.hpp"

#include <array>
#include <cerrno>
#include <memory>
#include <system_error>
#include <thread>
#include <utility>

#include <sys/epoll.h>

#include <peeper/detail/system_call.hpp>

#include "core/log.hpp"

namespace peeper::sandbox {
namespace {

struct look_at_worker {
  void operator()(peeper::detail::branch& b) const noexcept { b.system_look_at_worker(); }
};

}  // namespace

idle_watch& idle_watch::program() {
  // Never destroyed: its thread may be in the kernel when the program ends.
  static auto* const the_one = new idle_watch;
  return *the_one;
}

idle_watch::idle_watch() : epoll_{::epoll_create1(EPOLL_CLOEXEC)} {
  if (!epoll_) throw std::system_error{errno, std::generic_category(), "epoll_create1"};
  std::thread{[this] { run(); }}.detach();
}

void idle_watch::watch(const void* who, descriptor pidfd, peeper::detail::branch& server) {
  forget(who);
  const std::lock_guard lock{mutex_};
  const std::uint64_t number = ++last_;
  const int added = pidfd.get();
  watched_.emplace(number, watched{std::move(pidfd), &server, who});
  epoll_event event{};
  event.events = EPOLLIN | EPOLLONESHOT;
  event.data.u64 = number;
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, added, &event) != 0) {
    watched_.erase(number);
    throw std::system_error{errno, std::generic_category(), "epoll_ctl"};
  }
}

void idle_watch::forget(const void* who) noexcept {
  const std::lock_guard lock{mutex_};
  // Closing the descriptor takes it out of the epoll set.
  std::erase_if(watched_, [who](const auto& each) { return each.second.who == who; });
}

void idle_watch::run() noexcept {
  std::array<epoll_event, 16> events{};
  for (;;) {
    const int n = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), -1);
    for (int i = 0; i < n; ++i) {
      const std::lock_guard lock{mutex_};
      const std::uint64_t number = events[static_cast<std::size_t>(i)].data.u64;  // it is packed
      const auto found = watched_.find(number);
      if (found == watched_.end()) continue;
      try {
        found->second.server->push_or_release(new peeper::detail::system_notice<look_at_worker>{
            peeper::detail::message_kind::urgent, look_at_worker{}});
      } catch (const std::bad_alloc&) {
        // It is heard of with the next message.
        peeper::detail::log_error("no memory to tell a server that its worker is dead");
      }
    }
  }
}

}  // namespace peeper::sandbox
