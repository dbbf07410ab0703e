// SPDX-License-Identifier: Apache-2.0
#include "table/table_elsewhere.hpp"

#include <algorithm>
#include <stdexcept>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "server/branch_extras.hpp"
#include "table/table_shelf.hpp"

namespace peeper::detail {
namespace {

/// In the order of their making, which is that of the program's image: before main(), one thread.
std::vector<const table_type*>& types_known() {
  static std::vector<const table_type*> all;
  return all;
}

std::unexpected<table_error> refused(const table_answer& why) {
  return std::unexpected{table_error{static_cast<table_errc>(why.error), why.text}};
}

table_answer no(const table_error& why) {
  return {.error = static_cast<std::uint8_t>(why.code()), .text = why.what()};
}

table_options options_of(const table_request& r) {
  return {.name = r.name,
          .access = static_cast<access>(r.access),
          .heir = pid::from_raw(r.server),
          .heir_data = {},
          .write_wait = duration{r.write_wait}};
}

}  // namespace

table_type::table_type(const std::type_info& store, table_maker make, bool crosses) noexcept
    : store_{&store},
      make_{make},
      crosses_{crosses},
      number_{static_cast<std::uint32_t>(types_known().size())} {
  types_known().push_back(this);
}

const table_type* table_type::find(std::uint32_t number) noexcept {
  return number < types_known().size() ? types_known()[number] : nullptr;
}

const table_type* table_type::find(const std::type_info& store) noexcept {
  const auto found = std::ranges::find_if(
      types_known(), [&store](const table_type* each) { return each->store() == store; });
  return found == types_known().end() ? nullptr : *found;
}

std::expected<table_id, table_error> create_in_program(const table_options& options,
                                                       const table_type& type) {
  if (!type.crosses()) {
    return std::unexpected{table_error{
        table_errc::bad_options,
        fmt::format("table '{}': in an OS process of its own, the rows of a server's table must be "
                    "encodable and default constructible",
                    options.name)}};
  }
  refuse_to_cross(options.heir_data);
  const table_answer made =
      the_program->change_table({.what = table_request::create,
                                 .type = type.number(),
                                 .name = options.name,
                                 .access = static_cast<std::uint8_t>(options.access),
                                 .server = options.heir.raw(),
                                 .write_wait = options.write_wait.count()});
  if (!made.done) return refused(made);
  return table_id{made.table};
}

std::expected<void, table_error> change_in_program(const table_request& r) {
  const table_answer done = the_program->change_table(r);
  if (!done.done) return refused(done);
  return {};
}

void refuse_to_cross(const any_message& data) {
  if (data.type() != typeid(void)) {
    throw std::logic_error{
        "peeper: from an OS process of its own a server gives its tables without data: send them "
        "in a message"};
  }
}

table_answer change_table(branch& owner, const table_request& r) {
  if (r.what == table_request::create) {
    const table_type* const type = table_type::find(r.type);
    if (type == nullptr || !type->crosses() ||
        r.access > static_cast<std::uint8_t>(access::public_)) {
      return no(table_error{table_errc::type_mismatch});
    }
    if (static_cast<access>(r.access) == access::public_) {
      return no(table_error{
          table_errc::bad_options,
          fmt::format("table '{}': nobody else can write a table of a server that runs in an OS "
                      "process of its own: make it protected",
                      r.name)});
    }
    const auto made = create_table(options_of(r), *type, false);
    if (!made) return no(made.error());
    return {.table = (*made)->id().value, .done = true};
  }
  const auto found = table_shelf::of(owner).find(table_id{r.table});
  if (!found) return no(table_error{table_errc::not_owner});
  std::expected<void, table_error> done;
  switch (r.what) {
    case table_request::rename: done = found->rename(r.name); break;
    case table_request::set_heir: found->set_heir(pid::from_raw(r.server), {}); break;
    case table_request::give_away: done = found->give_away(pid::from_raw(r.server), {}); break;
    case table_request::drop: found->drop(); break;
    default: return no(table_error{table_errc::bad_options});
  }
  return done ? table_answer{.done = true} : no(done.error());
}

bool has_tables(branch& owner) { return owner.more().tables != nullptr; }

void write_kept_tables(branch& owner, cbor_writer& out) {
  std::vector<const table_base*> kept;
  if (has_tables(owner)) {
    table_shelf::of(owner).each([&](const table_base& t) {
      if (table_shelf::is_kept(t)) kept.push_back(&t);
    });
  }
  out.array(kept.size());
  for (const table_base* t : kept) {
    out.bytes(encode(table_shelf::request_of(*t)));
    cbor_writer rows;
    t->write_rows(rows);
    const std::uint64_t id = t->id().value;
    const auto head = std::as_bytes(std::span{&id, 1});
    std::vector<std::byte> bytes{head.begin(), head.end()};
    bytes.insert(bytes.end(), rows.view().begin(), rows.view().end());
    out.bytes(bytes);
  }
}

bool repeat_change(branch& owner, const table_request& r) {
  table_shelf& shelf = table_shelf::of(owner);
  if (r.what == table_request::worker_died) {
    shelf.worker_died(exit_kind::killed);
    return true;
  }
  if (r.what == table_request::create) {
    const table_type* const type = table_type::find(r.type);
    return type != nullptr && shelf.add_new(type->maker()(owner, options_of(r), table_id{r.table}));
  }
  const auto found = shelf.find(table_id{r.table});
  if (!found) return false;
  shelf.repeat(found, r);
  return true;
}

void write_changed_tables(branch& owner,
                          const std::function<void(table_id, std::span<const std::byte>)>& take) {
  if (!has_tables(owner)) return;
  table_shelf::of(owner).each([&](const table_base& t) {
    if (!table_shelf::is_changed(t)) return;
    cbor_writer out;
    t.write_changes(out);
    take(t.id(), out.view());
  });
}

bool make_changes(branch& owner, table_id id, cbor_reader& in) {
  const auto found = table_shelf::of(owner).find(id);
  return !found || found->make_changes(in);
}

}  // namespace peeper::detail
