// SPDX-License-Identifier: Apache-2.0
/// \file
/// The error values of the library (P8). Outcomes a caller can react to differently are different
/// codes; the text says what happened, to which server, and what to do.
///
///     auto r = counter.call(get{});
///     if (!r && r.error().code() == peeper::call_errc::timed_out) ...   // outcome unknown
///
/// THREADS: values; any.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <peeper/exit_reason.hpp>
#include <peeper/pid.hpp>

namespace peeper {

enum class call_errc : std::uint8_t {
  noproc,         ///< not delivered: no such server, or it has stopped already
  mailbox_full,   ///< not delivered: the mailbox limit was reached
  calling_self,   ///< not delivered: a server cannot wait for itself
  cycle,          ///< not delivered: it would wait for a server that waits for it; see path()
  expired,        ///< not handled: the deadline had passed before its turn came
  timed_out,      ///< outcome unknown: it may have been handled, or may still be
  crashed,        ///< rolled back: the worker crashed while handling it; see reason()
  stopped,        ///< not handled: the server stopped while it was waiting; see reason()
  not_answered,   ///< handled, but its from<T> was dropped without an answer
  name_mismatch,  ///< not delivered: the name belongs to a server of another class
};

[[nodiscard]] std::string_view to_string(call_errc code) noexcept;

/// Why a call has no reply. Two words; copying never throws.
class call_error {
 public:
  // Cold, so that compilers move what leads to an error out of the way of a message.
  [[gnu::cold]] explicit call_error(call_errc code) noexcept : code_{code} {}
  /// `server`: what it is called in the text. Never fails: without memory there is less text.
  [[gnu::cold]] call_error(call_errc code, std::string_view server,
                           exit_reason reason = {}) noexcept;
  [[gnu::cold]] static call_error cycle(std::string_view path) noexcept;

  [[nodiscard]] call_errc code() const noexcept { return code_; }
  /// The message was certainly not run: sending it again cannot do it twice.
  [[nodiscard]] bool not_delivered() const noexcept {
    return code_ != call_errc::timed_out && code_ != call_errc::crashed &&
           code_ != call_errc::not_answered;
  }
  /// The reason of the crash or stop, where there is one.
  [[nodiscard]] exit_reason reason() const noexcept;
  /// For `cycle`: "a -> b -> a".
  [[nodiscard]] std::string_view path() const noexcept;
  /// What happened, to which server, what to do.
  [[nodiscard]] std::string what() const;

 private:
  struct details {
    std::string server;
    std::string path;
    exit_reason reason;
  };
  call_errc code_;
  std::shared_ptr<const details> details_;
};

enum class start_errc : std::uint8_t {
  already_started,  ///< the name is taken; see existing()
  init_failed,      ///< the first init threw; see reason()
  init_timeout,     ///< init took longer than options.init_timeout
  shutting_down,    ///< the runtime is being shut down
  bad_options,      ///< see what()
  no_memory,        ///< nothing was started
  child_failed,     ///< a supervisor's child did not start; what() names it
};

/// Why a server did not start. Nothing of it is left behind.
class start_error {
 public:
  start_error(start_errc code, std::string text, exit_reason reason = {}, pid existing = {})
      : code_{code}, existing_{existing}, text_{std::move(text)}, reason_{std::move(reason)} {}

  [[nodiscard]] start_errc code() const noexcept { return code_; }
  [[nodiscard]] const exit_reason& reason() const noexcept { return reason_; }
  /// For already_started: who has the name.
  [[nodiscard]] pid existing() const noexcept { return existing_; }
  [[nodiscard]] const std::string& what() const noexcept { return text_; }

 private:
  start_errc code_;
  pid existing_;
  std::string text_;
  exit_reason reason_;
};

/// Why try_cast() did not take the message.
enum class cast_error : std::uint8_t { full, gone };

enum class stop_errc : std::uint8_t {
  noproc,        ///< it was not running
  timed_out,     ///< it has been asked, and has not ended yet
  other_reason,  ///< it ended, but for another reason; see reason()
  calling_self,  ///< a server stops itself by returning stop(...)
};

struct stop_error {
  stop_errc code;
  exit_reason reason;
  [[nodiscard]] std::string what() const;
};

/// Why shutdown() could not finish: these servers did not end in time. They still run.
struct shutdown_error {
  std::vector<std::string> servers;
  [[nodiscard]] std::string what() const;
};

}  // namespace peeper
