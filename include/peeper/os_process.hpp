// SPDX-License-Identifier: Apache-2.0
/// \file
/// `os_process`: a server's callbacks run in an OS process of their own, and its state outlives
/// SIGSEGV, abort, kill -9, hangs and memory limits. CMake target: peeper::sandbox.
///
///     int main() {
///       peeper::zygote forks_workers;             // first thing in main: see zygote.hpp
///       peeper::runtime rt;
///       auto p = peeper::start<parser>(rt, {.isolation = peeper::os_process}).value();
///       auto q = peeper::start<parser>(
///           rt, {.isolation = peeper::os_process({.callback_limit = 50ms})}).value();
///
/// The server class says that it can: `static constexpr bool isolatable = true;`. See
/// docs/isolation.md for what crosses, and what it costs.
/// THREADS: values; any.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include <peeper/isolation.hpp>
#include <peeper/time.hpp>
#include <peeper/worker_limits.hpp>

namespace peeper {

/// Who has the state beside the worker.
enum class followers : std::uint8_t {
  /// The program: it makes each change in a copy of its own, and starts the next worker with all of
  /// it encoded. For small states: the pause after a death grows with the state.
  none,
  /// A second OS process, which goes on when the worker dies: the pause does not grow with the
  /// state. If both die at once the state is lost, and the server ends with a reason that says so.
  one,
  /// That, and the program, for the case that both die at once. Three times the memory.
  two,
};

struct os_process_options {
  followers follower = followers::one;
  /// A callback that takes longer ends its worker: exit_kind::hung. Default: no limit.
  duration callback_limit = infinity;
  /// What worker and follower may use, and do, each on its own: worker_limits.hpp. Default: all.
  worker_limits limits{};
  /// The largest message, and the largest record of one callback: what it sends, answers and
  /// changes. Bytes; takes no memory before it is used.
  std::size_t largest_record = 1UL << 30U;
};

namespace detail {
[[nodiscard]] std::shared_ptr<const worker_host> make_worker_host(const os_process_options& o);
}

class os_process_choice {
 public:
  explicit os_process_choice(const os_process_options& o) noexcept : options_{o} {}
  [[nodiscard]] std::shared_ptr<const detail::worker_host> make_host() const {
    return detail::make_worker_host(options_);
  }

 private:
  os_process_options options_;
};

struct os_process_with_defaults {
  [[nodiscard]] os_process_choice operator()(const os_process_options& o) const noexcept {
    return os_process_choice{o};
  }
  [[nodiscard]] static std::shared_ptr<const detail::worker_host> make_host() {
    return detail::make_worker_host({});
  }
};
inline constexpr os_process_with_defaults os_process{};

}  // namespace peeper
