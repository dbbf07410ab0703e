// SPDX-License-Identifier: Apache-2.0
//
// A server's state, as the keeper holds it and the callback loop uses it: what has been committed,
// what the running callback has changed, and the way back.
//
//   field of the state          how it rolls back                     what commit costs
//   small, trivially copyable   a copy beside it                      compare, copy if changed
//   plain                       a shadow, field by field              compare, copy if changed
//   kept container              the undo log                          nothing
//   not movable without throw   old and new exchanged as a whole      compare if it can be, copy
//
// A plain field with no == counts as changed by each callback that may change the state.
//
// THREADS: one at a time: the one that runs the server's callback.
// CRASH: (an exception in begin(), the callback or prepare()) rollback() leaves the last commit,
// exactly. After commit() has returned, its changes are final.
//
//   peeper::detail::kept_state<my_state> s{my_state{}};
//   s.begin();
//   try {
//     callback(s.value());
//     s.prepare();
//   } catch (...) {
//     s.rollback();
//     throw;
//   }
//   const bool changed = s.commit();
#pragma once

#include <array>
#include <cstddef>
#include <expected>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <tuple>
#include <type_traits>
#include <utility>

#include <peeper/codec.hpp>
#include <peeper/kept/keepable.hpp>
#include <peeper/kept/modify.hpp>

namespace peeper::detail {

/// Small and trivial: a copy costs less than asking whether one is needed.
template <class State>
concept saved_at_once = !holds_kept<State> && std::is_trivially_copyable_v<State> &&
                        std::is_copy_assignable_v<State> && sizeof(State) <= 64;

/// Whether a State with no kept containers can be restored field by field.
template <class State>
consteval bool fields_restorable() {
  if constexpr (structure<State>) {
    return all_indices<field_count<State>>([](auto i) { return restorable<field_type<i, State>>; });
  } else {
    return restorable<State>;
  }
}

/// What can only be exchanged as a whole, by pointer.
template <class State>
concept exchanged = !holds_kept<State> && !saved_at_once<State> && !fields_restorable<State>();

/// The committed value of one plain field and room for the next one. Committing a change turns
/// `current` over, which cannot fail.
template <class Field>
struct field_shadow {
  std::array<std::optional<saved<Field>>, 2> copies;
  bool current = false;
  bool valid = false;
  bool changed = false;

  [[nodiscard]] std::optional<saved<Field>>& committed() noexcept { return copies[current]; }

  static void copy(std::optional<saved<Field>>& to, const Field& from) {
    if constexpr (!holds_kept<Field> && std::is_copy_assignable_v<Field>) {
      // Assigning uses the memory that strings and vectors have already.
      if (to) {
        *to = from;
        return;
      }
    }
    to.emplace(save<Field>(from));
  }

  void refresh(const Field& field) {
    if (valid) return;
    copy(committed(), field);
    valid = true;
  }
  /// RETURNS: whether the field has changed. Throws what copies throw: nothing is lost then.
  bool prepare(const Field& field) {
    changed = !same_as_saved<Field>(field, *committed());
    if (changed) copy(copies[!current], field);
    return changed;
  }
  void commit() noexcept {
    if (std::exchange(changed, false)) current = !current;
  }
  void roll_back(Field& field) noexcept {
    changed = false;
    if (!std::exchange(valid, false)) return;
    restore<Field>(field, std::move(*committed()));
  }
};

/// Stands where a field has no plain part.
struct no_shadow {};

template <class Field>
using shadow_of = std::conditional_t<has_plain_part<Field>(), field_shadow<Field>, no_shadow>;

template <class State>
struct shadow_traits {
  using type = std::tuple<shadow_of<State>>;
};
template <structure State>
  requires(!saved_at_once<State> && !exchanged<State>)
struct shadow_traits<State> {
  template <std::size_t... I>
  static std::tuple<shadow_of<field_type<I, State>>...> make(std::index_sequence<I...>);
  using type = decltype(make(std::make_index_sequence<field_count<State>>{}));
};
template <class State>
  requires saved_at_once<State>
struct shadow_traits<State> {
  using type = State;
};
template <class State>
  requires exchanged<State>
struct shadow_traits<State> {
  using type = std::unique_ptr<State>;
};

/// What the running callback has changed so far, for listeners: from kept_state::watch() on.
template <class State>
class state_watch final : public change_notes {
 public:
  changes<State> noted;

  /// Fields that are told as a whole have no other old value.
  void look(const State& value) {
    for_each_whole([&](auto i) {
      std::get<i>(last_).reset();
      std::get<i>(last_).emplace(part_of<i>(value));
    });
  }
  /// Tells those that were touched. Throws what copies throw, and std::bad_alloc.
  void take_wholes(const State& value) {
    for_each_whole([&](auto i) {
      auto& p = noted.template at<i>();
      if (!p.touched) return;
      p.touched = false;
      auto& last = std::get<i>(last_);
      if (!last) throw std::bad_alloc{};
      using whole = std::remove_cvref_t<decltype(*last)>;
      p.change = make_relay_box<value_change<whole>>(*std::as_const(last), part_of<i>(value));
      last.reset();
      last.emplace(p.change->now);
    });
  }
  /// Those fields that have come with containers the log has not seen.
  void touch_fresh(const State& value) noexcept {
    for_each_whole([&](auto i) {
      for_each_kept(part_of<i>(value), 0, [&](const auto& container, std::size_t /*slot*/) {
        if (!container.attached()) noted.template at<i>().touched = true;
      });
    });
  }

 private:
  template <class T>
  using last_of =
      std::conditional_t<holds_kept<T> && told_as_a_whole<T>, std::optional<T>, nothing>;
  template <std::size_t... I>
  static auto make(std::index_sequence<I...>)
      -> std::tuple<last_of<typename parts_traits<State>::template part_type<I>>...>;

  template <class F>
  void for_each_whole(F&& f) {
    for_each_index<changes<State>::part_count>([&](auto i) {
      using type = typename parts_traits<State>::template part_type<i>;
      if constexpr (holds_kept<type> && told_as_a_whole<type>) f(i);
    });
  }
  void clear() noexcept override { noted = {}; }

  decltype(make(std::make_index_sequence<changes<State>::part_count>{})) last_;
};

template <class State>
class kept_state {
  static_assert((explain_keepable<State>(), keepable<State>),
                "peeper: this type cannot be the state of a server; see the errors above");

  static constexpr bool at_once = saved_at_once<State>;
  static constexpr bool whole = exchanged<State>;
  static constexpr bool logs = holds_kept<State>;

 public:
  explicit kept_state(State initial)
      : value_(make_value(std::move(initial))), shadow_(make_shadow(value_)) {
    if constexpr (logs) {
      make_log();
      attach_all(value_, log_.get());
    }
  }
  // Kept containers in the state know where their log is, and it knows where they are.
  kept_state(const kept_state&) = delete;
  kept_state& operator=(const kept_state&) = delete;
  /// A state that goes in the middle of a callback goes as it is.
  ~kept_state() {
    if (log_) log_->discard_all();
  }

  /// REQUIRES: what is reached through it is changed between begin() and prepare() only.
  [[nodiscard]] State& value() noexcept {
    if constexpr (whole) {
      return *value_;
    } else {
      return value_;
    }
  }
  [[nodiscard]] const State& value() const noexcept {
    if constexpr (whole) {
      return *value_;
    } else {
      return value_;
    }
  }

  /// Begins a callback that may change the state. Throws std::bad_alloc and what copies throw:
  /// nothing has happened then.
  void begin() {
    if constexpr (whole) {
      if (!shadow_) shadow_ = std::make_unique<State>(*value_);
    } else if constexpr (!at_once) {
      if (flags_.stale) [[unlikely]] {
        for_each_shadow([](auto& shadow, auto& field) { shadow.refresh(field); });
        flags_.stale = false;
      }
    }
    if (log_) {
      if constexpr (shifting<State>) {
        attach_fresh(value_, log_.get());
        log_->promise(burial_bytes<State>());
      }
      log_->begin();
    }
  }

  /// After the callback, before commit(). Throws what copies throw; std::logic_error if an
  /// exception that the callback has swallowed left a change half done. Call rollback() then.
  void prepare() {
    if (log_ && log_->doomed()) {
      throw std::logic_error(
          "peeper: the callback caught an exception that left modify() of an element after "
          "another alternative of a std::variant or std::optional outside of it had been replaced; "
          "such a change cannot be kept");
    }
    refuse_valueless(value());
    if constexpr (whole) {
      if (!same(*value_, *shadow_)) next_ = std::make_unique<State>(*value_);
    } else if constexpr (!at_once) {
      flags_.changed = false;
      for_each_shadow([&](auto& shadow, const auto& field) {
        if (shadow.prepare(field)) flags_.changed = true;
      });
    }
    if (!log_) return;
    if (log_->followed()) [[unlikely]] {
      if (log_->redoing()) write_redo();
      if constexpr (shifting<State>) {
        if (watch_type* const w = watching()) w->touch_fresh(value());
      }
    }
    if constexpr (shifting<State>) attach_fresh(value_, log_.get());
  }

  /// Makes the changes final. REQUIRES: prepare() has returned.
  /// RETURNS: whether there were any.
  bool commit() noexcept {
    bool changed = plain_changed();
    if constexpr (at_once) {
      if (changed) shadow_ = value_;
    } else if constexpr (whole) {
      if (next_) shadow_ = std::move(next_);
    } else if (std::exchange(flags_.changed, false)) {
      for_each_shadow([](auto& shadow, auto& /*field*/) { shadow.commit(); });
    }
    if (log_) {
      changed = changed || !log_->empty();
      log_->keep_redo(changed);
      log_->discard_all();
    }
    return changed;
  }

  /// Puts everything back to the last commit. REQUIRES: begin() has been called; it, the callback
  /// or prepare() may have thrown.
  void rollback() noexcept {
    if (log_) {
      log_->undo_all_after([this] { roll_back_plain(); });
    } else {
      roll_back_plain();
    }
  }

  /// Whether commits encode what they changed. REQUIRES: no callback is running.
  void record_deltas(bool on)
    requires encodable<State>
  {
    if (!log_) {
      if (!on) return;
      make_log();
    }
    log_->record_redo(on);
  }
  /// What the last commit changed, for apply_delta() on another copy. Empty if it changed nothing
  /// or deltas are not recorded. Valid until the next commit.
  [[nodiscard]] std::span<const std::byte> last_delta() const noexcept {
    return log_ ? log_->last_delta() : std::span<const std::byte>{};
  }

  using watch_type = state_watch<State>;
  /// Until unwatch() what callbacks change is noted in `w`. Throws what copies throw: it is not
  /// watched then. REQUIRES: no callback is running.
  void watch(watch_type& w) {
    if constexpr (shifting<State>) w.look(value());
    if constexpr (logs) log_->note_in(&w, &w.noted, &erased_list_in<State>);
  }
  void unwatch() noexcept {
    if constexpr (logs) log_->note_in(nullptr, nullptr, nullptr);
  }
  /// Completes what was noted: `w.noted` says what commit() is about to make final.
  /// REQUIRES: prepare() has returned; watch(w).
  /// RETURNS: false if that could not be told, for want of memory or a copy that threw.
  [[nodiscard]] bool collect(watch_type& w) noexcept {
    try {
      if constexpr (at_once || whole) {
        if (plain_changed()) note_plain(w.noted, value(), committed());
      } else if (flags_.changed) {
        note_shadows(w.noted);
      }
      if constexpr (shifting<State>) w.take_wholes(value());
      return !w.spoiled();
    } catch (...) {
      if constexpr (shifting<State>) {
        try {
          w.look(value());
        } catch (...) {  // the next change will be missed, too
          return false;
        }
      }
      return false;
    }
  }

  /// How much the undo log of the running callback has taken; for tests and metrics.
  [[nodiscard]] std::size_t log_bytes() const noexcept { return log_ ? log_->used_bytes() : 0; }
  [[nodiscard]] std::size_t log_bytes_held() const noexcept {
    return log_ ? log_->held_bytes() : 0;
  }

 private:
  using value_holder = std::conditional_t<whole, std::unique_ptr<State>, State>;
  using shadow_type = typename shadow_traits<State>::type;
  struct unused {};
  struct flags {
    bool changed = false;  // by the callback that prepare() has looked at
    bool stale = true;     // some shadow is not valid
  };

  static value_holder make_value(State&& initial) {
    if constexpr (whole) {
      return std::make_unique<State>(std::move(initial));
    } else {
      return std::move(initial);
    }
  }

  static shadow_type make_shadow(const value_holder& value) {
    if constexpr (at_once) {
      return value;
    } else {
      return {};
    }
  }

  /// REQUIRES: prepare() has returned.
  [[nodiscard]] bool plain_changed() const noexcept {
    if constexpr (at_once) {
      return !same(value_, shadow_);
    } else if constexpr (whole) {
      return next_ != nullptr;
    } else {
      return flags_.changed;
    }
  }

  [[nodiscard]] watch_type* watching() noexcept { return static_cast<watch_type*>(log_->notes()); }

  void note_shadows(changes<State>& noted) {
    const auto look = [](auto& p, auto& shadow, const auto& now) {
      using field_type = std::remove_cvref_t<decltype(now)>;
      if (shadow.changed) note_plain_part<field_type>(p, now, *shadow.committed());
    };
    if constexpr (structure<State>) {
      for_each_index<field_count<State>>([&](auto i) {
        if constexpr (has_plain_part<field_type<i, State>>()) {
          look(noted.template at<i>(), std::get<i>(shadow_), std::as_const(field<i>(value_)));
        }
      });
    } else if constexpr (has_plain_part<State>()) {
      if constexpr (changes<State>::part_count == 1) {
        look(noted.template at<0>(), std::get<0>(shadow_), std::as_const(value_));
      } else {  // an array of what has kept containers in it
        if (std::get<0>(shadow_).changed) {
          note_plain(noted, std::as_const(value_), *std::get<0>(shadow_).committed());
        }
      }
    }
  }

  void make_log() {
    open_element root;
    root.element = &value_;
    root.bytes = sizeof(value_);
    if constexpr (logs) root.slot_of = &slot_in<State>;
    log_ = std::make_unique<change_log>(root, state_version<State>());
  }

  /// Calls f(shadow, field) for each field that has a plain part.
  template <class F>
  void for_each_shadow(F&& f) {
    if constexpr (structure<State>) {
      for_each_index<field_count<State>>([&](auto i) {
        if constexpr (has_plain_part<field_type<i, State>>()) {
          f(std::get<i>(shadow_), field<i>(value_));
        }
      });
    } else if constexpr (has_plain_part<State>()) {
      f(std::get<0>(shadow_), value_);
    }
  }

  void roll_back_plain() noexcept {
    if constexpr (at_once) {
      value_ = shadow_;
    } else if constexpr (whole) {
      next_.reset();
      // The shadow becomes the value; the next begin() makes another one.
      if (shadow_) value_ = std::move(shadow_);
    } else {
      flags_ = {};
      for_each_shadow([](auto& shadow, auto& field) { shadow.roll_back(field); });
    }
  }

  [[nodiscard]] const State& committed() const noexcept
    requires(at_once || whole)
  {
    if constexpr (whole) {
      return *shadow_;
    } else {
      return shadow_;
    }
  }

  void write_redo() {
    if constexpr (encodable<State>) {
      if (plain_changed()) {
        if constexpr (structure<State>) {
          write_changed_structure();
        } else {
          cbor_writer& out = log_->write_fields(nullptr);
          out.map(1);
          out.natural(0);
          encode_saved(out, value());
        }
      }
      if constexpr (shifting<State>) {
        for_each_kept(value_, 0, [&](auto& container, std::size_t /*slot*/) {
          if (!container.attached()) container.write_assign(*log_);
        });
      }
      log_->seal_redo();
    }
  }

  void write_changed_structure() {
    constexpr std::size_t count = field_count<State>;
    std::bitset<count + 1> changed;
    if constexpr (at_once || whole) {
      const State& old = committed();
      for_each_index<count>(
          [&](auto i) { changed.set(i, !same(field<i>(value()), field<i>(old))); });
    } else {
      for_each_index<count>([&](auto i) {
        if constexpr (has_plain_part<field_type<i, State>>()) {
          changed.set(i, std::get<i>(shadow_).changed);
        }
      });
    }
    cbor_writer& out = log_->write_fields(nullptr);
    out.map(changed.count());
    for_each_index<count>([&](auto i) {
      if (!changed.test(i)) return;
      encode_field_key<State>(out, i);
      encode_saved(out, field<i>(value()));
    });
  }

  // The log goes last: containers look at it when they go.
  std::unique_ptr<change_log> log_;
  value_holder value_;
  [[no_unique_address]] shadow_type shadow_;
  [[no_unique_address]] std::conditional_t<whole, std::unique_ptr<State>, unused> next_;
  [[no_unique_address]] std::conditional_t<at_once || whole, nothing, flags> flags_;
};

// ---------------------------------------------------------------------------- oversized fields

/// A plain field so large that comparing and copying it costs more than logging its changes.
struct oversized_field {
  std::string name;
  std::size_t bytes;
  std::string_view instead;
};

inline constexpr std::size_t plain_field_bytes_max = 64UL * 1024;

template <class T>
[[nodiscard]] std::size_t plain_bytes(const T& value) {
  if constexpr (holds_kept<T>) {
    return 0;
  } else if constexpr (optional_like<T>) {
    return value ? plain_bytes(*value) : 0;
  } else if constexpr (structure<T>) {
    std::size_t sum = 0;
    for_each_index<field_count<T>>([&](auto i) { sum += plain_bytes(field<i>(value)); });
    return sum;
  } else if constexpr (std::ranges::sized_range<const T>) {
    return static_cast<std::size_t>(std::ranges::size(value)) *
           sizeof(std::ranges::range_value_t<const T>);
  } else {
    return sizeof(T);
  }
}

template <class T>
consteval std::string_view kept_instead_of() {
  if constexpr (string_like<T> || !std::ranges::range<T>) {
    return "peeper::kept_value";
  } else if constexpr (mapping_like<T>) {
    return "peeper::kept_map";
  } else if constexpr (keyed_like<T>) {
    return "peeper::kept_set";
  } else {
    return "peeper::kept_vector";
  }
}

/// RETURNS: the first plain field of `state` that is larger than plain_field_bytes_max, by the
/// sizes of strings and containers alone (what their elements own is not counted), so it is cheap
/// enough to ask now and then.
template <class State>
[[nodiscard]] std::optional<oversized_field> oversized_plain_field(const State& state) {
  std::optional<oversized_field> found;
  const auto look = [&](const auto& part, std::string_view name, std::size_t index) {
    using part_type = std::remove_cvref_t<decltype(part)>;
    const std::size_t bytes = plain_bytes(part);
    if (found || bytes <= plain_field_bytes_max) return;
    found =
        oversized_field{.name = name.empty() ? "field " + std::to_string(index) : std::string{name},
                        .bytes = bytes,
                        .instead = kept_instead_of<part_type>()};
  };
  if constexpr (structure<State>) {
    for_each_index<field_count<State>>(
        [&](auto i) { look(field<i>(state), field_name<i, State>(), i); });
  } else {
    look(state, "the state", 0);
  }
  return found;
}

/// Reads a delta and applies its operations to `state`. RETURNS: false after an error, with part
/// of them applied. REQUIRES: a transaction is open, to be rolled back then.
template <class State>
[[nodiscard]] bool apply_operations(cbor_reader& in, State& state) {
  if (!in.open_array() || !decode_versions(in, state_version<State>())) return false;
  while (!in.next_is_close()) {
    std::size_t items = 0;
    std::size_t path = 0;
    if (!in.array(items)) return false;
    if (items < 2) return in.fail("an operation has a path, a number and arguments");
    if (!in.array(path)) return false;
    if (!apply_to(in, state, path, items - 2)) return false;
  }
  return in.close() && in.end();
}

}  // namespace peeper::detail

namespace peeper {

/// Applies what another copy's last_delta() said, as one transaction: all of it or, after an error,
/// nothing. The copies must have been the same before.
/// REQUIRES: no callback is running on `state`.
/// Throws std::bad_alloc, and what constructors of the state's parts throw: nothing is changed
/// then.
template <encodable State>
[[nodiscard]] std::expected<void, decode_error> apply_delta(detail::kept_state<State>& state,
                                                            std::span<const std::byte> delta) {
  cbor_reader in{delta};
  bool ok = false;
  try {
    state.begin();
    ok = detail::apply_operations(in, state.value());
    if (ok) state.prepare();
  } catch (...) {
    state.rollback();
    throw;
  }
  if (!ok) {
    state.rollback();
    return std::unexpected{in.error()};
  }
  state.commit();
  return {};
}

}  // namespace peeper
