// SPDX-License-Identifier: Apache-2.0
/// \file
/// What handle_info may get from the library itself.
///
///     void handle_info(peeper::down d, state& s)          { s.peers.erase(d.id); }
///     void handle_info(peeper::exit_signal e, state&)     { }   // only with trap_exit(true)
///     void handle_info(peeper::any_message m, state&)     { if (auto* t = m.get<tick>()) ... }
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <typeinfo>
#include <utility>

#include <peeper/exit_reason.hpp>
#include <peeper/pid.hpp>

namespace peeper {

/// Names one monitor. A plain value: it may be kept in the state, also as a key, and then lasts
/// like the monitor. Ordered by age.
struct monitor_id {
  std::uint64_t value = 0;
  friend constexpr bool operator==(monitor_id, monitor_id) noexcept = default;
  friend constexpr auto operator<=>(monitor_id, monitor_id) noexcept = default;
};

/// What was monitored has ended (OTP's DOWN). Arrives once.
struct down {
  monitor_id id;
  pid process;  ///< the incarnation that ended
  exit_reason reason;
};

/// A linked server, or the parent, has ended; arrives only while exits are trapped.
struct exit_signal {
  pid from;
  exit_reason reason;
};

/// A message sent to a pid: its type is found out by who receives it.
class any_message {
 public:
  any_message() = default;
  template <class T>
  [[nodiscard]] static any_message of(T value) {
    any_message m;
    m.value_ = std::make_shared<T>(std::move(value));
    m.type_ = &typeid(T);
    return m;
  }
  /// RETURNS: null if it is of another type.
  template <class T>
  [[nodiscard]] const T* get() const noexcept {
    return type_ != nullptr && *type_ == typeid(T) ? static_cast<const T*>(value_.get()) : nullptr;
  }
  [[nodiscard]] const std::type_info& type() const noexcept {
    return type_ == nullptr ? typeid(void) : *type_;
  }

 private:
  std::shared_ptr<const void> value_;
  const std::type_info* type_ = nullptr;
};

}  // namespace peeper

template <>
struct std::hash<peeper::monitor_id> {
  std::size_t operator()(peeper::monitor_id id) const noexcept {
    return std::hash<std::uint64_t>{}(id.value);
  }
};
