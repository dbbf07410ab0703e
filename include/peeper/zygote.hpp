// SPDX-License-Identifier: Apache-2.0
/// \file
/// `zygote`: the small OS process that the OS processes of workers are forked from.
///
///     int main() {
///       peeper::zygote forks_workers;   // first thing in main: before any thread
///       peeper::runtime rt;
///       ...
///
/// To fork a program that has threads or a large heap is unsafe or slow. So the program (the *hub*)
/// forks once, while it is small and has one thread; that OS process, the zygote, forks all others.
///
/// THREADS: made and destroyed by one thread, before others are made and after they have ended.
/// CRASH: when the hub dies, in whatever way, the zygote and all that came of it die. When the
/// zygote dies, so do they; the hub lives, and cannot start OS processes any more.
#pragma once

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>

namespace peeper {

namespace sandbox {
class zygote_link;
}

enum class zygote_errc : std::uint8_t {
  too_late,      ///< the program has more than one thread already
  already_made,  ///< there is one a program
  system,        ///< the system refused; what() names the call
};

/// Why there is no zygote. what() says what to do.
class zygote_error : public std::runtime_error {
 public:
  zygote_error(zygote_errc code, const std::string& text) : std::runtime_error{text}, code_{code} {}
  [[nodiscard]] zygote_errc code() const noexcept { return code_; }

 private:
  zygote_errc code_;
};

/// One a program. What is loaded after it (plugins) is unknown in workers' OS processes; what was
/// written to stdio before it is flushed. The zygote and what it forks have their standard input,
/// output and error in common with the hub, and none of its other descriptors.
class zygote {
 public:
  /// Forks. Throws zygote_error. REQUIRES: this is the program's only thread.
  zygote();
  zygote(const zygote&) = delete;
  zygote& operator=(const zygote&) = delete;
  /// Ends the zygote, and so all OS processes that came of it. REQUIRES: no runtime uses it.
  ~zygote();

  /// There is one in this program.
  [[nodiscard]] static bool exists() noexcept;

 private:
  std::unique_ptr<sandbox::zygote_link> link_;
};

}  // namespace peeper
