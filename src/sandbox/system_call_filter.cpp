// SPDX-License-Identifier: Apache-2.0
#include "sandbox/system_call_filter.hpp"

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <initializer_list>
#include <memory>
#include <utility>

#include <linux/seccomp.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace peeper::sandbox {
namespace {

constexpr std::array allowed{
    // memory; mmap and mprotect: see below
    SYS_brk, SYS_munmap, SYS_mremap, SYS_madvise,
    // clocks and randomness
    SYS_clock_gettime, SYS_clock_getres, SYS_clock_nanosleep, SYS_nanosleep, SYS_gettimeofday,
    SYS_getrandom,
    // waiting for each other
    SYS_futex, SYS_futex_waitv, SYS_sched_yield, SYS_ppoll, SYS_pidfd_open, SYS_wait4, SYS_waitid,
#ifdef SYS_poll
    SYS_poll,
#endif
    // its own signals and end
    SYS_rt_sigaction, SYS_rt_sigprocmask, SYS_rt_sigreturn, SYS_sigaltstack, SYS_restart_syscall,
    SYS_exit, SYS_exit_group,
    // who it is
    SYS_getpid, SYS_getppid, SYS_gettid, SYS_sched_getaffinity, SYS_sysinfo,
    // what the C library does in a forked child
    SYS_set_robust_list, SYS_set_tid_address, SYS_rseq, SYS_membarrier,
    // fewer descriptors, never more
    SYS_close, SYS_close_range};

/// What fork() of the C library asks for; no threads, no namespaces.
constexpr std::uint64_t flags_of_fork = CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID | SIGCHLD;

constexpr scmp_arg_cmp equal(unsigned argument, std::uint64_t value) noexcept {
  return {.arg = argument, .op = SCMP_CMP_EQ, .datum_a = value, .datum_b = 0};
}
constexpr scmp_arg_cmp masked(unsigned argument, std::uint64_t mask, std::uint64_t value) noexcept {
  return {.arg = argument, .op = SCMP_CMP_MASKED_EQ, .datum_a = mask, .datum_b = value};
}

class filter {
 public:
  filter() noexcept : context_{::seccomp_init(SCMP_ACT_TRAP)}, error_{context_ ? 0 : ENOMEM} {}
  filter(const filter&) = delete;
  filter& operator=(const filter&) = delete;
  ~filter() { ::seccomp_release(context_); }

  void add(std::uint32_t action, long call,
           std::initializer_list<scmp_arg_cmp> arguments = {}) noexcept {
    if (error_ != 0) return;
    error_ = -::seccomp_rule_add_array(context_, action, static_cast<int>(call),
                                       static_cast<unsigned>(arguments.size()), arguments.begin());
  }
  void allow(long call, std::initializer_list<scmp_arg_cmp> arguments = {}) noexcept {
    add(SCMP_ACT_ALLOW, call, arguments);
  }
  /// RETURNS: 0, or errno.
  int load() noexcept {
    if (error_ == 0) error_ = -::seccomp_load(context_);
    return error_;
  }
  /// Of the kernel's; not closed with this.
  [[nodiscard]] int listener() const noexcept { return ::seccomp_notify_fd(context_); }

 private:
  scmp_filter_ctx context_;
  int error_;
};

}  // namespace

int forbid_system_calls(int hub) {
  descriptor socket{hub};
  filter f;
  for (const long call : allowed) f.allow(call);
  // Memory that is not a file's, and is not to be executed.
  constexpr unsigned protection = 2;
  constexpr unsigned kind = 3;
  f.allow(SYS_mmap, {masked(protection, PROT_EXEC, 0), masked(kind, MAP_ANONYMOUS, MAP_ANONYMOUS)});
  f.allow(SYS_mprotect, {masked(protection, PROT_EXEC, 0)});
  for (const std::uint64_t output : {1U, 2U}) {
    f.allow(SYS_write, {equal(0, output)});
    f.allow(SYS_writev, {equal(0, output)});
  }
  // What a follower says of itself: fork_follower().
  for (const int what : {PR_SET_PDEATHSIG, PR_SET_NAME}) {
    f.allow(SYS_prctl, {equal(0, static_cast<std::uint64_t>(what))});
  }
  if (hub < 0) return f.load();
  f.add(SCMP_ACT_NOTIFY, SYS_clone, {masked(0, ~flags_of_fork, 0)});
  // Its number cannot come back once it is closed: nothing that makes sockets is allowed.
  f.allow(SYS_sendmsg, {equal(0, static_cast<std::uint64_t>(hub))});
  if (const int error = f.load()) return error;
  const descriptor listener{f.listener()};
  const int number = listener.get();
  constexpr std::byte something{1};
  return send_message(hub, {&something, 1}, {&number, 1});
}

std::expected<fork_gate, int> fork_gate::receive(int socket) {
  std::byte something{};
  received_message got = receive_message(socket, {&something, 1});
  if (got.descriptors.size() != 1) {
    return std::unexpected{got.error != 0 ? got.error : ECONNRESET};
  }
  return fork_gate{std::move(got.descriptors.front())};
}

std::optional<fork_gate::request> fork_gate::next() {
  // Not through libseccomp: its functions take memory whose size the kernel says, and which has to
  // be kept. The kernel goes by the size that is given here.
  seccomp_notif asked{};
  int result = -1;
  do {
    result = ::ioctl(listener_.get(), SECCOMP_IOCTL_NOTIF_RECV, &asked);
  } while (result != 0 && errno == EINTR);
  if (result != 0) return std::nullopt;
  return request{.id = asked.id, .pid = static_cast<pid_t>(asked.pid)};
}

void fork_gate::allow(const request& which) noexcept {
  seccomp_notif_resp answer{};
  answer.id = which.id;
  answer.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
  // Fails if it has died meanwhile: then there is nobody to answer.
  ::ioctl(listener_.get(), SECCOMP_IOCTL_NOTIF_SEND, &answer);
}

void fork_gate::refuse(const request& which) noexcept {
  const descriptor asker{static_cast<int>(::syscall(SYS_pidfd_open, which.pid, 0U))};
  std::uint64_t id = which.id;
  // It still waits for an answer: so that descriptor is its own, and not of who came after it.
  if (asker && ::ioctl(listener_.get(), SECCOMP_IOCTL_NOTIF_ID_VALID, &id) == 0) {
    ::syscall(SYS_pidfd_send_signal, asker.get(), SIGKILL, nullptr, 0U);
  }
}

std::string system_call_name(int number) {
  const std::unique_ptr<char, decltype(&std::free)> name{
      ::seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, number), &std::free};
  return name != nullptr ? name.get() : std::to_string(number);
}

}  // namespace peeper::sandbox
