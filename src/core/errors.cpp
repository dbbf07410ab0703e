// SPDX-License-Identifier: Apache-2.0
#include <cstdlib>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <typeindex>

#include <cxxabi.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <peeper/detail/message.hpp>
#include <peeper/error.hpp>
#include <peeper/exit_reason.hpp>

namespace peeper {
namespace {

std::shared_ptr<const std::string> text_or_nothing(std::string_view text) noexcept {
  try {
    return text.empty() ? nullptr : std::make_shared<const std::string>(text);
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}

}  // namespace

exit_reason::exit_reason(exit_kind kind, std::string_view detail) noexcept
    : kind_{kind}, detail_{text_or_nothing(detail)} {}

exit_reason exit_reason::from_exception(const std::exception_ptr& error) noexcept {
  try {
    std::rethrow_exception(error);
  } catch (const invariant_violated& e) {
    return {exit_kind::invariant, e.what()};
  } catch (const std::exception& e) {
    return {exit_kind::exception, e.what()};
  } catch (const exit_reason& reason) {
    return reason;
  } catch (const std::string& text) {
    return {exit_kind::exception, text};
  } catch (const char* text) {
    return {exit_kind::exception, text == nullptr ? "null" : text};
  } catch (...) {
    const std::type_info* type = abi::__cxa_current_exception_type();
    return {exit_kind::exception,
            type == nullptr ? std::string_view{"unknown"} : detail::type_name(*type)};
  }
}

std::string_view to_string(exit_kind kind) noexcept {
  switch (kind) {
    case exit_kind::normal: return "normal";
    case exit_kind::shutdown: return "shutdown";
    case exit_kind::stopped: return "stopped";
    case exit_kind::killed: return "killed";
    case exit_kind::exception: return "exception";
    case exit_kind::invariant: return "invariant violated";
    case exit_kind::linked: return "linked process ended";
    case exit_kind::noproc: return "no process";
    case exit_kind::timeout: return "timeout";
    case exit_kind::signalled: return "signalled";
    case exit_kind::exited: return "exited";
    case exit_kind::hung: return "hung";
    case exit_kind::out_of_memory: return "out of memory";
    case exit_kind::forbidden: break;
  }
  return "forbidden";
}

std::string exit_reason::to_string() const {
  if (detail().empty()) return std::string{peeper::to_string(kind_)};
  return fmt::format("{}: {}", peeper::to_string(kind_), detail());
}

std::string_view to_string(call_errc code) noexcept {
  switch (code) {
    case call_errc::noproc: return "noproc";
    case call_errc::mailbox_full: return "mailbox_full";
    case call_errc::calling_self: return "calling_self";
    case call_errc::cycle: return "cycle";
    case call_errc::expired: return "expired";
    case call_errc::timed_out: return "timed_out";
    case call_errc::crashed: return "crashed";
    case call_errc::stopped: return "stopped";
    case call_errc::not_answered: return "not_answered";
    case call_errc::name_mismatch: break;
  }
  return "name_mismatch";
}

call_error::call_error(call_errc code, std::string_view server, exit_reason reason) noexcept
    : code_{code} {
  try {
    details_ = std::make_shared<const details>(details{std::string{server}, {}, std::move(reason)});
  } catch (const std::bad_alloc&) {  // the code alone, then
  }
}

call_error call_error::cycle(std::string_view path) noexcept {
  call_error error{call_errc::cycle};
  try {
    error.details_ = std::make_shared<const details>(details{{}, std::string{path}, {}});
  } catch (const std::bad_alloc&) {  // the code alone, then
  }
  return error;
}

exit_reason call_error::reason() const noexcept {
  return details_ ? details_->reason : exit_reason{};
}
std::string_view call_error::path() const noexcept {
  return details_ ? std::string_view{details_->path} : std::string_view{};
}

std::string call_error::what() const {
  const std::string_view server = details_ ? std::string_view{details_->server} : "?";
  const std::string why = reason().to_string();
  switch (code_) {
    case call_errc::noproc:
      return fmt::format(
          "not delivered: server '{}' does not run; start it, or look its name up "
          "again",
          server);
    case call_errc::mailbox_full:
      return fmt::format(
          "not delivered: the mailbox of server '{}' is full; try later, or raise "
          "mailbox.max_length",
          server);
    case call_errc::calling_self:
      return fmt::format(
          "not delivered: server '{}' called itself and would wait for ever; call "
          "the function directly, or cast",
          server);
    case call_errc::cycle:
      return fmt::format(
          "not delivered: the call would close a cycle of servers waiting for each "
          "other: {}; use cast, or ask and answer later",
          path());
    case call_errc::expired:
      return fmt::format("not handled: its deadline had passed before server '{}' came to it",
                         server);
    case call_errc::timed_out:
      return fmt::format(
          "timed out waiting for server '{}': it may have been handled, or may "
          "still be",
          server);
    case call_errc::crashed:
      return fmt::format("server '{}' crashed handling it ({}); nothing of it has happened", server,
                         why);
    case call_errc::stopped:
      return fmt::format("not handled: server '{}' stopped ({})", server, why);
    case call_errc::not_answered:
      return "handled, but the server dropped its from<T> without an answer";
    case call_errc::name_mismatch: break;
  }
  return fmt::format("not delivered: '{}' is a server of another class", server);
}

std::string stop_error::what() const {
  switch (code) {
    case stop_errc::noproc: return "the server does not run";
    case stop_errc::timed_out: return "the server has been asked to stop and has not ended yet";
    case stop_errc::other_reason:
      return fmt::format("the server ended for another reason: {}", reason.to_string());
    case stop_errc::calling_self: break;
  }
  return "a server stops itself by returning peeper::stop(...)";
}

std::string shutdown_error::what() const {
  return fmt::format(
      "callbacks of these servers have not returned: {}; they cannot be taken off "
      "their threads",
      fmt::join(servers, ", "));
}

namespace detail {

std::string_view type_name(const std::type_info& type) {
  static std::mutex mutex;
  static std::map<std::type_index, std::string> names;
  const std::lock_guard lock{mutex};
  std::string& name = names[type];
  if (name.empty()) {
    int status = 0;
    const std::unique_ptr<char, decltype(&std::free)> text{
        abi::__cxa_demangle(type.name(), nullptr, nullptr, &status), &std::free};
    name = status == 0 ? text.get() : type.name();
  }
  return name;
}

}  // namespace detail
}  // namespace peeper
