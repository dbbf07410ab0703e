// SPDX-License-Identifier: Apache-2.0
//
// What a state is made of: its fields, their names, where its kept containers are.
//
// A field is found by Boost.Describe where the type is described (that gives names, private members
// and base classes), else by Boost.PFR if the type is an aggregate, else by std::get for pairs and
// tuples. A type that wants to be copied as a whole says `static constexpr bool peeper_opaque =
// true;` (needed for aggregates with base classes, C arrays or bit-fields, which PFR cannot read).
//
// THREADS: pure functions of types; no state.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <optional>
#include <ranges>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>

#include <boost/describe/members.hpp>
#include <boost/describe/modifiers.hpp>
#include <boost/mp11/algorithm.hpp>
#include <boost/mp11/list.hpp>
#include <boost/pfr/core.hpp>
#include <boost/pfr/tuple_size.hpp>

namespace peeper::detail {

// ---------------------------------------------------------------------------- kinds of types

/// A kept container: logs its own changes. Each has `using peeper_kept = void;`.
template <class T>
concept kept = requires { typename T::peeper_kept; };

template <class T, template <class...> class Template>
inline constexpr bool is_instance_of = false;
template <template <class...> class Template, class... Arguments>
inline constexpr bool is_instance_of<Template<Arguments...>, Template> = true;

template <class T>
inline constexpr bool is_std_array = false;
template <class T, std::size_t N>
inline constexpr bool is_std_array<std::array<T, N>> = true;

template <class T>
concept optional_like = is_instance_of<T, std::optional>;
template <class T>
concept variant_like = is_instance_of<T, std::variant>;
template <class T>
concept tuple_like = is_instance_of<T, std::tuple> || is_instance_of<T, std::pair>;
template <class T>
concept array_like = is_std_array<T>;

template <class T>
concept opaque = requires { requires static_cast<bool>(T::peeper_opaque); };
template <class T>
concept described =
    std::is_class_v<T> && !kept<T> && !opaque<T> && boost::describe::has_describe_members<T>::value;
template <class T>
concept plain_aggregate = std::is_class_v<T> && std::is_aggregate_v<T> && !described<T> &&
                          !array_like<T> && !kept<T> && !opaque<T> && !std::ranges::range<T>;

/// A type with fields that can be looked at one by one.
template <class T>
concept structure = described<T> || plain_aggregate<T> || tuple_like<T>;

// ---------------------------------------------------------------------------- fields

template <class T>
using members_of = boost::describe::describe_members<T, boost::describe::mod_any_access |
                                                            boost::describe::mod_inherited>;

template <structure T>
consteval std::size_t count_fields() {
  if constexpr (described<T>) {
    return boost::mp11::mp_size<members_of<T>>::value;
  } else if constexpr (tuple_like<T>) {
    return std::tuple_size_v<T>;
  } else if constexpr (std::is_empty_v<T>) {
    return 0;
  } else {
    return boost::pfr::tuple_size_v<T>;
  }
}

template <structure T>
inline constexpr std::size_t field_count = count_fields<T>();

template <std::size_t I, class T>
constexpr auto& field(T& object) noexcept {
  using plain = std::remove_const_t<T>;
  if constexpr (described<plain>) {
    return object.*(boost::mp11::mp_at_c<members_of<plain>, I>::pointer);
  } else if constexpr (tuple_like<plain>) {
    return std::get<I>(object);
  } else {
    return boost::pfr::get<I>(object);
  }
}

template <std::size_t I, class T>
using field_type = std::remove_cvref_t<decltype(field<I>(std::declval<T&>()))>;

/// The name given by Boost.Describe, or an empty string.
template <std::size_t I, class T>
constexpr std::string_view field_name() noexcept {
  if constexpr (described<T>) {
    return boost::mp11::mp_at_c<members_of<T>, I>::name;
  } else {
    return {};
  }
}

/// Calls f(std::integral_constant<std::size_t, I>{}) for each I below N.
template <std::size_t N, class F>
constexpr void for_each_index(F&& f) {
  [&]<std::size_t... I>(std::index_sequence<I...>) {
    (f(std::integral_constant<std::size_t, I>{}), ...);
  }(std::make_index_sequence<N>{});
}

/// As for_each_index, but stops at the first false. RETURNS: whether all were true.
template <std::size_t N, class F>
constexpr bool all_indices(F&& f) {
  return [&]<std::size_t... I>(std::index_sequence<I...>) {
    return (static_cast<bool>(f(std::integral_constant<std::size_t, I>{})) && ...);
  }(std::make_index_sequence<N>{});
}

// ---------------------------------------------------------------------------- kept containers in
// it

/// How many places for kept containers T has, all alternatives of a variant counted. The number
/// of a place ("slot") names it in deltas, so it follows from the type alone.
template <class T>
consteval std::size_t count_slots() {
  if constexpr (kept<T>) {
    return 1;
  } else if constexpr (structure<T>) {
    return []<std::size_t... I>(std::index_sequence<I...>) {
      return (std::size_t{0} + ... + count_slots<field_type<I, T>>());
    }(std::make_index_sequence<field_count<T>>{});
  } else if constexpr (array_like<T>) {
    return std::tuple_size_v<T> * count_slots<typename T::value_type>();
  } else if constexpr (optional_like<T>) {
    return count_slots<typename T::value_type>();
  } else if constexpr (variant_like<T>) {
    return []<std::size_t... I>(std::index_sequence<I...>) {
      return (std::size_t{0} + ... + count_slots<std::variant_alternative_t<I, T>>());
    }(std::make_index_sequence<std::variant_size_v<T>>{});
  } else {
    return 0;
  }
}

template <class T>
inline constexpr std::size_t slots = count_slots<T>();
template <class T>
concept holds_kept = slots<T> != 0;

/// Whether T has kept containers that can come and go with the alternative of a std::variant or
/// the value of a std::optional.
template <class T>
consteval bool find_shifting() {
  if constexpr (!holds_kept<T> || kept<T>) {
    return false;
  } else if constexpr (structure<T>) {
    return []<std::size_t... I>(std::index_sequence<I...>) {
      return (false || ... || find_shifting<field_type<I, T>>());
    }(std::make_index_sequence<field_count<T>>{});
  } else if constexpr (array_like<T>) {
    return find_shifting<typename T::value_type>();
  } else {
    return true;
  }
}

template <class T>
concept shifting = find_shifting<T>();

/// Calls f(container, slot) for each kept container directly in `object`, not for those that are
/// elements of others.
template <class T, class F>
void for_each_kept(T& object, std::size_t slot, F&& f) {
  using plain = std::remove_const_t<T>;
  if constexpr (!holds_kept<plain>) {
    return;
  } else if constexpr (kept<plain>) {
    f(object, slot);
  } else if constexpr (structure<plain>) {
    for_each_index<field_count<plain>>([&](auto i) {
      for_each_kept(field<i>(object), slot, f);
      slot += slots<field_type<i, plain>>;
    });
  } else if constexpr (array_like<plain>) {
    for (auto& element : object) {
      for_each_kept(element, slot, f);
      slot += slots<typename plain::value_type>;
    }
  } else if constexpr (optional_like<plain>) {
    if (object) for_each_kept(*object, slot, f);
  } else {
    for_each_index<std::variant_size_v<plain>>([&](auto i) {
      if (auto* held = std::get_if<i>(&object)) for_each_kept(*held, slot, f);
      slot += slots<std::variant_alternative_t<i, plain>>;
    });
  }
}

// ---------------------------------------------------------------------------- equality

/// Whether two plain values are the same for a reader, as far as can be told. Looks at fields
/// rather than using a structure's own ==, which may leave some out. Floating-point numbers are
/// compared by their bits: NaN is the same as itself, and 0.0 is not -0.0. A type with no == is
/// never the same: a change that cannot be seen must not be missed.
template <class T>
[[nodiscard]] bool same(const T& left, const T& right) {
  if constexpr (std::is_same_v<T, float>) {
    return std::bit_cast<std::uint32_t>(left) == std::bit_cast<std::uint32_t>(right);
  } else if constexpr (std::is_same_v<T, double>) {
    return std::bit_cast<std::uint64_t>(left) == std::bit_cast<std::uint64_t>(right);
  } else if constexpr (std::is_scalar_v<T> || std::is_convertible_v<const T&, std::string_view>) {
    return left == right;
  } else if constexpr (structure<T>) {
    return all_indices<field_count<T>>(
        [&](auto i) { return same(field<i>(left), field<i>(right)); });
  } else if constexpr (optional_like<T>) {
    return left.has_value() == right.has_value() && (!left || same(*left, *right));
  } else if constexpr (variant_like<T>) {
    return left.index() == right.index() && all_indices<std::variant_size_v<T>>([&](auto i) {
             const auto* held = std::get_if<i>(&left);
             return held == nullptr || same(*held, *std::get_if<i>(&right));
           });
  } else if constexpr (std::ranges::forward_range<const T> && !kept<T> &&
                       !requires { typename T::hasher; }) {
    return std::ranges::equal(left, right, [](const auto& a, const auto& b) { return same(a, b); });
  } else if constexpr (std::equality_comparable<T>) {
    return left == right;
  } else {
    return false;
  }
}

// ---------------------------------------------------------------------------- the plain part

struct nothing {};

template <class T>
struct saved_traits {
  using type = T;
};
template <class T>
using saved = typename saved_traits<T>::type;

template <kept T>
struct saved_traits<T> {
  using type = nothing;
};
template <class T>
  requires(structure<T> && holds_kept<T>)
struct saved_traits<T> {
  template <std::size_t... I>
  static std::tuple<saved<field_type<I, T>>...> make(std::index_sequence<I...>);
  using type = decltype(make(std::make_index_sequence<field_count<T>>{}));
};
template <array_like T>
  requires holds_kept<T>
struct saved_traits<T> {
  using type = std::array<saved<typename T::value_type>, std::tuple_size_v<T>>;
};
template <optional_like T>
  requires holds_kept<T>
struct saved_traits<T> {
  using type = std::optional<saved<typename T::value_type>>;
};
template <variant_like T>
  requires holds_kept<T>
struct saved_traits<T> {
  template <std::size_t... I>
  static std::variant<saved<std::variant_alternative_t<I, T>>...> make(std::index_sequence<I...>);
  using type = decltype(make(std::make_index_sequence<std::variant_size_v<T>>{}));
};

/// Copies all of `object` that does not log itself: plain fields, and which alternative a variant
/// or optional that holds kept containers is in.
/// Throws what copies throw, and std::bad_variant_access if such a variant is valueless.
template <class T>
[[nodiscard]] saved<T> save(const T& object) {
  if constexpr (!holds_kept<T>) {
    return object;
  } else if constexpr (kept<T>) {
    return {};
  } else if constexpr (structure<T>) {
    return [&]<std::size_t... I>(std::index_sequence<I...>) {
      return saved<T>{save(field<I>(object))...};
    }(std::make_index_sequence<field_count<T>>{});
  } else if constexpr (array_like<T>) {
    return [&]<std::size_t... I>(std::index_sequence<I...>) {
      return saved<T>{save(object[I])...};
    }(std::make_index_sequence<std::tuple_size_v<T>>{});
  } else if constexpr (optional_like<T>) {
    return object ? saved<T>{save(*object)} : saved<T>{};
  } else {
    if (object.valueless_by_exception()) throw std::bad_variant_access{};
    return [&]<std::size_t... I>(std::index_sequence<I...>) {
      std::optional<saved<T>> result;
      const auto take = [&](auto i) {
        if (const auto* held = std::get_if<i>(&object)) {
          result.emplace(std::in_place_index<i>, save(*held));
        }
      };
      (take(std::integral_constant<std::size_t, I>{}), ...);
      return std::move(*result);
    }(std::make_index_sequence<std::variant_size_v<T>>{});
  }
}

/// Whether the plain part of `object` is still what was saved.
template <class T>
[[nodiscard]] bool same_as_saved(const T& object, const saved<T>& old) {
  if constexpr (!holds_kept<T>) {
    return same(object, old);
  } else if constexpr (kept<T>) {
    return true;
  } else if constexpr (structure<T>) {
    return all_indices<field_count<T>>(
        [&](auto i) { return same_as_saved(field<i>(object), std::get<i>(old)); });
  } else if constexpr (array_like<T>) {
    for (std::size_t i = 0; i < object.size(); ++i) {
      if (!same_as_saved(object[i], old[i])) return false;
    }
    return true;
  } else if constexpr (optional_like<T>) {
    return object.has_value() == old.has_value() && (!object || same_as_saved(*object, *old));
  } else {
    return object.index() == old.index() && all_indices<std::variant_size_v<T>>([&](auto i) {
             const auto* held = std::get_if<i>(&object);
             return held == nullptr || same_as_saved(*held, *std::get_if<i>(&old));
           });
  }
}

/// Puts the plain part back. Kept containers that are still there are left alone; those that went
/// with their alternative come back empty, and their own undo records fill them.
template <class T>
void restore(T& object, saved<T>&& old) noexcept {
  if constexpr (!holds_kept<T>) {
    if constexpr (std::is_nothrow_move_assignable_v<T>) {
      object = std::move(old);
    } else {
      std::ranges::swap(object, old);
    }
  } else if constexpr (kept<T>) {
    return;
  } else if constexpr (structure<T>) {
    for_each_index<field_count<T>>(
        [&](auto i) { restore(field<i>(object), std::move(std::get<i>(old))); });
  } else if constexpr (array_like<T>) {
    for (std::size_t i = 0; i < object.size(); ++i) restore(object[i], std::move(old[i]));
  } else if constexpr (optional_like<T>) {
    if (!old) {
      object.reset();
      return;
    }
    if (!object) object.emplace();
    restore(*object, std::move(*old));
  } else {
    for_each_index<std::variant_size_v<T>>([&](auto i) {
      using alternative = std::variant_alternative_t<i, T>;
      auto* value = std::get_if<i>(&old);
      if (value == nullptr) return;
      if (auto* held = std::get_if<i>(&object)) {
        restore(*held, std::move(*value));
      } else if constexpr (holds_kept<alternative>) {
        restore(object.template emplace<i>(), std::move(*value));
      } else {
        object.template emplace<i>(std::move(*value));
      }
    });
  }
}

}  // namespace peeper::detail
