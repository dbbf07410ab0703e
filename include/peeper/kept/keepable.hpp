// SPDX-License-Identifier: Apache-2.0
//
// Which types can be a kept state, and a readable reason where one cannot.
//
// A state must be copyable (a plain field rolls back from a copy of its last committed value) and
// must own all it means: what a pointer points to would change behind the keeper's back and come
// back neither after a crash nor in another OS process. It need not be default constructible: the
// first value comes from the options or from init, and nothing here makes another one.
//
// THREADS: pure functions of types.
//
//   static_assert(peeper::keepable<my_state>);
//   peeper::detail::explain_keepable<my_state>();   // fails with the reason, naming the member
#pragma once

#include <cstdlib>
#include <functional>
#include <memory>
#include <span>

#include <peeper/kept/reflect.hpp>

namespace peeper::detail {

enum class obstacle {
  none,
  pointer,
  reference,
  function,
  view,
  move_only,
  read_only,
  throwing_move,
  no_default,
  base_class,
  c_array,
};

/// Stands for a value of any type where an aggregate is initialised. Never called; but where it is
/// looked whether T can be initialised, constructors of the standard library are instantiated that
/// would, and clang wants what they use to be defined.
struct any_value {
  template <class T>
  operator T() const noexcept {  // NOLINT(google-explicit-constructor): that is the point
    std::abort();
  }
};
/// Stands for a value of any base class of T.
template <class T>
struct any_base {
  template <class Base>
    requires(std::is_base_of_v<Base, T> && !std::is_same_v<Base, T>)
  operator Base() const noexcept {  // NOLINT(google-explicit-constructor)
    std::abort();
  }
};
/// Stands for nothing: who takes it takes everything.
struct no_value {};
template <std::size_t>
using any_values = any_value;

template <class T>
concept has_base_class = requires { T{any_base<T>{}}; } && !requires { T{no_value{}}; };

/// Whether T{...} takes `Before` values, one in braces made of two, and `After` more.
template <class T, std::size_t... Before, std::size_t... After>
consteval bool takes_pair(std::index_sequence<Before...> /*b*/,
                          std::index_sequence<After...> /*a*/) {
  return requires {
    T{any_values<Before>{}..., {any_value{}, any_value{}}, any_values<After>{}...};
  };
}
template <class T, std::size_t... I>
consteval bool takes_values(std::index_sequence<I...> /*i*/) {
  return requires { T{any_values<I>{}...}; };
}
/// How many values T{...} takes; the elements of a C array count one by one.
template <class T, std::size_t N = 0>
consteval std::size_t count_values() {
  // More than a field for each byte there is not; where nothing fits, nothing is claimed.
  if constexpr (N > sizeof(T) || !takes_values<T>(std::make_index_sequence<N + 1>{})) {
    return N;
  } else {
    return count_values<T, N + 1>();
  }
}
/// Where a C array is, fewer values fit behind its braces than behind a single value.
template <class T, std::size_t I, std::size_t N>
consteval bool finds_c_array() {
  if constexpr (I + 1 >= N) {
    return false;
  } else {
    using before = std::make_index_sequence<I>;
    if constexpr (takes_pair<T>(before{}, std::index_sequence<>{}) &&
                  !takes_pair<T>(before{}, std::make_index_sequence<N - I - 1>{})) {
      return true;
    } else {
      return finds_c_array<T, I + 1, N>();
    }
  }
}
template <class T>
concept has_c_array = finds_c_array<T, 0, count_values<T>()>();

template <class T>
inline constexpr bool is_span = false;
template <class T, std::size_t N>
inline constexpr bool is_span<std::span<T, N>> = true;

template <class T>
inline constexpr bool is_shared_mutable = false;
template <class T>
inline constexpr bool is_shared_mutable<std::shared_ptr<T>> = !std::is_const_v<T>;
template <class T>
inline constexpr bool is_shared_mutable<std::weak_ptr<T>> = true;

template <class T>
inline constexpr bool is_callable_wrapper = false;
template <class F>
inline constexpr bool is_callable_wrapper<std::function<F>> = true;

/// Rollback puts an old value back by moving or swapping it, and must not fail.
template <class T>
concept restorable = std::is_nothrow_move_assignable_v<T> || std::is_nothrow_swappable_v<T>;

template <class T, class... Seen>
inline constexpr bool seen = (false || ... || std::is_same_v<T, Seen>);

/// What keeps T from being kept; looks into fields, alternatives and elements. `Seen` stops at
/// types that contain themselves, such as struct tree { std::vector<tree> children; }.
template <class T, class... Seen>
consteval obstacle obstacle_of() {
  if constexpr (std::is_reference_v<T>) {
    return obstacle::reference;
  } else if constexpr (is_instance_of<T, std::reference_wrapper>) {
    return obstacle::reference;
  } else if constexpr (std::is_function_v<T> || std::is_member_function_pointer_v<T> ||
                       is_callable_wrapper<T> ||
                       (std::is_pointer_v<T> && std::is_function_v<std::remove_pointer_t<T>>)) {
    return obstacle::function;
  } else if constexpr (std::is_pointer_v<T> || is_shared_mutable<T>) {
    return obstacle::pointer;
  } else if constexpr (is_instance_of<T, std::basic_string_view> || is_span<T>) {
    return obstacle::view;
  } else if constexpr (seen<T, Seen...>) {
    return obstacle::none;
  } else if constexpr (kept<T>) {
    return T::template element_obstacle<T, Seen...>();
  } else if constexpr (std::is_array_v<T>) {
    return obstacle::c_array;
  } else if constexpr (plain_aggregate<T> && has_base_class<T>) {
    return obstacle::base_class;
  } else if constexpr (plain_aggregate<T> && has_c_array<T>) {
    return obstacle::c_array;
  } else if constexpr (structure<T>) {
    obstacle found = obstacle::none;
    all_indices<field_count<T>>([&](auto i) {
      found = obstacle_of<field_type<i, T>, T, Seen...>();
      return found == obstacle::none;
    });
    if (found != obstacle::none) return found;
    if (!std::is_copy_constructible_v<T>) return obstacle::move_only;
    // Members are fine by themselves, so it is a const or a reference among them, or the class
    // that forbids assignment.
    return tuple_like<T> || std::is_copy_assignable_v<T> ? obstacle::none : obstacle::read_only;
  } else if constexpr (variant_like<T>) {
    obstacle found = obstacle::none;
    all_indices<std::variant_size_v<T>>([&](auto i) {
      using alternative = std::variant_alternative_t<i, T>;
      found = obstacle_of<alternative, T, Seen...>();
      if (found == obstacle::none && holds_kept<T>) {
        // See restore(): an alternative has to be brought back where memory cannot be asked for.
        if (holds_kept<alternative> && !std::is_nothrow_default_constructible_v<alternative>) {
          found = obstacle::no_default;
        } else if (!holds_kept<alternative> && !std::is_nothrow_move_constructible_v<alternative>) {
          found = obstacle::throwing_move;
        }
      }
      return found == obstacle::none;
    });
    return found;
  } else if constexpr (optional_like<T>) {
    using value = typename T::value_type;
    constexpr obstacle found = obstacle_of<value, T, Seen...>();
    if (found != obstacle::none) return found;
    return holds_kept<T> && !std::is_nothrow_default_constructible_v<value> ? obstacle::no_default
                                                                            : obstacle::none;
  } else if constexpr (array_like<T> || std::ranges::range<T>) {
    // A std::vector says it is copyable even where its elements are not: look at them.
    using value = std::remove_cv_t<std::ranges::range_value_t<T>>;
    if constexpr (!std::is_same_v<value, T>) {
      constexpr obstacle found = obstacle_of<value, T, Seen...>();
      if (found != obstacle::none) return found;
    }
    return std::is_copy_constructible_v<T> ? obstacle::none : obstacle::move_only;
  } else {
    if (!std::is_copy_constructible_v<T>) return obstacle::move_only;
    return std::is_copy_assignable_v<T> ? obstacle::none : obstacle::read_only;
  }
}

/// For types that hold kept containers: whether each plain leaf can be put back without failing.
/// (A state without kept containers may hold anything copyable: it is exchanged as a whole.)
template <class T>
consteval bool leaves_restorable() {
  if constexpr (!holds_kept<T>) {
    return restorable<T>;
  } else if constexpr (structure<T>) {
    return all_indices<field_count<T>>(
        [](auto i) { return leaves_restorable<field_type<i, T>>(); });
  } else if constexpr (array_like<T> || optional_like<T>) {
    return leaves_restorable<typename T::value_type>();
  } else if constexpr (variant_like<T>) {
    return all_indices<std::variant_size_v<T>>(
        [](auto i) { return leaves_restorable<std::variant_alternative_t<i, T>>(); });
  } else {
    return true;
  }
}

template <class T>
consteval obstacle state_obstacle() {
  if constexpr (std::is_const_v<T> || std::is_volatile_v<T>) {
    return obstacle::read_only;
  } else if constexpr (!std::is_object_v<T>) {
    return std::is_function_v<T> ? obstacle::function : obstacle::reference;
  } else {
    constexpr obstacle found = obstacle_of<T>();
    if constexpr (found != obstacle::none) {
      return found;  // and no look into it: it may have no fields that can be found
    } else if constexpr (holds_kept<T>) {
      return leaves_restorable<T>() ? obstacle::none : obstacle::throwing_move;
    } else {
      return obstacle::none;
    }
  }
}

/// One instantiation for each member that cannot be kept: compilers print `Owner`, `Index` (counted
/// from 0) and `Member` with the message.
template <class Owner, std::size_t Index, class Member, obstacle Found>
consteval void explain_member() {
  static_assert(
      Found != obstacle::pointer,
      "peeper: a state cannot hold a pointer (raw, or shared to something that can "
      "change): what it points to is neither rolled back nor kept. Hold the value itself, "
      "a key into a kept container, or std::shared_ptr<const T>");
  static_assert(Found != obstacle::reference,
                "peeper: a state cannot hold a reference: what it refers to is neither rolled back "
                "nor kept. Hold the value itself");
  static_assert(Found != obstacle::function,
                "peeper: a state cannot hold a function (std::function, function pointer): what it "
                "captured is not kept. Hold data and choose the function in the handler, or make "
                "the function a member of the server class");
  static_assert(Found != obstacle::view,
                "peeper: a state cannot hold a view (std::string_view, std::span): it does not own "
                "what it shows. Hold std::string or a container");
  static_assert(Found != obstacle::move_only,
                "peeper: a move-only member of a state cannot be kept because the keeper rolls a "
                "crashed callback back from a copy of the last committed value. Make it copyable, "
                "or make it a member of the server class, which init rebuilds");
  static_assert(Found != obstacle::read_only,
                "peeper: a state with a const or reference member, or without assignment, cannot "
                "be kept because rolling back assigns the old value");
  static_assert(Found != obstacle::throwing_move,
                "peeper: the move assignment of this member may throw, and beside (or in) kept "
                "containers rolling back must not fail. Make it noexcept, or wrap the member in "
                "peeper::kept_value<T>");
  static_assert(Found != obstacle::no_default,
                "peeper: an alternative of std::variant, or the value of std::optional, that has "
                "kept containers in it must be default constructible without throwing: rolling "
                "back makes an empty one and fills it. Give it such a constructor, or wrap the "
                "variant in peeper::kept_value<T>");
  static_assert(Found != obstacle::base_class,
                "peeper: the fields of an aggregate with a base class cannot be found. Make the "
                "base a member, or name the fields with BOOST_DESCRIBE_STRUCT(type, (base), (...)),"
                " or, if it is small and is to be kept as a whole, give it `static constexpr bool "
                "peeper_opaque = true;`");
  static_assert(Found != obstacle::c_array,
                "peeper: the fields of an aggregate with a C array cannot be found. Use "
                "std::array<T, N> instead, or, if the aggregate is small and is to be kept as a "
                "whole, give it `static constexpr bool peeper_opaque = true;`");
}

template <class Owner, std::size_t Index, class T, bool BesideKept, class... Seen>
consteval void explain_type();

/// T is what has no fields that can be found, or has it in a field.
template <class Owner, std::size_t Index, class T, class... Seen>
consteval void explain_unreadable() {
  constexpr bool itself =
      !structure<T> || (plain_aggregate<T> && (has_base_class<T> || has_c_array<T>));
  if constexpr (itself || seen<T, Seen...>) {
    explain_member<Owner, Index, T, obstacle_of<T>()>();
  } else {
    for_each_index<field_count<T>>(
        [](auto i) { explain_type<T, i, field_type<i, T>, false, T, Seen...>(); });
  }
}

template <class Owner, std::size_t Index, class T, bool BesideKept, class... Seen>
consteval void explain_type() {
  if constexpr (obstacle_of<T>() == obstacle::base_class || obstacle_of<T>() == obstacle::c_array) {
    explain_unreadable<Owner, Index, T, Seen...>();
  } else if constexpr (obstacle_of<T>() != obstacle::none && structure<T> && !seen<T, Seen...>) {
    for_each_index<field_count<T>>(
        [](auto i) { explain_type<T, i, field_type<i, T>, BesideKept, T, Seen...>(); });
    constexpr bool in_a_field = !all_indices<field_count<T>>(
        [](auto i) { return obstacle_of<field_type<i, T>>() == obstacle::none; });
    if constexpr (!in_a_field) explain_member<Owner, Index, T, obstacle_of<T>()>();
  } else if constexpr (obstacle_of<T>() != obstacle::none) {
    explain_member<Owner, Index, T, obstacle_of<T>()>();
  } else if constexpr (BesideKept && !leaves_restorable<T>()) {
    if constexpr (structure<T> && holds_kept<T>) {
      for_each_index<field_count<T>>(
          [](auto i) { explain_type<T, i, field_type<i, T>, BesideKept, T, Seen...>(); });
    } else {
      explain_member<Owner, Index, T, obstacle::throwing_move>();
    }
  }
}

}  // namespace peeper::detail

namespace peeper {

/// A type that the keeper in memory can keep.
template <class State>
concept keepable = detail::state_obstacle<State>() == detail::obstacle::none;

}  // namespace peeper

namespace peeper::detail {

/// Does nothing for a keepable State; else fails to compile with the reason.
template <class State>
consteval void explain_keepable() {
  if constexpr (!keepable<State>) {
    if constexpr (!std::is_object_v<State> || std::is_const_v<State> || std::is_volatile_v<State>) {
      explain_member<State, 0, State, state_obstacle<State>()>();
    } else if constexpr (obstacle_of<State>() != obstacle::none) {
      explain_type<State, 0, State, false>();
    } else {
      explain_type<State, 0, State, holds_kept<State>>();
    }
  }
}

}  // namespace peeper::detail
