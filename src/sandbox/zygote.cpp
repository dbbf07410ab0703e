// SPDX-License-Identifier: Apache-2.0
#include "sandbox/zygote.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <deque>
#include <filesystem>
#include <new>
#include <ranges>
#include <system_error>
#include <tuple>
#include <utility>

#include <dlfcn.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sandbox/death_watch.hpp"

namespace peeper {
namespace sandbox {
namespace {

std::atomic<zygote_link*> the_link{nullptr};

/// In the zygote and all that came of it: the zygote's. 0 in the hub.
pid_t the_zygote = 0;

/// What goes over the socket, before the argument's bytes.
struct request_head {
  worker_entry entry;  // null: the zygote is to end
  std::array<char, 16> name;
};
struct request_message {
  request_head head{};
  alignas(std::max_align_t) std::array<std::byte, argument_bytes_max> argument;
};
static_assert(offsetof(request_message, argument) % alignof(std::max_align_t) == 0);

/// With the pidfd, unless there is an error.
struct answer {
  pid_t pid;
  int error;
};

int pidfd_of(pid_t pid) noexcept { return static_cast<int>(::syscall(SYS_pidfd_open, pid, 0U)); }

std::string system_text(int error) { return std::system_category().message(error); }

template <class Value>
std::span<const std::byte> bytes_of(const Value& value) noexcept {
  return std::as_bytes(std::span{&value, 1});
}

/// As in a new program, but for those that the hub alone is to hear of.
void reset_signals() noexcept {
  for (int number = 1; number < NSIG; ++number) ::signal(number, SIG_DFL);
  for (const int number : {SIGHUP, SIGINT, SIGQUIT, SIGTERM}) ::signal(number, SIG_IGN);
  stack_t none{};
  none.ss_flags = SS_DISABLE;
  ::sigaltstack(&none, nullptr);
}

/// The zygote: one thread that waits for requests, ends of children, and the hub's end.
class zygote_process {
 public:
  zygote_process(int requests, int ended, int hub) noexcept
      : requests_{requests}, ended_{ended}, hub_{hub} {}

  /// noexcept: what an entry throws must not reach the copy of main() that is on this stack.
  [[noreturn]] void run() noexcept {
    the_zygote = ::getpid();
    the_link.store(nullptr, std::memory_order_relaxed);
    close_all_but(3, std::array{requests_, ended_, hub_});
    reset_signals();
    sigset_t ends{};
    sigemptyset(&ends);
    sigaddset(&ends, SIGCHLD);
    ::sigprocmask(SIG_SETMASK, &ends, nullptr);
    ends_ = ::signalfd(-1, &ends, SFD_CLOEXEC | SFD_NONBLOCK);
    ::prctl(PR_SET_NAME, "peeper:zygote");
    // Followers whose worker is dead become its children.
    if (ends_ < 0 || ::prctl(PR_SET_CHILD_SUBREAPER, 1) != 0) ::_exit(1);
    for (;;) turn();
  }

 private:
  void turn() {
    const short told = unsent_.empty() ? short{0} : short{POLLOUT};
    std::array<pollfd, 4> waited{{{.fd = hub_, .events = POLLIN, .revents = 0},
                                  {.fd = ends_, .events = POLLIN, .revents = 0},
                                  {.fd = ended_, .events = told, .revents = 0},
                                  {.fd = requests_, .events = POLLIN, .revents = 0}}};
    if (::poll(waited.data(), waited.size(), -1) < 0) {
      if (errno == EINTR) return;
      ::_exit(1);
    }
    // What is left is killed by the kernel: this is its parent's end.
    if (waited[0].revents != 0) ::_exit(0);
    if (waited[1].revents != 0) reap();
    tell();
    if (waited[3].revents != 0) serve();
  }

  void reap() {
    signalfd_siginfo which{};
    while (::read(ends_, &which, sizeof which) > 0) {
    }
    // One signal may stand for several ends.
    for (ended_process one; (one.pid = ::waitpid(-1, &one.status, WNOHANG)) > 0;) {
      unsent_.push_back(one);
    }
  }

  /// A hub that does not read must not stop its own fork requests.
  void tell() {
    while (!unsent_.empty() && ::send(ended_, &unsent_.front(), sizeof(ended_process),
                                      MSG_DONTWAIT | MSG_NOSIGNAL) > 0) {
      unsent_.pop_front();
    }
  }

  void serve() const {
    request_message request;
    const received_message got =
        receive_message(requests_, std::as_writable_bytes(std::span{&request, 1}));
    if (got.size < offsetof(request_message, argument) || request.head.entry == nullptr) {
      ::_exit(0);
    }
    const auto argument =
        std::span{request.argument}.first(got.size - offsetof(request_message, argument));
    answer a{.pid = 0, .error = 0};
    descriptor pidfd;
    // A library loaded later is not here: to call into it would be a crash without a message.
    Dl_info unused{};
    if (::dladdr(reinterpret_cast<void*>(request.head.entry), &unused) == 0) {
      a.error = EFAULT;
    } else if (a.pid = ::fork(); a.pid == 0) {
      become_worker(request, argument, got.descriptors);
    } else if (a.pid < 0) {
      a.error = errno;
    } else if (pidfd.reset(pidfd_of(a.pid)); !pidfd) {
      a.error = errno;
      ::kill(a.pid, SIGKILL);
    }
    const int number = pidfd.get();
    const auto passed = a.error == 0 ? std::span{&number, 1} : std::span<const int>{};
    if (send_message(requests_, bytes_of(a), passed) != 0) ::_exit(0);
  }

  [[noreturn]] static void become_worker(const request_message& request,
                                         std::span<const std::byte> argument,
                                         std::span<const descriptor> descriptors) {
    std::array<int, descriptors_max> numbers{};
    const std::span kept = std::span{numbers}.first(descriptors.size());
    std::ranges::transform(descriptors, kept.begin(), &descriptor::get);
    close_all_but(3, kept);
    sigset_t none{};
    sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    ::prctl(PR_SET_NAME, request.head.name.data());
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    // It may have ended before that.
    if (::getppid() != the_zygote) ::_exit(1);
    ::_exit(request.head.entry({.argument = argument, .descriptors = kept}));
  }

  // constant once running
  int requests_;
  int ended_;
  int hub_;  // a pidfd: the sockets' ends do not tell when a child of the hub has copies of them
  int ends_ = -1;

  std::deque<ended_process> unsent_;
};

/// Sanitizers for threads have one of their own.
#if defined(__SANITIZE_THREAD__)
constexpr std::ptrdiff_t threads_of_a_fresh_program = 2;
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
constexpr std::ptrdiff_t threads_of_a_fresh_program = 2;
#else
constexpr std::ptrdiff_t threads_of_a_fresh_program = 1;
#endif
#else
constexpr std::ptrdiff_t threads_of_a_fresh_program = 1;
#endif

std::ptrdiff_t thread_count() {
  return std::ranges::distance(std::filesystem::directory_iterator{"/proc/self/task"});
}

zygote_error system_error(std::string_view what, int error) {
  return {zygote_errc::system,
          fmt::format("peeper::zygote: {} failed: {}", what, system_text(error))};
}

}  // namespace

zygote_link::zygote_link() : hub_{::getpid()} {
  if (current() != nullptr) {
    throw zygote_error{zygote_errc::already_made,
                       "peeper::zygote: there is one already, and one a program is enough: make it "
                       "first thing in main(), and nowhere else"};
  }
  if (const auto count = thread_count(); count > threads_of_a_fresh_program) {
    throw zygote_error{
        zygote_errc::too_late,
        fmt::format("peeper::zygote: made too late: the program has {} threads already, and only "
                    "the one that forks would exist in the copy. Make it first thing in main(), "
                    "before any thread, runtime, or library that starts threads",
                    count)};
  }
  if (const std::string why = why_no_death_watch(); !why.empty()) {
    throw zygote_error{zygote_errc::system, "peeper::zygote: " + why};
  }
  std::array<int, 2> requests{};
  std::array<int, 2> ended{};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, requests.data()) != 0) {
    throw system_error("socketpair", errno);
  }
  requests_.reset(requests[0]);
  const descriptor requests_there{requests[1]};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ended.data()) != 0) {
    throw system_error("socketpair", errno);
  }
  ended_.reset(ended[0]);
  const descriptor ended_there{ended[1]};
  // Made before the fork: so it is this OS process's for sure.
  const descriptor hub{pidfd_of(hub_)};
  if (!hub) throw system_error("pidfd_open", errno);

  // Else what is still in stdio's buffers would be written by workers again.
  std::fflush(nullptr);
  pid_ = ::fork();
  if (pid_ < 0) throw system_error("fork", errno);
  if (pid_ == 0) zygote_process{requests_there.get(), ended_there.get(), hub.get()}.run();
  the_link.store(this, std::memory_order_release);  // ORDER: pairs with current()
}

zygote_link::~zygote_link() {
  // In a copy that a fork of the user's has made: the zygote is not ours, and there is no thread.
  if (::getpid() != hub_) {
    std::ignore = reporter_.release();
    std::ignore = ends_.release();
    return;
  }
  reporter_.reset();
  ends_.reset();
  the_link.store(nullptr, std::memory_order_release);
  // Told, and not only closed: somebody may have a copy of the socket.
  const request_head end{};
  if (send_message(requests_.get(), bytes_of(end)) != 0) ::kill(pid_, SIGKILL);
  while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

zygote_link* zygote_link::current() noexcept {
  return the_link.load(std::memory_order_acquire);  // ORDER: pairs with the constructor
}

std::expected<forked_process, fork_error> zygote_link::fork(const fork_request& request) {
  const auto gone = [] {
    return std::unexpected{fork_error{
        fork_errc::zygote_gone,
        "the zygote has ended: OS processes cannot be started until the program is restarted"}};
  };
  if (request.entry == nullptr || request.argument.size() > argument_bytes_max ||
      request.descriptors.size() > descriptors_max) {
    return std::unexpected{fork_error{
        fork_errc::bad_request,
        fmt::format("a worker's OS process needs an entry, at most {} bytes of argument (has {}) "
                    "and {} descriptors (has {})",
                    argument_bytes_max, request.argument.size(), descriptors_max,
                    request.descriptors.size())}};
  }
  request_message message;
  message.head.entry = request.entry;
  std::ranges::copy(request.name.substr(0, message.head.name.size() - 1),
                    message.head.name.begin());
  std::ranges::copy(request.argument, message.argument.begin());
  const auto used =
      bytes_of(message).first(offsetof(request_message, argument) + request.argument.size());
  answer a{};
  received_message got;
  {
    const std::scoped_lock lock{mutex_};
    const int error = send_message(requests_.get(), used, request.descriptors);
    if (error == EPIPE || error == ECONNRESET) return gone();
    if (error != 0) {
      return std::unexpected{fork_error{
          fork_errc::system, fmt::format("the zygote cannot be asked: {}", system_text(error))}};
    }
    got = receive_message(requests_.get(), std::as_writable_bytes(std::span{&a, 1}));
  }
  if (got.size != sizeof a) return gone();
  if (a.error == EFAULT) {
    return std::unexpected{fork_error{
        fork_errc::bad_request,
        "the worker's code was loaded after the zygote was made, which does not have it: load "
        "plugins before, or make the zygote later, while there is still one thread"}};
  }
  if (a.error != 0) {
    return std::unexpected{fork_error{
        fork_errc::system, fmt::format("the zygote could not fork: {}", system_text(a.error))}};
  }
  if (got.descriptors.size() != 1) {
    return std::unexpected{fork_error{fork_errc::system, "the hub has no descriptor left"}};
  }
  return forked_process{.pid = a.pid, .pidfd = std::move(got.descriptors.front())};
}

std::optional<ended_process> zygote_link::take_ended() noexcept {
  ended_process one;
  ssize_t got = -1;
  do {
    got = ::recv(ended_.get(), &one, sizeof one, MSG_DONTWAIT);
  } while (got < 0 && errno == EINTR);
  if (got != sizeof one) return std::nullopt;
  return one;
}

ended_processes& zygote_link::ends() {
  std::call_once(ends_made_, [this] {
    ends_ = std::make_unique<ended_processes>(ended_.get(), [this] { return take_ended(); });
    reporter_ = std::make_unique<crash_reporter>(*ends_);
  });
  return *ends_;
}

crash_reporter& zygote_link::reporter() {
  std::ignore = ends();
  return *reporter_;
}

// --- followers -------------------------------------------------------------------------------

namespace {

// Of this follower; written before its handler can run.
pid_t the_parent = 0;
void (*tell_of_parents_end)() noexcept = nullptr;

/// SIGNAL: the kernel sends SIGHUP after it has given us another parent; anybody may at other
/// times, so `tell_of_parents_end` may be called more than once.
void look_at_parent(int /*signal*/) noexcept {
  const int before = errno;
  if (const pid_t now = ::getppid(); now != the_parent) {
    // First this, then the look: the zygote may end in between.
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != the_zygote) ::_exit(1);
    if (tell_of_parents_end != nullptr) tell_of_parents_end();
  }
  errno = before;
}

}  // namespace

pid_t fork_follower(void (*on_parents_end)() noexcept) noexcept {
  const pid_t parent = ::getpid();
  sigset_t hangup{};
  sigset_t before{};
  sigemptyset(&hangup);
  sigaddset(&hangup, SIGHUP);
  ::sigprocmask(SIG_BLOCK, &hangup, &before);
  const pid_t child = ::fork();
  if (child == 0) {
    the_parent = parent;
    tell_of_parents_end = on_parents_end;
    struct sigaction action{};
    action.sa_handler = look_at_parent;
    action.sa_flags = SA_RESTART;
    ::sigaction(SIGHUP, &action, nullptr);
    ::prctl(PR_SET_NAME, "peeper:follower");
    ::prctl(PR_SET_PDEATHSIG, SIGHUP);
    look_at_parent(0);  // it may have ended before that
    sigdelset(&before, SIGHUP);
  }
  ::sigprocmask(SIG_SETMASK, &before, nullptr);
  return child;
}

}  // namespace sandbox

// --- what the user sees ----------------------------------------------------------------------

zygote::zygote() : link_{std::make_unique<sandbox::zygote_link>()} {}
zygote::~zygote() = default;

bool zygote::exists() noexcept { return sandbox::zygote_link::current() != nullptr; }

}  // namespace peeper
