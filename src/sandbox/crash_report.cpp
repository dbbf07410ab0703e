// SPDX-License-Identifier: Apache-2.0
#include <peeper/crash_report.hpp>

#include <csignal>
#include <cstring>
#include <string_view>

#include <fmt/format.h>

namespace peeper {
namespace {

std::string signal_name(int number) {
  const char* name = ::sigabbrev_np(number);
  return name != nullptr ? fmt::format("SIG{}", name) : fmt::format("signal {}", number);
}

std::string_view code_text(int signal, int code) noexcept {
  if (code == SI_USER || code == SI_QUEUE) return "sent by an OS process";
  switch (signal) {
    case SIGSEGV:
      if (code == SEGV_MAPERR) return "address not mapped";
      if (code == SEGV_ACCERR) return "access not allowed";
      if (code == SI_KERNEL) return "no address at all";
      break;
    case SIGBUS:
      if (code == BUS_ADRALN) return "address not aligned";
      if (code == BUS_ADRERR) return "nothing behind the address";
      break;
    case SIGFPE:
      if (code == FPE_INTDIV) return "integer divided by zero";
      if (code == FPE_INTOVF) return "integer overflow";
      break;
    case SIGILL: return "no such instruction";
    case SIGXCPU: return "limit of CPU time";
    default: break;
  }
  return {};
}

std::string signal_text(const crash_report& r) {
  if (r.signal == 0) return r.what.empty() ? "not known yet" : r.what;
  if (r.kind == crash_kind::stack_overflow) return signal_name(r.signal) + " (stack overflow)";
  if (r.kind == crash_kind::terminate) {
    return fmt::format("{} (std::terminate{}{})", signal_name(r.signal), r.what.empty() ? "" : ": ",
                       r.what);
  }
  std::string text = signal_name(r.signal);
  if (r.thread == 0) return text;  // nobody wrote down more
  if (const auto code = code_text(r.signal, r.code); !code.empty()) {
    text += fmt::format(" ({})", code);
  }
  const bool has_address =
      (r.signal == SIGSEGV || r.signal == SIGBUS) && r.code > 0 && r.code != SI_KERNEL;
  if (has_address) text += fmt::format(" at {:#x}", r.address);
  return text;
}

}  // namespace

exit_reason crash_report::reason() const {
  switch (kind) {
    case crash_kind::out_of_memory: return exit_kind::out_of_memory;
    case crash_kind::forbidden: return {exit_kind::forbidden, system_call};
    case crash_kind::exited:
      return {exit_kind::exited,
              fmt::format("status {}{}{}{}", exit_status, what.empty() ? "" : " (", what,
                          what.empty() ? "" : ")")};
    case crash_kind::hung: return {exit_kind::hung, what};
    case crash_kind::killed:
      return what.empty() ? exit_reason{exit_kind::killed} : exit_reason{exit_kind::killed, what};
    case crash_kind::signalled:
    case crash_kind::stack_overflow:
    case crash_kind::terminate: break;
  }
  return {exit_kind::signalled, signal_text(*this)};
}

std::string crash_report::to_string() const {
  std::string text = fmt::format("server \"{}\": {}", server, reason().to_string());
  if (!backtrace.empty()) text += " in " + backtrace.front();
  if (message_number != 0) {
    text += fmt::format(", handling message {}", message_number);
    if (!message_type.empty()) text += fmt::format(" ({})", message_type);
  }
  return text + fmt::format(", generation {}, OS process {}", generation, pid);
}

std::string crash_report::details() const {
  std::string text = to_string();
  for (std::size_t i = 0; i < backtrace.size(); ++i) {
    text += fmt::format("\n  #{:<2} {}", i, backtrace[i]);
  }
  return text;
}

}  // namespace peeper
