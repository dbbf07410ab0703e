// SPDX-License-Identifier: Apache-2.0
/// \file
/// `runtime`: the threads that run servers, their timers and names, and the root supervisor.
///
///     peeper::runtime rt;                            // as many threads as cores
///     auto c = peeper::start<counter>(rt).value();
///     ...
///     rt.shutdown();                                 // or just let it go out of scope
///
/// THREADS: shutdown() and the destructor not from inside a callback; everything else: any.
/// CRASH: a crash of a server never ends the runtime.
#pragma once

#include <cstddef>
#include <expected>

#include <peeper/environment.hpp>
#include <peeper/error.hpp>
#include <peeper/time.hpp>

namespace peeper {

namespace detail {
class runtime_core;
}

struct runtime_options {
  /// 0: one a core. Callbacks that block in a call do not count: another thread takes over.
  unsigned threads = 0;
  /// The world. Default: the machine. Must outlive the runtime.
  environment* env = nullptr;
  /// How long the destructor lets servers end before it says in the log whom it waits for.
  duration shutdown_limit = std::chrono::seconds{30};
};

class runtime {
 public:
  explicit runtime(const runtime_options& options = {});
  runtime(const runtime&) = delete;
  runtime& operator=(const runtime&) = delete;
  /// shutdown(), then waits for callbacks that still run, naming them in the log: a thread cannot
  /// be taken from them. References outlive the runtime: their calls answer "stopped".
  ~runtime();

  /// Ends all servers, in the reverse order of their start: each is asked to shut down, then, after
  /// its own `shutdown` time, killed. Idempotent.
  /// RETURNS: the servers whose callbacks had not returned after `limit`; call again to go on.
  std::expected<void, shutdown_error> shutdown(duration limit = std::chrono::seconds{30});

  /// Servers that run (or restart) now. O(1) a core.
  [[nodiscard]] std::size_t server_count() const noexcept;
  [[nodiscard]] environment& env() const noexcept;
  /// For the library's own headers.
  [[nodiscard]] detail::runtime_core& core() const noexcept { return *core_; }

 private:
  detail::runtime_core* core_;
  duration shutdown_limit_;
};

}  // namespace peeper
