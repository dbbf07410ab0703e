// SPDX-License-Identifier: Apache-2.0
#include "sandbox/pair_member.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <new>
#include <stdexcept>
#include <utility>

#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <peeper/detail/fault_point.hpp>

#include "core/real_clock.hpp"
#include "sandbox/crash_handler.hpp"
#include "sandbox/futex.hpp"
#include "sandbox/huge_pages.hpp"
#include "sandbox/limits.hpp"
#include "sandbox/system_call_filter.hpp"

namespace peeper::sandbox {

using detail::done_part;
using detail::lives_kept;
using detail::pair_control;
using detail::promoted_part;
using detail::record_part;
using peeper::detail::fault_point;

namespace {

std::size_t control_bytes() noexcept {
  return (sizeof(pair_control) + detail::page - 1) / detail::page * detail::page;
}

/// A follower that has something to do looks again so soon, without being woken for each record:
/// that would cost the worker a system call.
constexpr duration follower_rest = std::chrono::milliseconds{1};
/// Where protect_first is not asked for, a follower is made when there is nothing to do, or after
/// so many messages.
constexpr unsigned fork_at_the_latest_after = 256;

template <class Part>
std::span<const std::byte> bytes_of(const Part& part) noexcept {
  return std::as_bytes(std::span{&part, 1});
}

descriptor pidfd_of(pid_t pid) noexcept {
  return descriptor{static_cast<int>(::syscall(SYS_pidfd_open, pid, 0U))};
}

/// Our living follower, for the handler of SIGCHLD: the end of one that never held its line is seen
/// by nothing else.
std::atomic<pid_t> child{0};
std::atomic<life_line*> life_of_child{nullptr};
/// The one before it, as good as dead: the kernel may need some time to tear its memory down.
std::atomic<pid_t> dying_child{0};

/// A follower's: should its worker have overwritten the locks that tell of its death.
std::atomic<life_line*> life_of_parent{nullptr};
/// SIGNAL: async-signal-safe.
void parent_has_ended() noexcept {
  if (life_line* const life = life_of_parent.load()) life->say_dead();
}

/// SIGNAL: async-signal-safe.
void look_for_childs_end() noexcept {
  const int error = errno;
  const pid_t pid = child.load();
  if (pid != 0 && ::waitpid(pid, nullptr, WNOHANG) == pid) {
    child.store(0);
    life_of_child.load()->say_dead();
  }
  const pid_t dying = dying_child.load();
  if (dying != 0 && ::waitpid(dying, nullptr, WNOHANG) == dying) dying_child.store(0);
  errno = error;
}

}  // namespace

std::size_t pair_memory::bytes_needed(const pair_options& options) noexcept {
  return control_bytes() + ring_memory::bytes_needed(options.messages) +
         ring_memory::bytes_needed(options.records) +
         2 * ring_memory::bytes_needed(options.questions);
}

namespace {

/// The parts of a pair's memory, one after the other.
class parts {
 public:
  explicit parts(std::span<std::byte> memory) noexcept : rest_{memory} {}
  std::span<std::byte> next(std::size_t bytes) noexcept {
    const auto part = rest_.first(bytes);
    rest_ = rest_.subspan(bytes);
    return part;
  }

 private:
  std::span<std::byte> rest_;
};

}  // namespace

pair_memory pair_memory::make(std::span<std::byte> memory, const pair_options& options) {
  parts each{memory};
  const std::size_t questions = ring_memory::bytes_needed(options.questions);
  auto* const control = ::new (each.next(control_bytes()).data()) pair_control{};
  const auto messages = each.next(ring_memory::bytes_needed(options.messages));
  const auto records = each.next(ring_memory::bytes_needed(options.records));
  return {control, ring_memory::make(messages, options.messages),
          ring_memory::make(records, options.records), each.next(questions), each.next(questions)};
}

pair_memory pair_memory::find(std::span<std::byte> memory, const pair_options& options) {
  parts each{memory};
  const std::size_t questions = ring_memory::bytes_needed(options.questions);
  auto* const control =
      std::launder(reinterpret_cast<pair_control*>(each.next(control_bytes()).data()));
  const auto messages = each.next(ring_memory::bytes_needed(options.messages));
  const auto records = each.next(ring_memory::bytes_needed(options.records));
  return {control, ring_memory::find(messages, options.messages).value(),
          ring_memory::find(records, options.records).value(), each.next(questions),
          each.next(questions)};
}

void pair_memory::renew_questions(const pair_options& options) const {
  static_cast<void>(ring_memory::make(questions, options.questions));
  static_cast<void>(ring_memory::make(answers, options.questions));
}

/// THREADS: one, its OS process's only one of ours.
class pair_member {
 public:
  pair_member(const pair_memory& memory, const pair_options& options)
      : memory_{memory},
        options_{options},
        records_{ring_producer::start(memory.records, 1)},
        messages_{ring_consumer::attach(memory.messages, ring_consumer_id::first, trusted({}))},
        memory_pages_{!options.limits.less_power} {
    control().pids[1] = ::getpid();
    control().lives[1].hold();
    report_crashes(crashes(), control().lives[1]);
    crashes().generation.store(generation_, std::memory_order_relaxed);
    struct sigaction action{};
    action.sa_handler = [](int) { look_for_childs_end(); };
    action.sa_flags = SA_RESTART | SA_NOCLDSTOP;
    ::sigaction(SIGCHLD, &action, nullptr);
  }

  [[noreturn]] void run(std::unique_ptr<replica> made) {
    replica_ = std::move(made);
    start();
    for (;;) {
      work();
      // From here on this is the follower.
      follow();
      promote();
      start();
    }
  }

  void append(std::uint16_t type, std::span<const std::byte> bytes) {
    for (;;) {
      const auto done = records_->append(type, bytes);
      if (done) return;
      if (done.error().what == ring_errc::too_large || done.error().what == ring_errc::no_memory) {
        throw std::length_error{
            "peeper: what one callback changes and sends is larger than the largest record: give "
            "the worker a larger one"};
      }
      if (done.error().what != ring_errc::full) ::_exit(exit_bad_records);
      wait_for_room(*records_);
    }
  }

  void tell(std::uint16_t type, std::span<const std::byte> bytes) {
    if (!questions_) begin_to_ask();
    for (;;) {
      const auto done = questions_->append(type, bytes);
      if (done) break;
      if (done.error().what != ring_errc::full) {
        throw std::length_error{"peeper: what a callback asks its program is too large"};
      }
      wait_for_room(*questions_);
    }
    questions_->publish();
  }
  std::span<const std::byte> ask(std::uint16_t type, std::span<const std::byte> bytes) {
    tell(type, bytes);
    for (;;) {
      answers_->release();
      const auto next = answers_->read();
      if (!next) ::_exit(exit_bad_messages);
      if (*next) return (*next)->payload;
      if (is_over()) ::_exit(exit_over);
      wait_for_frame(*answers_);
    }
  }

 private:
  /// Another OS process of the pair, as this one sees it.
  struct watched {
    std::uint32_t number;
    pid_t pid;
    descriptor pidfd;
    death_watch watch;
  };

  [[nodiscard]] pair_control& control() const noexcept { return *memory_.control; }
  [[nodiscard]] crash_block& crashes() const noexcept {
    return control().crashes[process_ % detail::crashes_kept];
  }
  [[nodiscard]] life_line& life_of(std::uint32_t number) const noexcept {
    return control().lives[number % lives_kept];
  }
  [[nodiscard]] bool may_have_threads() const noexcept { return !options_.limits.less_power; }
  /// The hub writes the messages, and it is not what we protect ourselves against.
  static ring_consumer_options trusted(const ring_place& from) {
    return {.generation = 1, .from = from, .in_place = true};
  }

  // --- as the worker

  void start() {
    record_writer record{*this};
    replica_->start(record);
    commit(0);
  }

  /// RETURNS: in a follower that has just been made.
  void work() {
    for (;;) {
      if (options_.follower && !follower_ && options_.protect_first && !fork_failed_) {
        if (make_follower()) return;
        wait_until_ready();
        continue;
      }
      const auto next = messages_->read();
      if (!next) give_up();
      if (*next) {
        if ((*next)->type == frame_type_end) ::_exit(exit_over);
        handle(**next);
        ++handled_;
      } else if (is_over()) {
        ::_exit(exit_over);
      }
      if (options_.follower && !follower_ && !fork_failed_ &&
          (!*next || handled_ >= fork_at_the_latest_after)) {
        handled_ = 0;
        if (make_follower()) return;
      } else if (!*next) {
        wait_for_frame(*messages_);
      }
    }
  }

  void handle(const ring_frame& message) {
    if (options_.callback_limit != infinity) {
      control().began_at.store(
          peeper::detail::read_clock(CLOCK_MONOTONIC).time_since_epoch().count(),
          std::memory_order_relaxed);
    }
    // ORDER: release pairs with process_pair::check_for_hang(): it sees when. Else it is looked at
    // when this OS process is dead.
    control().began.store(message.sequence, std::memory_order_release);
    crashes().callback_begins(message.sequence, message.type);
    fault_point("pair.begun", false);
    record_writer record{*this};
    replica_->handle(message.type, message.payload, record);
    commit(message.sequence);
    fork_failed_ = false;
  }

  void commit(std::uint64_t consumed) {
    const done_part done{.consumed = consumed, .next = messages_->place()};
    append(static_cast<std::uint16_t>(record_part::done), bytes_of(done));
    fault_point("pair.handled", false);
    // CRASH: before this store the message has not been handled; after it, it has.
    records_->publish();
    crashes().callback_ends();
    fault_point("pair.recorded", false);
    messages_->release();
  }

  /// The messages in the ring are not those of the hub: a worker has written where it must not. To
  /// whoever came after us they would be no better.
  [[noreturn]] void give_up() {
    append(static_cast<std::uint16_t>(record_part::gave_up), {});
    records_->publish();
    ::_exit(exit_bad_messages);
  }

  void wait_for_frame(ring_consumer& ring) {
    if (ring.look_awhile()) return;
    const auto ticket = ring.prepare_sleep();
    if (!ticket) return;
    sleep_beside_follower(*ticket);
    ring.end_sleep();
  }
  void wait_for_room(ring_producer& ring) {
    const auto ticket = ring.prepare_sleep();
    if (is_over()) ::_exit(exit_over);  // nobody makes room any more
    if (!ticket) return;
    sleep_beside_follower(*ticket);
    ring.end_sleep();
  }
  /// The hub renews the rings for each worker, before it says that it knows it.
  void begin_to_ask() {
    wait_until_known();
    if (is_over()) ::_exit(exit_over);
    questions_.emplace(
        ring_producer::start(ring_memory::find(memory_.questions, options_.questions).value(), 1));
    answers_.emplace(
        ring_consumer::attach(ring_memory::find(memory_.answers, options_.questions).value(),
                              ring_consumer_id::first, trusted({})));
  }
  void sleep_beside_follower(const sleep_ticket& ticket) {
    if (!follower_) {
      static_cast<void>(sleep_on(ticket, time_point::max()));
      return;
    }
    const death_watch::word word{ticket.word, ticket.expected};
    if (follower_->watch.wait({&word, 1}, time_point::max()) == death_watch::outcome::died) {
      lose_follower();
    }
  }
  void lose_follower() {
    if (const pid_t before = dying_child.load(); before != 0) {
      while (::waitpid(before, nullptr, 0) < 0 && errno == EINTR) {
      }
    }
    dying_child.store(child.exchange(0));
    look_for_childs_end();  // where the signal has come already
    // ORDER: relaxed: a hint for the hub, which looks at the follower's own line.
    control().ready.store(0, std::memory_order_relaxed);
    follower_.reset();
    records_->dismiss_second();
  }

  /// RETURNS: true in the follower.
  [[nodiscard]] bool make_follower() {
    // The lowest bits are the place of its line. Not ours, nor that of the worker before us, at
    // which the hub may still look.
    do {
      ++last_number_;
    } while (last_number_ % lives_kept == process_ % lives_kept ||
             last_number_ % lives_kept == predecessor_ % lives_kept);
    const std::uint32_t number = last_number_;
    life_line& life = *::new (static_cast<void*>(&life_of(number))) life_line{};
    // ORDER: release pairs with process_pair::successor(): who sees it sees who is the worker.
    control().ready.store(0, std::memory_order_release);
    const ring_place records_from = records_->admit_second();
    const pid_t self = ::getpid();
    descriptor self_fd = pidfd_of(self);
    fault_point("pair.forking", false);
    // ORDER: relaxed: the hub looks at it when the fork has asked it.
    control().forking.store(1, std::memory_order_relaxed);
    const pid_t pid = fork_follower(&parent_has_ended);
    if (pid != 0) control().forking.store(0, std::memory_order_relaxed);
    if (pid == 0) {
      fault_point("pair.made", false);
      child.store(0);
      dying_child.store(0);
      // Not before the fork: our parent has a parent of its own, of whose end it may hear late.
      life_of_parent.store(&life_of(process_));
      if (::getppid() != self) parent_has_ended();
      const int self_number = self_fd.get();
      worker_.emplace(watched{
          process_,
          self,
          std::move(self_fd),
          {life_of(process_), life_line::watcher::peer, self, self_number, may_have_threads()}});
      become_follower(number, records_from);
      return true;
    }
    if (pid < 0) {  // the system has no room for it now: after the next message it is tried again
      fork_failed_ = true;
      records_->dismiss_second();
      return false;
    }
    descriptor pidfd = pidfd_of(pid);
    const int pidfd_number = pidfd.get();
    follower_.emplace(
        watched{number,
                pid,
                std::move(pidfd),
                {life, life_line::watcher::peer, pid, pidfd_number, may_have_threads()}});
    life_of_child.store(&life);
    child.store(pid);
    look_for_childs_end();  // it may have been too early for the handler
    fault_point("pair.forked", false);
    return false;
  }
  void wait_until_ready() {
    while (follower_) {
      const std::uint32_t ready = control().ready.load(std::memory_order_relaxed);
      if (ready == follower_->number) return;
      const death_watch::word word{&control().ready, ready};
      if (follower_->watch.wait({&word, 1}, time_point::max()) == death_watch::outcome::died) {
        lose_follower();
      }
    }
  }

  // --- as the follower

  void become_follower(std::uint32_t number, const ring_place& records_from) {
    process_ = number;
    memory_pages_ = huge_pages{!options_.limits.less_power};
    follower_.reset();
    copy_.emplace(ring_consumer::attach(memory_.records, ring_consumer_id::second,
                                        {.generation = generation_, .from = records_from}));
    next_message_ = messages_->place();
    records_.reset();
    messages_.reset();
    questions_.reset();
    answers_.reset();
    life_of(number).hold();
    ::new (static_cast<void*>(&crashes())) crash_block{};
    report_crashes(crashes(), life_of(number));
    control().pids[number % lives_kept] = ::getpid();
    // ORDER: release pairs with the hub: who sees it finds the line held, and the pid.
    control().ready.store(number, std::memory_order_release);
    detail::wake_all(&control().ready);
    fault_point("pair.following", false);
  }

  /// RETURNS: when the worker is dead, and everything that it had published is in our state.
  void follow() {
    for (;;) {
      const bool something = catch_up();
      const time_point now = peeper::detail::read_clock(CLOCK_MONOTONIC);
      const time_point move_at = memory_pages_.move_some(now);
      auto outcome = death_watch::outcome::woken;
      if (something) {
        outcome = worker_->watch.wait({}, std::min(move_at, now + follower_rest));
      } else if (const auto ticket = copy_->prepare_sleep()) {
        const death_watch::word word{ticket->word, ticket->expected};
        outcome = worker_->watch.wait({&word, 1}, move_at);
        copy_->end_sleep();
      }
      if (outcome != death_watch::outcome::died) continue;
      static_cast<void>(catch_up());
      return;
    }
  }
  /// RETURNS: whether there was anything.
  bool catch_up() {
    bool something = false;
    for (;;) {
      const auto next = copy_->read();
      if (!next) ::_exit(exit_bad_records);
      if (!*next) return something;
      something = true;
      const auto& [sequence, generation, type, payload] = **next;
      if (type == static_cast<std::uint16_t>(record_part::delta)) {
        replica_->apply(payload);
        memory_pages_.written(payload.size());
      }
      if (type == static_cast<std::uint16_t>(record_part::done)) {
        done_part done{};
        if (payload.size() != sizeof done) ::_exit(exit_bad_records);
        std::memcpy(&done, payload.data(), sizeof done);
        next_message_ = done.next;
        fault_point("pair.applied", false);
      }
      copy_->release();
    }
  }

  [[nodiscard]] bool is_over() const noexcept {
    // ORDER: seq_cst, since it is looked at after being marked as asleep: pairs with end_all().
    return control().over.load(std::memory_order_seq_cst) != 0;
  }

  void promote() {
    fault_point("pair.promoting", false);
    wait_until_known();
    if (is_over()) ::_exit(exit_over);
    // ORDER: release pairs with process_pair::successor(): our line is held.
    control().worker.store(process_, std::memory_order_release);
    control().forking.store(0, std::memory_order_relaxed);  // where it died at that
    auto taken = ring_producer::take_over(memory_.records, generation_ + 1, copy_->place());
    if (!taken) ::_exit(exit_bad_records);
    ++generation_;
    crashes().generation.store(generation_, std::memory_order_relaxed);
    records_.emplace(std::move(*taken));
    copy_.reset();
    predecessor_ = worker_->number;
    worker_.reset();
    last_number_ = process_;
    handled_ = 0;
    fork_failed_ = false;

    promoted_part promoted{.process = process_,
                           .generation = generation_,
                           .next = next_message_.sequence,
                           .skipped = 0,
                           .began = 0};
    // ORDER: relaxed, here and in died_of(): the dead worker's.
    if (control().began.load(std::memory_order_relaxed) == promoted.next) {
      promoted.began = promoted.next;
      if (died_of(promoted.next) > options_.retries) promoted.skipped = promoted.next;
    }
    append(static_cast<std::uint16_t>(record_part::promoted), bytes_of(promoted));
    records_->publish();
    fault_point("pair.promoted", false);
    messages_.emplace(
        ring_consumer::attach(memory_.messages, ring_consumer_id::first, trusted(next_message_)));
    if (promoted.skipped == 0) return;
    // It is released with the record of the start.
    const auto poison = messages_->read();
    if (!poison || !*poison) give_up();
  }
  /// Until the hub knows the worker that we replace; or us, once we are the worker.
  void wait_until_known() {
    for (;;) {
      // ORDER: acquire pairs with process_pair::read_promoted(): the rings of questions are new.
      const std::uint32_t known = control().known_generation.load(std::memory_order_acquire);
      if (known == generation_ || is_over()) return;
      static_cast<void>(sleep_on({&control().known_generation, known}, time_point::max()));
    }
  }
  /// Counts. RETURNS: so many workers have died of this message.
  std::uint32_t died_of(std::uint64_t message) noexcept {
    if (control().tried.load(std::memory_order_relaxed) != message) {
      control().tries.store(0, std::memory_order_relaxed);
      control().tried.store(message, std::memory_order_relaxed);
    }
    return control().tries.fetch_add(1, std::memory_order_relaxed) + 1;
  }

  pair_memory memory_;
  pair_options options_;
  std::unique_ptr<replica> replica_;
  std::uint32_t process_ = 1;
  std::uint32_t last_number_ = 1;
  std::uint32_t predecessor_ = 1;
  std::uint32_t generation_ = 1;

  // the worker's
  std::optional<ring_producer> records_;
  std::optional<ring_consumer> messages_;
  std::optional<ring_producer> questions_;
  std::optional<ring_consumer> answers_;
  std::optional<watched> follower_;
  unsigned handled_ = 0;  ///< since it was without a follower
  bool fork_failed_ = false;

  // the follower's
  std::optional<ring_consumer> copy_;
  std::optional<watched> worker_;
  ring_place next_message_;
  huge_pages memory_pages_;

  friend class record_writer;
};

void record_writer::append(std::uint16_t type, std::span<const std::byte> bytes) {
  if (type > frame_type_max) throw std::invalid_argument{"peeper: a frame type of the library's"};
  of_->append(type, bytes);
}
void record_writer::append_delta(std::span<const std::byte> bytes) {
  of_->append(static_cast<std::uint16_t>(record_part::delta), bytes);
}
std::span<const std::byte> record_writer::ask(std::uint16_t type,
                                              std::span<const std::byte> bytes) {
  return of_->ask(type, bytes);
}
void record_writer::tell(std::uint16_t type, std::span<const std::byte> bytes) {
  of_->tell(type, bytes);
}
void record_writer::discard() noexcept { of_->records_->discard(); }

std::string_view text_of_exit(int status) noexcept {
  switch (status) {
    case exit_bad_messages: return "what the hub had sent is not to be believed any more";
    case exit_bad_records: return "what its worker had recorded is not to be believed";
    case exit_no_memory: return "the rings could not be mapped";
    case exit_no_filter: return "the system refused a filter of system calls";
    case exit_no_limits: return "its limits are above those of the hub";
    default: return {};
  }
}

int run_pair_member(const worker_start& start) {
  pair_member_start given{};
  std::memcpy(&given, start.argument.data(), sizeof given);
  auto memory = shared_memory::attach(start.descriptors[0]);
  if (!memory) return exit_no_memory;
  pair_member member{pair_memory::find(memory->bytes(), given.options), given.options};
  // From here on crashes are reported: also where a limit is what makes it crash.
  if (apply_limits(given.options.limits) != 0) return exit_no_limits;
  auto made = given.make(start.argument.subspan(sizeof given));
  if (given.options.limits.less_power &&
      forbid_system_calls(start.descriptors.size() > 1 ? start.descriptors[1] : -1) != 0) {
    return exit_no_filter;
  }
  member.run(std::move(made));
}

}  // namespace peeper::sandbox
