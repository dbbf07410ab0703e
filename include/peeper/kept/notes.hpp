// SPDX-License-Identifier: Apache-2.0
//
// How changes of kept containers become values for listeners: see change.hpp. Users include
// kept.hpp.
//
// A container finds the list of its operations by where it lies, as it finds its path for deltas:
// in the state, or in an element that modify() has handed out. Such an element gets a changes<...>
// of its own when it is opened, and loses it if nothing in it has changed.
//
// THREADS: one at a time, the one that runs the server's callback.
// CRASH: (an exception in the callback) what was noted goes with what is undone.
#pragma once

#include <cstddef>
#include <utility>

#include <peeper/change.hpp>
#include <peeper/kept/change_log.hpp>
#include <peeper/kept/keepable.hpp>

namespace peeper::detail {

/// Part `I` of an object, as changes<T> counts them.
template <std::size_t I, class T>
auto& part_of(T& object) noexcept {
  using plain = std::remove_const_t<T>;
  if constexpr (structure<plain>) {
    return field<I>(object);
  } else if constexpr (array_like<plain> && holds_kept<plain>) {
    return object[I];
  } else {
    return object;
  }
}

template <class T>
[[nodiscard]] bool lies_in(const T& object, const void* container) noexcept {
  const auto begin = reinterpret_cast<std::uintptr_t>(&object);
  const auto at = reinterpret_cast<std::uintptr_t>(container);
  return at >= begin && at - begin < sizeof(T);
}

template <class T>
void* list_in(changes<T>& noted, const T& object, const void* container);

template <class T>
void* list_in_part(part<T>& p, const T& object, const void* container) {
  if constexpr (!holds_kept<T>) {
    return nullptr;
  } else if constexpr (kept<T>) {
    if (static_cast<const void*>(&object) != container) return nullptr;
    if (!p) p = make_relay_box<operations<T>>();
    return p.get();
  } else {
    if (!lies_in(object, container)) return nullptr;
    if constexpr (told_as_a_whole<T>) {
      p.touched = true;
      return nullptr;
    } else {
      if (!p) p = make_relay_box<changes<T>>();
      return list_in(*p, object, container);
    }
  }
}

/// RETURNS: the operations<...> of the container at that address; null if it is told with
/// something whole. Throws std::bad_alloc.
template <class T>
void* list_in(changes<T>& noted, const T& object, const void* container) {
  void* found = nullptr;
  for_each_index<changes<T>::part_count>([&](auto i) {
    if (found == nullptr) {
      found = list_in_part(noted.template at<i>(), part_of<i>(object), container);
    }
  });
  return found;
}
template <class T>
void* erased_list_in(void* noted, const void* object, const void* container) {
  return list_in(*static_cast<changes<T>*>(noted), *static_cast<const T*>(object), container);
}

/// Notes one operation on `self`, which fill(operation) describes. REQUIRES: followed().
template <class Container, class Fill>
void note(change_log& log, const Container& self, Fill&& fill) noexcept {
  change_notes* const notes = log.notes();
  if (notes == nullptr || notes->spoiled()) return;
  if constexpr (Container::template element_obstacle<>() == obstacle::none) {
    try {
      using list = operations<Container>;
      auto* const l = static_cast<list*>(log.note_list_of(&self));
      if (l == nullptr) return;
      notes->make_room();
      auto& op = l->emplace_back();
      try {
        std::forward<Fill>(fill)(op);
      } catch (...) {
        l->pop_back();
        throw;
      }
      notes->add({l, [](void* p) noexcept { static_cast<list*>(p)->pop_back(); }});
    } catch (...) {  // no memory, or a copy threw: the listeners are told that they missed it
      notes->spoil();
    }
  }
}

template <class Container, class Key, class Value>
void note_inserted(change_log& log, const Container& self, const Key& key,
                   const Value& now) noexcept {
  note(log, self, [&](auto& op) {
    op.key.emplace(key);
    if constexpr (!std::is_same_v<Value, nothing>) op.now.emplace(now);
  });
}
template <class Container, class Key, class Value>
void note_erased(change_log& log, const Container& self, const Key& key,
                 const Value& old) noexcept {
  note(log, self, [&](auto& op) {
    op.kind = change_kind::erased;
    op.key.emplace(key);
    if constexpr (!std::is_same_v<Value, nothing>) op.old.emplace(old);
  });
}
/// Not if they are equal.
template <class Container, class Key, class Value>
void note_replaced(change_log& log, const Container& self, const Key& key, const Value& old,
                   const Value& now) noexcept {
  note(log, self, [&](auto& op) {
    op.kind = change_kind::replaced;
    if constexpr (!std::is_same_v<Key, nothing>) op.key.emplace(key);
    op.old.emplace(old);
    op.now.emplace(now);
  });
}
/// `Range`: over the elements of the old and the new contents.
template <class Container, class Range>
void note_assigned(change_log& log, const Container& self, const Range& old,
                   const Range& now) noexcept {
  note(log, self, [&](auto& op) {
    using contents = typename std::remove_reference_t<decltype(op)>::contents_type;
    op.kind = change_kind::assigned;
    op.contents = make_relay_box<value_change<contents>>();
    old([&](const auto& element) { op.contents->old.push_back(element); });
    now([&](const auto& element) { op.contents->now.push_back(element); });
  });
}

/// Notes, in `noted`, which plain parts of `now` differ from what was saved. Throws what copies
/// throw.
template <class T>
void note_plain(changes<T>& noted, const T& now, const saved<T>& old);

template <class T>
void note_plain_part(part<T>& p, const T& now, const saved<T>& old) {
  if constexpr (!holds_kept<T>) {
    if (!same(now, old)) p = make_relay_box<value_change<T>>(old, now);
  } else if constexpr (kept<T>) {
    return;
  } else if constexpr (told_as_a_whole<T>) {
    if (!same_as_saved(now, old)) p.touched = true;
  } else {
    if (same_as_saved(now, old)) return;
    if (!p) p = make_relay_box<changes<T>>();
    note_plain(*p, now, old);
  }
}
template <class T>
void note_plain(changes<T>& noted, const T& now, const saved<T>& old) {
  for_each_index<changes<T>::part_count>([&](auto i) {
    auto& p = noted.template at<i>();
    if constexpr (structure<T> && holds_kept<T>) {
      note_plain_part<field_type<i, T>>(p, field<i>(now), std::get<i>(old));
    } else if constexpr (structure<T>) {
      note_plain_part<field_type<i, T>>(p, field<i>(now), field<i>(old));
    } else if constexpr (array_like<T> && holds_kept<T>) {
      note_plain_part<typename T::value_type>(p, now[i], old[i]);
    } else {
      note_plain_part<T>(p, now, old);
    }
  });
}

/// How one element of `Container` that modify() hands out is followed. `Key` is `nothing` for a
/// kept_value; `Write` writes the whole element to the redo log.
template <class T, class Container, class Key, class Write>
class element_follower {
 public:
  element_follower(change_log& log, const Container& self, const Key& key, Write write) noexcept
      : log_(log), self_(self), key_(key), write_(std::move(write)) {}

  void write() { write_(); }
  void note_replaced(const T& old, const T& now) noexcept {
    if constexpr (!holds_kept<T>) {
      if (same(old, now)) return;
    }
    detail::note_replaced(log_, self_, key_, old, now);
  }
  /// RETURNS: where changes in the element are noted; null if nowhere.
  [[nodiscard]] changes<T>* note_opened() noexcept {
    noted_ = nullptr;
    note(log_, self_, [&](auto& op) {
      op.kind = change_kind::modified;
      if constexpr (!std::is_same_v<Key, nothing>) op.key.emplace(key_);
      op.inside = make_relay_box<changes<T>>();
      noted_ = op.inside.get();
    });
    if (noted_ != nullptr) index_ = log_.notes()->size() - 1;
    return noted_;
  }
  /// Nothing has changed in it after all.
  void note_unchanged() noexcept {
    auto* const list = static_cast<operations<Container>*>(log_.note_list_of(&self_));
    for (auto it = list->end(); it-- != list->begin();) {
      if (it->inside.get() != noted_) continue;
      list->erase(it);
      log_.notes()->forget(index_);
      return;
    }
  }

 private:
  change_log& log_;
  const Container& self_;
  const Key& key_;
  Write write_;
  changes<T>* noted_ = nullptr;
  std::size_t index_ = 0;
};

}  // namespace peeper::detail
