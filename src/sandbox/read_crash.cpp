// SPDX-License-Identifier: Apache-2.0
#include "sandbox/read_crash.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdlib>
#include <memory>
#include <vector>

#include <cxxabi.h>
#include <dlfcn.h>
#include <fmt/format.h>
#include <link.h>
#include <sys/wait.h>

#include "sandbox/system_call_filter.hpp"

namespace peeper::sandbox {
namespace {

/// Up to the first zero, if there is one; only what can be printed.
template <std::size_t Size>
std::string text_of(const std::array<char, Size>& from) {
  std::string text{from.begin(), std::ranges::find(from, '\0')};
  std::ranges::replace_if(text, [](char c) { return c < ' ' || c > '~'; }, '?');
  return text;
}

std::string demangled(const char* name) {
  const std::unique_ptr<char, decltype(&std::free)> text{
      abi::__cxa_demangle(name, nullptr, nullptr, nullptr), &std::free};
  return text != nullptr ? text.get() : name;
}

/// "function+0x12 (program+0x1234)". The hub and what came of its zygote are the same image.
std::string symbol_of(std::uint64_t address) {
  Dl_info found{};
  link_map* module = nullptr;
  if (::dladdr1(reinterpret_cast<void*>(address), &found, reinterpret_cast<void**>(&module),
                RTLD_DL_LINKMAP) == 0) {
    return fmt::format("{:#x}", address);
  }
  const std::string_view path = found.dli_fname != nullptr ? found.dli_fname : "";
  std::string place =
      fmt::format("{}+{:#x}", path.substr(path.rfind('/') + 1), address - module->l_addr);
  if (found.dli_sname == nullptr) return place;
  return fmt::format("{}+{:#x} ({})", demangled(found.dli_sname),
                     address - reinterpret_cast<std::uintptr_t>(found.dli_saddr), place);
}

std::vector<std::string> backtrace_of(const crash_block& block) {
  std::vector<std::string> lines;
  const std::size_t count = std::min<std::size_t>(block.frame_count, crash_block::frames_max);
  lines.reserve(count);
  for (std::size_t i = 0; i < count; ++i) lines.push_back(symbol_of(block.frames[i]));
  return lines;
}

bool is_signal(int number) noexcept { return ::sigabbrev_np(number) != nullptr; }

/// What the block says of the crash itself. RETURNS: false if that cannot be.
bool take_from_block(crash_report& report, const crash_block& block) {
  // ORDER: acquire pairs with the handler's release.
  const auto state = block.state.load(std::memory_order_acquire);
  if ((state != crash_block::phase::told && state != crash_block::phase::complete) ||
      !is_signal(block.signal) || block.kind > crash_kind::forbidden) {
    return false;
  }
  report.kind = block.kind;
  report.signal = block.signal;
  report.code = block.code;
  report.address = block.address;
  report.thread = block.thread.load(std::memory_order_relaxed);
  if (block.kind == crash_kind::terminate) {
    report.what = text_of(block.exception_type);
    const std::string text = text_of(block.exception_text);
    if (!text.empty()) report.what += ": " + text;
  }
  if (block.kind == crash_kind::forbidden) {
    report.system_call = system_call_name(block.system_call);
  }
  if (state == crash_block::phase::complete) report.backtrace = backtrace_of(block);
  return true;
}

}  // namespace

void copy_crash(crash_block& to, const crash_block& from) noexcept {
  const auto copy = [](auto& there, const auto& here) {
    there.store(here.load(std::memory_order_relaxed), std::memory_order_relaxed);
  };
  // ORDER: acquire pairs with the handler's release, and with callback_begins(): what was there
  // before them is copied, too.
  to.state.store(from.state.load(std::memory_order_acquire), std::memory_order_relaxed);
  to.message_number.store(from.message_number.load(std::memory_order_acquire),
                          std::memory_order_relaxed);
  copy(to.message_type, from.message_type);
  copy(to.generation, from.generation);
  copy(to.thread, from.thread);
  to.signal = from.signal;
  to.code = from.code;
  to.address = from.address;
  to.kind = from.kind;
  to.system_call = from.system_call;
  to.exception_type = from.exception_type;
  to.exception_text = from.exception_text;
  to.frame_count = from.frame_count;
  to.frames = from.frames;
}

crash_report read_crash(const crash_block& block, pid_t pid, std::optional<int> status,
                        std::string_view server, std::string (*type_name)(std::uint64_t)) {
  crash_report report;
  report.pid = pid;
  report.server = server;
  report.generation = block.generation.load(std::memory_order_relaxed);
  // ORDER: acquire pairs with callback_begins().
  report.message_number = block.message_number.load(std::memory_order_acquire);
  if (report.message_number != 0 && type_name != nullptr) {
    report.message_type = type_name(block.message_type.load(std::memory_order_relaxed));
  }
  if (status && WIFEXITED(*status)) {
    report.kind = crash_kind::exited;
    report.exit_status = WEXITSTATUS(*status);
  } else if (!take_from_block(report, block) && status && WIFSIGNALED(*status)) {
    report.signal = WTERMSIG(*status);
    if (report.signal == SIGSYS) {  // with its signals blocked a filter ends it without a handler
      report.kind = crash_kind::forbidden;
      report.system_call = "not known: made with signals blocked, as to start a thread";
    }
  }
  return report;
}

}  // namespace peeper::sandbox
