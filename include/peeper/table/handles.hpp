// SPDX-License-Identifier: Apache-2.0
/// \file
/// The three handles of a table: owner, reader, writer. What the compiler can see it refuses: a
/// reader has no insert. See table.hpp.
///
/// An owner's functions return their result; those of readers and writers return it in an
/// std::expected, since the table may have ended: table_errc::gone; for writes also busy.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <expected>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <peeper/codec.hpp>
#include <peeper/table/file.hpp>
#include <peeper/table/store.hpp>

namespace peeper {

/// Where a select() or a walk goes on: after the last row that was looked at, wherever that is by
/// then. Good for this type of table.
template <class Store>
struct table_place {
  typename Store::place after;
};

template <class Store>
struct table_page {
  using row = std::remove_cvref_t<decltype(std::declval<typename Store::entry>().row)>;
  std::vector<row> rows;
  std::optional<table_place<Store>> more;  ///< where to go on; nothing at the end
};

namespace detail {

template <class Member>
struct member_parts;
template <class Row, class Field>
struct member_parts<Field Row::*> {
  using field = Field;
};

/// std::expected::transform, which g++ 12 does not have.
template <class T, class F>
auto mapped(std::expected<T, table_error> e, F f)
    -> std::expected<std::invoke_result_t<F&, T&&>, table_error> {
  if (!e) return std::unexpected{std::move(e.error())};
  return f(std::move(*e));
}

/// What all handles do. `Handle` says in whose name; an owner's results are given plain.
template <class Handle, class Store, auto Key, bool Plain>
class table_reading {
 public:
  using key = typename Store::key;
  using row = typename table_page<Store>::row;
  using found = typename Store::found;
  using place = table_place<Store>;
  using page = table_page<Store>;
  template <class T>
  using answer = std::conditional_t<Plain, T, std::expected<T, table_error>>;

  table_reading() = default;  ///< names no table: everything throws std::logic_error

  /// The row of this key, if there is; of a bag all its rows, oldest first.  O(1), ordered O(log
  /// n).
  [[nodiscard]] answer<found> lookup(const key& k) const {
    if constexpr (Plain) {
      return give(here("lookup").lookup(eyes(), k));
    } else {
      return here("lookup").lookup(eyes(), k);  // made where the caller has it
    }
  }
  /// One member of the row: `sessions.lookup_element<&session::user>(7)`. Not for bags.
  template <auto Member>
  [[nodiscard]] auto lookup_element(const key& k) const {
    static_assert(!Store::many, "lookup_element is for tables with one row a key: use lookup");
    return give(here("lookup_element").look_at(eyes(), k, [](const row& r) { return r.*Member; }));
  }
  /// The same, or `otherwise` if there is no such row.
  template <auto Member>
  [[nodiscard]] auto lookup_element(const key& k,
                                    typename member_parts<decltype(Member)>::field otherwise) const
      -> answer<typename member_parts<decltype(Member)>::field> {
    if constexpr (Plain) {
      return lookup_element<Member>(k).value_or(std::move(otherwise));
    } else {
      return mapped(lookup_element<Member>(k),
                    [&](auto v) { return std::move(v).value_or(std::move(otherwise)); });
    }
  }
  /// Is there a row of this key?  O(1), ordered O(log n).
  [[nodiscard]] answer<bool> member(const key& k) const {
    return give(here("member").member(eyes(), k));
  }
  /// How many rows there are.  O(1).
  [[nodiscard]] answer<std::size_t> size() const { return give(here("size").size(eyes())); }
  [[nodiscard]] answer<table_info> info() const { return give(here("info").info(eyes())); }

  /// All rows for which `wanted(const row&)` says true. Like fold(), it looks at some hundred rows
  /// at one moment: a row that is there all the time is met once, one that comes or goes meanwhile
  /// once or not at all. `wanted` runs without a lock and may take its time, and use this table.
  /// O(n).
  template <class Predicate>
  [[nodiscard]] answer<std::vector<row>> select(Predicate wanted) const {
    std::vector<row> rows;
    auto done = here("select").walk(eyes(), std::nullopt, [&](const row& r) {
      if (wanted(r)) rows.push_back(r);
      return false;
    });
    return give(mapped(std::move(done), [&](auto&&) { return std::move(rows); }));
  }
  /// At most `limit` of them, and where the next ones are: give it the `more` of the page before.
  template <class Predicate>
  [[nodiscard]] answer<page> select(Predicate wanted, std::size_t limit,
                                    std::optional<place> from = {}) const {
    page p;
    auto done = here("select").walk(
        eyes(), from ? std::optional{std::move(from->after)} : std::nullopt, [&](const row& r) {
          if (wanted(r)) p.rows.push_back(r);
          return p.rows.size() >= std::max<std::size_t>(limit, 1);
        });
    return give(mapped(std::move(done), [&](std::optional<typename Store::place>&& at) {
      if (at) p.more = place{std::move(*at)};
      return std::move(p);
    }));
  }
  /// `result = f(result, row)` for all rows; in the order of the keys if there is one. See
  /// select().
  template <class T, class F>
  [[nodiscard]] answer<T> fold(T result, F f) const {
    auto done = here("fold").walk(eyes(), std::nullopt, [&](const row& r) {
      result = f(std::move(result), r);
      return false;
    });
    return give(mapped(std::move(done), [&](auto&&) { return std::move(result); }));
  }

  /// The keys, one by one: the smallest of an ordered_set, else any. The walk
  /// `for (auto k = t.first(); k; k = t.next(*k))` meets every key that is there all the time once,
  /// whatever is inserted and erased meanwhile, `*k` included.  O(1), ordered O(log n).
  [[nodiscard]] answer<std::optional<key>> first() const {
    return give(here("first").next(eyes(), nullptr));
  }
  [[nodiscard]] answer<std::optional<key>> next(const key& k) const {
    return give(here("next").next(eyes(), &k));
  }
  /// The largest key.
  [[nodiscard]] answer<std::optional<key>> last() const {
    only_ordered();
    return give(here("last").prev(eyes(), nullptr));
  }
  /// The next smaller one.
  [[nodiscard]] answer<std::optional<key>> prev(const key& k) const {
    only_ordered();
    return give(here("prev").prev(eyes(), &k));
  }

  /// Writes the committed rows to a file, which takes the place of one that is there when it is
  /// complete and on the disk. The rows are those of some moments, as for fold(). Takes as long as
  /// the disk: not in a callback that others wait for.
  /// RETURNS: how many rows; table_errc::file, with the old file as it was.
  [[nodiscard]] std::expected<std::size_t, table_error> to_file(const std::string& path) const {
    static_assert(encodable<row>, "a row that goes to a file needs an encoding: see codec.hpp");
    Store& s = here("to_file");
    table_file_writer out{s.env(), path};
    if (auto done = s.size(table_view::others); !done) return done;
    if (auto done = out.open(s.kind(), state_version<row>()); !done) {
      return std::unexpected{std::move(done.error())};
    }
    std::optional<table_error> failed;
    auto walked = s.walk(table_view::others, std::nullopt, [&](const row& r) {
      if (auto done = out.add(encode(r)); !done) failed = std::move(done.error());
      return failed.has_value();
    });
    if (!walked) return std::unexpected{std::move(walked.error())};
    if (failed) return std::unexpected{std::move(*failed)};
    return out.finish();
  }

  [[nodiscard]] table_id id() const { return store("id").id(); }
  /// Does it name a table (that may have ended)?
  [[nodiscard]] explicit operator bool() const noexcept { return store_ != nullptr; }
  friend bool operator==(const Handle& a, const Handle& b) noexcept { return a.store_ == b.store_; }

 protected:
  explicit table_reading(std::shared_ptr<Store> s) noexcept : store_{std::move(s)} {}

  [[nodiscard]] Store& store(const char* what) const {
    if (!store_) {
      throw std::logic_error{std::string{"peeper: "} + what +
                             " of an empty table handle: it comes from create or find_table"};
    }
    return *store_;
  }
  /// The table, if this handle may be used here.
  [[nodiscard]] Store& here(const char* what) const {
    Store& s = store(what);
    static_cast<const Handle*>(this)->check(s, what);
    return s;
  }
  [[nodiscard]] table_view eyes() const noexcept {
    return static_cast<const Handle*>(this)->view(*store_);
  }
  template <class T>
  static auto give(std::expected<T, table_error> result) {
    if constexpr (Plain) {
      if (!result) throw std::logic_error{result.error().what()};
      return std::move(*result);
    } else {
      return result;
    }
  }

  std::shared_ptr<Store> store_;

 private:
  static void only_ordered() {
    static_assert(Store::ordered,
                  "last and prev need an ordered_set: the other kinds have no order");
  }
};

/// What owners and writers do beside. Each is atomic: nobody sees a part of it.
template <class Handle, class Store, auto Key, bool Plain>
class table_writing : public table_reading<Handle, Store, Key, Plain> {
  using base = table_reading<Handle, Store, Key, Plain>;

 public:
  using typename base::found;
  using typename base::key;
  using typename base::row;
  template <class T>
  using answer = typename base::template answer<T>;

  table_writing() = default;

  /// A set: instead of the row of that key, if there is. A bag: beside those rows, unless the same
  /// row is there.  COMPLEXITY: O(1), ordered O(log n), bag O(rows of the key).
  answer<void> insert(row r) const {
    return ignore(this->here("insert").insert_one(this->eyes(), std::move(r), false));
  }
  /// All of them at one moment.
  answer<void> insert(std::vector<row> rows) const {
    return ignore(this->here("insert").insert(this->eyes(), std::move(rows), false));
  }
  /// Unless there is a row of that key. RETURNS: whether it has been inserted.
  answer<bool> insert_new(row r) const {
    return base::give(this->here("insert_new").insert_one(this->eyes(), std::move(r), true));
  }
  /// All, or none if there is a row of one of the keys.
  answer<bool> insert_new(std::vector<row> rows) const {
    return base::give(this->here("insert_new").insert(this->eyes(), std::move(rows), true));
  }

  /// `table.update_counter<&session::hits>(7, 1)`: adds to a member, in one step.
  /// RETURNS: the new number; nothing if there is no such row. Throws std::overflow_error.
  template <auto Member, class Number = typename member_parts<decltype(Member)>::field>
  auto update_counter(const key& k, std::type_identity_t<Number> by) const {
    return count<Member, Number>(k, nullptr, [by](Number n) { return counted_up(n, by); });
  }
  /// The same; if there is no such row, `otherwise` is inserted and counted up.
  template <auto Member, class Number = typename member_parts<decltype(Member)>::field>
  auto update_counter(const key& k, std::type_identity_t<Number> by, const row& otherwise) const {
    return count<Member, Number>(k, &otherwise, [by](Number n) { return counted_up(n, by); });
  }
  /// What a counter that passes `threshold` (upwards, or, if `by` is negative, downwards) is set
  /// to.
  template <class Number>
  struct wrap {
    Number threshold;
    Number reset;
  };
  template <auto Member, class Number = typename member_parts<decltype(Member)>::field>
  auto update_counter(const key& k, std::type_identity_t<Number> by,
                      std::type_identity_t<wrap<Number>> w) const {
    return count<Member, Number>(k, nullptr, wrapping(by, w));
  }
  template <auto Member, class Number = typename member_parts<decltype(Member)>::field>
  auto update_counter(const key& k, std::type_identity_t<Number> by,
                      std::type_identity_t<wrap<Number>> w, const row& otherwise) const {
    return count<Member, Number>(k, &otherwise, wrapping(by, w));
  }
  /// `table.update_element<&session::user>(7, "eve")`. RETURNS: false if there is no such row.
  template <auto Member>
  answer<bool> update_element(const key& k,
                              typename member_parts<decltype(Member)>::field value) const {
    may_change<Member>();
    auto done = this->here("update_element").modify(this->eyes(), k, nullptr, [&](row& r) {
      r.*Member = std::move(value);
      return true;
    });
    return base::give(
        mapped(std::move(done), [](const auto& changed) { return changed.has_value(); }));
  }

  /// Erases the rows of this key and returns them.
  answer<found> take(const key& k) const {
    return base::give(this->here("take").take(this->eyes(), k));
  }
  /// RETURNS: how many rows went. O(rows of the key).
  answer<std::size_t> erase(const key& k) const {
    return base::give(this->here("erase").erase(this->eyes(), k));
  }
  /// Rows that are the same in all members; of a duplicate_bag perhaps several.
  answer<std::size_t> erase_object(const row& r) const {
    return base::give(this->here("erase_object").erase_object(this->eyes(), r));
  }
  /// Erases all rows. O(n).
  answer<std::size_t> clear() const { return base::give(this->here("clear").clear(this->eyes())); }

 protected:
  using base::base;

 private:
  static answer<void> ignore(std::expected<bool, table_error> done) {
    if constexpr (Plain) {
      base::give(std::move(done));
    } else {
      if (!done) return std::unexpected{std::move(done.error())};
      return {};
    }
  }
  template <auto Member>
  static void may_change() {
    static_assert(!Store::many, "updates are for tables with one row a key: take and insert");
    if constexpr (std::is_same_v<std::remove_cv_t<decltype(Key)>,
                                 std::remove_cv_t<decltype(Member)>>) {
      static_assert(Member != Key,
                    "the key of a row cannot be updated: erase the row and insert another");
    }
  }
  template <class Number>
  static auto wrapping(Number by, wrap<Number> w) {
    return [by, w](Number n) {
      const Number sum = counted_up(n, by);
      const bool passed = by < Number{} ? sum < w.threshold : w.threshold < sum;
      return passed ? w.reset : sum;
    };
  }
  template <auto Member, class Number, class Step>
  auto count(const key& k, const row* otherwise, Step step) const {
    may_change<Member>();
    static_assert(std::is_arithmetic_v<Number> && !std::is_same_v<Number, bool>,
                  "update_counter needs a member that is a number");
    return base::give(this->here("update_counter").modify(this->eyes(), k, otherwise, [&](row& r) {
      return r.*Member = step(r.*Member);
    }));
  }
};

}  // namespace detail

/// Reads committed rows, and sees no others, also in the owner's own callbacks. THREADS: any.
template <class Store, auto Key>
class table_reader : public detail::table_reading<table_reader<Store, Key>, Store, Key, false> {
  using base = detail::table_reading<table_reader<Store, Key>, Store, Key, false>;

 public:
  table_reader() = default;
  explicit table_reader(std::shared_ptr<Store> s) noexcept : base{std::move(s)} {}

 private:
  friend base;
  static void check(const Store&, const char*) noexcept {}
  static detail::table_view view(const Store&) noexcept { return detail::table_view::others; }
};

/// Writes a public table. Each write is a step of its own: it is there at once, and stays, even if
/// the callback that made it crashes. Only the owner's callbacks write as the owner does, as part
/// of their commit; a write to a row that such a callback has changed waits for its end, at most
/// `write_wait`. THREADS: any.
template <class Store, auto Key>
class table_writer : public detail::table_writing<table_writer<Store, Key>, Store, Key, false> {
  using base = detail::table_writing<table_writer<Store, Key>, Store, Key, false>;
  template <class, class, auto, bool>
  friend class detail::table_reading;

 public:
  table_writer() = default;
  explicit table_writer(std::shared_ptr<Store> s) noexcept : base{std::move(s)} {}

 private:
  static void check(const Store&, const char*) noexcept {}
  static detail::table_view view(const Store& s) noexcept {
    return s.owner_runs_here() ? detail::table_view::owner : detail::table_view::others;
  }
};

/// Does everything. For a member of the server class, made by create() in `init`.
/// THREADS: callbacks of the server that owns the table; else everything but id() throws
/// std::logic_error.
template <class Store, auto Key>
class table_owner : public detail::table_writing<table_owner<Store, Key>, Store, Key, true> {
  using base = detail::table_writing<table_owner<Store, Key>, Store, Key, true>;
  template <class, class, auto, bool>
  friend class detail::table_reading;

 public:
  table_owner() = default;
  explicit table_owner(std::shared_ptr<Store> s) noexcept : base{std::move(s)} {}

  /// To give to others in messages; access_denied for a private table.
  [[nodiscard]] std::expected<table_reader<Store, Key>, table_error> reader() const {
    if (this->store("reader").allowed() == access::private_) {
      return std::unexpected{this->store_->error(table_errc::access_denied)};
    }
    return table_reader<Store, Key>{this->store_};
  }
  /// The same; access_denied for a table that is not public.
  [[nodiscard]] std::expected<table_writer<Store, Key>, table_error> writer() const {
    if (this->store("writer").allowed() != access::public_) {
      return std::unexpected{this->store_->error(table_errc::access_denied)};
    }
    return table_writer<Store, Key>{this->store_};
  }

  // What follows takes effect at the commit.

  /// The server `to` owns the table, and is told by a table_transfer with `data`. RETURNS:
  /// no_such_server; bad_options if that is this server.
  [[nodiscard]] std::expected<void, table_error> give_away(pid to, any_message data = {}) const {
    return this->here("give_away").give_away(to, std::move(data));
  }
  /// RETURNS: name_taken; the new name is reserved at once.
  [[nodiscard]] std::expected<void, table_error> rename(const std::string& to) const {
    return this->here("rename").rename(to);
  }
  /// Who gets it when its owner ends, see table_options::heir; an empty pid: nobody.
  void set_heir(pid heir, any_message data = {}) const {
    this->here("set_heir").set_heir(heir, std::move(data));
  }
  /// The table ends; all handles of it answer `gone`.
  void drop() const { this->here("drop").drop(); }

 private:
  template <class, auto, class>
  friend struct table;
  [[nodiscard]] environment& env() const { return this->store_->env(); }
  [[nodiscard]] std::string_view kind() const { return this->store_->kind(); }
  void abandon() const { this->store_->abandon(); }
  static void check(const Store& s, const char* what) { s.require_owner(what); }
  static detail::table_view view(const Store&) noexcept { return detail::table_view::owner; }
};

}  // namespace peeper
