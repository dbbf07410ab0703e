// SPDX-License-Identifier: Apache-2.0
/// \file
/// Changes as text for people; see describe.hpp.
///
///     topic: "a" -> "b", members: inserted "ann": 1, replaced "bob": 2 -> 3, erased "eve": 4
///
/// THREADS: pure functions of values.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <type_traits>

#include <peeper/change.hpp>
#include <peeper/describe.hpp>
#include <peeper/listener.hpp>

namespace peeper {
namespace detail {

template <class T>
void describe_changes(std::string& out, const changes<T>& c);

template <class T>
void describe_change(std::string& out, const value_change<T>& c) {
  describe_to(out, c.old);
  out += " -> ";
  describe_to(out, c.now);
}
template <class T>
void describe_change(std::string& out, const changes<T>& c) {
  out += '{';
  describe_changes(out, c);
  out += '}';
}
template <class Container>
void describe_change(std::string& out, const operation<Container>& op) {
  constexpr bool has_key = !std::is_same_v<typename Container::change_key, nothing>;
  constexpr bool has_value = !std::is_same_v<typename Container::change_value, nothing>;
  if (has_key || op.kind != change_kind::replaced) {
    out += to_string(op.kind);
    out += ' ';
  }
  if constexpr (has_key) {
    if (op.key) {
      describe_to(out, *op.key);
      if (op.old || op.now || op.inside) out += ": ";
    }
  }
  if constexpr (has_value) {
    if (op.old) describe_to(out, *op.old);
    if (op.old && op.now) out += " -> ";
    if (op.now) describe_to(out, *op.now);
    if (op.inside) describe_change(out, *op.inside);
  }
  if (op.contents) describe_change(out, *op.contents);
}
template <class Container>
void describe_change(std::string& out, std::span<const operation<Container>> operations) {
  std::size_t shown = 0;
  for (const auto& op : operations) {
    if (shown++ > 0) out += ", ";
    if (shown > described_elements_max) {
      out += fmt::format("... ({} in all)", operations.size());
      return;
    }
    describe_change(out, op);
  }
}

template <class T>
void describe_changes(std::string& out, const changes<T>& c) {
  bool first = true;
  c.for_each([&](std::string_view name, const auto& what) {
    if (!first) out += ", ";
    first = false;
    if (!name.empty()) {
      out += name;
      out += ": ";
    }
    describe_change(out, what);
  });
}

}  // namespace detail

/// RETURNS: what has changed as one line, cut where it is long. Throws std::bad_alloc only.
template <class T>
[[nodiscard]] std::string describe(const changes<T>& c) {
  std::string out;
  detail::describe_changes(out, c);
  return out;
}
template <class State>
[[nodiscard]] std::string describe(const change<State>& c) {
  return describe(c.all());
}

template <class State>
void log_listener::on_state_changed(const change<State>& c) const {
  if (!detail::logs_changes(logger.get())) return;
  detail::log_change(logger.get(), c.server(), describe(c), c.missed());
}

}  // namespace peeper
