// SPDX-License-Identifier: Apache-2.0
#include "sandbox/fork_guard.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <utility>

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

namespace peeper::sandbox {
namespace {

/// Of one that has one thread. Also those that are dead and not waited for.
std::ptrdiff_t children_of(pid_t pid) noexcept {
  std::array<char, 64> path{};
  std::snprintf(path.data(), path.size(), "/proc/%d/task/%d/children", pid, pid);
  const descriptor file{::open(path.data(), O_RDONLY | O_CLOEXEC)};
  std::array<char, 128> text{};
  // Each number is followed by a blank.
  const ssize_t got = ::read(file.get(), text.data(), text.size());
  return std::count(text.begin(), text.begin() + std::max<ssize_t>(got, 0), ' ');
}

}  // namespace

std::string fork_guard::why_not() {
  if (::access("/proc/thread-self/children", R_OK) == 0) return {};
  return "workers with less power and a follower need /proc/<pid>/task/<tid>/children, which is "
         "not "
         "there: mount /proc, and run a kernel with CONFIG_PROC_CHILDREN; or do without follower";
}

fork_guard::fork_guard(poll_thread& thread, descriptor socket, const detail::pair_control& control)
    : thread_{&thread}, control_{&control}, socket_{std::move(socket)} {
  id_ = thread_->add(socket_.get(), [this] { return serve(); });
}

fork_guard::~fork_guard() { thread_->remove(id_); }

void fork_guard::worker_is(std::uint32_t number, pid_t pid) {
  const std::scoped_lock lock{mutex_};
  number_ = number;
  worker_ = pid;
  for (const auto& one : std::exchange(waiting_, {})) decide(one);
}

bool fork_guard::has_refused(pid_t pid) const {
  const std::scoped_lock lock{mutex_};
  return pid != 0 && refused_ == pid;
}

int fork_guard::serve() {
  const std::scoped_lock lock{mutex_};
  if (!gate_) {
    auto gate = fork_gate::receive(socket_.get());
    if (!gate) return -1;  // it has died before it had a filter
    gate_.emplace(std::move(*gate));
    socket_.reset();
    return gate_->polled();
  }
  pollfd now{.fd = gate_->polled(), .events = POLLIN, .revents = 0};
  ::poll(&now, 1, 0);
  if ((now.revents & POLLIN) != 0) {
    if (const auto asked = gate_->next()) decide(*asked);
  } else if (now.revents != 0) {
    return -1;  // nobody is left who could ask
  }
  return gate_->polled();
}

void fork_guard::decide(const fork_gate::request& which) {
  switch (verdict_on(which.pid)) {
    case verdict::allow: gate_->allow(which); break;
    case verdict::wait: waiting_.push_back(which); break;
    case verdict::refuse:
      refused_ = which.pid;
      gate_->refuse(which);
      break;
  }
}

fork_guard::verdict fork_guard::verdict_on(pid_t pid) const {
  // ORDER: relaxed: it has stored both before it asked, which is a system call.
  if (control_->forking.load(std::memory_order_relaxed) == 0) return verdict::refuse;
  if (pid == worker_) return children_of(pid) > 1 ? verdict::refuse : verdict::allow;
  return control_->worker.load(std::memory_order_relaxed) == number_ ? verdict::refuse
                                                                     : verdict::wait;
}

}  // namespace peeper::sandbox
