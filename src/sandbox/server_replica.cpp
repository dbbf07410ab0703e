// SPDX-License-Identifier: Apache-2.0
#include "sandbox/server_replica.hpp"

#include <map>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <unistd.h>

#include <peeper/detail/branch.hpp>
#include <peeper/detail/crossing.hpp>
#include <peeper/detail/elsewhere.hpp>
#include <peeper/detail/execution.hpp>
#include <peeper/dictionary.hpp>

#include "core/runtime_core.hpp"
#include "core/scheduler.hpp"
#include "sandbox/elsewhere_access.hpp"
#include "sandbox/frame_list.hpp"
#include "sandbox/server_wire.hpp"
#include "server/current.hpp"
#include "table/table_elsewhere.hpp"

namespace peeper::sandbox {

using peeper::detail::bad_crossing;
using peeper::detail::branch;
using peeper::detail::crossing;
using peeper::detail::elsewhere_access;
using peeper::detail::execution;
using peeper::detail::message;
using peeper::detail::message_kind;
using peeper::detail::message_type;
using peeper::detail::numbered_crossing;
using peeper::detail::request;

namespace {

/// There is one thread, and it runs the callbacks that the ring brings: nothing else is runnable.
class no_scheduler final : public peeper::detail::scheduler {
 public:
  void submit(peeper::detail::process& /*p*/) noexcept override {}
  bool block(parker& /*self*/, time_point /*deadline*/) noexcept override { return false; }
  void announce() noexcept override {}
  bool may_run_on_caller() noexcept override { return false; }
  void stop() noexcept override {}
};

/// An effect that happens in the program: staged like any other (P2), as the frame that says it.
struct effect_frame final : message {
  explicit effect_frame(std::span<const std::byte> b)
      : message{type_object}, bytes{b.begin(), b.end()} {}
  static void release_it(message* m) noexcept { delete static_cast<effect_frame*>(m); }
  static constexpr message_type type_object{.kind = message_kind::effect,
                                            .intact_after_crash = true,
                                            .name = nullptr,
                                            .run = nullptr,
                                            .release = &release_it,
                                            .fail = nullptr};
  std::vector<std::byte> bytes;
};

using owned_message = std::unique_ptr<message, peeper::detail::message_deleter>;

/// A server of the program, as something to send to.
class distant_server final : public branch {
 public:
  distant_server(peeper::detail::runtime_core& rt, pid server, const std::string& name,
                 const std::type_info& type)
      : branch{rt, named(name)}, type_{&type} {
    elsewhere_access::stand_for(*this, server, 0);
  }
  void deliver(const down& /*info*/) noexcept override {}
  void deliver(const exit_signal& /*info*/) noexcept override {}
  void deliver(any_message /*info*/) noexcept override {}
  const std::type_info& server_type() const noexcept override { return *type_; }

 private:
  static std::shared_ptr<const peeper::detail::branch_options> named(const std::string& name) {
    peeper::detail::branch_options o;
    o.name = name;
    return std::make_shared<const peeper::detail::branch_options>(std::move(o));
  }
  void worker_start(bool /*first*/) override {}
  void worker_destroy() noexcept override {}
  void worker_terminate(const exit_reason& /*reason*/) override {}
  void state_begin() override {}
  void state_prepare() override {}
  void state_commit() noexcept override {}
  void state_rollback() noexcept override {}
  void state_destroy() noexcept override {}
  void worker_hibernate() override {}
  message* make_timeout_message() override { return nullptr; }
  void destroy() noexcept override { delete this; }

  const std::type_info* type_;
};

call_error read_error(std::span<const std::byte> bytes) {
  cbor_reader in{bytes};
  std::uint64_t code = 0;
  std::string_view server;
  std::string_view path;
  exit_reason reason;
  if (!in.natural(code) || !in.text(server) || !in.text(path) ||
      !peeper::detail::read_reason(in, reason)) {
    ::_exit(exit_bad_messages);
  }
  const auto what = static_cast<call_errc>(code);
  return what == call_errc::cycle ? call_error::cycle(path) : call_error{what, server, reason};
}

execution& running(const char* what) {
  if (peeper::detail::running_here == nullptr) {
    throw std::logic_error{
        fmt::format("peeper: {} in the OS process of a worker: only inside a callback", what)};
  }
  return *peeper::detail::running_here;
}

const numbered_crossing& crossing_of(const message& m) {
  if (m.type->cross == nullptr) {
    throw std::logic_error{fmt::format(
        "peeper: {} cannot leave the OS process of this worker: declare `static constexpr bool "
        "isolatable = true;` in the class of the server that it is for",
        m.type->name == nullptr ? std::string_view{"this message"} : m.type->name())};
  }
  return *m.type->cross;
}

/// THREADS: its OS process's only one.
class server_replica final : public replica, public peeper::detail::program_link {
 public:
  explicit server_replica(const replica_argument& given)
      : class_{given.of},
        runtime_{new peeper::detail::runtime_core{peeper::real_environment(),
                                                  std::make_unique<no_scheduler>()}} {
    peeper::detail::the_program = this;
  }

  // --- replica
  void start(record_writer& /*record*/) override { ++epoch_; }

  void handle(std::uint16_t type, std::span<const std::byte> bytes,
              record_writer& record) override {
    to_worker_head head;
    if (!read_head(bytes, head) || head.epoch != epoch_) return;
    record_ = &record;
    switch (static_cast<to_worker>(type)) {
      case to_worker::start: start_worker(bytes); break;
      case to_worker::end_worker: end_worker(); break;
      case to_worker::handle: run(head, bytes); break;
      case to_worker::terminate: {
        exit_reason reason;
        cbor_reader in{bytes};
        static_cast<void>(peeper::detail::read_reason(in, reason));
        callback(nullptr, [&] { elsewhere_access::terminate(*cell_, reason); });
        break;
      }
      case to_worker::hibernate:
        callback(nullptr, [this] { elsewhere_access::hibernate(*cell_); });
        break;
      case to_worker::state:
        callback(nullptr, [this] { add(to_hub::state, class_->encode_state(*cell_)); });
        break;
      case to_worker::replace_state:
        callback(nullptr, [&] { class_->replace_state(*cell_, bytes); });
        break;
    }
    write_record();
  }

  void apply(std::span<const std::byte> delta) override {
    if (!apply(static_cast<delta_kind>(delta.front()), delta.subspan(1))) {
      throw std::runtime_error{"a delta that cannot be applied"};
    }
  }

  // --- program_link
  std::uint64_t new_id() noexcept override { return next_id_++; }
  void stage_timer(std::uint64_t id, pid target, duration after, message* m,
                   duration period) override {
    const std::unique_ptr<message, peeper::detail::message_deleter> owned{m};
    const numbered_crossing& cross = crossing_of(*m);
    cbor_writer payload;
    const auto bytes = cross.write(*m, payload);
    stage(effect_kind::timer, 6, [&](cbor_writer& out) {
      out.natural(id);
      out.natural(target.raw());
      out.integer(after.count());
      out.integer(period.count());
      out.natural(cross.number);
      out.bytes(bytes);
    });
  }
  void stage_cancel(std::uint64_t id) override {
    stage(effect_kind::cancel, 1, [&](cbor_writer& out) { out.natural(id); });
  }
  void stage_monitor(std::uint64_t id, pid watched) override {
    stage(effect_kind::monitor, 2, [&](cbor_writer& out) {
      out.natural(id);
      out.natural(watched.raw());
    });
  }
  void stage_demonitor(std::uint64_t id) override {
    stage(effect_kind::demonitor, 1, [&](cbor_writer& out) { out.natural(id); });
  }
  void stage_link(pid other, bool linked) override {
    stage(effect_kind::link, 2, [&](cbor_writer& out) {
      out.natural(other.raw());
      out.boolean(linked);
    });
  }
  void stage_trap(bool on) override {
    stage(effect_kind::trap, 1, [&](cbor_writer& out) { out.boolean(on); });
  }
  void stage_exit(pid target, const exit_reason& reason) override {
    stage(effect_kind::exit, 3, [&](cbor_writer& out) {
      out.natural(target.raw());
      peeper::detail::write_reason(out, reason);
    });
  }
  bool call(branch& target, message& m, request& r) override {
    const auto refuse = [&](call_error error) {
      r.fail(std::move(error));
      m.type->release(&m);
      return true;
    };
    if (&target == cell_) return refuse(call_error{call_errc::calling_self, target.display_name()});
    execution& ex = running("a call");
    while (message* before = ex.take_next_for(target)) {
      const owned_message owned{before};
      if (before->holds_target) target.release();
      tell_sent(question::send, *before, target);
    }
    const auto answer = tell_sent(question::call, m, target);
    const auto kind = static_cast<answer_kind>(answer.front());
    const auto bytes = answer.subspan(1);
    if (kind == answer_kind::error) return refuse(read_error(bytes));
    m.type->cross->set_reply(m, bytes);
    r.finish();
    m.type->release(&m);
    return true;
  }
  peeper::detail::table_answer change_table(const peeper::detail::table_request& r) override {
    const auto answer = decode<peeper::detail::table_answer>(
        record_->ask(static_cast<std::uint16_t>(question::table), encode(r)));
    if (!answer) ::_exit(exit_bad_messages);
    if (answer->done) {
      auto again = r;
      if (r.what == peeper::detail::table_request::create) again.table = answer->table;
      notes_.add(static_cast<std::uint16_t>(delta_kind::table), encode(again));
    }
    return *answer;
  }
  void note_dictionary(std::uint32_t change, std::span<const std::byte> what) override {
    notes_.add(static_cast<std::uint16_t>(delta_kind::dictionary),
               std::as_bytes(std::span{&change, 1}), what);
  }
  peeper::detail::process_ptr<branch> find(const std::string& name, const std::type_info& server,
                                           bool& same_class) override {
    cbor_writer out;
    out.text(name);
    out.text(server.name());
    cbor_reader in{record_->ask(static_cast<std::uint16_t>(question::find), out.view())};
    std::uint64_t raw = 0;
    if (!in.natural(raw) || !in.boolean(same_class)) ::_exit(exit_bad_messages);
    if (raw == 0 || !same_class) return {};
    const pid id = pid::from_raw(raw);
    if (id == cell_->server_pid()) return peeper::detail::process_ptr<branch>{cell_};
    auto& known = distant_[raw];
    if (!known) {
      known = peeper::detail::process_ptr<branch>::adopt(
          new distant_server{*runtime_, id, name, server});
    }
    return known;
  }

 private:
  // --- frames
  void add(to_hub type, std::span<const std::byte> bytes) {
    frames_.add(static_cast<std::uint16_t>(type), bytes);
  }
  template <class Head>
  void add(to_hub type, const Head& head, std::span<const std::byte> payload) {
    frames_.add(static_cast<std::uint16_t>(type), std::as_bytes(std::span{&head, 1}), payload);
  }
  template <class Write>
  void stage(effect_kind kind, std::size_t parts, Write write) {
    execution& ex = running("a timer, monitor or link");
    scratch_.truncate(0);
    scratch_.array(1 + parts);
    scratch_.natural(static_cast<std::uint64_t>(kind));
    write(scratch_);
    ex.stage(new effect_frame{scratch_.view()});
  }
  static send_head head_of(const message& m, const branch& target) {
    return {.target = target.server_pid().raw(),
            .crossing = crossing_of(m).number,
            .unused = 0,
            .deadline = m.deadline.time_since_epoch().count()};
  }
  void add_sent(message& m) {
    add(to_hub::send, head_of(m, static_cast<branch&>(*m.target)),
        crossing_of(m).write(m, scratch_));
  }
  /// RETURNS: what a call is answered.
  std::span<const std::byte> tell_sent(question what, message& m, const branch& target) {
    write_with_head(question_, head_of(m, target), crossing_of(m).write(m, scratch_));
    const auto type = static_cast<std::uint16_t>(what);
    if (what == question::call) return record_->ask(type, question_);
    record_->tell(type, question_);
    return {};
  }
  void add_next(const peeper::detail::next_step& next) {
    using kind = peeper::detail::next_step::kind;
    if (next.what == kind::none && next.continuation == nullptr) return;
    cbor_writer out;
    out.array(next.continuation == nullptr ? 4 : 6);
    out.natural(static_cast<std::uint64_t>(next.what));
    out.integer(next.timeout.count());
    peeper::detail::write_reason(out, next.reason);
    if (next.continuation != nullptr) {
      const numbered_crossing& cross = crossing_of(*next.continuation);
      out.natural(cross.number);
      out.bytes(cross.write(*next.continuation, scratch_));
    }
    add(to_hub::next, out.view());
  }
  void write_record() {
    frames_.for_each([this](std::uint16_t type, std::span<const std::byte> bytes) {
      record_->append(type, bytes);
    });
    frames_.clear();
    deltas_.for_each([this](std::uint16_t /*type*/, std::span<const std::byte> bytes) {
      record_->append_delta(bytes);
    });
    deltas_.clear();
  }
  void add_delta(delta_kind kind, std::span<const std::byte> bytes) {
    deltas_.add(frame_type_delta, std::as_bytes(std::span{&kind, 1}), bytes);
  }

  // --- callbacks
  /// Runs `body`, then `done` with what it has staged. What either throws rolls all of it back, and
  /// only that is recorded. RETURNS: whether it is committed.
  template <class Body>
  bool callback(message* m, Body body) {
    execution ex{*cell_, m, elsewhere_access::running_generation(*cell_)};
    try {
      {
        const peeper::detail::execution_scope scope{ex};
        body();
      }
      note_rows();
      for (message* each = ex.staged(); each != nullptr; each = each->next) add_staged(*each);
      add_next(ex.next);
    } catch (...) {
      const auto reason = exit_reason::from_exception(std::current_exception());
      frames_.clear();
      notes_.clear();
      whole_state_ = false;
      ex.discard();
      elsewhere_access::rollback(*cell_, ex.mutating);
      cbor_writer out;
      peeper::detail::write_reason(out, reason);
      add(to_hub::failed, out.view());
      return false;
    }
    elsewhere_access::commit(*cell_, ex.mutating);
    if (ex.mutating) {
      if (const auto delta = class_->last_delta(*cell_); !delta.empty()) {
        add_delta(delta_kind::change, delta);
      }
    }
    if (std::exchange(whole_state_, false)) {
      add_delta(delta_kind::whole_state, class_->encode_state(*cell_));
    }
    notes_.for_each([this](std::uint16_t kind, std::span<const std::byte> note) {
      add_delta(static_cast<delta_kind>(kind), note);
    });
    notes_.clear();
    release_staged(ex);
    return true;
  }
  void note_rows() {
    peeper::detail::write_changed_tables(
        *cell_, [this](table_id id, std::span<const std::byte> changes) {
          notes_.add(static_cast<std::uint16_t>(delta_kind::rows),
                     std::as_bytes(std::span{&id.value, 1}), changes);
        });
  }
  bool apply(delta_kind kind, std::span<const std::byte> delta) {
    switch (kind) {
      case delta_kind::set_up: make_cell(delta); return true;
      case delta_kind::whole_state:
        if (!class_->assign_state(*cell_, delta)) return false;
        class_->record_deltas(*cell_);
        return true;
      case delta_kind::dictionary: return apply_to_dictionary(delta);
      case delta_kind::change: return class_->apply_delta(*cell_, delta);
      case delta_kind::table: return apply_table(delta);
      case delta_kind::rows: return apply_rows(delta);
    }
    return false;
  }
  /// As a callback that changes tables only.
  template <class Change>
  bool change_tables(Change change) {
    execution ex{*cell_, nullptr, elsewhere_access::running_generation(*cell_)};
    const peeper::detail::execution_scope scope{ex};
    if (!change()) return false;
    elsewhere_access::commit(*cell_, false);
    return true;
  }
  bool apply_table(std::span<const std::byte> bytes) {
    const auto request = decode<peeper::detail::table_request>(bytes);
    return request &&
           change_tables([&] { return peeper::detail::repeat_change(*cell_, *request); });
  }
  bool apply_rows(std::span<const std::byte> bytes) {
    table_id id;
    if (!read_head(bytes, id)) return false;
    cbor_reader in{bytes};
    return change_tables([&] { return peeper::detail::make_changes(*cell_, id, in); });
  }
  bool apply_to_dictionary(std::span<const std::byte> note) {
    std::uint32_t number = 0;
    if (!read_head(note, number)) return false;
    const auto* const change = peeper::detail::dictionary_change::find(number);
    auto& dictionary = peeper::detail::dictionary_of(*cell_);
    cbor_reader in{note};
    if (change == nullptr || !change->make(dictionary, in)) return false;
    dictionary.commit();
    return true;
  }
  void add_staged(message& m) {
    if (m.type == &effect_frame::type_object) {
      add(to_hub::effect, static_cast<effect_frame&>(m).bytes);
    } else if (m.type->kind != message_kind::effect) {
      add_sent(m);
    }
  }
  /// What was for the program is in the record; effects of this OS process happen now.
  void release_staged(execution& ex) {
    for (message* m = ex.take_staged(); m != nullptr;) {
      message* const next = m->next;
      peeper::detail::process* const held = m->holds_target ? m->target : nullptr;
      if (m->type->kind == message_kind::effect && m->type->run != nullptr) {
        m->type->run(*cell_, *m);
      }
      m->type->release(m);
      if (held != nullptr) held->release();
      m = next;
    }
  }

  void end_worker() {
    callback(nullptr, [this] {
      elsewhere_access::destroy_worker(*cell_, exit_kind::killed);
      if (!peeper::detail::has_tables(*cell_)) return;
      notes_.add(static_cast<std::uint16_t>(delta_kind::table),
                 encode(peeper::detail::table_request{
                     .what = peeper::detail::table_request::worker_died}));
    });
  }
  void start_worker(std::span<const std::byte> bytes) {
    cbor_reader in{bytes};
    bool first = false;
    std::uint64_t generation = 0;
    std::uint64_t restarts = 0;
    exit_reason last_crash;
    std::span<const std::byte> set_up;
    if (!in.boolean(first) || !in.natural(generation) || !in.natural(restarts) ||
        !peeper::detail::read_reason(in, last_crash) || !in.natural(next_id_) ||
        !in.bytes(set_up)) {
      ::_exit(exit_bad_messages);
    }
    if (cell_ == nullptr) {
      try {
        make_cell(set_up);
        add_delta(delta_kind::set_up, set_up);
        if (in.left() > 0) take_copy(in);
      } catch (...) {
        deltas_.clear();
        add_failure();
        return;
      }
    }
    elsewhere_access::stand_for(*cell_, cell_->server_pid(),
                                static_cast<std::uint32_t>(generation));
    elsewhere_access::now_running(*cell_, restarts, last_crash);
    // The one before it: of a worker that died, a copy.
    end_worker();
    frames_.clear();
    while (!open_.empty()) forget(*open_.begin()->second);
    first = first || !class_->has_state(*cell_);
    callback(nullptr, [&] {
      elsewhere_access::start_worker(*cell_, first);
      if (first) {
        class_->record_deltas(*cell_);
        whole_state_ = true;
      }
    });
  }
  /// What those who had the state before have left: both are dead, and the program has a copy.
  void take_copy(cbor_reader& in) {
    const auto take = [&](delta_kind kind) {
      std::span<const std::byte> bytes;
      if (!in.bytes(bytes) || !apply(kind, bytes)) {
        throw bad_crossing{"the program's copy of the state cannot be read"};
      }
      add_delta(kind, bytes);
    };
    take(delta_kind::whole_state);
    std::size_t notes = 0;
    if (!in.array(notes)) throw bad_crossing{in.error().text};
    for (; notes > 0; --notes) take(delta_kind::dictionary);
    std::size_t tables = 0;
    if (!in.array(tables)) throw bad_crossing{in.error().text};
    for (; tables > 0; --tables) {
      take(delta_kind::table);
      take(delta_kind::rows);
    }
  }
  void add_failure() {
    cbor_writer out;
    peeper::detail::write_reason(out, exit_reason::from_exception(std::current_exception()));
    add(to_hub::failed, out.view());
  }
  void make_cell(std::span<const std::byte> set_up) {
    cbor_reader in{set_up};
    std::uint64_t server = 0;
    std::string_view name;
    bool keeps_all = false;
    std::vector<std::string> kept;
    std::span<const std::byte> start;
    if (!in.natural(server) || !in.text(name) || !in.boolean(keeps_all) ||
        !peeper::detail::decode_value(in, kept) || !in.bytes(start)) {
      ::_exit(exit_bad_messages);
    }
    peeper::detail::branch_options options;
    options.name = std::string{name};
    options.keep_tables = keeps_all ? kept_tables::all() : kept_tables{std::move(kept)};
    cell_ = class_->make(*runtime_, std::move(options), start);
    elsewhere_access::stand_for(*cell_, pid::from_raw(server), 0);
  }

  // --- messages
  struct message_done {
    void operator()(message* m) const noexcept {
      if (m->type->cross->request_of != nullptr) m->type->cross->request_of(*m).release();
    }
  };

  void run(const to_worker_head& head, std::span<const std::byte> bytes) {
    const crossing* const cross = peeper::detail::find_crossing(head.crossing);
    if (cross == nullptr) ::_exit(exit_bad_messages);
    message* m = nullptr;
    try {
      m = cross->read(bytes);
    } catch (...) {
      add_failure();
      return;
    }
    m->deadline = time_point{duration{head.deadline}};
    // A call has two references: the second is that of whoever waits, here us.
    const std::unique_ptr<message, message_done> waits{
        m->type->kind == message_kind::call ? m : nullptr};
    answer_to* later = nullptr;
    if (m->type->answers_later) later = hold(*m, head.call);
    const bool committed = callback(m, [&] {
      m->type->run(*cell_, *m);
      if (peeper::detail::running_here->next.reply_ready) {
        add(to_hub::reply, cross->write_reply(*m, scratch_));
      }
    });
    if (later != nullptr) {
      if (committed) {
        m->type->finish(*m);  // its from may have been dropped
      } else {
        forget(*later);
      }
    }
    m->type->release(m);
  }

  /// Answers a call through the program, now or in a later callback.
  struct answer_to final : peeper::detail::waiter {
    answer_to(server_replica& s, message& m, std::uint64_t n) noexcept
        : waiter{&notified}, self{&s}, call{&m}, number{n} {}
    static void notified(waiter* w) noexcept {
      static_cast<answer_to*>(w)->self->answered(*static_cast<answer_to*>(w));
    }
    server_replica* self;
    message* call;
    std::uint64_t number;
  };
  answer_to* hold(message& m, std::uint64_t number) {
    request& r = m.type->cross->request_of(m);
    auto a = std::make_unique<answer_to>(*this, m, number);
    r.add_ref();
    static_cast<void>(r.attach(*a));
    answer_to* const raw = a.get();
    open_.emplace(raw->number, std::move(a));
    return raw;
  }
  void forget(answer_to& a) noexcept {
    request& r = a.call->type->cross->request_of(*a.call);
    static_cast<void>(r.detach(a));  // it is attached until it is answered, and here no more
    open_.erase(a.number);
    r.release();
  }
  void answered(answer_to& a) noexcept {
    const crossing& cross = *a.call->type->cross;
    request& r = cross.request_of(*a.call);
    if (cross.error(*a.call) != nullptr) {
      add(to_hub::dropped, a.number, {});
    } else {
      add(to_hub::answer, a.number, cross.write_reply(*a.call, scratch_));
    }
    open_.erase(a.number);
    r.release();
  }

  const peeper::detail::isolated_class* class_;
  peeper::detail::runtime_core* runtime_;  ///< with its cell, as long as the OS process
  branch* cell_ = nullptr;
  std::uint32_t epoch_ = 0;
  std::uint64_t next_id_ = 0;
  bool whole_state_ = false;  ///< the follower is to take over all of it
  frame_list frames_;
  frame_list deltas_;
  frame_list notes_;  ///< of the running callback: types are delta_kinds, but for the state's
  record_writer* record_ = nullptr;
  cbor_writer scratch_;
  std::vector<std::byte> question_;
  std::map<std::uint64_t, std::unique_ptr<answer_to>> open_;
  std::map<std::uint64_t, peeper::detail::process_ptr<branch>> distant_;  ///< by pid
};

}  // namespace

std::unique_ptr<replica> make_server_replica(std::span<const std::byte> argument) {
  replica_argument given{};
  std::memcpy(&given, argument.data(), sizeof given);
  return std::make_unique<server_replica>(given);
}

}  // namespace peeper::sandbox
