// SPDX-License-Identifier: Apache-2.0
#include "sandbox/pair_member.hpp"

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <new>
#include <stdexcept>
#include <utility>

#include <sys/wait.h>
#include <unistd.h>

#include <peeper/detail/fault_point.hpp>

#include "core/real_clock.hpp"
#include "sandbox/futex.hpp"

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
/// A worker without a follower makes one when it has nothing to do, or after so many messages.
constexpr unsigned fork_at_the_latest_after = 256;

template <class Part>
std::span<const std::byte> bytes_of(const Part& part) noexcept {
  return std::as_bytes(std::span{&part, 1});
}

descriptor pidfd_of(pid_t pid) noexcept {
  return descriptor{static_cast<int>(::syscall(SYS_pidfd_open, pid, 0U))};
}

}  // namespace

std::size_t pair_memory::bytes_needed(const pair_options& options) noexcept {
  return control_bytes() + ring_memory::bytes_needed(options.messages) +
         ring_memory::bytes_needed(options.records);
}

pair_memory pair_memory::make(std::span<std::byte> memory, const pair_options& options) {
  const std::size_t messages = ring_memory::bytes_needed(options.messages);
  return {::new (memory.data()) pair_control{},
          ring_memory::make(memory.subspan(control_bytes(), messages), options.messages),
          ring_memory::make(memory.subspan(control_bytes() + messages), options.records)};
}

pair_memory pair_memory::find(std::span<std::byte> memory, const pair_options& options) {
  const std::size_t messages = ring_memory::bytes_needed(options.messages);
  return {std::launder(reinterpret_cast<pair_control*>(memory.data())),
          ring_memory::find(memory.subspan(control_bytes(), messages), options.messages).value(),
          ring_memory::find(memory.subspan(control_bytes() + messages), options.records).value()};
}

/// THREADS: one, its OS process's only one of ours.
class pair_member {
 public:
  pair_member(const pair_memory& memory, const pair_options& options, std::unique_ptr<replica> made)
      : memory_{memory},
        options_{options},
        replica_{std::move(made)},
        records_{ring_producer::start(memory.records, 1)},
        messages_{ring_consumer::attach(memory.messages, ring_consumer_id::first, trusted({}))} {
    control().pids[1] = ::getpid();
    control().lives[1].hold();
  }

  [[noreturn]] void run() {
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
      wait_for_room();
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
  [[nodiscard]] life_line& life_of(std::uint32_t number) const noexcept {
    return control().lives[number % lives_kept];
  }
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
      const auto next = messages_->read();
      if (!next) ::_exit(exit_bad_messages);
      if (*next) {
        handle(**next);
        ++handled_;
      }
      if (options_.follower && !follower_ && (!*next || handled_ >= fork_at_the_latest_after) &&
          !fork_failed_) {
        handled_ = 0;
        if (make_follower()) return;
        continue;
      }
      if (!*next) wait_for_message();
    }
  }

  void handle(const ring_frame& message) {
    // ORDER: relaxed: looked at when this OS process is dead.
    control().began.store(message.sequence, std::memory_order_relaxed);
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
    fault_point("pair.recorded", false);
    messages_->release();
  }

  void wait_for_message() {
    if (messages_->look_awhile()) return;
    const auto ticket = messages_->prepare_sleep();
    if (!ticket) return;
    sleep_beside_follower(*ticket);
    messages_->end_sleep();
  }
  void wait_for_room() {
    const auto ticket = records_->prepare_sleep();
    if (!ticket) return;
    sleep_beside_follower(*ticket);
    records_->end_sleep();
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
    // Its line says it is dead; the kernel may still be tearing its memory down.
    while (::waitpid(follower_->pid, nullptr, 0) < 0 && errno == EINTR) {
    }
    // ORDER: relaxed: a hint for the hub, which looks at the follower's own line.
    control().ready.store(0, std::memory_order_relaxed);
    follower_.reset();
    records_->dismiss_second();
  }

  /// RETURNS: true in the follower.
  [[nodiscard]] bool make_follower() {
    // The lowest bits are the place of its line: not ours.
    do {
      ++last_number_;
    } while (last_number_ % lives_kept == process_ % lives_kept);
    const std::uint32_t number = last_number_;
    life_line& life = *::new (static_cast<void*>(&life_of(number))) life_line{};
    // ORDER: relaxed: the child begins with what we have written.
    control().ready.store(0, std::memory_order_relaxed);
    const ring_place records_from = records_->admit_second();
    const pid_t self = ::getpid();
    descriptor self_fd = pidfd_of(self);
    fault_point("pair.forking", false);
    const pid_t pid = fork_follower();
    if (pid == 0) {
      const int self_number = self_fd.get();
      worker_.emplace(watched{process_,
                              self,
                              std::move(self_fd),
                              {life_of(process_), life_line::watcher::peer, self, self_number}});
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
    follower_.emplace(watched{
        number, pid, std::move(pidfd), {life, life_line::watcher::peer, pid, pidfd_number}});
    fault_point("pair.forked", false);
    wait_until_ready(number);
    return false;
  }
  /// It is not protected before, so nothing is handled before.
  void wait_until_ready(std::uint32_t number) {
    for (;;) {
      // ORDER: acquire pairs with become_follower(): it holds its line.
      const std::uint32_t ready = control().ready.load(std::memory_order_acquire);
      if (ready == number) return;
      const death_watch::word word{&control().ready, ready};
      if (follower_->watch.wait({&word, 1}, time_point::max()) == death_watch::outcome::died) {
        lose_follower();
        return;
      }
    }
  }

  // --- as the follower

  void become_follower(std::uint32_t number, const ring_place& records_from) {
    process_ = number;
    follower_.reset();
    copy_.emplace(ring_consumer::attach(memory_.records, ring_consumer_id::second,
                                        {.generation = generation_, .from = records_from}));
    next_message_ = messages_->place();
    records_.reset();
    messages_.reset();
    life_of(number).hold();
    control().pids[number % lives_kept] = ::getpid();
    // ORDER: release pairs with wait_until_ready() and the hub: who sees it finds the line held.
    control().ready.store(number, std::memory_order_release);
    detail::wake_all(&control().ready);
    fault_point("pair.following", false);
  }

  /// RETURNS: when the worker is dead, and everything that it had published is in our state.
  void follow() {
    for (;;) {
      const bool something = catch_up();
      auto outcome = death_watch::outcome::woken;
      if (something) {
        const time_point again = peeper::detail::read_clock(CLOCK_MONOTONIC) + follower_rest;
        outcome = worker_->watch.wait({}, again);
      } else if (const auto ticket = copy_->prepare_sleep()) {
        const death_watch::word word{ticket->word, ticket->expected};
        outcome = worker_->watch.wait({&word, 1}, time_point::max());
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
      if (type == static_cast<std::uint16_t>(record_part::delta)) replica_->apply(payload);
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

  void promote() {
    fault_point("pair.promoting", false);
    // ORDER: relaxed, here and below: written before the worker was killed.
    if (control().over.load(std::memory_order_relaxed) != 0) ::_exit(exit_over);
    auto taken = ring_producer::take_over(memory_.records, generation_ + 1, copy_->place());
    if (!taken) ::_exit(exit_bad_records);
    ++generation_;
    records_.emplace(std::move(*taken));
    copy_.reset();
    worker_.reset();
    last_number_ = process_;
    const promoted_part promoted{
        .process = process_, .generation = generation_, .next = next_message_.sequence};
    append(static_cast<std::uint16_t>(record_part::promoted), bytes_of(promoted));
    records_->publish();
    fault_point("pair.promoted", false);
    wait_for_orders();
    messages_.emplace(
        ring_consumer::attach(memory_.messages, ring_consumer_id::first, trusted(next_message_)));
    const std::uint64_t skip = control().ordered_skip.load(std::memory_order_relaxed);
    while (messages_->place().sequence < skip) {
      const auto over = messages_->read();
      if (!over || !*over) ::_exit(exit_bad_messages);
      messages_->release();
    }
    handled_ = 0;
  }
  void wait_for_orders() {
    for (;;) {
      // ORDER: acquire pairs with process_pair::go_on(): ordered_skip is there.
      const std::uint32_t ordered = control().ordered_generation.load(std::memory_order_acquire);
      if (ordered == generation_) return;
      if (control().over.load(std::memory_order_relaxed) != 0) ::_exit(exit_over);
      static_cast<void>(sleep_on({&control().ordered_generation, ordered}, time_point::max()));
    }
  }

  pair_memory memory_;
  pair_options options_;
  std::unique_ptr<replica> replica_;
  std::uint32_t process_ = 1;
  std::uint32_t last_number_ = 1;
  std::uint32_t generation_ = 1;

  // the worker's
  std::optional<ring_producer> records_;
  std::optional<ring_consumer> messages_;
  std::optional<watched> follower_;
  unsigned handled_ = 0;  ///< since it was without a follower
  bool fork_failed_ = false;

  // the follower's
  std::optional<ring_consumer> copy_;
  std::optional<watched> worker_;
  ring_place next_message_;

  friend class record_writer;
};

void record_writer::append(std::uint16_t type, std::span<const std::byte> bytes) {
  if (type > frame_type_max) throw std::invalid_argument{"peeper: a frame type of the library's"};
  of_->append(type, bytes);
}
void record_writer::append_delta(std::span<const std::byte> bytes) {
  of_->append(static_cast<std::uint16_t>(record_part::delta), bytes);
}
void record_writer::discard() noexcept { of_->records_->discard(); }

int run_pair_member(const worker_start& start) {
  pair_member_start given{};
  std::memcpy(&given, start.argument.data(), sizeof given);
  auto memory = shared_memory::attach(start.descriptors[0]);
  if (!memory) return exit_no_memory;
  pair_member{pair_memory::find(memory->bytes(), given.options), given.options,
              given.make(start.argument.subspan(sizeof given))}
      .run();
}

}  // namespace peeper::sandbox
