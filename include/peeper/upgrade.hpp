// SPDX-License-Identifier: Apache-2.0
/// \file
/// Servers whose class is replaced while they run, also by one from a shared library that is loaded
/// at run time (OTP's code change). Clients see a protocol, not the class behind it:
///
///     struct counter_protocol {
///       using calls = peeper::types<get>;          // each optional; M::reply names the reply
///       using casts = peeper::types<inc>;
///     };
///     using counter = peeper::upgradable<counter_protocol>;
///
///     auto v1 = peeper::implementation<counter_protocol>::of<counter_v1>();
///     auto c = peeper::start<counter>(rt, {.name = "counter", .state = v1}).value();
///     auto done = peeper::upgrade(c, "./counter_v2.so");   // between two callbacks
///
/// counter_v1 and counter_v2 are ordinary server classes: a state and handlers. What a ref, a name,
/// a monitor, a supervisor can do with any server they can do with a counter.
///
/// THREADS: any.
/// CRASH: of anything during an upgrade: the old version goes on as if nothing had been asked.
#pragma once

#include <expected>
#include <filesystem>
#include <string>
#include <utility>

#include <peeper/control.hpp>
#include <peeper/detail/upgradable.hpp>
#include <peeper/implementation.hpp>

namespace peeper {

/// The server class of everything that answers to `Protocol`. Started with
/// `.state = implementation<Protocol>::of<Class>()`.
///
/// `Protocol` lists the messages that every version answers, each list as `peeper::types<...>`:
/// calls; deferred_calls (answered through a from<R>); casts; infos, among them those of the
/// library (down, exit_signal, timeout_message); continues. Handlers take messages by value or
/// const&, and are no coroutines.
template <class Protocol>
struct upgradable : detail::doors_of<Protocol> {
  using state = implementation<Protocol>;
  using infos = detail::infos_of<Protocol>;
  static std::string redact(const state& s) {
    return std::string{s.name()} + ' ' + detail::implementation_access::running(s).describe();
  }
};

/// Makes a server run another class from now on, between two of its callbacks, with its state, and
/// under the same ref: the state is encoded, decoded and migrated by the new class, whose worker is
/// then made, init included (the state that it returns is dropped, its next is honoured), and asked
/// by valid(). Only then does the old worker go; its terminate does not run. Waiting messages,
/// timers, monitors, links, name, dictionary stay; a suspended server stays suspended.
///
/// `limit`: after it nothing is changed any more.
/// RETURNS: nothing, committed (P1); or why the old version goes on (P8): an older version of the
/// state than the running one is refused. THREADS: any; not a server on itself.
/// COMPLEXITY: that of encoding and decoding the state; the server handles nothing meanwhile.
template <class Protocol>
std::expected<void, upgrade_error> upgrade(const ref<upgradable<Protocol>>& server,
                                           const implementation<Protocol>& to,
                                           duration limit = default_call_timeout) {
  return detail::ask_upgrade(
      server.cell(),
      [to](detail::branch& b, detail::upgrade_ticket& ticket) {
        return static_cast<detail::upgradable_cell<Protocol>&>(b).upgrade_to(to, ticket);
      },
      limit);
}
/// As above, to the class of the plugin at that path. Each version needs a file name of its own.
template <class Protocol>
std::expected<void, upgrade_error> upgrade(const ref<upgradable<Protocol>>& server,
                                           const std::filesystem::path& library,
                                           duration limit = default_call_timeout) {
  auto to = implementation<Protocol>::load(library);
  if (!to) return std::unexpected{std::move(to.error())};
  return upgrade(server, *to, limit);
}

}  // namespace peeper

/// Makes a shared library a plugin: the class that it brings, for that protocol. Once in a library,
/// at namespace scope. The class and its state need names that no other version has.
#define PEEPER_PLUGIN(Protocol, Class)                                                           \
  extern "C" [[gnu::visibility("default")]] const peeper::detail::plugin*                        \
  peeper_plugin() noexcept {                                                                     \
    static constexpr peeper::detail::plugin this_one{peeper::detail::plugin_key_of<Protocol>(),  \
                                                     &peeper::detail::type_of<Protocol, Class>}; \
    return &this_one;                                                                            \
  }                                                                                              \
  static_assert(true)
