// SPDX-License-Identifier: Apache-2.0
/// \file
/// What one commit has changed in a state, as values: fields with their old and new value, kept
/// containers operation by operation. What a listener gets (listener.hpp).
///
///     struct room { std::string topic; peeper::kept_map<std::string, int> members; };
///
///     void look(const peeper::changes<room>& c) {
///       if (const auto* topic = c.field<&room::topic>()) use(topic->old, topic->now);
///       for (const auto& op : c.of<&room::members>()) use(op.kind, *op.key, op.old, op.now);
///     }
///
/// THREADS: a value; nothing in it refers to the state or the server it came from.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include <boost/container/small_vector.hpp>

#include <peeper/detail/relay_memory.hpp>
#include <peeper/kept/reflect.hpp>

namespace peeper {

/// What was done to a kept container.
enum class change_kind : std::uint8_t {
  inserted,  ///< `key`, `now`
  erased,    ///< `key`, `old`
  replaced,  ///< `key`, `old`, `now`
  modified,  ///< `key`, `inside`: an element that has kept containers in it
  assigned,  ///< `contents`: all of it was replaced (clear, =, assign, swap)
};
[[nodiscard]] std::string_view to_string(change_kind kind) noexcept;

/// A value before and after the commit.
template <class T>
struct value_change {
  T old;
  T now;
};

template <class T>
class changes;

namespace detail {

/// Made by the server's thread, gone on its listeners': see relay_memory.hpp.
template <class T>
struct relay_deleter {
  void operator()(T* object) const noexcept {
    object->~T();
    relay_free(object, sizeof(T));
  }
};
template <class T>
using relay_box = std::unique_ptr<T, relay_deleter<T>>;

template <class T, class... Arguments>
[[nodiscard]] relay_box<T> make_relay_box(Arguments&&... arguments) {
  static_assert(alignof(T) <= alignof(std::max_align_t));
  void* const memory = relay_allocate(sizeof(T));
  try {
    return relay_box<T>{::new (memory) T{std::forward<Arguments>(arguments)...}};
  } catch (...) {
    relay_free(memory, sizeof(T));
    throw;
  }
}

}  // namespace detail

/// One operation on a kept container. `Container`: as in kept.hpp; for a map `key` is its key and
/// old and now are mapped values; for a set only `key` is there; for a sequence `key` is the index
/// at the time of the operation; for a kept_value only old and now are.
template <class Container>
struct operation {
  using key_type = typename Container::change_key;
  using value_type = typename Container::change_value;
  using contents_type = std::vector<typename Container::value_type>;

  change_kind kind = change_kind::inserted;
  std::optional<key_type> key;
  std::optional<value_type> old;
  std::optional<value_type> now;
  detail::relay_box<value_change<contents_type>> contents;
  detail::relay_box<changes<value_type>> inside;
};

namespace detail {

template <class Container>
using operations = boost::container::small_vector<operation<typename Container::base_type>, 1>;

/// A part of the state whose containers come and go with the alternative of a std::variant or the
/// value of a std::optional: it is told as a whole.
template <class T>
concept told_as_a_whole = !holds_kept<T> || ((optional_like<T> || variant_like<T>) && !kept<T>);

template <class T>
struct whole_part {
  relay_box<value_change<T>> change;
  bool touched = false;  ///< by a container in it
};

template <class T>
struct part_traits {
  using type = relay_box<changes<T>>;
};
template <told_as_a_whole T>
struct part_traits<T> {
  using type = std::conditional_t<holds_kept<T>, whole_part<T>, relay_box<value_change<T>>>;
};
template <kept T>
struct part_traits<T> {
  using type = relay_box<operations<T>>;
};
template <class T>
using part = typename part_traits<T>::type;

template <class T>
[[nodiscard]] const value_change<T>* whole_of(const part<T>& p) noexcept {
  if constexpr (holds_kept<T>) {
    return p.change.get();
  } else {
    return p.get();
  }
}
template <class T>
[[nodiscard]] bool is_changed(const part<T>& p) noexcept {
  if constexpr (kept<T>) {
    return p && !p->empty();
  } else if constexpr (told_as_a_whole<T>) {
    return whole_of<T>(p) != nullptr;
  } else {
    return p && !p->empty();
  }
}

/// What of T is looked at one by one: its fields, its elements, or all of it.
template <class T>
struct parts_traits {
  using type = std::tuple<part<T>>;
  template <std::size_t>
  using part_type = T;
};
template <structure T>
struct parts_traits<T> {
  template <std::size_t... I>
  static std::tuple<part<field_type<I, T>>...> make(std::index_sequence<I...>);
  using type = decltype(make(std::make_index_sequence<field_count<T>>{}));
  template <std::size_t I>
  using part_type = field_type<I, T>;
};
template <array_like T>
  requires holds_kept<T>
struct parts_traits<T> {
  template <std::size_t... I>
  static std::tuple<part<std::tuple_element_t<I, T>>...> make(std::index_sequence<I...>);
  using type = decltype(make(std::make_index_sequence<std::tuple_size_v<T>>{}));
  template <std::size_t I>
  using part_type = typename T::value_type;
};

/// Which field of T a pointer to a member names, by its place; nothing there is read or written.
template <class T, class Owner, class Field>
[[nodiscard]] std::size_t index_of_member(Field Owner::* member) noexcept {
  alignas(T) static const std::array<std::byte, sizeof(T)> place{};
  const T& nowhere = *reinterpret_cast<const T*>(place.data());
  const void* const wanted = &(nowhere.*member);
  std::size_t found = field_count<T>;
  for_each_index<field_count<T>>([&](auto i) {
    if (static_cast<const void*>(&field<i>(nowhere)) == wanted) found = i;
  });
  return found;
}

template <class Member>
struct member_traits;
template <class T, class Field>
struct member_traits<Field T::*> {
  using field = std::remove_const_t<Field>;
};
template <auto Member>
using member_type = typename member_traits<decltype(Member)>::field;

}  // namespace detail

/// What has changed in a T: the state, or an element that has kept containers in it. What is equal
/// to what it was before does not show up.
template <class T>
class changes {
  using parts = typename detail::parts_traits<T>::type;
  template <std::size_t I>
  using part_type = typename detail::parts_traits<T>::template part_type<I>;

 public:
  static constexpr std::size_t part_count = std::tuple_size_v<parts>;

  /// The old and new value of a plain field (or of a std::optional or std::variant with kept
  /// containers in it: those are told as a whole). RETURNS: null if it has not changed.
  template <auto Member>
  [[nodiscard]] const value_change<detail::member_type<Member>>* field() const noexcept {
    using type = detail::member_type<Member>;
    static_assert(detail::told_as_a_whole<type>,
                  "peeper: this field is not plain: use of<&state::field>() for a kept container, "
                  "inside<&state::field>() for a structure that has some in it");
    const auto* p = find<Member>();
    return p == nullptr ? nullptr : detail::whole_of<type>(*p);
  }
  /// What was done to the kept container `Member`, in order; empty if nothing.
  template <auto Member>
  [[nodiscard]] auto of() const noexcept {
    using type = detail::member_type<Member>;
    static_assert(detail::kept<type>,
                  "peeper: this field is not a kept container: use field<&state::field>() for a "
                  "plain one, inside<&state::field>() for a structure that has some in it");
    return operations_in<type>(find<Member>());
  }
  /// What has changed in a field that is a structure (or std::array) with kept containers in it.
  /// RETURNS: null if nothing has.
  template <auto Member>
  [[nodiscard]] const changes<detail::member_type<Member>>* inside() const noexcept {
    using type = detail::member_type<Member>;
    static_assert(!detail::told_as_a_whole<type> && !detail::kept<type>,
                  "peeper: this field has no kept containers in it: use field<&state::field>() for "
                  "a plain one, of<&state::field>() for a kept container");
    const auto* p = find<Member>();
    return p == nullptr || !detail::is_changed<type>(*p) ? nullptr : p->get();
  }

  /// The same where T has no fields: a number, a string, ...
  [[nodiscard]] const value_change<T>* value() const noexcept
    requires(detail::told_as_a_whole<T> && !detail::structure<T>)
  {
    return detail::whole_of<T>(std::get<0>(parts_));
  }
  /// ... or a kept container.
  [[nodiscard]] auto operations() const noexcept
    requires(detail::kept<T>)
  {
    return operations_in<T>(&std::get<0>(parts_));
  }

  /// Calls visit(name, what) for all that has changed, in the order of the fields. `what` is a
  /// const value_change<F>&, a std::span<const operation<...>> or a const changes<F>&, as above;
  /// `name` is the field's if Boost.Describe knows it, else its number.
  template <class Visit>
  void for_each(Visit&& visit) const {
    detail::for_each_index<part_count>([&](auto i) {
      using type = part_type<i>;
      const auto& p = std::get<i>(parts_);
      if (!detail::is_changed<type>(p)) return;
      const std::string name = name_of<i>();
      if constexpr (detail::kept<type>) {
        visit(std::string_view{name}, operations_in<type>(&p));
      } else if constexpr (detail::told_as_a_whole<type>) {
        visit(std::string_view{name}, *detail::whole_of<type>(p));
      } else {
        visit(std::string_view{name}, std::as_const(*p));
      }
    });
  }

  [[nodiscard]] bool empty() const noexcept {
    return detail::all_indices<part_count>(
        [&](auto i) { return !detail::is_changed<part_type<i>>(std::get<i>(parts_)); });
  }

  /// For the library itself.
  template <std::size_t I>
  [[nodiscard]] auto& at() noexcept {
    return std::get<I>(parts_);
  }

 private:
  template <class Container>
  [[nodiscard]] static auto operations_in(const detail::part<Container>* p) noexcept {
    using span = std::span<const operation<typename Container::base_type>>;
    return p == nullptr || !*p ? span{} : span{(*p)->data(), (*p)->size()};
  }

  template <auto Member>
  [[nodiscard]] const detail::part<detail::member_type<Member>>* find() const noexcept {
    static_assert(
        std::is_member_object_pointer_v<decltype(Member)> && requires(const T& object) {
          object.*Member;
        }, "peeper: name a field of this very state: &state::field");
    const std::size_t index = detail::index_of_member<T>(Member);
    const detail::part<detail::member_type<Member>>* found = nullptr;
    detail::for_each_index<part_count>([&](auto i) {
      if constexpr (std::is_same_v<part_type<i>, detail::member_type<Member>>) {
        if (i == index) found = &std::get<i>(parts_);
      }
    });
    return found;
  }

  template <std::size_t I>
  [[nodiscard]] static std::string name_of() {
    if constexpr (detail::structure<T>) {
      if constexpr (!detail::field_name<I, T>().empty()) {
        return std::string{detail::field_name<I, T>()};
      }
    }
    return part_count == 1 && !detail::structure<T> ? std::string{} : std::to_string(I);
  }

  parts parts_;
};

}  // namespace peeper
