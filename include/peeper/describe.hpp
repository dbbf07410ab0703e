// SPDX-License-Identifier: Apache-2.0
/// \file
/// `describe`: a value as text for people: logs, status pages, a debugger's eye. `secret<T>`: a
/// value that this never shows.
///
///     struct account { std::string owner; peeper::secret<std::string> pin; };
///     peeper::describe(account{"ann", {"1234"}});      // {"ann", <secret>}
///
/// Fields are named where Boost.Describe names them; long strings and containers are cut, and say
/// so. A secret is kept, compared and encoded as its value: it must come back after a crash.
/// THREADS: pure functions of values.  COMPLEXITY: bounded by the cuts, not by the value's size.
#pragma once

#include <concepts>
#include <cstddef>
#include <ostream>
#include <ranges>
#include <string>
#include <string_view>
#include <type_traits>
#include <variant>

#include <fmt/format.h>

#include <peeper/detail/message.hpp>
#include <peeper/kept/reflect.hpp>

namespace peeper {

/// Holds a T and never prints it. An aggregate: `secret<std::string> pin{"1234"};`
template <class T>
struct secret {
  T value;
  friend bool operator==(const secret&, const secret&) = default;
  friend std::ostream& operator<<(std::ostream& out, const secret& /*hidden*/) {
    return out << "<secret>";
  }
};

namespace detail {

template <class T>
inline constexpr bool is_secret = false;
template <class T>
inline constexpr bool is_secret<secret<T>> = true;

inline constexpr std::size_t described_elements_max = 16;
inline constexpr std::size_t described_characters_max = 200;

inline void describe_text(std::string& out, std::string_view text) {
  out += '"';
  for (const char c : text.substr(0, described_characters_max)) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    } else {
      out += c;
    }
  }
  out += '"';
  if (text.size() > described_characters_max) {
    out += fmt::format("... ({} characters)", text.size());
  }
}

template <class T>
void describe_to(std::string& out, const T& value);

template <class Range>
void describe_range(std::string& out, const Range& range) {
  out += '[';
  std::size_t shown = 0;
  for (const auto& element : range) {
    if (shown == described_elements_max) break;
    if (shown++ > 0) out += ", ";
    describe_to(out, element);
  }
  if constexpr (std::ranges::sized_range<const Range>) {
    const auto size = static_cast<std::size_t>(std::ranges::size(range));
    if (size > shown) out += fmt::format(", ... ({} in all)", size);
  }
  out += ']';
}

template <class T>
void describe_fields(std::string& out, const T& value) {
  out += '{';
  for_each_index<field_count<T>>([&](auto i) {
    if (i > 0) out += ", ";
    if constexpr (!field_name<i, T>().empty()) out += fmt::format("{}: ", field_name<i, T>());
    describe_to(out, field<i>(value));
  });
  out += '}';
}

template <class T>
void describe_to(std::string& out, const T& value) {
  if constexpr (is_secret<T>) {
    out += "<secret>";
  } else if constexpr (std::same_as<T, bool>) {
    out += value ? "true" : "false";
  } else if constexpr (std::same_as<T, char>) {
    describe_text(out, std::string_view{&value, 1});
  } else if constexpr (std::is_enum_v<T>) {
    out += fmt::format("{}", +static_cast<std::underlying_type_t<T>>(value));
  } else if constexpr (std::is_arithmetic_v<T>) {
    out += fmt::format("{}", +value);
  } else if constexpr (std::convertible_to<const T&, std::string_view>) {
    describe_text(out, value);
  } else if constexpr (optional_like<T>) {
    if (value) {
      describe_to(out, *value);
    } else {
      out += "nothing";
    }
  } else if constexpr (variant_like<T>) {
    if (value.valueless_by_exception()) {
      out += "nothing";
    } else {
      std::visit([&](const auto& held) { describe_to(out, held); }, value);
    }
  } else if constexpr (std::ranges::input_range<const T>) {
    describe_range(out, value);
  } else if constexpr (structure<T>) {
    describe_fields(out, value);
  } else if constexpr (requires { value.get(); } && kept<T>) {
    describe_to(out, value.get());
  } else if constexpr (requires { value.count(); } && requires { typename T::period; }) {
    out += fmt::format("{} * {}/{} s", value.count(), T::period::num, T::period::den);
  } else {
    out += fmt::format("<{}>", type_name_of<T>());
  }
}

}  // namespace detail

/// RETURNS: `value` as one line, cut where it is long. Throws std::bad_alloc only.
template <class T>
[[nodiscard]] std::string describe(const T& value) {
  std::string out;
  detail::describe_to(out, value);
  return out;
}

}  // namespace peeper

template <class T>
struct fmt::formatter<peeper::secret<T>> : fmt::formatter<std::string_view> {
  auto format(const peeper::secret<T>& /*hidden*/, fmt::format_context& out) const {
    return fmt::formatter<std::string_view>::format("<secret>", out);
  }
};
