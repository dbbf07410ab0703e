// SPDX-License-Identifier: Apache-2.0
//
// What OS processes cost: to fork one, and to hear of its death by each of the ways there are.
// The floors: a fork of our own, and SIGCHLD and pidfd as the kernel has them.
#include <array>
#include <atomic>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <peeper/zygote.hpp>

#include "bench.hpp"
#include "sandbox/crash_handler.hpp"
#include "sandbox/death_watch.hpp"
#include "sandbox/zygote.hpp"

namespace {

using bench::report;
using namespace peeper::sandbox;  // NOLINT(google-build-using-namespace)

template <class Value>
Value& in_shared_memory() {
  void* at =
      ::mmap(nullptr, sizeof(Value), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  bench::require(at != MAP_FAILED, "there is shared memory");
  return *::new (at) Value{};
}

void wait_for(pid_t pid) {
  int status = 0;
  bench::require(::waitpid(pid, &status, 0) == pid, "a child is waited for");
}

void fork_of_our_own(report& r) {
  std::vector<pid_t> children;
  auto times = bench::ns_one_by_one(bench::scaled(1000), [&] {
    const pid_t child = ::fork();
    if (child == 0) ::_exit(0);
    children.push_back(child);
  });
  for (const pid_t child : children) wait_for(child);
  r.row("p50", "ns", bench::percentile(times, 0.5));
}

/// With `heap_mb` in the program: what the zygote does not have.
void fork_by_zygote(report& r) {
  zygote_link& link = *zygote_link::current();  // main's
  for (const std::size_t heap_mb : {0UL, 100UL}) {
    const std::vector<char> heap(heap_mb << 20U, 'x');
    auto times = bench::ns_one_by_one(bench::scaled(1000), [&] {
      const auto worker = link.fork({.entry = [](const worker_start&) { return 0; }});
      bench::require(worker.has_value(), "a worker is forked");
    });
    r.row(fmt::format("p50, heap of {} MB", heap_mb), "ns", bench::percentile(times, 0.5));
  }
}

struct victim_state {
  life_line life;
  crash_block block;
  std::atomic<std::int64_t> dies_at;
  std::atomic<bool> ready;
};

enum class death : std::uint8_t { kill, segv };

/// A child that has touched so much of its own memory. It dies of SIGSEGV by itself, or is killed.
pid_t make_victim(victim_state& s, std::size_t megabytes, death how) {
  const pid_t child = ::fork();
  if (child != 0) return child;
  s.life.hold();
  report_crashes(s.block, s.life);
  const std::vector<char> touched(megabytes << 20U, 'x');
  s.ready = true;
  if (how == death::segv) {
    // So that whoever waits sleeps by then.
    ::usleep(2000);
    s.dies_at = bench::ns_now();
    volatile std::uintptr_t nowhere = 0x10;  // not known to the compiler
    *reinterpret_cast<volatile char*>(nowhere) = touched[0];
  }
  for (;;) ::pause();
}

using wait_function = void (*)(victim_state&, pid_t, int pidfd);

void by_lock(victim_state& s, pid_t pid, int pidfd) {
  death_watch watch{s.life, life_line::watcher::hub, pid, pidfd};
  bench::require(watch.wait({}, peeper::time_point::max()) == death_watch::outcome::died,
                 "a death is noticed");
}
void by_pidfd(victim_state& /*s*/, pid_t /*pid*/, int pidfd) {
  pollfd one{.fd = pidfd, .events = POLLIN, .revents = 0};
  bench::require(::poll(&one, 1, -1) == 1, "a death is noticed");
}
void by_sigchld(victim_state& /*s*/, pid_t pid, int /*pidfd*/) {
  siginfo_t info{};
  bench::require(::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT) == 0,
                 "a death is noticed");
}

double notice_ns(std::size_t megabytes, death how, wait_function wait, std::size_t n) {
  std::vector<double> times;
  for (std::size_t i = 0; i < n; ++i) {
    auto& s = in_shared_memory<victim_state>();
    const pid_t pid = make_victim(s, megabytes, how);
    const int pidfd = static_cast<int>(::syscall(SYS_pidfd_open, pid, 0U));
    while (!s.ready) ::sched_yield();
    if (how == death::kill) {
      s.dies_at = bench::ns_now();
      ::kill(pid, SIGKILL);
    }
    wait(s, pid, pidfd);
    times.push_back(static_cast<double>(bench::ns_now() - s.dies_at));
    wait_for(pid);
    ::close(pidfd);
    ::munmap(&s, sizeof s);
  }
  return bench::percentile(times, 0.5);
}

void death_notice(report& r) {
  struct size {
    const char* name;
    std::size_t megabytes;
    std::size_t n;
  };
  constexpr std::array sizes{size{"1 MB", 1, 100}, size{"64 MB", 64, 20}, size{"1 GB", 1024, 3}};
  const auto row = [&](const char* what, const size& of, death how, wait_function wait) {
    const std::size_t n = bench::short_run() ? 1 : of.n;
    r.row(fmt::format("{}, {}", what, of.name), "ns", notice_ns(of.megabytes, how, wait, n));
  };
  for (const size& of : std::span{sizes}.first(bench::short_run() ? 1 : sizes.size())) {
    row("SIGKILL, ours", of, death::kill, by_lock);
    row("SIGKILL, pidfd", of, death::kill, by_pidfd);
    row("SIGKILL, SIGCHLD", of, death::kill, by_sigchld);
    row("SIGSEGV, ours", of, death::segv, by_lock);
    row("SIGSEGV, pidfd", of, death::segv, by_pidfd);
  }
}

[[maybe_unused]] const bool added[] = {
    bench::add("floor/fork of a small program", fork_of_our_own),
    bench::add("sandbox/fork of a worker", fork_by_zygote),
    bench::add("sandbox/death notice", death_notice),
};

}  // namespace
