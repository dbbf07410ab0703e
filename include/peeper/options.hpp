// SPDX-License-Identifier: Apache-2.0
/// \file
/// What can be chosen when a server is started. Every option has a default; see `start`.
#pragma once

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <peeper/isolation.hpp>
#include <peeper/poison.hpp>
#include <peeper/time.hpp>

namespace peeper {

/// What a full mailbox does with the next message. A call that is not taken is answered with
/// call_errc::mailbox_full; library messages are never limited.
///
/// `block` has an exception, so that no callback waits for itself: one that has sent something to a
/// limited mailbox in this run already holds that place until its commit, and goes over the limit
/// instead of waiting. So at most max_length messages wait, and what the callbacks that run at that
/// moment have sent beyond their first.
enum class overflow : std::uint8_t {
  reject,       ///< the sender is told (try_cast: full; cast: dropped, counted and logged)
  block,        ///< the sender waits for room (calls: until their deadline); see below
  drop_oldest,  ///< the oldest queued message goes
  drop_newest,  ///< the new message goes, silently
};

struct mailbox_options {
  /// The most messages that wait at once; 0 = no limit.
  std::uint32_t max_length = 0;
  overflow when_full = overflow::reject;
  friend bool operator==(const mailbox_options&, const mailbox_options&) = default;
};

/// A pause before a restart: min, doubled on every further crash, at most max, with jitter;
/// forgotten after `max_seconds` without a crash. Zero (default): restart at once, as OTP does.
struct backoff_options {
  duration min{0};
  duration max = std::chrono::seconds{1};
  friend bool operator==(const backoff_options&, const backoff_options&) = default;
};

/// Which of a server's tables (table.hpp) outlive its workers, with their rows as of the last
/// commit: none (default), all(), or those with these names, as in `.keep_tables = {"sessions"}`.
class kept_tables {
 public:
  kept_tables() noexcept = default;
  kept_tables(std::initializer_list<std::string> names) : names_{names} {}
  [[nodiscard]] static kept_tables all() noexcept {
    kept_tables k;
    k.all_ = true;
    return k;
  }
  [[nodiscard]] bool keeps(std::string_view name) const noexcept {
    return all_ || std::ranges::find(names_, name) != names_.end();
  }
  explicit kept_tables(std::vector<std::string> names) noexcept : names_{std::move(names)} {}
  [[nodiscard]] bool keeps_all() const noexcept { return all_; }
  [[nodiscard]] const std::vector<std::string>& names() const noexcept { return names_; }
  friend bool operator==(const kept_tables&, const kept_tables&) = default;

 private:
  bool all_ = false;
  std::vector<std::string> names_;
};
template <class State>
class listener;

/// A registry of names that is not the runtime's own (OTP's `via`). THREADS: any.
class registry {
 public:
  registry() = default;
  registry(const registry&) = delete;
  registry& operator=(const registry&) = delete;
  virtual ~registry() = default;
  /// RETURNS: false if the name is taken.
  virtual bool register_name(const std::string& name, class pid server) = 0;
  virtual void unregister_name(const std::string& name) noexcept = 0;
  /// RETURNS: the supervisor pid of the server, or an empty pid.
  [[nodiscard]] virtual class pid whereis_name(const std::string& name) const = 0;
};

namespace detail {

/// The options that do not depend on the server's class; one object is shared by all servers that
/// were started with the defaults.
struct branch_options {
  std::string name;
  crash_policy on_crash = peeper::on_crash::drop;
  unsigned max_restarts = 1000;
  duration max_seconds = std::chrono::seconds{10};
  backoff_options backoff;
  mailbox_options mailbox;
  duration init_timeout = infinity;
  duration shutdown = std::chrono::milliseconds{5000};
  duration hibernate_after = infinity;
  std::size_t keep_poison = 100;
  bool run_on_caller = true;
  kept_tables keep_tables;
  std::shared_ptr<registry> via;
  std::shared_ptr<const void> listeners;         ///< a std::vector<listener<State>>
  std::shared_ptr<const worker_host> isolation;  ///< null: callbacks run in the program
  friend bool operator==(const branch_options&, const branch_options&) = default;
};

}  // namespace detail

/// `State`: the server's; `S`: its class, where that is known. Use designated initialisers:
///
///     peeper::start<counter>(rt, {.name = "counter", .state = 41, .max_restarts = 5});
template <class State, class S = void>
struct start_options {
  /// Registered before init runs; unique in the runtime (or in `via`). Empty: none.
  std::string name{};
  /// The first state, for a server without init. Default: State{}.
  std::optional<State> state{};
  crash_policy on_crash = peeper::on_crash::drop;
  /// P7. More restarts than this within max_seconds end the server. Peeper's defaults.
  unsigned max_restarts = 1000;
  duration max_seconds = std::chrono::seconds{10};
  backoff_options backoff{};
  mailbox_options mailbox{};
  /// How long the first init may take. When finite, init runs on a pool thread.
  duration init_timeout = infinity;
  /// How long it may take to end when the runtime shuts down, before it is killed.
  duration shutdown = std::chrono::milliseconds{5000};
  /// Hibernate after this long without a message.
  duration hibernate_after = infinity;
  /// How many poison messages are kept; the oldest go first.
  std::size_t keep_poison = 100;
  /// A blocking call from an idle server's client may run the callback on the client's thread
  /// (the fastest hand-off is none). Then the callback's length bounds the call, not its time-out;
  /// calls with a time-out under one second always use a pool thread. False: never.
  bool run_on_caller = true;
  /// Which tables of this server come back after a crash.
  kept_tables keep_tables{};
  /// Where the name is registered instead of in the runtime.
  std::shared_ptr<registry> via{};
  /// Who hears of each change and each end of the server: see listener.hpp. They are told of it as
  /// long as it lives, also through crashes.
  std::vector<listener<State>> listeners{};
  /// Where its callbacks run: see isolation.hpp.
  isolation_of<S> isolation{};
};

}  // namespace peeper
