// SPDX-License-Identifier: Apache-2.0
/// \file
/// `implementation<Protocol>`: one server class that answers to a protocol, of this program or of a
/// plugin; see upgrade.hpp.
///
///     auto v1 = peeper::implementation<counter_protocol>::of<counter_v1>();
///     auto v2 = peeper::implementation<counter_protocol>::load("./counter_v2.so");
///
/// THREADS: values; any.
#pragma once

#include <cstdint>
#include <expected>
#include <filesystem>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

#include <peeper/detail/instance.hpp>
#include <peeper/detail/plugin.hpp>

namespace peeper {

enum class upgrade_errc : std::uint8_t {
  bad_library,  ///< the file cannot be loaded, or has no PEEPER_PLUGIN
  mismatch,     ///< a plugin of another protocol, or built with another peeper or compiler
  newer_state,  ///< the server's state has a newer version than that class
  bad_state,    ///< migrate threw, there is no way from that version, or valid() said no
  init_failed,  ///< the constructor or init of the new class threw; see reason()
  interrupted,  ///< the worker was killed or crashed meanwhile: try again
  no_worker,    ///< the server waits to be restarted (back-off): try again
  unreachable,  ///< the server has stopped, or is the one that asks, or waits for it
  timed_out,    ///< it was not done in time, and will not be
};
[[nodiscard]] std::string_view to_string(upgrade_errc code) noexcept;

/// Why a server was not upgraded. Nothing has changed.
class upgrade_error {
 public:
  upgrade_error(upgrade_errc code, std::string text, exit_reason reason = {})
      : code_{code}, text_{std::move(text)}, reason_{std::move(reason)} {}
  [[nodiscard]] upgrade_errc code() const noexcept { return code_; }
  /// What happened, to which server, what to do.
  [[nodiscard]] const std::string& what() const noexcept { return text_; }
  /// What was thrown, where something was.
  [[nodiscard]] const exit_reason& reason() const noexcept { return reason_; }

 private:
  upgrade_errc code_;
  std::string text_;
  exit_reason reason_;
};

/// Names a server class that answers to `Protocol`; it is the state of an upgradable server as
/// options, inspect() and edit() see it. Cheap to copy. A plugin's code is never unloaded, so it
/// stays good.
template <class Protocol>
class implementation {
 public:
  /// Names none.
  implementation() noexcept = default;
  implementation(const implementation& other) noexcept : type_{other.type_} {}
  implementation(implementation&&) noexcept = default;
  /// Throws std::logic_error inside a server: upgrade() is what changes its class.
  implementation& operator=(const implementation& other) {
    if (running_) throw std::logic_error{"an upgradable server changes its class by upgrade()"};
    type_ = other.type_;
    return *this;
  }
  ~implementation() = default;

  /// A class of this program. Does not compile for one that lacks a handler of the protocol or
  /// whose state has no encoding.
  template <class Class>
  [[nodiscard]] static implementation of() noexcept {
    return implementation{&detail::type_of<Protocol, Class>};
  }
  /// The class of a plugin (PEEPER_PLUGIN). Loads the library at that path; one that fits stays
  /// loaded until the program ends.
  /// RETURNS: bad_library, mismatch. Throws std::bad_alloc. COMPLEXITY: that of dlopen().
  [[nodiscard]] static std::expected<implementation, upgrade_error> load(
      const std::filesystem::path& library) {
    auto type = detail::load_plugin(library, detail::plugin_key_of<Protocol>());
    if (!type) return std::unexpected{std::move(type.error())};
    return implementation{static_cast<const detail::implementation_type<Protocol>*>(*type)};
  }

  /// The class's name. REQUIRES: it names one.
  [[nodiscard]] std::string_view name() const { return type_->name(); }
  /// That of the class's state. REQUIRES: it names one.
  [[nodiscard]] std::uint64_t version() const noexcept { return type_->version; }
  explicit operator bool() const noexcept { return type_ != nullptr; }
  friend bool operator==(const implementation& a, const implementation& b) noexcept {
    return a.type_ == b.type_;
  }

 private:
  friend struct detail::implementation_access;
  explicit implementation(const detail::implementation_type<Protocol>* type) noexcept
      : type_{type} {}

  const detail::implementation_type<Protocol>* type_ = nullptr;
  std::unique_ptr<detail::instance> running_;  ///< in the server's own only
};

}  // namespace peeper
