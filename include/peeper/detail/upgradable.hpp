// SPDX-License-Identifier: Apache-2.0
/// \file
/// How an upgradable server fits into the callback loop: doors through which each message of the
/// protocol goes to the version that runs, and the keeper and cell that hold it.
///
/// THREADS: the claim's holder of the server.
#pragma once

#include <atomic>
#include <cstdint>
#include <expected>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string_view>
#include <utility>

#include <peeper/detail/instance.hpp>
#include <peeper/implementation.hpp>

namespace peeper::detail {

struct implementation_access {
  template <class P>
  static const implementation_type<P>& type(const implementation<P>& i) noexcept {
    return *i.type_;
  }
  template <class P>
  static instance& running(const implementation<P>& i) noexcept {
    return *i.running_;
  }
  /// The same, with a worker and state to come.
  template <class P>
  static implementation<P> made(const implementation<P>& i) {
    implementation<P> fresh{i.type_};
    fresh.running_ = i.type_->make();
    return fresh;
  }
  template <class P>
  static std::unique_ptr<instance> take(implementation<P>& i) noexcept {
    return std::move(i.running_);
  }
  template <class P>
  static void swap(implementation<P>& a, implementation<P>& b) noexcept {
    std::swap(a.type_, b.type_);
    std::swap(a.running_, b.running_);
  }
};

// --- doors ---------------------------------------------------------------------------------------

// What a handler returned is already in the running execution when a door returns.
template <class P, class M>
struct call_door {
  noreply_result<> handle_call(const M& m, implementation<P>& s) {
    auto& call = static_cast<call_message<upgradable<P>, M>&>(*current_execution()->current);
    static_cast<const call_entry<M>&>(implementation_access::type(s).calls)
        .call(implementation_access::running(s), m, call);
    return {};
  }
};
template <class P, class M>
struct deferred_door {
  noreply_result<> handle_call(const M& m, from<reply_of<M>> caller, implementation<P>& s) {
    static_cast<const deferred_entry<M>&>(implementation_access::type(s).deferred_calls)
        .defer(implementation_access::running(s), m, std::move(caller));
    return {};
  }
};
template <class P, class M>
struct cast_door {
  noreply_result<> handle_cast(const M& m, implementation<P>& s) {
    static_cast<const cast_entry<M>&>(implementation_access::type(s).casts)
        .cast(implementation_access::running(s), m);
    return {};
  }
};
template <class P, class M>
struct info_door {
  noreply_result<> handle_info(const M& m, implementation<P>& s) {
    static_cast<const info_entry<M>&>(implementation_access::type(s).infos)
        .info(implementation_access::running(s), m);
    return {};
  }
};
template <class P, class M>
struct continue_door {
  noreply_result<> handle_continue(const M& m, implementation<P>& s) {
    static_cast<const continue_entry<M>&>(implementation_access::type(s).continues)
        .go_on(implementation_access::running(s), m);
    return {};
  }
};

template <class P, class... Lists>
struct doors;
template <class P, class... Call, class... Deferred, class... Cast, class... Info,
          class... Continue>
struct doors<P, types<Call...>, types<Deferred...>, types<Cast...>, types<Info...>,
             types<Continue...>> : call_door<P, Call>...,
                                   deferred_door<P, Deferred>...,
                                   cast_door<P, Cast>...,
                                   info_door<P, Info>...,
                                   continue_door<P, Continue>... {
  static_assert((call_message_type<Call> && ...) && (call_message_type<Deferred> && ...),
                "peeper: a message in a protocol's calls or deferred_calls needs `using reply = "
                "...;`");
  using call_door<P, Call>::handle_call...;
  using deferred_door<P, Deferred>::handle_call...;
  using cast_door<P, Cast>::handle_cast...;
  using info_door<P, Info>::handle_info...;
  using continue_door<P, Continue>::handle_continue...;
};
template <class P>
using doors_of =
    doors<P, calls_of<P>, deferred_calls_of<P>, casts_of<P>, infos_of<P>, continues_of<P>>;

// --- the keeper ----------------------------------------------------------------------------------

/// The state of an upgradable server is kept by the version that runs. An upgrade commits like any
/// change of the state: the versions change places.
template <class P>
class kept_state<implementation<P>> {
 public:
  explicit kept_state(implementation<P> initial) noexcept : value_{std::move(initial)} {}
  [[nodiscard]] implementation<P>& value() noexcept { return value_; }
  [[nodiscard]] const implementation<P>& value() const noexcept { return value_; }
  [[nodiscard]] instance& running() const noexcept {
    return implementation_access::running(value_);
  }

  void begin() noexcept {}  // a handler that changes the state begins
  void prepare() {
    if (!changes_places_) running().prepare();
  }
  bool commit() noexcept {
    if (!std::exchange(changes_places_, false)) return running().commit();
    implementation_access::swap(value_, other_);
    return true;
  }
  void rollback() noexcept {
    changes_places_ = false;
    running().rollback();
  }

  // Listeners hear of its ends only: what a change is, each version would say in its own types.
  using tells_no_changes = void;
  template <class Watch>
  static void watch(Watch& /*w*/) noexcept {}
  static void unwatch() noexcept {}
  template <class Watch>
  [[nodiscard]] static bool collect(Watch& /*w*/) noexcept {
    return true;
  }

  /// The next commit makes `next` what runs.
  void offer(implementation<P> next) noexcept {
    implementation_access::swap(other_, next);
    changes_places_ = true;
  }
  /// After the commit or rollback: what does not run.
  [[nodiscard]] std::unique_ptr<instance> take_other() noexcept {
    changes_places_ = false;
    return implementation_access::take(other_);
  }

 private:
  implementation<P> value_;
  implementation<P> other_;
  bool changes_places_ = false;
};

// --- the upgrade ---------------------------------------------------------------------------------

/// One wish to upgrade: done or given up, not both.
class upgrade_ticket {
 public:
  /// RETURNS: false if the other was first.
  [[nodiscard]] bool use() noexcept { return decide(); }
  [[nodiscard]] bool give_up() noexcept { return decide(); }
  [[nodiscard]] bool decided() const noexcept {
    return decided_.load(std::memory_order_relaxed);  // ORDER: relaxed: a hint
  }

 private:
  // ORDER: relaxed: which of the two it was is all that is shared.
  bool decide() noexcept { return !decided_.exchange(true, std::memory_order_relaxed); }
  std::atomic<bool> decided_{false};
};

/// What is said of an upgrade.
struct upgrade_plan {
  std::string_view old_name;
  std::uint64_t old_version;
  std::string_view new_name;
  std::uint64_t new_version;
};
/// Gives `fresh`, which has been offered to the keeper, the state of `old` and a worker, and
/// commits that. REQUIRES: the claim.
[[nodiscard]] std::expected<void, upgrade_error> change_code(branch& server,
                                                             const upgrade_plan& plan,
                                                             const instance& old, instance& fresh,
                                                             upgrade_ticket& ticket);
/// Lets go what an upgrade has left: the old version; or, if it failed, the new one, which leaves
/// no trace. REQUIRES: the claim.
void let_go_of(branch& server, std::unique_ptr<instance> over, bool upgraded) noexcept;

using upgrade_deed = std::function<std::expected<void, upgrade_error>(branch&, upgrade_ticket&)>;
[[nodiscard]] std::expected<void, upgrade_error> ask_upgrade(const process_ptr<branch>& server,
                                                             upgrade_deed deed, duration limit);
[[nodiscard]] upgrade_error names_no_class();
[[nodiscard]] std::logic_error names_no_class_at_start();

// --- the cell ------------------------------------------------------------------------------------

/// The cell of an upgradable server; its worker is that of the version that runs.
template <class P>
class server_cell_with<upgradable<P>> final : public server_cell<upgradable<P>>,
                                              public pooled<server_cell_with<upgradable<P>>> {
  using base = server_cell<upgradable<P>>;

 public:
  server_cell_with(runtime_core& rt, std::shared_ptr<const branch_options> o,
                   std::optional<implementation<P>> first)
      : base{rt, std::move(o), std::move(first)} {}

  /// A server of the class that the ended one had last, with a new state.
  [[nodiscard]] static process_ptr<branch> successor(const branch& ended) {
    const auto& self = static_cast<const server_cell_with&>(ended);
    return process_ptr<branch>{
        new server_cell_with{self.runtime(), self.shared_options(), self.first_state_}};
  }

  [[nodiscard]] std::expected<void, upgrade_error> upgrade_to(const implementation<P>& to,
                                                              upgrade_ticket& ticket) {
    if (!to) return std::unexpected{names_no_class()};
    const implementation<P>& now = this->committed_state();
    const upgrade_plan plan{now.name(), now.version(), to.name(), to.version()};
    instance& old = implementation_access::running(now);
    implementation<P> next = implementation_access::made(to);
    instance& fresh = implementation_access::running(next);
    this->kept().offer(std::move(next));
    auto done = change_code(*this, plan, old, fresh, ticket);
    let_go_of(*this, this->kept().take_other(), done.has_value());
    if (done) this->first_state_ = to;
    return done;
  }

 private:
  void worker_start(bool first) override {
    this->worker_.emplace();
    if (!first) {
      this->kept().running().start(false);
      return;
    }
    if (!this->first_state_ || !*this->first_state_) throw names_no_class_at_start();
    implementation<P> made = implementation_access::made(*this->first_state_);
    implementation_access::running(made).start(true);
    this->take_first(std::move(made));
    has_version_ = true;
  }
  void worker_destroy() noexcept override {
    if (has_version_) this->kept().running().end_worker();
    base::worker_destroy();
  }
  void worker_terminate(const exit_reason& reason) override {
    if (has_version_) this->kept().running().terminate(reason);
  }
  void worker_hibernate() override { this->kept().running().hibernate(); }
  void state_destroy() noexcept override {
    has_version_ = false;
    base::state_destroy();
  }
  void destroy() noexcept override { delete this; }

  bool has_version_ = false;
};

template <class P>
using upgradable_cell = server_cell_with<upgradable<P>>;

}  // namespace peeper::detail
