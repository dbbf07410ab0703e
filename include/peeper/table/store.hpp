// SPDX-License-Identifier: Apache-2.0
/// \file
/// `table_store`: the rows of a table, and what can be done with them. What it does in which name
/// is said by who calls it, see table.hpp: `owner` inside the owner's callback, with whose commit
/// the change is made; `others` at once.
///
/// THREADS: any. Copying and comparing rows and keys happens under the table's lock, and nothing
/// else of the user's does.  CRASH: see base.hpp.
#pragma once

#include <algorithm>
#include <concepts>
#include <expected>
#include <limits>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <stdexcept>
#include <type_traits>
#include <utility>
#include <vector>

#include <peeper/codec.hpp>
#include <peeper/kept/reflect.hpp>
#include <peeper/table/index.hpp>

namespace peeper::detail {

template <class Kind>
inline constexpr bool many_rows_a_key =
    std::is_same_v<Kind, bag> || std::is_same_v<Kind, duplicate_bag>;

template <class Number>
[[nodiscard]] Number counted_up(Number n, Number by) {
  if constexpr (std::integral<Number>) {
    Number sum{};
    if (__builtin_add_overflow(n, by, &sum)) {
      throw std::overflow_error{"peeper: update_counter: the result does not fit its field"};
    }
    return sum;
  } else {
    return n + by;
  }
}

template <class Row, auto KeyOf, class Kind>
class table_store final : public table_base {
 public:
  using index = index_of<Row, KeyOf, Kind>;
  using entry = typename index::entry;
  using key = typename index::key;
  using place = typename index::place;
  static constexpr bool many = many_rows_a_key<Kind>;
  static constexpr bool ordered = std::is_same_v<Kind, ordered_set>;
  template <class T>
  using answer = std::expected<T, table_error>;
  /// What a key has: one row or none; of a bag all, oldest first.
  using found = std::conditional_t<many, std::vector<Row>, std::optional<Row>>;

  /// Its rows can go to another OS process.
  static constexpr bool crosses = encodable<Row> && std::is_default_constructible_v<Row>;

  static std::shared_ptr<table_base> make(branch& owner, table_options options, table_id id) {
    return std::make_shared<table_store>(seed{owner, std::move(options), id});
  }
  explicit table_store(seed s) : table_base{std::move(s)} {}
  ~table_store() override { table_store::free_all_rows(); }
  [[nodiscard]] const std::type_info& type() const noexcept override { return typeid(table_store); }
  [[nodiscard]] std::string_view kind() const noexcept override {
    if constexpr (std::is_same_v<Kind, set>) return "set";
    if constexpr (std::is_same_v<Kind, ordered_set>) return "ordered_set";
    if constexpr (std::is_same_v<Kind, bag>) return "bag";
    return "duplicate_bag";
  }

  // --- to other OS processes
  void write_changes(cbor_writer& out) const override {
    std::vector<const entry*> removed;
    std::vector<const entry*> added;
    for (const row_entry* each : journal_.rows) {
      const auto& e = static_cast<const entry&>(*each);
      if (e.state == row_state::added) {
        added.push_back(&e);
      } else if (many || seen(table_view::owner, e.key()) == nullptr) {
        removed.push_back(&e);  // else it is replaced
      }
    }
    if constexpr (many) {  // rows of one key in the order in which they have come
      std::ranges::sort(added, {}, [](const entry* e) { return e->place().number; });
    }
    write(removed, out);
    write(added, out);
  }
  void write_rows(cbor_writer& out) const override {
    std::vector<const entry*> all;
    rows_.each([&](const entry& e) {
      if (e.seen_by(table_view::others)) all.push_back(&e);
    });
    out.array(0);
    write(all, out);
  }
  [[nodiscard]] bool make_changes(cbor_reader& in) override {
    return read(in,
                [this](Row row) {
                  if constexpr (many) {
                    return erase_object(table_view::owner, row).has_value();
                  } else {
                    return erase(table_view::owner, std::invoke(KeyOf, row)).has_value();
                  }
                }) &&
           read(in, [this](Row row) {
             return insert_one(table_view::owner, std::move(row), false).has_value();
           });
  }

  // --- reading
  /// The row is copied once, to where the caller has it: a second copy costs as much as the search.
  [[nodiscard]] answer<found> lookup(table_view who, const key& k) const {
    answer<found> result;
    const reading lock{*this, who};
    if (gone_) {
      result = std::unexpected{error(table_errc::gone)};
    } else {
      add_rows_of(who, k, *result);
    }
    return result;
  }
  template <class Read>
  [[nodiscard]] auto look_at(table_view who, const key& k, Read&& read) const
      -> answer<std::optional<std::remove_cvref_t<std::invoke_result_t<Read&, const Row&>>>> {
    const reading lock{*this, who};
    if (gone_) return std::unexpected{error(table_errc::gone)};
    const entry* e = seen(who, k);
    if (e == nullptr) return std::nullopt;
    return read(e->row);
  }
  [[nodiscard]] answer<bool> member(table_view who, const key& k) const {
    const reading lock{*this, who};
    if (gone_) return std::unexpected{error(table_errc::gone)};
    return seen(who, k) != nullptr;
  }
  [[nodiscard]] answer<std::size_t> size(table_view who) const {
    const reading lock{*this, who};
    if (gone_) return std::unexpected{error(table_errc::gone)};
    const std::ptrdiff_t pending = who == table_view::owner ? journal_.growth : 0;
    return static_cast<std::size_t>(static_cast<std::ptrdiff_t>(size_) + pending);
  }
  [[nodiscard]] answer<std::optional<key>> next(table_view who, const key* k) const {
    const reading lock{*this, who};
    if (gone_) return std::unexpected{error(table_errc::gone)};
    std::optional<place> from;
    if (k != nullptr) from = rows_.place_of(*k, who);
    std::vector<entry*> one;
    rows_.after(from, 1, who, one);
    if (one.empty()) return std::nullopt;
    return key{one.front()->key()};
  }
  [[nodiscard]] answer<std::optional<key>> prev(table_view who, const key* k) const {
    const reading lock{*this, who};
    if (gone_) return std::unexpected{error(table_errc::gone)};
    const entry* e =
        rows_.before_place(k == nullptr ? std::nullopt : std::optional<place>{*k}, who);
    if (e == nullptr) return std::nullopt;
    return key{e->key()};
  }

  /// Looks at rows after `from`, in the order of the walk, until `f` returns true: without the
  /// lock, so that `f` may use this table and takes what time it wants. RETURNS: the place of the
  /// row at which it stopped; nothing if it has come to the end.
  template <class F>
  [[nodiscard]] answer<std::optional<place>> walk(table_view who, std::optional<place> from,
                                                  F&& f) const {
    constexpr std::size_t rows_at_once = 256;
    for (;;) {
      held_rows batch;
      {
        const reading lock{*this, who};
        if (gone_) return std::unexpected{error(table_errc::gone)};
        rows_.after(from, rows_at_once, who, batch.rows);
        batch.hold();
      }
      for (const entry* e : batch.rows) {
        if (f(e->row)) return std::optional<place>{index::place_of(*e)};
      }
      if (batch.rows.size() < rows_at_once) return std::optional<place>{};
      from = index::place_of(*batch.rows.back());
    }
  }

  // --- writing
  /// All of them or, if `only_new` and one of the keys is there, none. RETURNS: whether.
  [[nodiscard]] answer<bool> insert(table_view who, std::vector<Row> rows, bool only_new) {
    std::vector<owned_row> made;
    made.reserve(rows.size());
    for (Row& r : rows) made.push_back(owned_row{new entry{std::move(r)}});
    const auto busy = [&] {
      return std::ranges::any_of(made, [&](const owned_row& e) { return being_changed(e->key()); });
    };
    return change<bool>(who, made.size(), busy, [&](table_journal& j) {
      // A list that has a key twice is no list of new rows for a set; a bag takes it.
      for (std::size_t i = 0; only_new && i < made.size(); ++i) {
        if (seen(table_view::owner, made[i]->key()) != nullptr) return false;
      }
      j.make_room(2 * made.size());
      for (owned_row& e : made) put(e, j);
      return true;
    });
  }
  [[nodiscard]] answer<bool> insert_one(table_view who, Row row, bool only_new) {
    owned_row made{new entry{std::move(row)}};
    return change<bool>(
        who, 1, [&] { return being_changed(made->key()); },
        [&](table_journal& j) {
          j.make_room(2);
          if (only_new && seen(table_view::owner, made->key()) != nullptr) return false;
          put(made, j);
          return true;
        });
  }
  /// `edit` changes a copy of the row of key `k`; without one, a copy of `otherwise`, if there is.
  /// RETURNS: what `edit` returned; nothing if there is no row.
  template <class Edit>
  [[nodiscard]] auto modify(table_view who, const key& k, const Row* otherwise, Edit edit)
      -> answer<std::optional<std::invoke_result_t<Edit&, Row&>>> {
    using result = std::optional<std::invoke_result_t<Edit&, Row&>>;
    return change<result>(
        who, 1, [&] { return being_changed(k); },
        [&](table_journal& j) -> result {
          const entry* old = seen(table_view::owner, k);
          if (old == nullptr && otherwise == nullptr) return std::nullopt;
          Row row = old != nullptr ? old->row : *otherwise;
          result edited = edit(row);
          owned_row made{new entry{std::move(row)}};
          if (!same_keys(made->key(), k)) {
            throw std::logic_error{
                "peeper: a table's update must leave the key as it is, and a default row must have "
                "the key that was asked for: erase and insert instead"};
          }
          j.make_room(2);
          put(made, j);
          return edited;
        });
  }
  [[nodiscard]] answer<found> take(table_view who, const key& k) {
    return change<found>(
        who, 0, [&] { return being_changed(k); },
        [&](table_journal& j) {
          found rows;
          add_rows_of(table_view::owner, k, rows);
          remove_if(k, j, [](const entry&) { return true; });
          return rows;
        });
  }
  [[nodiscard]] answer<std::size_t> erase(table_view who, const key& k) {
    return change<std::size_t>(
        who, 0, [&] { return being_changed(k); },
        [&](table_journal& j) { return remove_if(k, j, [](const entry&) { return true; }); });
  }
  [[nodiscard]] answer<std::size_t> erase_object(table_view who, const Row& row) {
    const key k = std::invoke(KeyOf, row);
    return change<std::size_t>(
        who, 0, [&] { return being_changed(k); },
        [&](table_journal& j) {
          return remove_if(k, j, [&](const entry& e) { return same(e.row, row); });
        });
  }
  [[nodiscard]] answer<std::size_t> clear(table_view who) {
    return change<std::size_t>(
        who, 0, [&] { return !journal_.rows.empty(); },
        [&](table_journal& j) {
          std::vector<entry*> all;
          rows_.each([&](entry& e) {
            if (e.seen_by(table_view::owner)) all.push_back(&e);
          });
          j.make_room(all.size());
          for (entry* e : all) remove(*e, j);
          return all.size();
        });
  }

 private:
  static void write(const std::vector<const entry*>& rows, cbor_writer& out) {
    if constexpr (crosses) {
      out.array(rows.size());
      for (const entry* e : rows) encode_value(out, e->row);
    }
  }
  template <class Take>
  static bool read(cbor_reader& in, Take take) {
    if constexpr (crosses) {
      std::size_t count = 0;
      if (!in.array(count)) return false;
      for (; count > 0; --count) {
        Row row{};
        if (!decode_value(in, row) || !take(std::move(row))) return false;
      }
      return true;
    } else {
      return in.fail("rows of this table have no encoding");
    }
  }
  /// The owner of a table that nobody else can write needs no lock to read it.
  class reading {
   public:
    reading(const table_store& t, table_view who) noexcept
        : lock_{who == table_view::owner && t.allowed() != access::public_ ? nullptr : &t.lock_} {
      if (lock_ != nullptr) lock_->lock_shared();
    }
    reading(const reading&) = delete;
    reading& operator=(const reading&) = delete;
    ~reading() {
      if (lock_ != nullptr) lock_->unlock_shared();
    }

   private:
    table_lock* lock_;
  };
  struct drop_row {
    void operator()(entry* e) const noexcept { let_go(*e); }
  };
  using owned_row = std::unique_ptr<entry, drop_row>;
  static void let_go(entry& e) noexcept {
    // ORDER: acq_rel: the last one sees what the others did before they let go.
    if (e.holders.fetch_sub(1, std::memory_order_acq_rel) == 1) delete &e;
  }
  struct held_rows {
    held_rows() = default;
    held_rows(const held_rows&) = delete;
    held_rows& operator=(const held_rows&) = delete;
    ~held_rows() {
      for (std::size_t i = 0; i < held; ++i) let_go(*rows[i]);
    }
    /// REQUIRES: the lock.
    void hold() noexcept {
      // ORDER: relaxed: the table holds them, too.
      for (entry* e : rows) e->holders.fetch_add(1, std::memory_order_relaxed);
      held = rows.size();
    }
    std::vector<entry*> rows;
    std::size_t held = 0;
  };

  [[nodiscard]] static bool same_keys(const key& a, const key& b) {
    if constexpr (ordered) {
      return !(a < b) && !(b < a);
    } else {
      return a == b;
    }
  }
  [[nodiscard]] entry* seen(table_view who, const key& k) const {
    entry* result = nullptr;
    rows_.each_of(k, [&](entry& e) {
      if (!e.seen_by(who)) return false;
      result = &e;
      return true;
    });
    return result;
  }
  void add_rows_of(table_view who, const key& k, found& rows) const {
    if constexpr (many) {
      rows_.each_of(k, [&](const entry& e) {
        if (e.seen_by(who)) rows.push_back(e.row);
        return false;
      });
    } else if (const entry* e = seen(who, k); e != nullptr) {
      rows.emplace(e->row);
    }
  }
  /// By the owner's running callback.
  [[nodiscard]] bool being_changed(const key& k) const {
    bool changed = false;
    rows_.each_of(k, [&](const entry& e) { return changed = e.state != row_state::committed; });
    return changed;
  }

  /// The frame of every change. `busy`: may others not make it now? `f` changes, and throws before
  /// it changes anything, or never.
  template <class R, class Busy, class F>
  [[nodiscard]] answer<R> change(table_view who, std::size_t more_rows, Busy busy, F f) {
    if (who == table_view::owner) {
      take_part();
      const std::lock_guard lock{lock_};
      make_room(more_rows);
      return f(journal_);
    }
    const time_point deadline = journal_deadline();
    change_at_once now{*this};
    for (;;) {
      if (gone_) return std::unexpected{error(table_errc::gone)};
      if (journal_.rows.empty() || !busy()) break;
      if (!wait_for_commit(deadline)) return std::unexpected{error(table_errc::busy)};
    }
    make_room(more_rows);
    R result = f(now.journal);
    now.done();
    return result;
  }
  [[nodiscard]] time_point journal_deadline() const noexcept { return write_deadline(); }
  void make_room(std::size_t more) { rows_.make_room(size_ + journal_.rows.size() + more); }

  /// REQUIRES: room for two in the journal.
  void put(owned_row& made, table_journal& j) noexcept {
    entry* old = nullptr;
    if constexpr (!many) {
      old = seen(table_view::owner, made->key());
    } else if constexpr (std::is_same_v<Kind, bag>) {
      bool there = false;
      rows_.each_of(made->key(), [&](const entry& e) {
        return there = e.seen_by(table_view::owner) && same(e.row, made->row);
      });
      if (there) return;
    }
    rows_.link(*made, old);
    if (old != nullptr) remove(*old, j);
    j.note(*made.release(), row_state::added);
  }
  /// REQUIRES: room for one in the journal.
  void remove(entry& e, table_journal& j) noexcept {
    if (e.state == row_state::committed) {
      j.note(e, row_state::removed);
    } else {
      j.forget(e);
      rows_.unlink(e);
      let_go(e);
    }
  }
  template <class Which>
  std::size_t remove_if(const key& k, table_journal& j, Which which) {
    std::vector<entry*> chosen;
    rows_.each_of(k, [&](entry& e) {
      if (e.seen_by(table_view::owner) && which(e)) chosen.push_back(&e);
      return false;
    });
    j.make_room(chosen.size());
    for (entry* e : chosen) remove(*e, j);
    return chosen.size();
  }

  void unlink(row_entry& e) noexcept override { rows_.unlink(static_cast<entry&>(e)); }
  void free_row(row_entry& e) noexcept override { let_go(static_cast<entry&>(e)); }
  void free_all_rows() noexcept override {
    rows_.clear([](entry* e) { let_go(*e); });
  }

  index rows_;
};

}  // namespace peeper::detail
