// SPDX-License-Identifier: Apache-2.0
#include "sandbox/process_pair.hpp"

#include <csignal>
#include <cstring>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sandbox/futex.hpp"

namespace peeper::sandbox {

using detail::done_part;
using detail::lives_kept;
using detail::promoted_part;
using detail::record_part;

process_pair::process_pair(shared_memory memory, const pair_options& options)
    : shared_{std::move(memory)},
      memory_{pair_memory::make(shared_.bytes(), options)},
      messages_{ring_producer::start(memory_.messages, 1)},
      records_{ring_consumer::attach(memory_.records, ring_consumer_id::first, {})} {}

std::expected<std::unique_ptr<process_pair>, std::string> process_pair::start(
    const pair_options& options, replica_factory make, std::span<const std::byte> argument) {
  zygote_link* const zygote = zygote_link::current();
  if (zygote == nullptr) {
    return std::unexpected{
        std::string{"there is no zygote to fork from: make a peeper::zygote first thing in main"}};
  }
  if (auto why = why_no_death_watch(); !why.empty()) return std::unexpected{std::move(why)};
  auto memory = shared_memory::create("peeper:pair", pair_memory::bytes_needed(options));
  if (!memory) {
    return std::unexpected{fmt::format("no memory for the rings of a worker's OS process: {}",
                                       memory.error().message())};
  }
  const int descriptor_number = memory->descriptor();
  std::unique_ptr<process_pair> made{new process_pair{std::move(*memory), options}};

  const pair_member_start given{.make = make, .options = options};
  std::vector<std::byte> all(sizeof given + argument.size());
  std::memcpy(all.data(), &given, sizeof given);
  if (!argument.empty()) std::memcpy(all.data() + sizeof given, argument.data(), argument.size());
  auto forked = zygote->fork(
      {.entry = &run_pair_member, .argument = all, .descriptors = {&descriptor_number, 1}});
  if (!forked) return std::unexpected{std::move(forked.error().text)};
  made->watch(1, forked->pid, std::move(forked->pidfd));
  return made;
}

process_pair::~process_pair() {
  // ORDER: release pairs with the members' looks; they are woken to look.
  memory_.control->over.store(1, std::memory_order_release);
  detail::wake_all(&memory_.control->ordered_generation);
  // The follower sees its worker dead, and that all is over.
  kill_worker();
}

void process_pair::watch(std::uint32_t number, pid_t pid, descriptor pidfd) {
  number_ = number;
  worker_pid_ = pid;
  pidfd_ = std::move(pidfd);
  watch_.emplace(memory_.control->lives[number % lives_kept], life_line::watcher::hub, pid,
                 pidfd_.get());
}

std::expected<std::uint64_t, ring_error> process_pair::send(std::uint16_t type,
                                                            std::span<const std::byte> message) {
  const std::uint64_t number = messages_.place().sequence;
  if (auto done = messages_.append(type, message); !done) return std::unexpected{done.error()};
  messages_.publish();
  return number;
}

void process_pair::kill_worker() noexcept {
  if (pidfd_) ::syscall(SYS_pidfd_send_signal, pidfd_.get(), SIGKILL, nullptr, 0U);
}

bool process_pair::is_protected() const noexcept { return follower() != 0; }

pid_t process_pair::follower() const noexcept {
  // ORDER: acquire pairs with the follower's release: its pid is there.
  const std::uint32_t ready = memory_.control->ready.load(std::memory_order_acquire);
  if (ready == 0 || ready == number_ ||
      !memory_.control->lives[ready % lives_kept].seems_alive(life_line::watcher::hub)) {
    return 0;
  }
  return memory_.control->pids[ready % lives_kept].load(std::memory_order_relaxed);
}

pair_event process_pair::next(time_point deadline) {
  for (;;) {
    if (phase_ == phase::over) return lost(why_lost_);
    if (auto e = read_part()) return std::move(*e);
    // Between crashed and go_on() there is nothing to read, and the promoted one may die, too.
    bool spun = phase_ == phase::working && records_.look_awhile();
    if (spun) continue;
    auto outcome = death_watch::outcome::woken;
    if (const auto ticket = records_.prepare_sleep()) {
      const death_watch::word word{ticket->word, ticket->expected};
      outcome = watch_->wait({&word, 1}, deadline);
      records_.end_sleep();
    }
    if (outcome == death_watch::outcome::timed_out) return {};
    if (outcome == death_watch::outcome::woken) continue;
    // It is dead. What it has published before has happened.
    if (auto e = read_part()) return std::move(*e);
    if (!begin_failover()) return lost(why_lost_);
  }
}

std::optional<pair_event> process_pair::read_part() {
  std::expected<std::optional<ring_frame>, ring_error> next;
  do {
    records_.release();
    next = records_.read();
    if (!next) {
      return lost(fmt::format("its records are not to be believed: {}", next.error().text()));
    }
    if (!*next) return std::nullopt;
  } while ((*next)->type == static_cast<std::uint16_t>(record_part::delta));
  const ring_frame& frame = **next;
  if (frame.type <= frame_type_max) {
    return pair_event{
        .what = pair_event::kind::part, .type = frame.type, .bytes = frame.payload, .why = {}};
  }
  switch (static_cast<record_part>(frame.type)) {
    case record_part::promoted: return read_promoted(frame);
    case record_part::done: break;
    default: return lost("a frame of no known type");
  }
  done_part done{};
  if (frame.payload.size() != sizeof done) return lost("a record that ends wrongly");
  std::memcpy(&done, frame.payload.data(), sizeof done);
  if (done.consumed != 0) {
    if (done.consumed != consumed_ + 1 || done.consumed >= messages_.place().sequence) {
      return lost(fmt::format("a record of message {} where that of {} comes", done.consumed,
                              consumed_ + 1));
    }
    consumed_ = done.consumed;
  }
  return pair_event{
      .what = pair_event::kind::done, .bytes = {}, .number = done.consumed, .why = {}};
}

bool process_pair::begin_failover() {
  if (phase_ != phase::working) {
    why_lost_ = "worker and follower died at once";
    return false;
  }
  // ORDER: acquire pairs with become_follower(): it holds its line, and its pid is there.
  const std::uint32_t ready = memory_.control->ready.load(std::memory_order_acquire);
  if (ready == 0 || ready == number_) {
    why_lost_ = "the worker died while it had no follower";
    return false;
  }
  const pid_t pid = memory_.control->pids[ready % lives_kept].load(std::memory_order_relaxed);
  descriptor pidfd{static_cast<int>(::syscall(SYS_pidfd_open, pid, 0U))};
  if (!pidfd) {
    why_lost_ = "worker and follower died at once";
    return false;
  }
  watch(ready, pid, std::move(pidfd));
  phase_ = phase::promoting;
  records_.follow(++generation_);
  return true;
}

pair_event process_pair::read_promoted(const ring_frame& frame) {
  promoted_part part{};
  if (phase_ != phase::promoting || frame.payload.size() != sizeof part) {
    return lost("a follower that was promoted at the wrong time");
  }
  std::memcpy(&part, frame.payload.data(), sizeof part);
  if (part.process != number_ || part.generation != generation_ || part.next != consumed_ + 1) {
    return lost("a follower that has not the state of its worker");
  }
  phase_ = phase::waiting;
  // The dead worker's word; only it could have written it.
  const std::uint64_t began = memory_.control->began.load(std::memory_order_relaxed);
  return {.what = pair_event::kind::crashed,
          .bytes = {},
          .began = began == consumed_ + 1 && began < messages_.place().sequence ? began : 0,
          .why = {}};
}

void process_pair::go_on(std::uint64_t from) {
  phase_ = phase::working;
  memory_.control->ordered_skip.store(from, std::memory_order_relaxed);
  if (from > consumed_ + 1) consumed_ = from - 1;
  // ORDER: release pairs with the promoted one's acquire.
  memory_.control->ordered_generation.store(generation_, std::memory_order_release);
  detail::wake_all(&memory_.control->ordered_generation);
}

pair_event process_pair::lost(std::string why) {
  phase_ = phase::over;
  why_lost_ = why;
  memory_.control->over.store(1, std::memory_order_release);
  detail::wake_all(&memory_.control->ordered_generation);
  kill_worker();
  return {.what = pair_event::kind::lost, .bytes = {}, .why = std::move(why)};
}

}  // namespace peeper::sandbox
