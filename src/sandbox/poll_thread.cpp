// SPDX-License-Identifier: Apache-2.0
#include "sandbox/poll_thread.hpp"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <system_error>
#include <utility>

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

namespace peeper::sandbox {

poll_thread::poll_thread() : wake_up_{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)} {
  if (!wake_up_) throw std::system_error{errno, std::system_category(), "eventfd"};
  // The program's signals are for the program's threads.
  sigset_t all{};
  sigset_t before{};
  sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  thread_ = std::thread{[this] { run(); }};
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

poll_thread::~poll_thread() {
  {
    const std::scoped_lock lock{mutex_};
    over_ = true;
  }
  wake();
  thread_.join();
}

void poll_thread::wake() const noexcept {
  constexpr std::uint64_t one = 1;
  // It fails where the thread has more than enough reason to wake up.
  if (::write(wake_up_.get(), &one, sizeof one) < 0) return;
}

std::uint64_t poll_thread::add(int descriptor, std::move_only_function<int()> ready) {
  std::uint64_t id = 0;
  {
    const std::scoped_lock lock{mutex_};
    id = ++last_id_;
    entries_.push_back({descriptor, id, std::move(ready)});
  }
  wake();
  return id;
}

void poll_thread::remove(std::uint64_t id) {
  {
    const std::scoped_lock lock{mutex_};
    std::erase_if(entries_, [id](const entry& e) { return e.id == id; });
  }
  wake();
}

void poll_thread::run() {
  ::pthread_setname_np(::pthread_self(), "peeper:poll");
  std::vector<pollfd> waited;
  std::vector<std::uint64_t> ids;
  for (;;) {
    waited.assign(1, {.fd = wake_up_.get(), .events = POLLIN, .revents = 0});
    ids.assign(1, 0);
    {
      const std::scoped_lock lock{mutex_};
      if (over_) return;
      for (const entry& e : entries_) {
        waited.push_back({.fd = e.descriptor, .events = POLLIN, .revents = 0});
        ids.push_back(e.id);
      }
    }
    if (::poll(waited.data(), waited.size(), -1) <= 0) continue;
    std::uint64_t told = 0;
    if (waited[0].revents != 0 && ::read(wake_up_.get(), &told, sizeof told) < 0) continue;
    const std::scoped_lock lock{mutex_};
    for (std::size_t i = 1; i < waited.size(); ++i) {
      if (waited[i].revents == 0) continue;
      const auto found = std::ranges::find(entries_, ids[i], &entry::id);
      if (found == entries_.end()) continue;
      found->descriptor = found->ready();
      if (found->descriptor < 0) entries_.erase(found);
    }
  }
}

}  // namespace peeper::sandbox
