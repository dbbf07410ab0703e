// SPDX-License-Identifier: Apache-2.0
//
// Changing one element of a kept container in place: what modify() of all of them stands on.
//
// The plain part of the element is saved before the caller's function runs; kept containers in it
// log themselves. Where a container can go with the alternative of a std::variant, its destructor
// hands its contents to the log ("buries" them), from memory promised beforehand. Two records then
// frame the change: `opened` holds the plain part as it was, `closed`, which is undone first, puts
// it back, so that each alternative lives again before the records in between fill it.
//
//   opened | changes of containers, burials ... | closed
//
// THREADS: one at a time, the one that runs the server's callback.
#pragma once

#include <functional>
#include <type_traits>
#include <utility>

#include <peeper/codec.hpp>
#include <peeper/kept/change_log.hpp>
#include <peeper/kept/keepable.hpp>
#include <peeper/kept/notes.hpp>

namespace peeper::detail {

// ---------------------------------------------------------------------------- contents

/// A container's contents that were replaced as a whole; swapped back by undo.
template <class Container>
struct contents_record : change_record_of<contents_record<Container>> {
  explicit contents_record(Container& container) noexcept : self(&container) {}
  void undo() noexcept { self->swap_contents(contents); }

  Container* self;
  typename Container::contents_type contents;
};

/// A container that was destroyed together with its alternative.
template <class Container>
struct buried_contents : buried_record {
  buried_contents(Container& container_in, change_log& log_in) noexcept
      : self(&container_in), log(&log_in) {
    finish = &run;
    self->swap_contents(contents);
  }

  static void run(change_record& record, bool undo) noexcept {
    auto& me = static_cast<buried_contents&>(record);
    if (undo) {
      // The restored alternative has an empty container at the same address.
      me.self->swap_contents(me.contents);
      me.self->rejoin(*me.log);
      me.log->forget_buried(me);
    }
    me.~buried_contents();
  }

  Container* self;
  change_log* log;
  typename Container::contents_type contents;
};

/// How much must be promised so that all containers in a T can be buried.
template <class T>
consteval std::size_t burial_bytes() {
  if constexpr (kept<T>) {
    return change_arena::promise_size(sizeof(buried_contents<typename T::base_type>));
  } else if constexpr (!holds_kept<T>) {
    return 0;
  } else if constexpr (structure<T>) {
    return []<std::size_t... I>(std::index_sequence<I...>) {
      return (std::size_t{0} + ... + burial_bytes<field_type<I, T>>());
    }(std::make_index_sequence<field_count<T>>{});
  } else if constexpr (array_like<T>) {
    return std::tuple_size_v<T> * burial_bytes<typename T::value_type>();
  } else if constexpr (optional_like<T>) {
    return burial_bytes<typename T::value_type>();
  } else {
    return []<std::size_t... I>(std::index_sequence<I...>) {
      return std::max({burial_bytes<std::variant_alternative_t<I, T>>()...});
    }(std::make_index_sequence<std::variant_size_v<T>>{});
  }
}

// ---------------------------------------------------------------------------- slots

template <class T>
std::size_t slot_in(const void* element, const void* container) {
  std::size_t result = no_slot;
  for_each_kept(*static_cast<const T*>(element), 0, [&](const auto& candidate, std::size_t slot) {
    if (static_cast<const void*>(&candidate) == container) result = slot;
  });
  return result;
}

template <class T>
void attach_all(T& element, change_log* log) noexcept {
  for_each_kept(element, 0, [&](auto& container, std::size_t /*slot*/) { container.attach(log); });
}

/// Attaches those that have come with a new alternative; the others have not changed.
template <class T>
void attach_fresh(T& element, change_log* log) noexcept {
  for_each_kept(element, 0, [&](auto& container, std::size_t /*slot*/) {
    if (!container.attached()) container.attach(log);
  });
}

/// Runs fn(object) where nothing is logged: in no state, or before the first transaction.
template <class T, class F>
auto modify_unlogged(change_log* log, T& object, F&& fn) {
  if constexpr (shifting<T>) {
    if (log != nullptr) {
      struct guard {
        T& object;
        change_log* log;
        ~guard() { attach_fresh(object, log); }
      };
      const guard attach_at_end{object, log};
      return std::invoke(std::forward<F>(fn), object);
    }
  }
  return std::invoke(std::forward<F>(fn), object);
}

/// Throws std::bad_variant_access if an assignment that threw has left a variant without value.
template <class T>
void refuse_valueless(const T& object) {
  if constexpr (!shifting<T>) {
    return;
  } else if constexpr (structure<T>) {
    for_each_index<field_count<T>>([&](auto i) { refuse_valueless(field<i>(object)); });
  } else if constexpr (array_like<T>) {
    for (const auto& element : object) refuse_valueless(element);
  } else if constexpr (optional_like<T>) {
    if (object) refuse_valueless(*object);
  } else {
    if (object.valueless_by_exception()) throw std::bad_variant_access{};
    for_each_index<std::variant_size_v<T>>([&](auto i) {
      if (const auto* held = std::get_if<i>(&object)) refuse_valueless(*held);
    });
  }
}

// ---------------------------------------------------------------------------- fields in deltas

template <class T>
void encode_field_key(cbor_writer& out, std::size_t index) {
  if constexpr (described<T>) {
    for_each_index<field_count<T>>([&](auto i) {
      if (i == index) out.text(field_name<i, T>());
    });
  } else {
    out.natural(index);
  }
}

/// Writes those plain parts of `object` that are no longer what was saved.
/// RETURNS: false, and has written nothing, if all are.
template <class T>
bool write_changed_fields(change_log& log, const open_element* element, const T& object,
                          const saved<T>& old) {
  if constexpr (structure<T> && holds_kept<T>) {
    std::bitset<field_count<T> + 1> changed;
    for_each_index<field_count<T>>(
        [&](auto i) { changed.set(i, !same_as_saved(field<i>(object), std::get<i>(old))); });
    if (changed.none()) return false;
    cbor_writer& out = log.write_fields(element);
    out.map(changed.count());
    for_each_index<field_count<T>>([&](auto i) {
      if (!changed.test(i)) return;
      encode_field_key<T>(out, i);
      encode_saved(out, field<i>(object));
    });
  } else {
    if (same_as_saved(object, old)) return false;
    cbor_writer& out = log.write_fields(element);
    out.map(1);
    out.natural(0);
    encode_saved(out, object);
  }
  return true;
}

/// Reads what write_changed_fields() wrote, and sets the fields.
template <class T>
[[nodiscard]] bool apply_fields(cbor_reader& in, T& object) {
  std::size_t pairs = 0;
  if (!in.map(pairs)) return false;
  for (; pairs > 0; --pairs) {
    if constexpr (structure<T>) {
      std::size_t index = 0;
      if (!decode_field_key<T>(in, index)) return false;
      if (index == field_count<T>) {
        if (!in.skip()) return false;
        continue;
      }
      const bool ok = all_indices<field_count<T>>([&](auto i) {
        if (i != index) return true;
        saved<field_type<i, T>> value{};
        if (!decode_saved<field_type<i, T>>(in, value)) return false;
        restore(field<i>(object), std::move(value));
        return true;
      });
      if (!ok) return false;
    } else {
      std::uint64_t zero = 0;
      if (!in.natural(zero)) return false;
      if (zero != 0) return in.fail("no such field");
      saved<T> value{};
      if (!decode_saved<T>(in, value)) return false;
      restore(object, std::move(value));
    }
  }
  return true;
}

/// Applies the rest of an operation, `path` items of path and then the operation itself, to an
/// element or to a whole state.
template <class T>
[[nodiscard]] bool apply_to(cbor_reader& in, T& object, std::size_t path, std::size_t arguments) {
  if (path == 0) {
    std::uint64_t operation = 0;
    if (!in.natural(operation)) return false;
    if (operation != static_cast<std::uint64_t>(change_operation::fields) || arguments != 1) {
      return in.fail("an element has no such operation");
    }
    return apply_fields(in, object);
  }
  std::uint64_t wanted = 0;
  if (!in.natural(wanted)) return false;
  bool found = false;
  bool ok = false;
  for_each_kept(object, 0, [&](auto& container, std::size_t slot) {
    if (slot != wanted) return;
    found = true;
    ok = container.apply_change(in, path - 1, arguments);
  });
  return found ? ok : in.fail("there is no such kept container here");
}

// ---------------------------------------------------------------------------- modify

/// Whether T has a part that modify() has to save.
template <class T>
consteval bool has_plain_part() {
  if constexpr (kept<T>) {
    return false;
  } else if constexpr (holds_kept<T> && structure<T>) {
    return !all_indices<field_count<T>>([](auto i) { return !has_plain_part<field_type<i, T>>(); });
  } else if constexpr (holds_kept<T> && array_like<T>) {
    return has_plain_part<typename T::value_type>();
  } else {
    return true;
  }
}

struct never_closed {
  template <class Opened>
  explicit never_closed(Opened& /*unused*/) noexcept {}
};

/// The plain part of an element as it was. Holds the record that ends the change as well, so that
/// ending it needs no memory.
template <class T, class Where>
struct opened_record : change_record_of<opened_record<T, Where>> {
  struct closed_record : change_record_of<closed_record> {
    explicit closed_record(opened_record& opened_in) noexcept : opened(&opened_in) {}
    void undo() noexcept { restore<T>(opened->where.get(), std::move(opened->old)); }
    opened_record* opened;
  };

  explicit opened_record(const Where& where_in)
      : where(where_in), old(save<T>(where_in.get())), closed(*this) {}
  void undo() noexcept {
    if constexpr (!shifting<T>) restore<T>(where.get(), std::move(old));
  }

  Where where;
  saved<T> old;
  [[no_unique_address]] std::conditional_t<shifting<T>, closed_record, never_closed> closed;
};

/// An element that stays where it is as long as it exists: in a node, in a box.
template <class T>
struct fixed_place {
  T* element;
  [[nodiscard]] T& get() const noexcept { return *element; }
};

/// One run of modify() on an element of a container that is logging.
/// `Follower`: an element_follower.
template <class T, class Where, class Follower>
class modification {
 public:
  modification(change_log& log, const open_element& element, const Where& where, Follower& follower)
      : log_(log),
        element_(element),
        follower_(follower),
        before_(log.here()),
        promised_(log.promised()) {
    static_assert(leaves_restorable<T>(),
                  "peeper: the move assignment of this element may throw, and rolling back must "
                  "not fail. Make it noexcept, or wrap the element in peeper::kept_value<T>");
    T& object = where.get();
    element_.element = &object;
    element_.bytes = sizeof(T);
    if constexpr (holds_kept<T>) element_.slot_of = &slot_in<T>;
    if constexpr (has_plain_part<T>()) {
      auto staged = log.stage<opened_record<T, Where>>(where);
      if constexpr (shifting<T>) log.promise(burial_bytes<T>());
      opened_ = &staged.publish();
    }
    if constexpr (holds_kept<T>) {
      if (log.followed() && log.notes() != nullptr) [[unlikely]]
        open_notes(object);
    }
    log_.open(element_);
  }
  modification(const modification&) = delete;
  modification& operator=(const modification&) = delete;
  ~modification() {
    log_.close(element_);
    log_.unpromise_down_to(promised_);
  }

  /// The caller's function has returned. May throw; fail() then.
  void finish(T& object) {
    refuse_valueless(object);
    bool fresh = false;
    if constexpr (shifting<T>) {
      for_each_kept(object, 0, [&](auto& container, std::size_t /*slot*/) {
        fresh = fresh || !container.attached();
      });
    }
    if constexpr (has_plain_part<T>()) {
      if (!fresh && log_.here().record == opened_ && same_as_saved<T>(object, opened_->old)) {
        log_.retract(*opened_);
        if constexpr (holds_kept<T>) close_notes(object, false);
        return;
      }
    }
    if (log_.followed()) [[unlikely]] {
      if (log_.redoing()) write_redo(object);
      if (log_.notes() != nullptr) close_notes(object, true);
    }
    if constexpr (shifting<T>) {
      attach_fresh(object, &log_);
      log_.publish(opened_->closed);
    }
  }

  /// An exception is on its way: takes back what was done to the element and by it.
  void fail(T& object) noexcept {
    if (log_.buried_outside(element_, before_)) {
      // An alternative outside of this element is gone, and only its own modify(), or the rollback
      // of all, can bring it back before the records that need it.
      log_.doom();
      if constexpr (shifting<T>) log_.publish(opened_->closed);
      return;
    }
    log_.undo_to(before_, [&] {
      if constexpr (shifting<T>) restore<T>(object, std::move(opened_->old));
    });
  }

 private:
  void write_redo(T& object) {
    if constexpr (encodable<T>) {
      if constexpr (!holds_kept<T>) {
        follower_.write();
      } else {
        if constexpr (has_plain_part<T>()) {
          write_changed_fields<T>(log_, &element_, object, opened_->old);
        }
        if constexpr (shifting<T>) {
          for_each_kept(object, 0, [&](auto& container, std::size_t /*slot*/) {
            if (!container.attached()) container.write_assign(log_);
          });
        }
      }
    }
  }

  void open_notes(const T& object) noexcept {
    if constexpr (shifting<T>) {
      try {
        whole_ = make_relay_box<T>(object);
      } catch (...) {
        log_.notes()->spoil();
      }
    } else {
      element_.noted = follower_.note_opened();
      element_.list_of = &erased_list_in<T>;
    }
  }
  void close_notes(const T& object, bool changed) noexcept {
    if constexpr (!holds_kept<T>) {
      if (changed) follower_.note_replaced(opened_->old, object);
    } else if constexpr (shifting<T>) {
      if (changed && whole_) follower_.note_replaced(*whole_, object);
    } else {
      if (element_.noted == nullptr) return;
      auto& noted = *static_cast<changes<T>*>(element_.noted);
      try {
        if constexpr (has_plain_part<T>()) {
          if (changed) note_plain(noted, object, opened_->old);
        }
        if (noted.empty()) follower_.note_unchanged();
      } catch (...) {
        log_.notes()->spoil();
      }
    }
  }

  struct no_whole {};

  change_log& log_;
  open_element element_;
  Follower& follower_;
  change_log::mark before_;
  std::size_t promised_;
  opened_record<T, Where>* opened_ = nullptr;
  /// As it was, for who listens, where it is told as a whole.
  [[no_unique_address]] std::conditional_t<shifting<T>, relay_box<T>, no_whole> whole_;
};

/// Runs fn(element) so that it can be taken back. If fn throws, what it did to the element is
/// undone and the exception goes on.
template <class T, class Where, class Follower, class F>
auto modify_logged(change_log& log, const open_element& element, const Where& where,
                   Follower&& follower, F&& fn) {
  using result_type = std::invoke_result_t<F, T&>;
  T& object = where.get();
  // modify() of an element inside its own modify(): the outer one has saved it.
  if (!log.nothing_open() && log.is_open_element(&object)) {
    return std::invoke(std::forward<F>(fn), object);
  }
  modification<T, Where, std::remove_reference_t<Follower>> change{log, element, where, follower};
  try {
    if constexpr (std::is_void_v<result_type>) {
      std::invoke(std::forward<F>(fn), object);
      change.finish(object);
    } else {
      auto result = std::invoke(std::forward<F>(fn), object);
      change.finish(object);
      return result;
    }
  } catch (...) {
    change.fail(object);
    throw;
  }
}

template <class T, class F>
concept modifier = std::invocable<F, T&>;

template <class T, class F>
consteval void check_modifier() {
  static_assert(!std::is_reference_v<std::invoke_result_t<F, T&>>,
                "peeper: the function given to modify() returns a reference, which could be used "
                "to change the element past the log. Return a value");
}

}  // namespace peeper::detail
