// SPDX-License-Identifier: Apache-2.0
#include "sandbox/crash_handler.hpp"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <new>
#include <typeinfo>
#include <utility>

#include <cxxabi.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>
#include <unwind.h>

#include <peeper/detail/assert.hpp>

#include "sandbox/futex.hpp"

namespace peeper::sandbox {
namespace {

constexpr std::array fatal_signals{SIGSEGV, SIGBUS,  SIGFPE, SIGILL,
                                   SIGABRT, SIGTRAP, SIGSYS, SIGXCPU};

/// SYS_SECCOMP of the kernel's headers, which cannot be included besides glibc's.
constexpr int code_of_seccomp = 1;

// Of this OS process; written by report_crashes(), read by the handler.
crash_block* the_block = nullptr;
life_line* the_life = nullptr;
pid_t the_pid = 0;  // whose they are: a child has copies of all this until it has its own
std::uintptr_t stack_end = 0;

/// What a thread of the kernel's was doing when it was interrupted.
struct registers {
  std::uintptr_t pc;
  std::uintptr_t stack;
  std::array<std::uintptr_t, 3> arguments;  // of a system call
  std::uintptr_t link;                      // where the called function would return to
};

registers registers_of(const void* context) noexcept {
  const mcontext_t& m = static_cast<const ucontext_t*>(context)->uc_mcontext;
#if defined(__x86_64__)
  const auto at = [&m](int which) { return static_cast<std::uintptr_t>(m.gregs[which]); };
  return {.pc = at(REG_RIP),
          .stack = at(REG_RSP),
          .arguments = {at(REG_RDI), at(REG_RSI), at(REG_RDX)},
          .link = 0};
#elif defined(__aarch64__)
  return {.pc = m.pc,
          .stack = m.sp,
          .arguments = {m.regs[0], m.regs[1], m.regs[2]},
          .link = m.regs[30]};
#else
#error "peeper::sandbox: say here where this processor keeps its registers"
#endif
}

/// SIGNAL: what is written while frames are walked.
struct walk {
  crash_block* block;
  std::uintptr_t pc;  // of the crash: frames before it are the handler's
  bool reached = false;
  unsigned skipped = 0;
};

_Unwind_Reason_Code each_frame(_Unwind_Context* context, void* argument) {
  walk& w = *static_cast<walk*>(argument);
  int before_instruction = 0;
  const std::uintptr_t ip = _Unwind_GetIPInfo(context, &before_instruction);
  if (!w.reached) {
    w.reached = ip == w.pc;
    return ++w.skipped < 32 ? _URC_NO_REASON : _URC_NORMAL_STOP;
  }
  if (ip == 0 || w.block->frame_count == crash_block::frames_max) return _URC_NORMAL_STOP;
  // A return address may be the next function's first: the call is one before.
  w.block->frames[w.block->frame_count++] = before_instruction != 0 ? ip : ip - 1;
  return _URC_NO_REASON;
}

void write_frames(crash_block& block, const registers& at) noexcept {
  block.frames[0] = at.pc;
  block.frame_count = 1;
  walk w{.block = &block, .pc = at.pc};
  _Unwind_Backtrace(each_frame, &w);
  // A call of what is no code: its caller is all that can be said.
  if (block.frame_count == 1 && block.signal == SIGSEGV && block.address == at.pc) {
    std::uintptr_t caller = at.link;
    if (caller == 0) std::memcpy(&caller, reinterpret_cast<const void*>(at.stack), sizeof caller);
    block.frames[block.frame_count++] = caller - 1;
  }
}

/// Whether it is at the end of the main thread's stack: in what the kernel keeps free below it (1
/// MB by default), or where the limit ends it.
bool is_stack_overflow(int signal, std::uintptr_t address, std::uintptr_t stack) noexcept {
  constexpr std::uintptr_t gap = std::uintptr_t{1} << 20U;
  constexpr std::uintptr_t page = 4096;
  const auto beyond = [](std::uintptr_t at) {
    return at >= stack_end - gap && at < stack_end + page;
  };
  // The stack pointer, where the next function's variables are larger than the gap.
  return signal == SIGSEGV && stack_end != 0 && (beyond(address) || beyond(stack));
}

/// Where a filter of system calls is in force, abort() cannot send itself SIGABRT.
bool is_refused_abort(int signal, const siginfo_t& info, const registers& at) noexcept {
  return signal == SIGSYS && info.si_syscall == SYS_tgkill &&
         std::cmp_equal(at.arguments[0], the_pid) && at.arguments[2] == SIGABRT;
}

void write_down(crash_block& block, int signal, const siginfo_t& info,
                const registers& at) noexcept {
  block.signal = signal;
  block.code = info.si_code;
  const bool has_address = info.si_code > 0 && signal != SIGABRT && signal != SIGSYS;
  block.address = has_address ? reinterpret_cast<std::uintptr_t>(info.si_addr) : 0;
  if (is_refused_abort(signal, info, at)) {
    block.signal = SIGABRT;
  } else if (signal == SIGSYS && info.si_code == code_of_seccomp) {
    block.kind = crash_kind::forbidden;
    block.system_call = info.si_syscall;
  } else if (has_address && is_stack_overflow(signal, block.address, at.stack)) {
    block.kind = crash_kind::stack_overflow;
  }
}

/// Sees to it that the end of the handler is the end of this OS process, by this very signal.
void die_of(int signal) noexcept {
  struct sigaction by_default{};
  by_default.sa_handler = SIG_DFL;
  ::sigaction(signal, &by_default, nullptr);
  // Blocked until the handler returns. Where this is not allowed, the filter ends us here.
  ::syscall(SYS_tgkill, ::getpid(), ::gettid(), signal);
}

void on_fatal(int signal, siginfo_t* info, void* context) noexcept {
  if (::getpid() != the_pid) return die_of(signal);
  crash_block& block = *the_block;
  std::int32_t first = 0;
  // ORDER: relaxed: what is written by the winner is published by `state`.
  if (!block.thread.compare_exchange_strong(first, ::gettid(), std::memory_order_relaxed)) {
    // Another thread is at it, and will end us all.
    while (first != ::gettid()) ::pause();
    // The handler itself has crashed; or terminate() comes here.
    if (block.state.load(std::memory_order_relaxed) != crash_block::phase::nothing) {
      return die_of(signal);
    }
  }
  const registers at = registers_of(context);
  write_down(block, signal, *info, at);
  // CRASH: before this store the signal is known from the wait status alone.
  // ORDER: releases what was written down to the reader's acquire.
  block.state.store(crash_block::phase::told, std::memory_order_release);
  the_life->say_dying();
  write_frames(block, at);
  // CRASH: before this store there are no frames.
  block.state.store(crash_block::phase::complete, std::memory_order_release);
  detail::wake_all(&block.state);
  die_of(signal);
}

template <std::size_t Size>
void copy_text(std::array<char, Size>& to, const char* from) noexcept {
  const std::size_t length = std::min(std::strlen(from), Size - 1);
  std::memcpy(to.data(), from, length);
  to[length] = '\0';
}

/// Only the first thread writes. RETURNS: this is the first.
bool claim(crash_kind kind) noexcept {
  std::int32_t nobody = 0;
  if (the_pid != ::getpid() ||
      !the_block->thread.compare_exchange_strong(nobody, ::gettid(), std::memory_order_relaxed)) {
    return false;
  }
  the_block->kind = kind;
  return true;
}

[[noreturn]] void on_terminate() noexcept {
  const std::type_info* type = abi::__cxa_current_exception_type();
  if (claim(crash_kind::terminate) && type != nullptr) {
    copy_text(the_block->exception_type, type->name());
    // Here and not in the reader, who is not to work on what may be a trap.
    if (char* readable = abi::__cxa_demangle(type->name(), nullptr, nullptr, nullptr)) {
      copy_text(the_block->exception_type, readable);
    }
    try {
      throw;
    } catch (const std::bad_alloc&) {
      the_block->kind = crash_kind::out_of_memory;
    } catch (const std::exception& e) {
      copy_text(the_block->exception_text, e.what());
    } catch (...) {
    }
  }
  std::abort();  // the rest is the handler's
}

/// For the handler, since at a stack overflow there is none left; with a page below that faults.
void give_handler_a_stack() {
  constexpr std::size_t size = std::size_t{64} << 10U;
  static void* const stack = [] {
    void* at = ::mmap(nullptr, size + 4096, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    PEEPER_ASSERT(at != MAP_FAILED);
    ::mprotect(at, 4096, PROT_NONE);
    return static_cast<char*>(at) + 4096;
  }();
  stack_t alternate{};
  alternate.ss_sp = stack;
  alternate.ss_size = size;
  ::sigaltstack(&alternate, nullptr);
}

std::uintptr_t end_of_stack() {
  pthread_attr_t attributes;
  if (::pthread_getattr_np(::pthread_self(), &attributes) != 0) return 0;
  void* low = nullptr;
  std::size_t size = 0;
  ::pthread_attr_getstack(&attributes, &low, &size);
  ::pthread_attr_destroy(&attributes);
  return reinterpret_cast<std::uintptr_t>(low);
}

}  // namespace

void report_crashes(crash_block& block, life_line& life) {
  the_block = &block;
  the_life = &life;
  the_pid = ::getpid();
  // Of a follower it is known, and with a filter of system calls it could not look.
  if (stack_end == 0) stack_end = end_of_stack();
  // Once here, so that it has nothing to prepare in the handler.
  _Unwind_Backtrace([](_Unwind_Context*, void*) { return _URC_NO_REASON; }, nullptr);
  give_handler_a_stack();
  std::set_terminate(on_terminate);
  struct sigaction action{};
  action.sa_sigaction = on_fatal;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  // A follower that goes on, and dies, while its worker is still at this, is the zygote's to wait
  // for: else its wait status would be lost.
  sigaddset(&action.sa_mask, SIGCHLD);
  for (const int signal : fatal_signals) ::sigaction(signal, &action, nullptr);
}

void end_out_of_memory() noexcept {
  claim(crash_kind::out_of_memory);
  std::abort();
}

}  // namespace peeper::sandbox
