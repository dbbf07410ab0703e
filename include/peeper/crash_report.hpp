// SPDX-License-Identifier: Apache-2.0
/// \file
/// `crash_report`: how the OS process of a worker died, and where.
///
///     spdlog::error(report.to_string());  // server "parser": SIGSEGV at 0x10
///     std::puts(report.details().c_str());  // the same, with the backtrace
///
/// THREADS: a value; any.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <peeper/exit_reason.hpp>

namespace peeper {

enum class crash_kind : std::uint8_t {
  signalled,       ///< by a signal; see signal
  stack_overflow,  ///< SIGSEGV at the end of the stack
  terminate,       ///< std::terminate(); what names the exception, if there was one
  out_of_memory,   ///< an allocation failed
  forbidden,       ///< a system call that its limits do not allow; see system_call
  exited,          ///< it called exit() or _exit(); see exit_status
  hung,            ///< it was killed since a callback overran its limit; what says after how long
  killed,          ///< it was killed because somebody in the hub wanted that
};

/// What was written down by the dying OS process has been checked for form, not for truth: it may
/// have been overwritten before.
struct crash_report {
  crash_kind kind = crash_kind::signalled;
  int signal = 0;
  int code = 0;               ///< siginfo_t's si_code
  std::uint64_t address = 0;  ///< that was accessed or executed, for SIGSEGV and SIGBUS
  int exit_status = 0;
  int pid = 0;
  int thread = 0;  ///< 0: it could not say
  std::string server;
  std::uint64_t generation = 0;
  std::uint64_t message_number = 0;  ///< of the callback that ran; 0: none did
  std::string message_type;
  std::string what;         ///< type and text of the exception; or what else is known
  std::string system_call;  ///< its name
  /// Where it crashed, innermost first: "function+0x12 (program+0x1234)". Functions without an
  /// exported name need -rdynamic to have one; `addr2line -e program 0x1234` gives the line. Empty
  /// where nobody could look: SIGKILL, exit.
  std::vector<std::string> backtrace;

  /// What it means for the server.
  [[nodiscard]] exit_reason reason() const;
  /// One line.
  [[nodiscard]] std::string to_string() const;
  /// Several: with the backtrace.
  [[nodiscard]] std::string details() const;
};

}  // namespace peeper
