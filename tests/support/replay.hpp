// SPDX-License-Identifier: Apache-2.0
/// \file
/// Applies changes, as a listener gets them, to a copy of the state, through their public functions
/// alone; and expects each old value to be what the copy has.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include <gtest/gtest.h>

#include <peeper/change.hpp>
#include <peeper/kept.hpp>

namespace peeper::test {

/// As text; kept containers and their elements included.
template <class T>
std::string shown(const T& value) {
  std::string out;
  if constexpr (std::is_arithmetic_v<T>) {
    out = std::to_string(value);
  } else if constexpr (std::is_convertible_v<const T&, std::string_view>) {
    out = '"' + std::string{value} + '"';
  } else if constexpr (detail::optional_like<T>) {
    out = value ? "some " + shown(*value) : "none";
  } else if constexpr (detail::variant_like<T>) {
    std::visit([&](const auto& held) { out = std::to_string(value.index()) + shown(held); }, value);
  } else if constexpr (requires { value.begin(); }) {
    for (const auto& each : value) out += shown(each) + ',';
    out = '[' + out + ']';
  } else if constexpr (requires { value.get(); } && detail::kept<T>) {
    out = shown(value.get());
  } else {
    detail::for_each_index<detail::field_count<T>>(
        [&](auto i) { out += shown(detail::field<i>(value)) + ';'; });
    out = '{' + out + '}';
  }
  return out;
}

template <class T>
void replay(T& to, const changes<T>& c);

template <class T>
void replay_part(T& to, const value_change<T>& c) {
  EXPECT_EQ(shown(to), shown(c.old));
  // What holds kept containers and is told as a whole is told when it was touched.
  if constexpr (!detail::holds_kept<T>) {
    EXPECT_NE(shown(c.old), shown(c.now)) << "nothing has changed";
  }
  to = c.now;
}
template <class T>
void replay_part(T& to, const changes<T>& c) {
  EXPECT_FALSE(c.empty());
  replay(to, c);
}
template <class T, class Container>
  requires(std::is_base_of_v<Container, T>)
void replay_part(T& to, std::span<const operation<Container>> operations) {
  EXPECT_FALSE(operations.empty());
  for (const auto& op : operations) {
    if constexpr (requires { to.push_back(*op.now); }) {  // a sequence
      const auto at = [&] { return to.begin() + static_cast<std::ptrdiff_t>(*op.key); };
      switch (op.kind) {
        case change_kind::inserted: to.insert(at(), *op.now); break;
        case change_kind::erased:
          EXPECT_EQ(shown(*at()), shown(*op.old));
          to.erase(at());
          break;
        case change_kind::replaced:
          EXPECT_EQ(shown(*at()), shown(*op.old));
          to.set(*op.key, *op.now);
          break;
        case change_kind::modified:
          to.modify(*op.key, [&](auto& element) { replay_part(element, *op.inside); });
          break;
        case change_kind::assigned:
          EXPECT_EQ(shown(to), shown(op.contents->old));
          to.assign(op.contents->now);
      }
    } else if constexpr (requires { to.try_emplace(*op.key); }) {  // a map
      switch (op.kind) {
        case change_kind::inserted: EXPECT_TRUE(to.try_emplace(*op.key, *op.now).second); break;
        case change_kind::erased:
          EXPECT_EQ(shown(to.at(*op.key)), shown(*op.old));
          to.erase(*op.key);
          break;
        case change_kind::replaced:
          EXPECT_EQ(shown(to.at(*op.key)), shown(*op.old));
          to.insert_or_assign(*op.key, *op.now);
          break;
        case change_kind::modified:
          to.modify(*op.key, [&](auto& element) { replay_part(element, *op.inside); });
          break;
        case change_kind::assigned:
          EXPECT_EQ(shown(to), shown(op.contents->old));
          to.clear();
          for (const auto& each : op.contents->now) to.insert(each);
      }
    } else if constexpr (requires { to.insert(*op.key); }) {  // a set
      switch (op.kind) {
        case change_kind::inserted: EXPECT_TRUE(to.insert(*op.key).second); break;
        case change_kind::erased: EXPECT_EQ(to.erase(*op.key), 1U); break;
        case change_kind::assigned:
          EXPECT_EQ(shown(to), shown(op.contents->old));
          to.clear();
          for (const auto& each : op.contents->now) to.insert(each);
          break;
        default: ADD_FAILURE() << "no such operation on a set";
      }
    } else {  // a kept_value
      switch (op.kind) {
        case change_kind::replaced:
          EXPECT_EQ(shown(to.get()), shown(*op.old));
          to.set(*op.now);
          break;
        case change_kind::modified:
          to.modify([&](auto& value) { replay_part(value, *op.inside); });
          break;
        default: ADD_FAILURE() << "no such operation on a kept_value";
      }
    }
  }
}

template <class T>
void replay(T& to, const changes<T>& c) {
  c.for_each([&](std::string_view name, const auto& what) {
    if constexpr (!detail::structure<T>) {
      replay_part(to, what);
    } else {
      bool found = false;
      detail::for_each_index<detail::field_count<T>>([&](auto i) {
        if (name != std::to_string(i)) return;
        if constexpr (requires { replay_part(detail::field<i>(to), what); }) {
          found = true;
          replay_part(detail::field<i>(to), what);
        }
      });
      EXPECT_TRUE(found) << "field " << name;
    }
  });
}

}  // namespace peeper::test
