// SPDX-License-Identifier: Apache-2.0
/// \file
/// What carries a server's events to its listeners. Each listener is a small process of its own,
/// with a bounded queue; the server's hub makes an event at the commit and puts it into each.
///
///     commit -> hub -> queue of listener 1 -> on_state_changed
///                  \-> queue of listener 2 -> ...
///
/// THREADS: a hub: the claim's holder of its server. listener_process: as marked.
/// CRASH: a hub is attached to the server (companion.hpp) and hears of every end.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <boost/circular_buffer.hpp>

#include <peeper/change.hpp>
#include <peeper/detail/companion.hpp>
#include <peeper/detail/process.hpp>
#include <peeper/detail/relay_memory.hpp>
#include <peeper/exit_reason.hpp>
#include <peeper/kept/state.hpp>

namespace spdlog {
class logger;
}  // namespace spdlog

namespace peeper {

/// What a listener's full queue does with the next event. The server's own end is never dropped.
enum class drop : std::uint8_t { oldest, newest };

/// Give them with the listener, `.listeners = {{audit{}, {.max_length = 100}}}`, or as `static
/// constexpr peeper::listener_options options` in its class.
struct listener_options {
  /// The most events that wait at once. As many again may have been taken out to be handled.
  std::size_t max_length = 10'000;
  drop when_full = drop::oldest;
  /// It asks for the whole old and new state. The server then copies its state once a commit that
  /// changes it.
  bool wants_state = false;
};

/// Names one listener of one server.
struct listener_id {
  std::uint64_t value = 0;
  friend bool operator==(listener_id, listener_id) noexcept = default;
};

/// One listener at a glance; see list_listeners.
struct listener_info {
  listener_id id;
  listener_options options;
  std::uint64_t heard = 0;    ///< events that it was called with
  std::uint64_t missed = 0;   ///< that did not fit into its queue, or for which was no memory
  std::uint64_t thrown = 0;   ///< of those heard: it threw
  std::uint64_t waiting = 0;  ///< in its queue now
};

namespace detail {

template <class L>
[[nodiscard]] constexpr listener_options listener_options_of() noexcept {
  if constexpr (requires {
                  { L::options } -> std::convertible_to<listener_options>;
                }) {
    return L::options;
  } else {
    return {};
  }
}

// --- events

/// Shared by the listeners of one server.
struct listener_event {
  explicit listener_event(bool end) noexcept : is_end{end} {}
  listener_event(const listener_event&) = delete;
  listener_event& operator=(const listener_event&) = delete;
  virtual ~listener_event() = default;
  static void* operator new(std::size_t bytes) { return relay_allocate(bytes); }
  static void operator delete(void* p, std::size_t bytes) noexcept { relay_free(p, bytes); }

  std::atomic<std::uint32_t> refs{1};
  const bool is_end;
};

class event_ptr {
 public:
  event_ptr() noexcept = default;
  explicit event_ptr(const listener_event* adopted) noexcept : event_{adopted} {}
  event_ptr(const event_ptr& other) noexcept : event_{other.event_} {
    // ORDER: relaxed: the caller holds a reference already.
    if (event_ != nullptr) count().fetch_add(1, std::memory_order_relaxed);
  }
  event_ptr(event_ptr&& other) noexcept : event_{std::exchange(other.event_, nullptr)} {}
  event_ptr& operator=(event_ptr other) noexcept {
    std::swap(event_, other.event_);
    return *this;
  }
  ~event_ptr() {
    // ORDER: acq_rel: the last one sees what the others did before they let go.
    if (event_ != nullptr && count().fetch_sub(1, std::memory_order_acq_rel) == 1) delete event_;
  }
  [[nodiscard]] const listener_event& operator*() const noexcept { return *event_; }
  [[nodiscard]] const listener_event* operator->() const noexcept { return event_; }
  explicit operator bool() const noexcept { return event_ != nullptr; }

 private:
  [[nodiscard]] std::atomic<std::uint32_t>& count() const noexcept {
    return const_cast<listener_event*>(event_)->refs;
  }
  const listener_event* event_ = nullptr;
};

template <class State>
struct change_event final : listener_event {
  explicit change_event(changes<State>&& c) : listener_event{false}, what{std::move(c)} {}
  changes<State> what;
  std::shared_ptr<const State> old_state;
  std::shared_ptr<const State> new_state;
};

template <class State>
struct ended_event final : listener_event {
  ended_event(exit_reason r, bool on, std::shared_ptr<const State> state)
      : listener_event{true}, reason{std::move(r)}, goes_on{on}, final_state{std::move(state)} {}
  exit_reason reason;
  bool goes_on;
  std::shared_ptr<const State> final_state;
};

/// What an event is to one listener.
struct about_event {
  std::string_view server;
  std::uint64_t missed;
  bool wants_state;
};

// --- one listener

struct about_listener {
  std::string server;
  listener_id id;
  listener_options options;
};

/// Waking it costs the server a system call, so one that is kept busy is not woken for each event:
/// it *rests*. A timer wakes it a millisecond later, or an event that finds many others waiting.
class listener_process : public process {
 public:
  listener_process(runtime_core& rt, about_listener about, bool hears_changes, bool hears_ends);

  // --- the server's claim
  /// Puts it into the queue, if the listener hears of such; drops one if that is full.
  void tell(event_ptr e) noexcept;
  /// An event that nobody could make.
  void miss() noexcept { ++told_; }
  /// The last it hears; then it goes. Null: it goes once it has handled what waits.
  void end(event_ptr e) noexcept;
  [[nodiscard]] bool hears_changes() const noexcept { return hears_changes_; }
  [[nodiscard]] bool wants_state() const noexcept { return about_.options.wants_state; }
  [[nodiscard]] listener_id id() const noexcept { return about_.id; }
  [[nodiscard]] listener_info info() const;

  // --- process
  [[nodiscard]] bool run(unsigned budget) noexcept override;
  [[nodiscard]] std::uint32_t generation_of(process_role role) const noexcept override;
  [[nodiscard]] std::string display_name() const override;
  bool kill(pid which) noexcept override;

 protected:
  ~listener_process() override = default;
  /// May throw what the user's function throws.
  virtual void handle(const listener_event& e, const about_event& about) = 0;

 private:
  struct entry {
    event_ptr event;
    std::uint64_t number = 0;
  };
  /// Wakes it from its rest.
  struct nudge final : message {
    nudge() noexcept;
  };
  /// Grows up to max_length, and keeps its memory.
  using queue = boost::circular_buffer<entry>;

  [[nodiscard]] bool take_batch() noexcept;
  /// It has work, or its end has come. REQUIRES: mutex_.
  [[nodiscard]] bool wanted() const noexcept {
    return ending_ || waiting_.size() >= (resting_ ? enough_ : 1);
  }
  /// RETURNS: false if there was no memory for it.
  [[nodiscard]] bool rest() noexcept;
  /// RETURNS: true if it is idle now: the claim is gone.
  [[nodiscard]] bool go_idle() noexcept;
  void wake() noexcept;
  void call(const entry& e) noexcept;
  void finish() noexcept;

  // constant after construction
  const about_listener about_;
  const bool hears_changes_;
  const bool hears_ends_;
  const std::size_t enough_;  ///< so many waiting events end its rest

  // owned by the server's claim
  std::uint64_t told_ = 0;  ///< events so far, dropped ones counted

  mutable std::mutex mutex_;
  // guarded by mutex_
  queue waiting_;
  entry last_;
  bool ending_ = false;
  bool resting_ = false;

  // owned by the claim's holder
  queue batch_;
  std::uint64_t next_number_ = 0;
  std::uint32_t handled_ = 0;  ///< since it was woken
  nudge nudge_;
  bool nudge_pending_ = false;

  std::atomic<std::uint64_t> heard_{0};
  std::atomic<std::uint64_t> missed_{0};
  std::atomic<std::uint64_t> thrown_{0};
};

// --- all listeners of one server

class listener_hub : public companion {
 public:
  /// `p`: as made, claimed. Takes its first reference. Throws std::bad_alloc.
  void add(listener_process* p);
  /// RETURNS: false if there is no such listener.
  bool remove(listener_id id) noexcept;
  [[nodiscard]] std::vector<listener_info> list() const;
  [[nodiscard]] listener_id next_id() noexcept { return {++last_id_}; }
  [[nodiscard]] bool hears_changes() const noexcept { return hearing_changes_ != 0; }
  [[nodiscard]] bool wants_state() const noexcept { return wanting_state_ != 0; }

  void worker_died(const exit_reason& reason) noexcept override { tell_end(reason, true); }
  void server_ended(const exit_reason& reason) noexcept override { tell_end(reason, false); }

 protected:
  ~listener_hub() override;
  void tell_change(event_ptr e) noexcept;
  void miss_change() noexcept;
  [[nodiscard]] virtual event_ptr make_end(const exit_reason& reason, bool goes_on) = 0;

 private:
  void tell_end(const exit_reason& reason, bool goes_on) noexcept;
  void count() noexcept;

  std::vector<process_ptr<listener_process>> listeners_;
  std::size_t hearing_changes_ = 0;
  std::size_t wanting_state_ = 0;
  std::uint64_t last_id_ = 0;
};

/// The state can say what has changed in it. That of an upgradable server cannot: its type changes.
template <class State>
concept watchable = requires(kept_state<State>& kept) { kept.unwatch(); };

/// Knows the state, and what a callback has changed in it.
template <class State>
class state_hub final : public listener_hub {
 public:
  /// After listeners have come or gone, or when there is a first state. Throws what copies of the
  /// state throw. RETURNS: whether commits are to go through commit_state().
  bool watch(kept_state<State>& kept) {
    const bool on = hears_changes() || wants_state();
    watched_ = &kept;
    if (on) {
      kept.watch(watch_);
    } else {
      kept.unwatch();
    }
    if (!wants_state()) {
      last_.reset();
    } else if (!last_) {
      last_ = std::make_shared<const State>(std::as_const(kept).value());
    }
    return on;
  }

  /// kept.commit(), of which the listeners hear. RETURNS: as that.
  bool commit_state(kept_state<State>& kept) noexcept {
    const bool told = kept.collect(watch_);
    event_ptr event;
    change_event<State>* made = nullptr;
    const bool any = !told || !watch_.noted.empty();
    if (told && any) {
      try {
        made = new change_event<State>{std::move(watch_.noted)};
        event = event_ptr{made};
      } catch (const std::bad_alloc&) {  // told as missed
      }
    }
    const bool changed = kept.commit();
    if constexpr (!holds_kept<State>) watch_.end();
    if (!any) return changed;
    if (wants_state() && !add_states(made, kept)) event = {};
    if (event) {
      tell_change(std::move(event));
    } else {
      miss_change();
    }
    return changed;
  }

  void server_ended(const exit_reason& reason) noexcept override {
    if (watched_ != nullptr) watched_->unwatch();
    listener_hub::server_ended(reason);
  }

 private:
  bool add_states(change_event<State>* made, kept_state<State>& kept) noexcept {
    try {
      auto now = std::make_shared<const State>(std::as_const(kept).value());
      auto old = std::exchange(last_, now);
      if (made == nullptr || !old) return false;
      made->old_state = std::move(old);
      made->new_state = std::move(now);
      return true;
    } catch (...) {  // no memory, or a copy threw: the next commit tries again
      last_.reset();
      return false;
    }
  }
  [[nodiscard]] event_ptr make_end(const exit_reason& reason, bool goes_on) override {
    return event_ptr{new ended_event<State>{reason, goes_on, last_}};
  }

  kept_state<State>* watched_ = nullptr;
  state_watch<State> watch_;
  std::shared_ptr<const State> last_;  ///< if somebody wants it
};

// --- log_listener

[[nodiscard]] bool logs_changes(spdlog::logger* logger) noexcept;
void log_change(spdlog::logger* logger, std::string_view server, std::string_view what,
                std::uint64_t missed);
void log_end(spdlog::logger* logger, std::string_view server, const exit_reason& reason,
             bool goes_on, std::uint64_t missed);

}  // namespace detail
}  // namespace peeper
