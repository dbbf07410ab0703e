// SPDX-License-Identifier: Apache-2.0
#include "sandbox/process_pair.hpp"

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/real_clock.hpp"
#include "sandbox/futex.hpp"

namespace peeper::sandbox {

using detail::done_part;
using detail::lives_kept;
using detail::promoted_part;
using detail::record_part;

namespace {

/// A follower is promoted within this, where there is no callback_limit: it has no more to do than
/// to read what is left in the ring.
constexpr duration promotion_limit = std::chrono::seconds{30};

constexpr const char* overwritten_messages =
    "the messages it was sent were overwritten: they are not to be believed";

/// RETURNS: 0 if there is no such OS process.
pid_t parent_of(pid_t pid) noexcept {
  std::array<char, 64> path{};
  std::snprintf(path.data(), path.size(), "/proc/%d/stat", static_cast<int>(pid));
  const descriptor file{::open(path.data(), O_RDONLY | O_CLOEXEC)};
  std::array<char, 512> text{};
  if (!file || ::read(file.get(), text.data(), text.size() - 1) <= 0) return 0;
  // "pid (name) state parent ...", and the name may have anything in it.
  const char* const after_name = std::strrchr(text.data(), ')');
  if (after_name == nullptr || std::strlen(after_name) < 5) return 0;
  return static_cast<pid_t>(std::strtol(after_name + 4, nullptr, 10));
}

}  // namespace

process_pair::process_pair(shared_memory memory, const pair_options& options, ended_processes& ends)
    : shared_{std::make_shared<const shared_memory>(std::move(memory))},
      memory_{pair_memory::make(shared_->bytes(), options)},
      messages_{ring_producer::start(memory_.messages, 1)},
      records_{ring_consumer::attach(memory_.records, ring_consumer_id::first, {})},
      options_{options},
      callback_limit_{options.callback_limit},
      grace_{options.grace},
      ends_{&ends},
      follower_since_{ends.mark()},
      deaths_{ends},
      less_power_{options.limits.less_power},
      has_follower_{options.follower} {
  renew_questions();
}

void process_pair::renew_questions() {
  memory_.renew_questions(options_);
  questions_.emplace(
      ring_consumer::attach(ring_memory::find(memory_.questions, options_.questions).value(),
                            ring_consumer_id::first, {}));
  answers_.emplace(
      ring_producer::start(ring_memory::find(memory_.answers, options_.questions).value(), 1));
}

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
  std::vector<int> descriptors{memory->descriptor()};
  std::unique_ptr<process_pair> made{new process_pair{std::move(*memory), options, zygote->ends()}};
  descriptor gate;
  if (options.limits.less_power && options.follower) {
    if (auto why = fork_guard::why_not(); !why.empty()) return std::unexpected{std::move(why)};
    std::array<int, 2> ends{};
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0) {
      return std::unexpected{std::string{"the hub has no descriptors left for a worker"}};
    }
    gate.reset(ends[1]);
    descriptors.push_back(gate.get());
    made->guard_ = std::make_unique<fork_guard>(zygote->ends().thread(), descriptor{ends[0]},
                                                *made->memory_.control);
  }

  const pair_member_start given{.make = make, .options = options};
  std::vector<std::byte> all(sizeof given + argument.size());
  std::memcpy(all.data(), &given, sizeof given);
  if (!argument.empty()) std::memcpy(all.data() + sizeof given, argument.data(), argument.size());
  auto forked =
      zygote->fork({.entry = &run_pair_member, .argument = all, .descriptors = descriptors});
  if (!forked) return std::unexpected{std::move(forked.error().text)};
  made->watch(1, forked->pid, std::move(forked->pidfd));
  return made;
}

process_pair::~process_pair() {
  end_all();
  // One that is promoted at this moment, of whom we have not heard, reads this, or sees that all is
  // over when it has read what is before it.
  if (messages_.append(frame_type_end, {})) messages_.publish();
  signal_worker();
  if (number_ != 0) ends_->unwatch(memory_.control->lives[number_ % lives_kept]);
}

void process_pair::watch(std::uint32_t number, pid_t pid, descriptor pidfd) {
  auto& lives = memory_.control->lives;
  if (number_ != 0) ends_->unwatch(lives[number_ % lives_kept]);
  number_ = number;
  worker_pid_ = pid;
  {
    const std::lock_guard lock{kill_mutex_};
    pidfd_ = std::move(pidfd);
    killed_ = false;
  }
  hung_for_.reset();
  waits_for_ = 0;
  worker_since_ = std::exchange(follower_since_, ends_->mark());
  life_line& life = lives[number % lives_kept];
  watch_.emplace(life, life_line::watcher::hub, pid, pidfd_.get(), !less_power_);
  if (guard_) guard_->worker_is(number, pidfd_ ? pid : 0);
  // It may overwrite all of its life line; the zygote hears of its end all the same.
  if (pidfd_) ends_->watch(pid, worker_since_, life);
}

void process_pair::watch(std::uint32_t number) {
  const pid_t pid = memory_.control->pids[number % lives_kept].load(std::memory_order_relaxed);
  descriptor pidfd{static_cast<int>(::syscall(SYS_pidfd_open, pid, 0U))};
  const bool ours = is_ours(pid);
  watch(number, pid, ours ? std::move(pidfd) : descriptor{});
  // Dead already, or there has never been one: its line may be held by nobody.
  if (!ours) memory_.control->lives[number % lives_kept].say_dead();
}

bool process_pair::is_ours(pid_t pid) const noexcept {
  // The zygote is the parent of the first worker, and of those who were followers, once the kernel
  // is done with the end of the worker before them.
  const pid_t parent = parent_of(pid);
  const zygote_link* const zygote = zygote_link::current();
  return parent != 0 &&
         ((!deaths_.empty() && parent == deaths_.last().pid) ||
          (zygote != nullptr && parent == zygote->pid())) &&
         !ends_->is_watched(pid);
}

std::expected<std::uint64_t, ring_error> process_pair::send(std::uint16_t type,
                                                            std::span<const std::byte> message) {
  const std::uint64_t number = messages_.place().sequence;
  if (auto done = messages_.append(type, message); !done) {
    if (done.error().what == ring_errc::corrupt_cursor && phase_ != phase::over) {
      static_cast<void>(
          lost(fmt::format("what it says of the messages it has read is not to be "
                           "believed: {}",
                           done.error().text())));
    }
    return std::unexpected{done.error()};
  }
  messages_.publish();
  return number;
}

bool process_pair::kill_worker() noexcept {
  const std::lock_guard lock{kill_mutex_};
  if (!signal_worker()) return false;
  killed_ = true;
  return true;
}

bool process_pair::signal_worker() noexcept {
  if (!pidfd_) return false;
  return ::syscall(SYS_pidfd_send_signal, pidfd_.get(), SIGKILL, nullptr, 0U) == 0;
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

descriptor process_pair::worker_descriptor() const noexcept {
  return descriptor{pidfd_ ? ::fcntl(pidfd_.get(), F_DUPFD_CLOEXEC, 0) : -1};
}

void process_pair::check_for_hang() {
  const time_point now = peeper::detail::read_clock(CLOCK_MONOTONIC);
  if (now < look_for_hang_at_) return;
  time_point since = now;
  // ORDER: acquire pairs with the worker's release.
  if (memory_.control->began.load(std::memory_order_acquire) == consumed_ + 1) {
    const duration began_at{memory_.control->began_at.load(std::memory_order_relaxed)};
    since = std::clamp(time_point{began_at}, time_point{}, now);
    if (now >= deadline_after(since, callback_limit_) && signal_worker()) hung_for_ = now - since;
  }
  look_for_hang_at_ = deadline_after(since, callback_limit_);
  // What it says that it does may not be true.
  if (waits_for_ != consumed_ + 1) {
    waits_for_ = consumed_ + 1;
    waits_since_ = now;
  } else if (!hung_for_ && now >= deadline_after(waits_since_, callback_limit_ + grace_) &&
             signal_worker()) {
    hung_for_ = now - waits_since_;
  }
}

pair_event process_pair::next(time_point deadline) {
  for (;;) {
    if (phase_ == phase::over) return lost(why_lost_);
    if (auto e = read_part()) return std::move(*e);
    const bool working = phase_ == phase::working;
    if (auto e = read_question()) return std::move(*e);
    if (working && records_.look_awhile()) continue;
    time_point until = deadline;
    if (callback_limit_ != infinity && working && !hung_for_ && has_under_way()) {
      check_for_hang();
      until = std::min(until, look_for_hang_at_);
    }
    if (!working) until = std::min(until, promoted_until_);
    auto outcome = death_watch::outcome::woken;
    if (const auto ticket = records_.prepare_sleep()) {
      if (const auto asked = questions_->prepare_sleep()) {
        const std::array words{death_watch::word{ticket->word, ticket->expected},
                               death_watch::word{asked->word, asked->expected}};
        outcome = watch_->wait(words, until);
        questions_->end_sleep();
      }
      records_.end_sleep();
    }
    if (outcome == death_watch::outcome::timed_out) {
      if (until == deadline) return {};
      if (!working) return lost("the follower that was to go on says nothing that can be believed");
      continue;
    }
    if (outcome == death_watch::outcome::woken) continue;
    // It is dead. What it has published before has happened, also where nobody goes on.
    if (auto e = read_part()) return std::move(*e);
    if (!begin_failover()) return lost(why_lost_);
  }
}

std::optional<pair_event> process_pair::read_question() {
  if (phase_ != phase::working) return std::nullopt;  // those of the dead are not answered
  questions_->release();
  const auto next = questions_->read();
  if (!next) {
    return lost(fmt::format("its questions are not to be believed: {}", next.error().text()));
  }
  if (!*next) return std::nullopt;
  return pair_event{.what = pair_event::kind::question,
                    .type = (*next)->type,
                    .bytes = (*next)->payload,
                    .why = {}};
}

std::expected<void, ring_error> process_pair::answer(std::span<const std::byte> bytes) {
  if (auto done = answers_->append(0, bytes); !done) return done;
  answers_->publish();
  return {};
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
  } while ((*next)->type == frame_type_delta && !deltas_wanted_);
  const ring_frame& frame = **next;
  if (frame.type <= frame_type_max || frame.type == frame_type_delta) {
    return pair_event{
        .what = pair_event::kind::part, .type = frame.type, .bytes = frame.payload, .why = {}};
  }
  switch (static_cast<record_part>(frame.type)) {
    case record_part::promoted: return read_promoted(frame);
    case record_part::gave_up: return lost(overwritten_messages);
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

void process_pair::note_death(std::string why) {
  descriptor pidfd;
  {
    const std::lock_guard lock{kill_mutex_};
    pidfd = std::move(pidfd_);
  }
  deaths_.note(
      {.pid = worker_pid_,
       .generation = generation_,
       .since = worker_since_,
       .killed = killed_ || !why.empty(),
       .why = std::move(why),
       .hung_for = hung_for_,
       .forbidden_call = guard_ && guard_->has_refused(worker_pid_) ? std::optional<int>{SYS_clone}
                                                                    : std::nullopt},
      memory_.control->crashes[number_ % detail::crashes_kept], shared_, std::move(pidfd));
}

bool process_pair::begin_failover() {
  const crash_block& block = memory_.control->crashes[number_ % detail::crashes_kept];
  // It may live, and only have overwritten what tells of its death. Who has reported a crash may
  // still dump its core.
  const auto state = block.state.load(std::memory_order_relaxed);
  if (state != crash_block::phase::told && state != crash_block::phase::complete) signal_worker();
  note_death();
  if (!messages_.is_unchanged()) {
    why_lost_ = overwritten_messages;
    return false;
  }
  if (phase_ != phase::working) {
    why_lost_ = "worker and follower died at once";
    return false;
  }
  // The dead worker may have overwritten it, and somebody may sleep on it.
  tell_known_generation();
  const std::uint32_t next = has_follower_ ? successor() : 0;
  if (next == 0) {
    why_lost_ = "the worker died while it had no follower";
    return false;
  }
  watch(next);
  phase_ = phase::promoting;
  promoted_until_ =
      deadline_after(peeper::detail::read_clock(CLOCK_MONOTONIC),
                     callback_limit_ == infinity ? promotion_limit : callback_limit_ + grace_);
  records_.follow(++generation_);
  return true;
}

std::uint32_t process_pair::successor() const noexcept {
  // ORDER: acquire pairs with become_follower(): it holds its line, and its pid is there. And with
  // make_follower(): where somebody is worker in its place already, we see who.
  const std::uint32_t ready = memory_.control->ready.load(std::memory_order_acquire);
  const std::uint32_t worker = memory_.control->worker.load(std::memory_order_acquire);
  if (worker != number_) return worker;
  return ready == number_ ? 0 : ready;
}

pair_event process_pair::read_promoted(const ring_frame& frame) {
  promoted_part part{};
  if (phase_ != phase::promoting || frame.payload.size() != sizeof part) {
    return lost("a follower that was promoted at the wrong time");
  }
  std::memcpy(&part, frame.payload.data(), sizeof part);
  const bool had_begun = part.began == part.next && has_under_way();
  if (part.process != number_ || part.generation != generation_ || part.next != consumed_ + 1 ||
      (part.began != 0 && !had_begun) || (part.skipped != 0 && part.skipped != part.began)) {
    return lost("a follower that has not the state of its worker");
  }
  phase_ = phase::working;
  renew_questions();
  tell_known_generation();
  if (part.skipped != 0) consumed_ = part.skipped;
  return {.what = pair_event::kind::crashed,
          .bytes = {},
          .began = part.began,
          .skipped = part.skipped != 0,
          .hung = deaths_.last().hung_for.has_value(),
          .why = {}};
}

void process_pair::tell_known_generation() const noexcept {
  // ORDER: release pairs with wait_until_known(): the rings of questions are new.
  memory_.control->known_generation.store(generation_, std::memory_order_release);
  detail::wake_all(&memory_.control->known_generation);
}

void process_pair::end_all() noexcept {
  // ORDER: seq_cst: members look now and then; the wake-ups are for one that waits for room, and
  // for one that waits to be promoted.
  memory_.control->over.store(1, std::memory_order_seq_cst);
  records_.dismiss_second();
  memory_.control->known_generation.fetch_add(1, std::memory_order_relaxed);
  detail::wake_all(&memory_.control->known_generation);
}

pair_event process_pair::lost(std::string why) {
  phase_ = phase::over;
  why_lost_ = why;
  end_all();
  if (pidfd_) {  // else its death is noted, and it may still be writing down what it died of
    signal_worker();
    note_death(why_lost_);
  }
  // ORDER: relaxed: the dead worker's, or what one gone mad says of itself.
  const bool begun =
      has_under_way() && memory_.control->began.load(std::memory_order_relaxed) == consumed_ + 1;
  return {.what = pair_event::kind::lost,
          .bytes = {},
          .began = begun ? consumed_ + 1 : 0,
          .why = std::move(why)};
}

}  // namespace peeper::sandbox
