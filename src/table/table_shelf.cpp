// SPDX-License-Identifier: Apache-2.0
#include "table/table_shelf.hpp"

#include <mutex>
#include <tuple>
#include <utility>

#include <peeper/detail/branch.hpp>
#include <peeper/detail/system_call.hpp>

#include "core/log.hpp"
#include "core/runtime_core.hpp"
#include "server/branch_extras.hpp"
#include "table/table_elsewhere.hpp"
#include "table/table_names.hpp"

namespace peeper::detail {
namespace {

/// A table on its way to its next owner. If it does not get there, that one has ended: then its own
/// heir has it, or nobody.
struct in_transit {
  explicit in_transit(std::shared_ptr<table_base> t) noexcept : table{std::move(t)} {}
  in_transit(in_transit&&) noexcept = default;
  in_transit(const in_transit&) = delete;
  in_transit& operator=(const in_transit&) = delete;
  in_transit& operator=(in_transit&&) = delete;
  ~in_transit() {
    if (table) table_shelf::no_owner(std::move(table));
  }
  void operator()(branch& self) noexcept {
    try {
      table_shelf::of(self).adopt(table);
      table.reset();
    } catch (const std::bad_alloc&) {
      log_error("server '{}': no memory to take over table {}", self.display_name(),
                table->id().value);
    }
  }
  std::shared_ptr<table_base> table;
};

}  // namespace

table_shelf& table_shelf::of(branch& owner) {
  branch_extras& extras = owner.more();
  if (extras.tables == nullptr) {
    auto made = std::make_shared<table_shelf>(owner);
    owner.attach(made);
    extras.tables = made.get();
  }
  return *extras.tables;
}

bool table_shelf::add_new(const std::shared_ptr<table_base>& t) {
  owner_->enlist(*this);
  fresh_.push_back(t);  // from here on a crash takes it back
  tables_.emplace(t->id(), t);
  keep_as_options_say(*t);
  if (!t->name_.empty() && !owner_->runtime().tables().take(t->name_, t)) {
    fresh_.pop_back();
    tables_.erase(t->id());
    return false;
  }
  t->take_part();
  return true;
}

void table_shelf::adopt(const std::shared_ptr<table_base>& t) {
  tables_.emplace(t->id(), t);
  t->open_ = false;
  keep_as_options_say(*t);
}

void table_shelf::repeat(const std::shared_ptr<table_base>& t, const table_request& r) {
  if (r.what == table_request::rename) {
    std::ignore = owner_->runtime().tables().take(r.name, t);
    std::string old = r.name;
    {
      const std::lock_guard lock{t->lock_};
      t->name_.swap(old);
    }
    if (!old.empty()) owner_->runtime().tables().give_back(old, *t);
  } else if (r.what == table_request::set_heir) {
    {
      const std::lock_guard lock{t->lock_};
      t->heir_ = pid::from_raw(r.server);
    }
    keep_as_options_say(*t);
  } else {  // given away, or dropped
    remove(*t);
    t->end();
  }
}

table_request table_shelf::request_of(const table_base& t) {
  const std::lock_guard lock{t.lock_};
  const table_type* const type = table_type::find(t.type());
  return {.what = table_request::create,
          .table = t.id().value,
          .type = type->number(),
          .name = t.name_,
          .access = static_cast<std::uint8_t>(t.access_),
          .server = t.heir_.raw(),
          .write_wait = t.write_wait_.count()};
}

std::shared_ptr<table_base> table_shelf::find(table_id id) const {
  const auto found = tables_.find(id);
  return found == tables_.end() ? nullptr : found->second;
}

void table_shelf::keep_as_options_say(table_base& t) const {
  const std::lock_guard lock{t.lock_};
  t.kept_ = t.heir_ == owner_->server_pid() || owner_->options().keep_tables.keeps(t.name_);
}

void table_shelf::rollback() noexcept {
  for (const auto& t : fresh_) {
    tables_.erase(t->id());
    t->end();
  }
  fresh_.clear();
}

void table_shelf::worker_died(const exit_reason& /*reason*/) noexcept {
  for (auto i = tables_.begin(); i != tables_.end();) {
    const std::shared_ptr<table_base>& t = i->second;
    t->open_ = false;
    if (t->kept_) {
      ++i;
      continue;
    }
    no_owner(std::shared_ptr{t});
    i = tables_.erase(i);
  }
}

void table_shelf::server_ended(const exit_reason& /*reason*/) noexcept {
  for (auto& [id, t] : tables_) no_owner(std::move(t));
  tables_.clear();
}

void table_shelf::no_owner(std::shared_ptr<table_base> t) noexcept {
  if (the_program != nullptr) return t->end();  // there it goes to its heir
  pid heir;
  any_message data;
  {
    const std::lock_guard lock{t->lock_};
    heir = std::exchange(t->heir_, {});
    data = std::move(t->heir_data_);
  }
  // An heir that owned it has ended.
  if (heir.raw() == 0 || heir.raw() == t->owner_.load()) {
    t->end();
  } else {
    hand_over(std::move(t), heir, std::move(data));
  }
}

void table_shelf::hand_over(std::shared_ptr<table_base> t, pid to, any_message data) noexcept {
  const process_ptr<process> target = find_process(to);
  if (!target || runs_elsewhere(*target)) {
    no_owner(std::move(t));
    return;
  }
  auto& heir = static_cast<branch&>(*target);
  const pid from = pid::from_raw(t->owner_.exchange(to.raw()));
  try {
    const table_transfer news{t->id(), t->name(), from, std::move(data)};
    auto* notice = new system_notice<in_transit>{message_kind::system, in_transit{std::move(t)}};
    if (heir.push_or_release(notice)) heir.deliver(any_message::of(news));
  } catch (const std::bad_alloc&) {
    log_error("no memory to hand a table over to {}", heir.display_name());
    if (t) t->end();
  }
}

}  // namespace peeper::detail
