// SPDX-License-Identifier: Apache-2.0
/// \file
/// `supervisor_cell`: the branch of a supervisor: its children, and what it does about their ends.
///
/// All it does comes as library messages (calls of supervisor.hpp, ends of children), so it never
/// runs a callback: each step (a child started, a child ended) is done when it is done, and a kill
/// of its worker in between costs nothing but the worker. The rules are OTP's supervisor.erl:
///
///     child ends by itself
///       permanent, or transient and not normal ──► on_exit? ──► intensity? ──► restart
///       else: it stays ended (temporary: forgotten) ──► auto_shutdown?          │
///                                                                              ▼
///       one_for_all, rest_for_one: end the others in reverse ──► pause ──► start in order
///       a start that fails: the child is `restarting`, and counted and tried again
///
/// THREADS: the claim's holder, but for what children_mutex guards: a transfer moves entries from
/// and to other supervisors with the child's claim, not theirs.
/// INVARIANT: a child whose entry is not `running` under this very pid has ended on order, or has
/// been told of before: its end is no news.
#pragma once

#include <atomic>
#include <cstdint>
#include <limits>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include <boost/intrusive/list.hpp>

#include <peeper/detail/branch.hpp>
#include <peeper/dynamic_supervisor.hpp>
#include <peeper/supervisor.hpp>

#include "core/log_limit.hpp"
#include "server/restart_window.hpp"

namespace peeper::detail {

class supervisor_cell;

/// One child's place under its supervisor. Held by both: either may go first. From the heap: the
/// pools' next larger block would be half as large again, and there may be millions.
struct child_entry final : child_place, boost::intrusive::list_base_hook<> {
  child_entry(supervisor_cell& supervisor, std::shared_ptr<const child_data> how,
              successor_function successor = nullptr);
  void add_ref() noexcept override {
    // ORDER: relaxed: the caller holds a reference already.
    refs.fetch_add(1, std::memory_order_relaxed);
  }
  void release() noexcept override {
    // ORDER: acq_rel: the last one sees what the other did.
    if (refs.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
  }
  void ended(branch& child, const exit_reason& reason) noexcept override;
  [[nodiscard]] duration time_to_end(const branch& child) const noexcept {
    return data->options.shutdown.value_or(child.options().shutdown);
  }

  ~child_entry() override;

  /// Owned. Changed by a transfer, with the child's claim and both supervisors' children_mutex_.
  std::atomic<supervisor_cell*> parent;
  /// The running one. While restarting: the one that has ended, where `again` needs it.
  server_ptr server;
  std::shared_ptr<const child_data> data;
  successor_function again;            ///< null: data->make
  std::atomic<std::uint16_t> refs{1};  ///< few hold it: its list, its servers, notices on their way
  child_status status = child_status::undefined;
  unsigned restarts = 0;
};

/// What does not change after the start.
struct supervisor_plan {
  supervisor_options options;
  std::vector<child> children;
  bool dynamic = false;
  std::size_t max_children = std::numeric_limits<std::size_t>::max();
  extra_arguments extra;  ///< of a dynamic one
};
/// REQUIRES: start_tree() or never_start() follows.
[[nodiscard]] server_ptr make_supervisor(runtime_core& rt,
                                         std::shared_ptr<const branch_options> options,
                                         std::shared_ptr<const supervisor_plan> plan);

class supervisor_cell final : public branch {
 public:
  supervisor_cell(runtime_core& rt, std::shared_ptr<const branch_options> options,
                  std::shared_ptr<const supervisor_plan> plan)
      : branch{rt, std::move(options)}, plan_{std::move(plan)} {}

  /// RETURNS: what is wrong with the plan, naming the child.
  [[nodiscard]] static std::optional<std::string> mistake_in(const supervisor_plan& plan);
  /// branch::start(), with errors that say which child did not start.
  [[nodiscard]] std::expected<void, start_error> start_tree();

  // --- what supervisor.hpp asks for
  [[nodiscard]] std::expected<pid, child_error> start_child(const child& spec);
  [[nodiscard]] std::expected<void, child_error> start_child(const server_ptr& fresh,
                                                             std::shared_ptr<const child_data> how,
                                                             successor_function again);
  [[nodiscard]] std::expected<void, child_error> terminate_child(std::string_view id);
  [[nodiscard]] std::expected<void, child_error> terminate_child(pid server);
  [[nodiscard]] std::expected<pid, child_error> restart_child(std::string_view id);
  [[nodiscard]] std::expected<void, child_error> delete_child(std::string_view id);
  [[nodiscard]] std::expected<server_ptr, child_error> running_child(std::string_view id);
  /// With the servers of those that run.
  [[nodiscard]] std::vector<std::pair<child_info, server_ptr>> which_children();
  [[nodiscard]] child_counts count_children();
  [[nodiscard]] const supervisor_plan& plan() const noexcept { return *plan_; }

  // --- what happens to children
  void child_ended(child_entry& e, pid server, const exit_reason& reason,
                   const exit_reason& last_crash) noexcept;
  /// Its start failed (`reason`), or its pause is over.
  void try_again(child_entry& e, const exit_reason& reason, bool after_pause) noexcept;

  /// Moves the running child from where it is to `target`. REQUIRES: the child's claim.
  [[nodiscard]] static std::expected<void, child_error> transfer(branch& child,
                                                                 supervisor_cell& target);

  // --- branch
  void deliver(const down& info) noexcept override;
  void deliver(const exit_signal& info) noexcept override;
  void deliver(any_message info) noexcept override;
  [[nodiscard]] const std::type_info& server_type() const noexcept override {
    return plan_->dynamic ? typeid(dynamic_supervisor<>) : typeid(supervisor);
  }

 protected:
  void worker_start(bool first) override;
  void before_end(const exit_reason& reason) noexcept override;
  void worker_destroy() noexcept override {}
  void worker_terminate(const exit_reason& /*reason*/) override {}
  void state_begin() override {}
  void state_prepare() override {}
  void state_commit() noexcept override {}
  void state_rollback() noexcept override {}
  void state_destroy() noexcept override {}
  void worker_hibernate() override {}
  [[nodiscard]] message* make_timeout_message() override;
  void destroy() noexcept override { delete this; }

 private:
  using entry_list = boost::intrusive::list<child_entry>;

  [[nodiscard]] child_entry* find(std::string_view id) noexcept;
  [[nodiscard]] child_error not_found(std::string_view id) const;
  [[nodiscard]] std::string name_of(const child_entry& e) const;
  /// RETURNS: null if there may be no more children.
  [[nodiscard]] child_entry* add(std::shared_ptr<const child_data> how,
                                 successor_function again = nullptr);
  [[nodiscard]] child_error full() const;
  void forget(child_entry& e) noexcept;

  [[nodiscard]] std::expected<void, start_error> start_entry(child_entry& e) noexcept;
  [[nodiscard]] std::expected<void, start_error> start_fresh(child_entry& e,
                                                             const server_ptr& fresh) noexcept;
  void end_entry(child_entry& e) noexcept;
  void abandon_child(branch& child) noexcept;
  void end_all() noexcept;
  void end_all_at_once() noexcept;
  /// Ends `from` and the ones after it, last first; `except` has ended already.
  void end_from(child_entry& from, const child_entry* except) noexcept;
  void restart_entry(child_entry& e, const exit_reason& reason) noexcept;
  void start_again(child_entry& failed) noexcept;
  void look_at_auto_shutdown(bool significant) noexcept;
  void give_up(std::string_view id, const exit_reason& reason) noexcept;
  [[nodiscard]] server_ptr take_running(child_entry& e) noexcept;

  const std::shared_ptr<const supervisor_plan> plan_;
  std::optional<start_error> failure_;  ///< why the first start failed
  restart_window window_;
  log_limit log_limit_;
  /// Guards the list, and status, server and parent of its entries.
  std::mutex children_mutex_;
  entry_list children_;
  bool ending_ = false;
  /// By id; not for dynamic ones.
  std::unordered_map<std::string_view, child_entry*> by_id_;
};

}  // namespace peeper::detail
