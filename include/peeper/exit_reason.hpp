// SPDX-License-Identifier: Apache-2.0
/// \file
/// `exit_reason`: why a process ended.
///
///     if (reason.kind() == peeper::exit_kind::exception) log(reason.to_string());
///
/// THREADS: a value; any.
#pragma once

#include <cstdint>
#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace peeper {

enum class exit_kind : std::uint8_t {
  normal,     ///< did what it had to do
  shutdown,   ///< asked to by its supervisor (or restart intensity reached: see detail)
  stopped,    ///< a callback or stop() gave a reason of its own
  killed,     ///< kill(): cannot be caught
  exception,  ///< a callback threw; detail is the exception's text
  invariant,  ///< valid(state) said no: the callback was rolled back
  linked,     ///< a linked process ended abnormally and exits were not trapped
  noproc,     ///< there was no such process to begin with
  timeout,    ///< init or shutdown took longer than it was given

  // Of workers in OS processes of their own:
  signalled,      ///< a signal ended it: detail names it, as in "SIGSEGV (stack overflow)"
  exited,         ///< a callback called exit() or _exit(): detail has the status
  hung,           ///< a callback overran callback_limit: detail has the callback and the time
  out_of_memory,  ///< it needed more than its limit, or than there was
  forbidden,      ///< it made a system call that its limits do not allow: detail names it
};

/// What the library throws inside a callback when valid(state) says no; becomes
/// exit_kind::invariant.
class invariant_violated : public std::logic_error {
 public:
  using std::logic_error::logic_error;
};

/// A kind and a text. Cheap to copy (two words); never throws on copy.
class [[nodiscard]] exit_reason {
 public:
  exit_reason() noexcept = default;
  // NOLINTNEXTLINE(google-explicit-constructor): a bare kind is a reason.
  exit_reason(exit_kind kind) noexcept : kind_{kind} {}
  /// If the text cannot be allocated it is left out: making a reason never fails.
  exit_reason(exit_kind kind, std::string_view detail) noexcept;

  static exit_reason normal() noexcept { return {exit_kind::normal}; }
  static exit_reason shutdown() noexcept { return {exit_kind::shutdown}; }
  /// A reason of the user's own, as OTP's `{stop, Reason, State}`.
  static exit_reason stopped(std::string_view why) noexcept { return {exit_kind::stopped, why}; }
  /// The reason for what a callback threw: any type, std::exception or not.
  static exit_reason from_exception(const std::exception_ptr& error) noexcept;

  [[nodiscard]] exit_kind kind() const noexcept { return kind_; }
  /// The exception's what(), the user's reason, ...; empty when there is none.
  [[nodiscard]] std::string_view detail() const noexcept {
    return detail_ ? std::string_view{*detail_} : std::string_view{};
  }
  /// Normal and shutdown are not failures: `transient` children are not restarted for them.
  [[nodiscard]] bool is_normal() const noexcept {
    return kind_ == exit_kind::normal || kind_ == exit_kind::shutdown;
  }
  /// "exception: unlucky", "killed", ...
  [[nodiscard]] std::string to_string() const;

  friend bool operator==(const exit_reason& a, const exit_reason& b) noexcept {
    return a.kind_ == b.kind_ && a.detail() == b.detail();
  }

 private:
  exit_kind kind_ = exit_kind::normal;
  std::shared_ptr<const std::string> detail_;
};

[[nodiscard]] std::string_view to_string(exit_kind kind) noexcept;

}  // namespace peeper
