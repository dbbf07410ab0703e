// SPDX-License-Identifier: Apache-2.0
/// \file
/// What a message may not cost: memory from the general heap, a lock, a system call, a copy of the
/// state. Counted, never timed.
///
/// The program's own malloc, pthread_mutex_lock, ... and syscall() stand before those of the C
/// library and count, each thread for itself; a message that is handled on the caller's thread is
/// watched by the kernel as well: a filter ends the program at the first system call.
/// Not under sanitizers, which bring a heap, locks and system calls of their own.
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <thread>
#include <tuple>
#include <vector>

#include <gtest/gtest.h>

#include <peeper/kept.hpp>
#include <peeper/peeper.hpp>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define PEEPER_HOT_PATH_COUNTED 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define PEEPER_HOT_PATH_COUNTED 0
#endif
#endif
#ifndef PEEPER_HOT_PATH_COUNTED
#define PEEPER_HOT_PATH_COUNTED 1
#endif

#if PEEPER_HOT_PATH_COUNTED

#include <array>
#include <cstdarg>

#include <dlfcn.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace {

/// What this thread has done since it began.
struct costs {
  std::uint64_t heap = 0;
  std::uint64_t locks = 0;
  std::uint64_t system_calls = 0;

  friend costs operator-(const costs& a, const costs& b) {
    return {a.heap - b.heap, a.locks - b.locks, a.system_calls - b.system_calls};
  }
  friend bool operator==(const costs&, const costs&) = default;
};
constinit thread_local costs spent;

void PrintTo(const costs& c, std::ostream* out) {
  *out << "heap " << c.heap << ", locks " << c.locks << ", system calls " << c.system_calls;
}

template <class Function>
Function* next_in_line(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

}  // namespace

// --- what stands before the C library ------------------------------------------------------------

extern "C" {
void* __libc_malloc(std::size_t bytes);
void* __libc_calloc(std::size_t count, std::size_t bytes);
void* __libc_realloc(void* old, std::size_t bytes);
void* __libc_memalign(std::size_t alignment, std::size_t bytes);
void __libc_free(void* memory);

void* malloc(std::size_t bytes) noexcept {
  ++spent.heap;
  return __libc_malloc(bytes);
}
void* calloc(std::size_t count, std::size_t bytes) noexcept {
  ++spent.heap;
  return __libc_calloc(count, bytes);
}
void* realloc(void* old, std::size_t bytes) noexcept {
  ++spent.heap;
  return __libc_realloc(old, bytes);
}
void* aligned_alloc(std::size_t alignment, std::size_t bytes) noexcept {
  ++spent.heap;
  return __libc_memalign(alignment, bytes);
}
void free(void* memory) noexcept {
  if (memory != nullptr) ++spent.heap;
  __libc_free(memory);
}

int pthread_mutex_lock(pthread_mutex_t* mutex) noexcept {
  static auto* const real = next_in_line<int(pthread_mutex_t*)>("pthread_mutex_lock");
  ++spent.locks;
  return real(mutex);
}
int pthread_mutex_trylock(pthread_mutex_t* mutex) noexcept {
  static auto* const real = next_in_line<int(pthread_mutex_t*)>("pthread_mutex_trylock");
  ++spent.locks;
  return real(mutex);
}
int pthread_rwlock_rdlock(pthread_rwlock_t* lock) noexcept {
  static auto* const real = next_in_line<int(pthread_rwlock_t*)>("pthread_rwlock_rdlock");
  ++spent.locks;
  return real(lock);
}
int pthread_rwlock_wrlock(pthread_rwlock_t* lock) noexcept {
  static auto* const real = next_in_line<int(pthread_rwlock_t*)>("pthread_rwlock_wrlock");
  ++spent.locks;
  return real(lock);
}

// The library sleeps and wakes through this one.
long syscall(long number, ...) noexcept {
  static auto* const real = next_in_line<long(long, ...)>("syscall");
  ++spent.system_calls;
  std::va_list list;
  va_start(list, number);
  std::array<long, 6> a{};
  for (long& argument : a) argument = va_arg(list, long);
  va_end(list);
  return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
}

namespace peeper::test {
namespace {

// --- the kernel as a witness ---------------------------------------------------------------------

void end_at_system_call(int /*signal*/, siginfo_t* info, void* /*context*/) {
  // SIGNAL: only write() and _exit(), which the filter lets through.
  char text[] = "a system call on the hot path: number ....\n";
  int number = info->si_syscall;
  for (std::size_t i = sizeof text - 3; i > sizeof text - 7; --i, number /= 10) {
    text[i] = static_cast<char>('0' + number % 10);
  }
  std::ignore = write(STDERR_FILENO, text, sizeof text - 1);
  _exit(1);
}

/// From now on this thread may do nothing but write and end. RETURNS: false if the kernel (or the
/// container) does not let us.
bool forbid_system_calls() {
  struct sigaction action{};
  action.sa_sigaction = &end_at_system_call;
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGSYS, &action, nullptr);
  constexpr auto allow = [](long number) {
    return std::array<sock_filter, 2>{
        sock_filter BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<std::uint32_t>(number), 0, 1),
        sock_filter BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
  };
  std::vector<sock_filter> rules{
      sock_filter BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr))};
  // What a thread needs to end; reading a clock is no system call where the machine can help it.
  for (const long number :
       {SYS_write, SYS_exit, SYS_exit_group, SYS_munmap, SYS_madvise, SYS_mprotect,
        SYS_rt_sigprocmask, SYS_rt_sigreturn, SYS_clock_gettime, SYS_set_robust_list}) {
    const auto pair = allow(number);
    rules.insert(rules.end(), pair.begin(), pair.end());
  }
  rules.push_back(sock_filter BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP));
  const sock_fprog program{static_cast<unsigned short>(rules.size()), rules.data()};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

// --- the servers ---------------------------------------------------------------------------------

/// Counts how often it is copied.
struct marked {
  marked() = default;
  explicit marked(std::int64_t n) : number{n} {}
  marked(const marked& other) : number{other.number} { ++copies; }
  marked(marked&& other) noexcept = default;
  marked& operator=(const marked& other) {
    number = other.number;
    ++copies;
    return *this;
  }
  marked& operator=(marked&& other) noexcept = default;
  ~marked() = default;

  std::int64_t number = 0;
  static inline std::atomic<std::uint64_t> copies{0};
};

struct look_up {
  using reply = std::int64_t;
  int key;
};
struct change {
  using reply = std::int64_t;
  int key;
};
struct increase {
  int key;
};
/// Keeps its thread busy until it is told to go on.
struct wait_for_signal {
  std::atomic<bool>* begun;
  std::atomic<bool>* go_on;
};
/// What the thread that runs the server has spent so far.
struct costs_so_far {
  costs* out;
};

struct store {
  struct state {
    std::int64_t changes = 0;
    kept_map<int, std::int64_t> numbers;
    kept_map<int, marked> entries;
  };
  state init(int entries) {
    state s;
    for (int i = 0; i < entries; ++i) {
      s.numbers.try_emplace(i, 0);
      s.entries.try_emplace(i, marked{i});
    }
    return s;
  }
  std::int64_t handle_call(look_up m, const state& s) { return s.entries.at(m.key).number; }
  std::int64_t handle_call(change m, state& s) {
    ++s.changes;
    return s.numbers.modify(m.key, [](std::int64_t& n) { return ++n; });
  }
  void handle_cast(increase m, state& s) {
    ++s.changes;
    s.numbers.modify(m.key, [](std::int64_t& n) { ++n; });
  }
  void handle_cast(const wait_for_signal& m) {
    m.begun->store(true);
    while (!m.go_on->load()) {
    }
  }
  void handle_cast(const costs_so_far& m) { *m.out = spent; }
};

/// Calls another server from inside a callback, and tells what this cost.
struct run_calls {
  using reply = costs;
  int count;
};
struct caller {
  struct state {
    std::int64_t runs = 0;
  };
  explicit caller(ref<store> target) : target_{std::move(target)} {}
  costs handle_call(run_calls m, state& s) {
    ++s.runs;
    const costs before = spent;
    for (int i = 0; i < m.count; ++i) {
      if (!target_.call(change{0})) std::abort();
    }
    return spent - before;
  }

 private:
  ref<store> target_;
};

constexpr int messages = 1000;
constexpr costs nothing{};

ref<store> start_store(runtime& rt, int entries) { return start<store>(rt, {}, entries).value(); }

// --- the tests -----------------------------------------------------------------------------------

TEST(hot_path, TheCountersCount) {
  const costs before = spent;
  std::mutex mutex;
  mutex.lock();
  mutex.unlock();
  auto* memory = new std::int64_t{1};
  EXPECT_EQ(*memory, 1);
  asm volatile("" : : "g"(memory) : "memory");  // or the compiler leaves it out
  delete memory;
  syscall(SYS_getpid, 0, 0, 0, 0, 0, 0);
  EXPECT_EQ(spent - before, (costs{.heap = 2, .locks = 1, .system_calls = 1}));
}

TEST(hot_path, ACallToAnIdleServerTakesNoHeapNoLockNoSystemCall) {
  runtime rt;
  const auto server = start_store(rt, 10);
  for (int i = 0; i < messages; ++i) ASSERT_EQ(server.call(change{0}).value(), i + 1);
  const costs before = spent;
  std::int64_t last = 0;
  for (int i = 0; i < messages; ++i) last = server.call(change{0}).value();
  const costs after = spent;
  EXPECT_EQ(last, 2 * messages);
  EXPECT_EQ(after - before, nothing);
}

TEST(hot_path, TheKernelSeesNoSystemCallOfACallToAnIdleServer) {
  runtime rt;
  const auto server = start_store(rt, 10);
  std::int64_t last = 0;
  bool watched = false;
  std::thread client{[&] {
    for (int i = 0; i < messages; ++i) last = server.call(change{0}).value();
    watched = forbid_system_calls();
    for (int i = 0; i < messages; ++i) last = server.call(change{0}).value();
  }};
  client.join();
  EXPECT_EQ(last, 2 * messages);
  if (!watched) GTEST_SKIP() << "this machine does not let a thread give up its system calls";
}

TEST(hot_path, ACallFromServerToServerTakesNoHeapNoLockNoSystemCall) {
  runtime rt;
  const auto target = start_store(rt, 10);
  const auto driver = start<caller>(rt, {}, target).value();
  std::ignore = driver.call(run_calls{messages}).value();
  EXPECT_EQ(driver.call(run_calls{messages}).value(), nothing);
  EXPECT_EQ(target.call(change{0}).value(), 2 * messages + 1);
}

TEST(hot_path, CastsToABusyServerTakeNoHeapNoLockNoSystemCallOnEitherSide) {
  runtime rt{{.threads = 1}};
  const auto server = start_store(rt, 10);
  costs sending;
  costs handling;
  // The first rounds fill the pools: memory goes from the thread that sends to the one that
  // handles, and comes back.
  for (int round = 0; round < 5; ++round) {
    std::atomic<bool> begun{false};
    std::atomic<bool> go_on{false};
    costs handling_began;
    costs handling_ended;
    server.cast(wait_for_signal{&begun, &go_on});
    while (!begun.load()) std::this_thread::yield();
    server.cast(costs_so_far{&handling_began});
    const costs sending_began = spent;
    for (int i = 0; i < messages; ++i) server.cast(increase{0});
    sending = spent - sending_began;
    server.cast(costs_so_far{&handling_ended});
    go_on.store(true);
    ASSERT_EQ(server.call(change{0}).value(), (round + 1) * (messages + 1));
    handling = handling_ended - handling_began;
  }
  EXPECT_EQ(sending, nothing);
  EXPECT_EQ(handling, nothing);
}

TEST(hot_path, MessagesDoNotCopyTheState) {
  runtime rt;
  for (const int entries : {10, 1000}) {
    const auto server = start_store(rt, entries);
    const std::uint64_t before = marked::copies.load();
    for (int i = 0; i < messages; ++i) {
      ASSERT_EQ(server.call(look_up{i % entries}).value(), i % entries);
      ASSERT_TRUE(server.call(change{i % entries}).has_value());
      server.cast(increase{i % entries});
    }
    ASSERT_TRUE(server.call(look_up{0}).has_value());
    EXPECT_EQ(marked::copies.load() - before, 0U);
  }
}

}  // namespace
}  // namespace peeper::test

#else

TEST(hot_path, IsCountedWithoutSanitizersOnly) {
  GTEST_SKIP() << "sanitizers bring a heap, locks and system calls of their own";
}

#endif
