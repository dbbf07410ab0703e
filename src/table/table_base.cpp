// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <mutex>
#include <shared_mutex>
#include <stdexcept>
#include <tuple>
#include <utility>

#include <fmt/format.h>

#include <peeper/detail/assert.hpp>
#include <peeper/self.hpp>
#include <peeper/table/base.hpp>

#include "core/runtime_core.hpp"
#include "table/table_elsewhere.hpp"
#include "table/table_names.hpp"
#include "table/table_shelf.hpp"

namespace peeper {

std::string_view to_string(table_errc code) noexcept {
  switch (code) {
    case table_errc::gone: return "gone";
    case table_errc::no_such_table: return "no_such_table";
    case table_errc::name_taken: return "name_taken";
    case table_errc::type_mismatch: return "type_mismatch";
    case table_errc::access_denied: return "access_denied";
    case table_errc::not_owner: return "not_owner";
    case table_errc::busy: return "busy";
    case table_errc::no_such_server: return "no_such_server";
    case table_errc::bad_options: return "bad_options";
    case table_errc::file: return "file";
    case table_errc::bad_file: return "bad_file";
  }
  return "?";
}

std::string table_error::what() const {
  return text_.empty() ? std::string{to_string(code_)} : text_;
}

namespace detail {

namespace {

table_id new_table_id() noexcept {
  static std::atomic<std::uint64_t> next{1};
  // ORDER: relaxed: only uniqueness matters.
  return {next.fetch_add(1, std::memory_order_relaxed)};
}

}  // namespace

table_base::table_base(seed s)
    : id_{s.id.value == 0 ? new_table_id() : s.id},
      access_{s.options.access},
      write_wait_{s.options.write_wait},
      runtime_{&s.owner.runtime()},
      owner_{s.owner.server_pid().raw()},
      name_{std::move(s.options.name)},
      heir_{s.options.heir},
      heir_data_{std::move(s.options.heir_data)} {
  runtime_->add_ref();
}

table_base::~table_base() { runtime_->release(); }

std::string table_base::name() const {
  const std::shared_lock lock{lock_};
  return name_;
}

std::expected<table_info, table_error> table_base::info(table_view who) const {
  const std::shared_lock lock{lock_};
  if (gone_) return std::unexpected{error(table_errc::gone)};
  const std::ptrdiff_t pending = who == table_view::owner ? journal_.growth : 0;
  return table_info{.id = id_,
                    .name = name_,
                    .access = access_,
                    .kind = std::string{kind()},
                    .owner = pid::from_raw(owner_.load()),
                    .heir = heir_,
                    .kept = kept_,
                    .size = static_cast<std::size_t>(static_cast<std::ptrdiff_t>(size_) + pending)};
}

bool table_base::owned_by(const branch& server) const noexcept {
  // ORDER: relaxed: the owner itself has made itself so, or has been told by a message.
  return server.server_pid().raw() == owner_.load(std::memory_order_relaxed);
}

bool table_base::owner_runs_here() const noexcept {
  const branch* b = current_branch();
  return b != nullptr && owned_by(*b);
}

void table_base::require_owner(const char* what) const {
  if (!owner_runs_here()) {
    throw std::logic_error{
        fmt::format("peeper: {} of a table needs a running callback of the server that owns it: "
                    "others use a reader or a writer (find_table, find_public_table)",
                    what)};
  }
  if (gone_) {
    throw std::logic_error{fmt::format("peeper: {} of a table that has been dropped", what)};
  }
}

table_error table_base::error(table_errc code) const {
  // Without a lock: the name may be changing.
  const auto text = [this](std::string_view what) {
    return fmt::format("table {}: {}", id_.value, what);
  };
  switch (code) {
    case table_errc::gone:
      return table_error{code, text("it has ended, with the server that owned it or by drop(): "
                                    "look for it by name again")};
    case table_errc::busy:
      return table_error{code, text("a callback of its owner has changed this row and has not "
                                    "ended: try again, or raise write_wait")};
    default: return table_error{code, text(to_string(code))};
  }
}

environment& table_base::env() const noexcept { return runtime_->env(); }

void table_journal::make_more_room(std::size_t more) {
  const std::size_t room = 2 * rows.size() + more;
  if (room > std::numeric_limits<std::uint32_t>::max()) {
    throw std::length_error{"peeper: a callback has changed 2^32 rows of a table"};
  }
  rows.reserve(room);
}

// --- commit ------------------------------------------------------------------------------------

void table_base::take_part() {
  if (takes_part_) return;
  current_branch()->enlist(*this);
  takes_part_ = true;
}

/// What is left in `j` is to be freed.
void table_base::settle(table_journal& j, row_state gone, row_state stays) noexcept {
  if (gone == row_state::removed)
    size_ = static_cast<std::size_t>(static_cast<std::ptrdiff_t>(size_) + j.growth);
  j.growth = 0;
  std::size_t kept = 0;
  for (row_entry* e : j.rows) {
    if (e->state == gone) {
      unlink(*e);
      j.rows[kept++] = e;
    } else {
      PEEPER_ASSERT(e->state == stays);
      e->state = row_state::committed;
    }
  }
  j.rows.resize(kept);
}

void table_base::free_rows(std::vector<row_entry*>& rows) noexcept {
  for (row_entry* e : rows) free_row(*e);
  rows.clear();
}

void table_base::commit() noexcept {
  takes_part_ = false;
  {
    const std::lock_guard lock{lock_};
    settle(journal_, row_state::removed, row_state::added);
    journal_.rows.swap(to_free_);  // others look at the journal as soon as the lock is let go
    wake_waiting();
  }
  // ORDER: release pairs with find_table_named(): who finds it finds its first rows.
  if (!published_.load(std::memory_order_relaxed)) {
    published_.store(true, std::memory_order_release);
  }
  free_rows(to_free_);
}

void table_base::rollback() noexcept {
  takes_part_ = false;
  {
    const std::lock_guard lock{lock_};
    settle(journal_, row_state::added, row_state::removed);
    journal_.rows.swap(to_free_);
    wake_waiting();
  }
  free_rows(to_free_);
}

void table_base::end() noexcept {
  std::string name;
  {
    const std::lock_guard lock{lock_};
    if (gone_) return;
    gone_ = true;
    name.swap(name_);
    journal_.rows.clear();  // empty, or of a callback that has dropped it: they are rows, too
    journal_.growth = 0;
    free_all_rows();
    size_ = 0;
    wake_waiting();
  }
  if (!name.empty()) runtime_->tables().give_back(name, *this);
}

// --- waiting for the owner's callback ------------------------------------------------------------

time_point table_base::write_deadline() const noexcept {
  return write_wait_ == infinity ? time_point::max()
                                 : deadline_after(runtime_->env().now(), write_wait_);
}

void table_base::wake_waiting() noexcept {
  for (parker* p : waiting_) runtime_->env().unpark(*p);
  waiting_.clear();
}

bool table_base::wait_for_commit(time_point deadline) noexcept {
  parker sleeper;
  waiting_.push_back(&sleeper);
  lock_.unlock();
  const bool woken = runtime_->sched().block(sleeper, deadline);
  lock_.lock();
  if (woken) return true;
  if (std::erase(waiting_, &sleeper) != 0) return false;
  lock_.unlock();
  runtime_->env().park(sleeper, time_point::max());  // it has just been woken up
  lock_.lock();
  return true;
}

// --- owners --------------------------------------------------------------------------------------

std::expected<void, table_error> table_base::give_away(pid to, any_message data) {
  require_owner("give_away");
  if (to.raw() == owner_.load()) {
    return std::unexpected{
        table_error{table_errc::bad_options, "a table cannot be given to the server that owns it"}};
  }
  if (the_program != nullptr) {
    refuse_to_cross(data);
    auto done = change_in_program(
        {.what = table_request::give_away, .table = id_.value, .server = to.raw()});
    if (done) drop_here();
    return done;
  }
  const process_ptr<process> target = find_process(to);
  if (!target || to.role() != process_role::server || runs_elsewhere(*target)) {
    return std::unexpected{
        table_error{table_errc::no_such_server,
                    fmt::format("{} is no server that runs, and in the program: the table stays",
                                to_string(to))}};
  }
  at_commit(
      [t = shared_from_this(), &self = *current_branch(), to, data = std::move(data)]() mutable {
        if (!t->owned_by(self)) return;  // given away twice
        table_shelf::of(self).remove(*t);
        table_shelf::hand_over(std::move(t), to, std::move(data));
      });
  return {};
}

namespace {

/// A name that is given back if the callback that has asked for it crashes.
struct reserved_name {
  reserved_name(std::string n, std::shared_ptr<table_base> t, table_names& all)
      : name{std::move(n)}, table{std::move(t)}, names{&all} {}
  reserved_name(reserved_name&&) noexcept = default;
  reserved_name(const reserved_name&) = delete;
  reserved_name& operator=(const reserved_name&) = delete;
  reserved_name& operator=(reserved_name&&) = delete;
  ~reserved_name() {
    if (table && !name.empty()) names->give_back(name, *table);
  }
  std::string name;
  std::shared_ptr<table_base> table;
  table_names* names;
};

std::unexpected<table_error> name_is_taken(const std::string& name) {
  return std::unexpected{
      table_error{table_errc::name_taken,
                  fmt::format("the name '{}' is taken by another table: use another one", name)}};
}

}  // namespace

std::expected<void, table_error> table_base::rename(const std::string& to) {
  require_owner("rename");
  if (to.empty()) {
    return std::unexpected{table_error{table_errc::bad_options, "a table's new name is empty"}};
  }
  table_names& names = runtime_->tables();
  if (names.find(to).get() == this) return {};
  if (the_program != nullptr) {
    auto done = change_in_program({.what = table_request::rename, .table = id_.value, .name = to});
    if (!done) return done;
  }
  if (!names.take(to, shared_from_this())) return name_is_taken(to);
  at_commit([wanted = reserved_name{to, shared_from_this(), names}]() mutable {
    table_base& t = *wanted.table;
    std::string old;
    {
      const std::lock_guard lock{t.lock_};
      if (t.gone_) return;
      old = std::exchange(t.name_, std::exchange(wanted.name, {}));
    }
    if (!old.empty()) wanted.names->give_back(old, t);
  });
  return {};
}

void table_base::set_heir(pid heir, any_message data) {
  require_owner("set_heir");
  if (the_program != nullptr) {
    refuse_to_cross(data);
    std::ignore = change_in_program(
        {.what = table_request::set_heir, .table = id_.value, .server = heir.raw()});
  }
  at_commit(
      [t = shared_from_this(), &self = *current_branch(), heir, data = std::move(data)]() mutable {
        if (!t->owned_by(self)) return;  // given away meanwhile
        {
          const std::lock_guard lock{t->lock_};
          t->heir_ = heir;
          t->heir_data_ = std::move(data);
        }
        table_shelf::of(self).keep_as_options_say(*t);
      });
}

void table_base::drop() {
  require_owner("drop");
  if (the_program != nullptr) {
    std::ignore = change_in_program({.what = table_request::drop, .table = id_.value});
  }
  drop_here();
}

void table_base::drop_here() {
  at_commit([t = shared_from_this(), &self = *current_branch()] {
    if (!t->owned_by(self)) return;  // given away meanwhile
    table_shelf::of(self).remove(*t);
    t->end();
  });
}

void table_base::abandon() {
  if (the_program != nullptr) {
    std::ignore = change_in_program({.what = table_request::drop, .table = id_.value});
  }
  at_commit([t = shared_from_this()] {});  // it is enlisted, so it lives until then
  table_shelf::of(*current_branch()).remove(*this);
  end();
}

// --- made and found ------------------------------------------------------------------------------

namespace {

std::unexpected<table_error> wrong_type(const std::string& which) {
  return std::unexpected{
      table_error{table_errc::type_mismatch,
                  fmt::format("the table {} has other rows, another key or another kind: look for "
                              "it with the peeper::table type that it was made with",
                              which)}};
}

}  // namespace

std::expected<std::shared_ptr<table_base>, table_error> create_table(table_options options,
                                                                     const table_type& type,
                                                                     bool may_be_kept_one) {
  branch& self = require_current("table::create");
  table_shelf& shelf = table_shelf::of(self);
  const std::string name = options.name;
  if (may_be_kept_one && !name.empty()) {
    std::shared_ptr<table_base> kept = self.runtime().tables().find(name);
    if (kept && shelf.find(kept->id()) == kept && table_shelf::open(*kept)) {
      if (kept->type() != type.store()) return wrong_type("'" + name + "'");
      return kept;
    }
  }
  table_id id;
  if (the_program != nullptr) {
    const auto made = create_in_program(options, type);
    if (!made) return std::unexpected{made.error()};
    id = *made;
  }
  std::shared_ptr<table_base> t = type.maker()(self, std::move(options), id);
  if (!shelf.add_new(t)) return name_is_taken(name);
  return t;
}

std::expected<std::shared_ptr<table_base>, table_error> own_table(table_id id,
                                                                  const std::type_info& type) {
  branch& self = require_current("table::own");
  std::shared_ptr<table_base> t = table_shelf::of(self).find(id);
  if (!t) {
    return std::unexpected{table_error{
        table_errc::not_owner, fmt::format("server '{}' owns no table {}: it has ended, or is "
                                           "another server's",
                                           self.display_name(), id.value)}};
  }
  if (t->type() != type) return wrong_type(std::to_string(id.value));
  table_shelf::open(*t);
  return t;
}

std::expected<std::shared_ptr<table_base>, table_error> find_table_named(runtime_core& rt,
                                                                         const std::string& name,
                                                                         const std::type_info& type,
                                                                         access needed) {
  std::shared_ptr<table_base> t = rt.tables().find(name);
  // ORDER: acquire pairs with commit(). The owner's callback may find what it has just made.
  if (!t || (!t->published_.load(std::memory_order_acquire) && !t->owner_runs_here())) {
    return std::unexpected{
        table_error{table_errc::no_such_table, fmt::format("no table has the name '{}'", name)}};
  }
  if (t->type() != type) return wrong_type("'" + name + "'");
  if (t->allowed() < needed) {
    return std::unexpected{
        table_error{table_errc::access_denied,
                    fmt::format("the table '{}' is {}: give it access::{} when it is made", name,
                                t->allowed() == access::private_ ? "private" : "protected",
                                needed == access::public_ ? "public_" : "protected_")}};
  }
  return t;
}

}  // namespace detail
}  // namespace peeper
