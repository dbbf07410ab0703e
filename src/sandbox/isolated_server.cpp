// SPDX-License-Identifier: Apache-2.0
/// \file
/// The program's end of a server whose callbacks run in an OS process of their own.
#include <atomic>
#include <exception>
#include <map>
#include <mutex>
#include <stdexcept>
#include <tuple>
#include <utility>

#include <fmt/format.h>

#include <peeper/detail/branch.hpp>
#include <peeper/detail/crossing.hpp>
#include <peeper/detail/elsewhere.hpp>
#include <peeper/detail/system_call.hpp>
#include <peeper/os_process.hpp>
#include <peeper/self.hpp>
#include <peeper/zygote.hpp>

#include "core/log.hpp"
#include "core/real_clock.hpp"
#include "core/runtime_core.hpp"
#include "sandbox/crash_reporter.hpp"
#include "sandbox/dictionary_copy.hpp"
#include "sandbox/elsewhere_access.hpp"
#include "sandbox/idle_watch.hpp"
#include "sandbox/process_pair.hpp"
#include "sandbox/server_replica.hpp"
#include "sandbox/server_wire.hpp"
#include "sandbox/zygote.hpp"
#include "server/current.hpp"
#include "table/table_elsewhere.hpp"

namespace peeper::sandbox {

using peeper::detail::bad_crossing;
using peeper::detail::branch;
using peeper::detail::crossing;
using peeper::detail::crossing_number;
using peeper::detail::elsewhere_access;
using peeper::detail::execution;
using peeper::detail::message;
using peeper::detail::message_deleter;
using peeper::detail::process_ptr;
using peeper::detail::running_here;

namespace {

using owned_message = std::unique_ptr<message, message_deleter>;

/// Numbers that workers give to their timers and monitors: 2^32 for each start of one, apart from
/// those that the program gives.
std::uint64_t block_of_ids() noexcept {
  static std::atomic<std::uint32_t> next{0};
  constexpr std::uint64_t of_workers = std::uint64_t{1} << 63U;
  // ORDER: relaxed: only uniqueness matters.
  return of_workers | (std::uint64_t{next.fetch_add(1, std::memory_order_relaxed)} << 32U);
}

/// How long the zygote has for its word on an end of which /proc says nothing any more. It is under
/// way then: this is reached only where the zygote is not let run.
constexpr duration word_limit = std::chrono::milliseconds{2};

std::string_view name_of(to_worker type) noexcept {
  switch (type) {
    case to_worker::start: return "init";
    case to_worker::end_worker: return "destructor";
    case to_worker::terminate: return "terminate";
    case to_worker::hibernate: return "hibernate";
    case to_worker::state: return "inspect";
    case to_worker::replace_state: return "edit";
    case to_worker::handle: break;
  }
  return "?";
}

struct worker_lost {
  std::uint32_t generation;
  exit_reason reason;
  void operator()(branch& b) const noexcept { b.system_worker_failed(generation, reason); }
};

/// THREADS: the claim's holder of the server; kill(): any.
class isolated_server final : public peeper::detail::worker_process {
 public:
  isolated_server(branch& server, const peeper::detail::isolated_class& of,
                  std::vector<std::byte> set_up, const os_process_options& options)
      : server_{&server}, class_{&of}, set_up_{std::move(set_up)}, options_{options} {}

  void start(bool first) override {
    if (lost_) throw exit_reason{*lost_};
    if (server_->runtime().env().simulated()) {
      throw std::invalid_argument{
          "peeper: isolation = os_process needs the real machine: a simulation has no OS "
          "processes"};
    }
    if (!pair_) open();
    dead_.reset();
    cbor_writer out;
    out.boolean(first);
    out.natural(elsewhere_access::running_generation(*server_));
    out.natural(server_->restarts());
    peeper::detail::write_reason(out, server_->last_crash());
    out.natural(block_of_ids());
    out.bytes(set_up_known_ ? std::span<const std::byte>{} : set_up_message());
    if (!set_up_known_ && keeps_copy() && class_->has_state(*server_)) {
      out.bytes(class_->encode_state(*server_));
      dictionary_.write(out);
      peeper::detail::write_kept_tables(*server_, out);
    }
    exchange(to_worker::start, {}, out.view(), nullptr);
    started_ = set_up_known_ = true;
    if (!keeps_copy()) set_up_ = {};
  }
  void end_worker() noexcept override {
    open_calls_.clear();  // they die with it
    if (!pair_ || dead_ || lost_ || !started_) return;
    try {
      exchange(to_worker::end_worker, {}, {}, nullptr);
    } catch (...) {  // it ends, either way
      return;
    }
  }
  void handle(message& m) override {
    if (dead_) {
      running_here->innocent = true;
      throw exit_reason{*dead_};
    }
    const auto* const cross = m.type->cross;
    to_worker_head head{.epoch = 0,
                        .crossing = cross->number,
                        .deadline = m.deadline.time_since_epoch().count(),
                        .call = 0};
    if (cross->hold != nullptr) {
      held_ = cross->hold(m);
      head.call = ++last_held_;
    }
    handling_ = true;
    exchange(to_worker::handle, head, cross->write(m, scratch_), &m);
  }
  void terminate(const exit_reason& reason) override {
    if (dead_ || lost_ || !started_) return;
    cbor_writer out;
    peeper::detail::write_reason(out, reason);
    exchange(to_worker::terminate, {}, out.view(), nullptr);
  }
  void hibernate() override { exchange(to_worker::hibernate, {}, {}, nullptr); }
  std::vector<std::byte> state() override {
    execution none{*server_, nullptr, elsewhere_access::running_generation(*server_)};
    const peeper::detail::execution_scope scope{none};
    exchange(to_worker::state, {}, {}, nullptr);
    return std::move(state_);
  }
  void replace_state(std::span<const std::byte> state) override {  // the program's copy is changed
    exchange(to_worker::replace_state, {}, state, nullptr);
  }
  std::optional<exit_reason> look() override {
    if (dead_ || lost_ || !pair_) return std::nullopt;
    for (;;) {
      const pair_event e =
          pair_->next(pair_->is_failing_over() ? time_point::max() : time_point::min());
      if (e.what == pair_event::kind::crashed) return note_crash();
      if (e.what == pair_event::kind::lost) return note_loss(e.why);
      if (e.what == pair_event::kind::timed_out && !pair_->is_failing_over()) return std::nullopt;
    }
  }
  void close() noexcept override {
    idle_watch::program().forget(this);
    const std::lock_guard lock{kill_mutex_};
    pair_.reset();
  }
  std::vector<crash_report> crashes(duration limit) const override {
    return crashes_->wait(deadline_after(peeper::detail::read_clock(CLOCK_MONOTONIC), limit));
  }
  bool keeps_copy() const noexcept override { return options_.follower != followers::one; }
  const std::optional<exit_reason>& lost() const noexcept override { return lost_; }
  void kill() noexcept override {
    const std::lock_guard lock{kill_mutex_};
    if (pair_) pair_->kill_worker();
  }

 private:
  void open() {
    const replica_argument argument{.of = class_,
                                    .crossings = peeper::detail::crossings_registered()};
    pair_options o;
    o.messages.large_bytes = options_.largest_record;
    o.records.large_bytes = options_.largest_record;
    o.follower = options_.follower != followers::none;
    o.protect_first = !keeps_copy();  // a second death loses nothing
    o.callback_limit = options_.callback_limit;
    o.limits = options_.limits;
    auto made =
        process_pair::start(o, &make_server_replica, std::as_bytes(std::span{&argument, 1}));
    if (!made) throw std::runtime_error{made.error()};
    {
      const std::lock_guard lock{kill_mutex_};
      pair_ = std::move(*made);
    }
    epoch_ = 1;
    numbers_before_ += std::exchange(last_number_, 0);
    watch_for_death();
  }
  std::span<const std::byte> set_up_message() {
    set_up_out_.truncate(0);
    set_up_out_.natural(server_->server_pid().raw());
    set_up_out_.text(server_->options().name);
    set_up_out_.boolean(server_->options().keep_tables.keeps_all());
    peeper::detail::encode_value(set_up_out_, server_->options().keep_tables.names());
    set_up_out_.bytes(set_up_);
    return set_up_out_.view();
  }

  // --- one message there, one record back
  void exchange(to_worker type, to_worker_head head, std::span<const std::byte> payload,
                message* m) {
    struct over {
      isolated_server* s;
      ~over() {
        s->dictionary_.rollback();
        s->handling_ = false;
        s->under_way_ = {};
        s->held_.reset();
      }
    } const at_end{this};
    head.epoch = epoch_;
    pair_->want_deltas(type != to_worker::replace_state &&
                       (follows_state() || peeper::detail::has_tables(*server_)));
    write_with_head(out_, head, payload);
    const auto number = pair_->send(static_cast<std::uint16_t>(type), out_);
    if (!number) {
      throw std::length_error{
          fmt::format("peeper: a message of {} bytes does not go to the worker's OS process: {}",
                      out_.size(), number.error().text())};
    }
    under_way_ = {.number = *number, .type = type, .what = m};
    last_number_ = *number;
    std::optional<exit_reason> failed;
    for (;;) {
      pair_event e = next();
      switch (e.what) {
        case pair_event::kind::part:
          believe([&] { take_part(static_cast<to_hub>(e.type), e.bytes, m, failed); });
          break;
        case pair_event::kind::question:
          believe([&] { take_question(static_cast<question>(e.type), e.bytes); });
          break;
        case pair_event::kind::done:
          if (e.number != *number) break;  // one that was sent to a worker that is dead
          if (failed) throw exit_reason{*failed};
          keep_open();
          dictionary_.commit();
          running_here->committed = true;
          return;
        case pair_event::kind::crashed: crashed(note_crash(), e.began != *number);
        case pair_event::kind::lost: crashed(note_loss(e.why), e.began != *number);
        case pair_event::kind::timed_out: break;
      }
    }
  }
  pair_event next() {
    pair_event e = pair_->next(time_point::min());
    if (e.what != pair_event::kind::timed_out) return e;
    auto& sched = server_->runtime().sched();
    sched.blocks(true);
    e = pair_->next(time_point::max());
    sched.blocks(false);
    return e;
  }
  [[noreturn]] void crashed(const exit_reason& reason, bool innocent) {
    if (lost_) throw exit_reason{reason};
    if (handling_) {
      running_here->innocent = innocent;
    } else if (started_) {
      // Nobody restarts it because of what is thrown.
      server_->push_or_release(new peeper::detail::system_notice<worker_lost>{
          peeper::detail::message_kind::urgent,
          {elsewhere_access::running_generation(*server_), reason}});
    }
    throw exit_reason{reason};
  }
  [[nodiscard]] bool follows_state() const noexcept {
    return keeps_copy() || class_->listened(*server_);
  }
  exit_reason note_crash() {
    ++epoch_;
    open_calls_.clear();
    note_reason();
    watch_for_death();
    return *dead_;
  }
  void note_reason() {
    report_deaths();
    if (elsewhere_access::fenced(*server_)) {
      dead_ = exit_kind::killed;
    } else {
      dead_ = pair_->last_reason(peeper::detail::read_clock(CLOCK_MONOTONIC) + word_limit);
    }
  }
  void report_deaths() {
    for (auto& death : pair_->take_deaths()) {
      const auto& [number, type, what] = under_way_;
      death->was_sent({.number = number,
                       .shown = numbers_before_ + number,
                       .type = std::string{what != nullptr ? what->type->name() : name_of(type)}});
      crashes_->expect();
      zygote_link::current()->reporter().submit(
          {.death = std::move(death),
           .to = crashes_,
           .server = server_->display_name(),
           .generation = elsewhere_access::running_generation(*server_)});
    }
  }
  /// Nobody of the pair is left. With the program's copy that is a crash as others.
  exit_reason note_loss(const std::string& why) {
    open_calls_.clear();
    if (!keeps_copy() || (started_ && !class_->has_state(*server_))) {
      report_deaths();
      lost_ = exit_reason{exit_kind::killed, fmt::format("its state is lost: {}", why)};
      return *lost_;
    }
    note_reason();
    set_up_known_ = false;
    close();
    return *dead_;
  }
  void watch_for_death() {
    try {
      if (descriptor pidfd = pair_->worker_descriptor()) {
        idle_watch::program().watch(this, std::move(pidfd), *server_);
      }
    } catch (const std::exception& e) {
      peeper::detail::log_warning(
          "server '{}': a death of its worker is heard of with the next message only: {}",
          server_->display_name(), e.what());
    }
  }

  // --- what a record asks for
  /// Whatever the worker wrote: it can hurt nobody but its own server.
  template <class Take>
  void believe(Take take) {
    try {
      take();
    } catch (const std::exception& bad) {
      const auto why = fmt::format("what it wrote is not to be believed: {}", bad.what());
      pair_->distrust(why);
      crashed(note_loss(why), false);
    }
  }
  void take_part(to_hub type, std::span<const std::byte> bytes, message* m,
                 std::optional<exit_reason>& failed) {
    if (static_cast<std::uint16_t>(type) == frame_type_delta) {
      follow(bytes);
      return;
    }
    switch (type) {
      case to_hub::reply:
        if (m == nullptr || m->type->cross->set_reply == nullptr) break;
        m->type->cross->set_reply(*m, bytes);
        running_here->next.reply_ready = true;
        return;
      case to_hub::send: send(bytes); return;
      case to_hub::next: take_next(bytes); return;
      case to_hub::failed: {
        cbor_reader in{bytes};
        if (!peeper::detail::read_reason(in, failed.emplace())) break;
        return;
      }
      case to_hub::answer:
      case to_hub::dropped: {
        std::uint64_t number = 0;
        if (!read_head(bytes, number)) break;
        keep_open();
        const auto found = open_calls_.find(number);
        if (found == open_calls_.end()) return;
        const auto call = std::move(found->second);
        open_calls_.erase(found);
        if (type == to_hub::answer) call->answer(bytes);
        return;
      }
      case to_hub::effect: take_effect(bytes); return;
      case to_hub::state: state_.assign(bytes.begin(), bytes.end()); return;
    }
    throw bad_crossing{"a frame that does not belong there"};
  }
  static const crossing& known(crossing_number number, const branch& target) {
    const crossing* const c = peeper::detail::find_crossing(number);
    if (c == nullptr || *c->server != target.server_type()) {
      throw bad_crossing{"a message that its server does not know"};
    }
    return *c;
  }
  static process_ptr<branch> find(std::uint64_t raw) {
    return process_ptr<branch>{
        static_cast<branch*>(peeper::detail::find_process(pid::from_raw(raw)).get())};
  }
  struct sent {
    process_ptr<branch> target;
    owned_message what;
  };
  /// RETURNS: no message if there is no such server.
  static sent read_sent(std::span<const std::byte> bytes) {
    send_head head;
    if (!read_head(bytes, head)) throw bad_crossing{"too short"};
    sent s{find(head.target), nullptr};
    if (!s.target) return s;
    s.what.reset(known(head.crossing, *s.target).read(bytes));
    s.what->deadline = time_point{duration{head.deadline}};
    return s;
  }
  static void send(std::span<const std::byte> bytes) {
    auto [target, made] = read_sent(bytes);
    if (!target) return;
    if (made->type->kind == peeper::detail::message_kind::call) {
      throw bad_crossing{"a call that nobody waits for"};
    }
    std::ignore = target->send(made.release());
  }
  /// The program has a copy of the state, and changes it in the same way.
  void follow(std::span<const std::byte> delta) {
    if (delta.empty()) throw bad_crossing{"a delta that is none"};
    const auto kind = static_cast<delta_kind>(delta.front());
    if (kind == delta_kind::dictionary && keeps_copy()) {
      if (!dictionary_.take(delta.subspan(1))) throw bad_crossing{"no change of a dictionary"};
      return;
    }
    if (kind == delta_kind::rows) {
      table_id id;
      delta = delta.subspan(1);
      if (!read_head(delta, id)) throw bad_crossing{"no rows"};
      cbor_reader in{delta};
      if (!peeper::detail::make_changes(*server_, id, in)) {
        throw bad_crossing{"rows that do not fit their table"};
      }
      return;
    }
    if (!follows_state()) return;
    if (kind != delta_kind::change && kind != delta_kind::whole_state) return;
    if (!class_->follow(*server_, delta.subspan(1), kind == delta_kind::whole_state)) {
      throw bad_crossing{"a delta that does not fit"};
    }
  }
  void take_question(question what, std::span<const std::byte> bytes) {
    switch (what) {
      case question::send: send(bytes); return;
      case question::call: answer_call(bytes); return;
      case question::table: {
        const auto wanted = decode<peeper::detail::table_request>(bytes);
        if (!wanted) break;
        answer(encode(peeper::detail::change_table(*server_, *wanted)));
        pair_->want_deltas(true);
        return;
      }
      case question::find: {
        cbor_reader in{bytes};
        std::string_view name;
        std::string_view server;
        if (!in.text(name) || !in.text(server)) break;
        const auto found = server_->runtime().find_name(std::string{name});
        cbor_writer out;
        out.natural(found ? found->server_pid().raw() : 0);
        out.boolean(!found || found->server_type().name() == server);
        answer(out.view());
        return;
      }
    }
    throw bad_crossing{"a question that is none"};
  }
  /// This thread runs the callback: what it is called for is done in its place.
  void answer_call(std::span<const std::byte> bytes) {
    auto [target, made] = read_sent(bytes);
    if (!target) {
      answer_error(call_error{call_errc::noproc, "?"}, "?");
      return;
    }
    const auto* const cross = made->type->cross;
    if (cross->request_of == nullptr) throw bad_crossing{"a call that is none"};
    message& m = *made;
    const peeper::detail::request_ptr<peeper::detail::request> waits{&cross->request_of(m)};
    const bool patient =
        m.deadline == time_point::max() ||
        m.deadline - server_->runtime().coarse_now() >= peeper::detail::patience_min;
    if (!target->call(*made.release(), *waits, patient)) {
      answer_error(call_error{call_errc::timed_out}, target->display_name());
    } else if (const call_error* error = cross->error(m)) {
      answer_error(*error, target->display_name());
    } else {
      write_with_head(answer_, answer_kind::value, cross->write_reply(m, scratch_));
      if (!pair_->answer(answer_)) {
        answer_error(call_error{call_errc::not_answered,
                                target->display_name(),
                                {exit_kind::exception, "its reply is too large to cross"}},
                     target->display_name());
      }
    }
  }
  void answer_error(const call_error& error, const std::string& server) {
    cbor_writer out;
    out.natural(static_cast<std::uint64_t>(error.code()));
    out.text(server);
    out.text(error.path());
    peeper::detail::write_reason(out, error.reason());
    write_with_head(answer_, answer_kind::error, out.view());
    answer(answer_);
  }
  void answer(std::span<const std::byte> bytes) {
    if (const auto done = pair_->answer(bytes); !done) {
      throw std::length_error{"an answer is larger than its ring allows"};
    }
  }

  void take_next(std::span<const std::byte> bytes) {
    using kind = peeper::detail::next_step::kind;
    auto& next = running_here->next;
    cbor_reader in{bytes};
    std::size_t parts = 0;
    std::uint64_t what = 0;
    std::int64_t timeout = 0;
    if (!in.array(parts) || !in.natural(what) || !in.integer(timeout) ||
        !peeper::detail::read_reason(in, next.reason) ||
        what > static_cast<std::uint64_t>(kind::stop)) {
      throw bad_crossing{"no next step"};
    }
    next.what = static_cast<kind>(what);
    next.timeout = duration{timeout};
    if (parts <= 4) return;
    std::uint64_t number = 0;
    std::span<const std::byte> payload;
    if (!in.natural(number) || !in.bytes(payload)) throw bad_crossing{"no continuation"};
    owned_message made{known(static_cast<crossing_number>(number), *server_).read(payload)};
    if (made->type->kind != peeper::detail::message_kind::continuation) {
      throw bad_crossing{"no continuation"};
    }
    next.continuation = made.release();
  }
  void take_effect(std::span<const std::byte> bytes) {
    cbor_reader in{bytes};
    std::size_t parts = 0;
    std::uint64_t kind = 0;
    std::uint64_t a = 0;
    bool ok = in.array(parts) && in.natural(kind);
    const auto number = [&](std::uint64_t& to) { ok = ok && in.natural(to); };
    bool on = false;
    switch (static_cast<effect_kind>(kind)) {
      case effect_kind::timer: take_timer(in); return;
      case effect_kind::cancel:
        number(a);
        if (ok) std::ignore = peeper::detail::cancel_timer(*server_, a);
        break;
      case effect_kind::monitor: {
        std::uint64_t watched = 0;
        number(a);
        number(watched);
        if (ok) peeper::detail::start_monitor(a, find(watched).get(), pid::from_raw(watched));
        break;
      }
      case effect_kind::demonitor:
        number(a);
        if (ok) peeper::detail::stop_monitor(a);
        break;
      case effect_kind::link:
        number(a);
        ok = ok && in.boolean(on);
        if (ok) peeper::detail::change_link(find(a).get(), on);
        break;
      case effect_kind::trap:
        ok = ok && in.boolean(on);
        if (ok) trap_exit(on);
        break;
      case effect_kind::exit: {
        exit_reason reason;
        number(a);
        ok = ok && peeper::detail::read_reason(in, reason);
        if (ok) peeper::exit(pid::from_raw(a), reason);
        break;
      }
      default: ok = false;
    }
    if (!ok) throw bad_crossing{"no such effect"};
  }
  static void take_timer(cbor_reader& in) {
    std::uint64_t id = 0;
    std::uint64_t to = 0;
    std::int64_t after = 0;
    std::int64_t period = 0;
    std::uint64_t number = 0;
    std::span<const std::byte> payload;
    if (!in.natural(id) || !in.natural(to) || !in.integer(after) || !in.integer(period) ||
        !in.natural(number) || !in.bytes(payload) || period < 0) {
      throw bad_crossing{"no timer"};
    }
    const auto target = find(to);
    if (!target) return;
    const crossing& cross = known(static_cast<crossing_number>(number), *target);
    if ((cross.copy != nullptr) != (period > 0) || cross.request_of != nullptr) {
      throw bad_crossing{"no timer"};
    }
    peeper::detail::start_timer(id, *target, duration{after}, cross.read(payload), duration{period},
                                cross.copy);
  }

  /// The call that is handled is committed, and may be answered from now on.
  void keep_open() {
    if (held_) open_calls_.emplace(last_held_, std::move(held_));
  }

  branch* server_;
  const peeper::detail::isolated_class* class_;
  std::vector<std::byte> set_up_;
  os_process_options options_;
  bool started_ = false;
  bool set_up_known_ = false;  ///< to the pair's members
  bool handling_ = false;
  std::uint32_t epoch_ = 1;
  std::optional<exit_reason> dead_;  ///< its OS process, until another worker has been started
  std::optional<exit_reason> lost_;
  dictionary_copy dictionary_;  ///< if it keeps a copy
  std::vector<std::byte> state_;
  std::vector<std::byte> out_;
  std::vector<std::byte> answer_;
  cbor_writer scratch_;
  cbor_writer set_up_out_;
  std::unique_ptr<peeper::detail::open_call> held_;
  std::map<std::uint64_t, std::unique_ptr<peeper::detail::open_call>> open_calls_;
  std::uint64_t last_held_ = 0;
  struct exchanged {
    std::uint64_t number = 0;  ///< 0: nothing
    to_worker type = to_worker::handle;
    const message* what = nullptr;
  };
  exchanged under_way_;
  std::uint64_t last_number_ = 0;     ///< of this pair
  std::uint64_t numbers_before_ = 0;  ///< given by pairs before it
  const std::shared_ptr<crash_records> crashes_ = std::make_shared<crash_records>();
  std::mutex kill_mutex_;
  std::unique_ptr<process_pair> pair_;  ///< replaced with kill_mutex_ only
};

class os_process_host final : public peeper::detail::worker_host {
 public:
  explicit os_process_host(const os_process_options& o) : options_{o} {}
  std::unique_ptr<peeper::detail::worker_process> open(
      branch& server, const peeper::detail::isolated_class& of,
      std::vector<std::byte> set_up) const override {
    return std::make_unique<isolated_server>(server, of, std::move(set_up), options_);
  }

 private:
  os_process_options options_;
};

}  // namespace
}  // namespace peeper::sandbox

namespace peeper::detail {

std::shared_ptr<const worker_host> make_worker_host(const os_process_options& o) {
  return std::make_shared<const sandbox::os_process_host>(o);
}

}  // namespace peeper::detail
