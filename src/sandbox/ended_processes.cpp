// SPDX-License-Identifier: Apache-2.0
#include "sandbox/ended_processes.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

#include <fcntl.h>
#include <unistd.h>

#include "sandbox/descriptor.hpp"
#include "sandbox/futex.hpp"

namespace peeper::sandbox {

std::optional<int> status_if_exiting(pid_t pid) noexcept {
  std::array<char, 64> path{};
  std::snprintf(path.data(), path.size(), "/proc/%d/stat", static_cast<int>(pid));
  const descriptor file{::open(path.data(), O_RDONLY | O_CLOEXEC)};
  std::array<char, 1024> text{};
  if (!file || ::read(file.get(), text.data(), text.size() - 1) <= 0) return std::nullopt;
  // "pid (name) state ...", and the name may have anything in it. See proc_pid_stat(5).
  const char* field = std::strrchr(text.data(), ')');
  constexpr int flags_at = 9;
  constexpr int status_at = 52;
  constexpr unsigned long exiting = 0x4;  // the kernel's PF_EXITING
  for (int at = 2; field != nullptr; ++at, field = std::strchr(field + 1, ' ')) {
    if (at == flags_at && (std::strtoul(field, nullptr, 10) & exiting) == 0) break;
    if (at == status_at) return static_cast<int>(std::strtol(field, nullptr, 10));
  }
  return std::nullopt;
}

ended_processes::ended_processes(int socket,
                                 std::move_only_function<std::optional<ended_process>()> take)
    : take_{std::move(take)} {
  static_cast<void>(thread_.add(socket, [this, socket] { return read_some() ? socket : -1; }));
}

bool ended_processes::read_some() {
  const auto one = take_();
  // Nothing though there was something: the zygote has ended. Who came of it is killed, and each
  // pair hears of that by itself.
  if (!one) return false;
  {
    const std::scoped_lock lock{mutex_};
    ended_.push_back(*one);
    ++count_;
    if (ended_.size() > kept) ended_.pop_front();
    std::erase_if(watched_, [&one](const watched& w) {
      if (w.pid != one->pid) return false;
      w.life->say_dead();
      return true;
    });
  }
  // ORDER: release pairs with who looks at this word, and then asks.
  changes_.fetch_add(1, std::memory_order_release);
  detail::wake_all(&changes_);
  return true;
}

std::uint64_t ended_processes::mark() const {
  const std::scoped_lock lock{mutex_};
  return count_;
}

std::optional<int> ended_processes::status_of(pid_t pid, std::uint64_t since) const {
  const std::scoped_lock lock{mutex_};
  std::uint64_t number = count_;
  for (auto one = ended_.rbegin(); one != ended_.rend() && number > since; ++one, --number) {
    if (one->pid == pid) return one->status;
  }
  return std::nullopt;
}

void ended_processes::watch(pid_t pid, std::uint64_t since, life_line& life) {
  {
    const std::scoped_lock lock{mutex_};
    watched_.push_back({pid, &life});
  }
  if (status_of(pid, since)) life.say_dead();
}

bool ended_processes::is_watched(pid_t pid) const {
  const std::scoped_lock lock{mutex_};
  return std::ranges::find(watched_, pid, &watched::pid) != watched_.end();
}

void ended_processes::unwatch(const life_line& life) {
  const std::scoped_lock lock{mutex_};
  std::erase_if(watched_, [&life](const watched& w) { return w.life == &life; });
}

}  // namespace peeper::sandbox
