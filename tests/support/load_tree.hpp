// SPDX-License-Identifier: Apache-2.0
/// \file
/// A supervision tree for load tests: the plan of it, the servers at its leaves, and the book in
/// which each notes its start and its end. What the rules of supervisors forbid at that very moment
/// (the wrong order, two at once, a temporary child again) the book complains of there and then;
/// tree_check.hpp compares the tree as a whole with the plan.
///
/// One server that is ended for good and started again is another server: it has another pid, and
/// another record.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include <peeper/kept.hpp>
#include <peeper/peeper.hpp>

#include "supervisor/supervisor_cell.hpp"

namespace peeper::test {

using message_id = std::uint32_t;
/// A number below `bound`: of the simulation, or of a generator.
using chooser = std::function<std::uint64_t(std::uint64_t bound)>;

struct leaf;
struct tree_book;
struct server_record;

/// One child of the plan. THREADS: what comes after `leaves_last` is guarded by the book's mutex.
struct place {
  enum class kind : std::uint8_t { leaf, fixed, dynamic };
  kind what = kind::leaf;
  std::string id;    ///< under its supervisor; empty under a dynamic one
  std::string name;  ///< of all supervisors, and of half of the leaves
  place* parent = nullptr;
  restart_type type = restart::permanent;
  strategy how = strategy::one_for_one;  ///< of a fixed supervisor
  bool traps = true;                     ///< a leaf that does not trap exits ends without terminate
  crash_policy policy = on_crash::drop;
  unsigned crashes_allowed =
      1000;  ///< within a while. Of a leaf: before P7; of a supervisor: restarts
  std::vector<place*> children;
  /// The leaves below it, in start order. Of a leaf: itself.
  std::size_t leaves_first = 0;
  std::size_t leaves_last = 0;

  server_record* latest = nullptr;
  unsigned starts_to_fail = 0;
  bool starting_by_hand = false;
  bool ending_by_hand = false;
  bool ended_by_hand = false;
  pid seen_as;  ///< by the last walk through the tree
};

/// What is known of one server.
struct server_record {
  ref<leaf> server;
  place* where = nullptr;
  pid parent;                 ///< the supervisor that started it
  std::uint64_t started = 0;  ///< the how-manieth start of all
  bool started_by_hand = false;
  std::uint32_t sent = 0;  ///< messages
  std::uint32_t sent_when_checked = 0;
  bool asked_to_end_well = false;
  std::vector<message_id> acknowledged;
  std::vector<message_id> crashed;
  /// What terminate saw when the server ended.
  std::optional<std::vector<message_id>> at_its_end;
  exit_reason end_reason;
};

/// Outlives the runtime. THREADS: any, with `mutex`.
struct tree_book {
  std::mutex mutex;
  std::deque<place> places;
  std::vector<place*> leaves;  ///< of fixed supervisors, in start order
  std::vector<place*> dynamic_leaves;
  std::vector<place*> supervisors;
  std::unordered_map<pid, server_record> servers;
  std::vector<pid> addressee;  ///< of each message; its index is the id
  std::vector<std::uint32_t> sender;
  std::uint64_t names = 0;
  std::uint64_t starts = 0;
  std::uint64_t failed_starts = 0;
  std::uint64_t ends_in_order = 0;
  std::vector<std::string> complaints;

  void complain(const place& where, const std::string& what) {
    if (complaints.size() < 20) complaints.push_back(path(where) + ": " + what);
  }
  [[nodiscard]] static std::string path(const place& p) {
    return p.parent == nullptr ? p.id : path(*p.parent) + "/" + p.id;
  }
  [[nodiscard]] static bool lives(const place& p) {
    return p.latest != nullptr && alive(p.latest->server.pid());
  }
  /// The first leaf behind `p` under the same supervisor that lives and was not started by hand.
  [[nodiscard]] const place* living_behind(const place& p) const {
    if (p.parent->what != place::kind::fixed) return nullptr;
    for (std::size_t i = p.leaves_last; i < p.parent->leaves_last; ++i) {
      const place& behind = *leaves[i];
      if (lives(behind) && !behind.latest->started_by_hand) return &behind;
    }
    return nullptr;
  }

  /// By the first init of a server.
  void starting(place& p, ref<leaf> self, pid parent);
  /// By terminate.
  void ending(place& p, pid self, const exit_reason& reason, std::vector<message_id> order);
};

/// Handled: noted; and the callback crashes if it is to.
struct note {
  using reply = std::uint32_t;
  message_id id = 0;
  bool crash = false;
};
struct note_only {
  message_id id = 0;
  bool crash = false;
};
struct end_as {
  message_id id = 0;
  exit_reason reason;
};

struct leaf_state {
  std::uint32_t count = 0;  ///< beside the kept vector: both or none
  kept_vector<message_id> order;
};
inline bool valid(const leaf_state& s) { return s.count == s.order.size(); }

struct leaf {
  using state = leaf_state;

  tree_book* book = nullptr;
  place* where = nullptr;

  state init(tree_book* b, place* p) {
    book = b;
    where = p;
    if (restart_count() == 0) {
      if (p->traps) trap_exit(true);
      const auto* entry = static_cast<detail::child_entry*>(detail::current_branch()->place());
      book->starting(*p, self<leaf>(), entry->parent.load()->server_pid());
    }
    return {};
  }
  std::uint32_t handle_call(const note& m, state& s) { return write(m.id, m.crash, s); }
  void handle_cast(const note_only& m, state& s) { write(m.id, m.crash, s); }
  auto handle_cast(const end_as& m, state& s) {
    write(m.id, false, s);
    return stop(m.reason);
  }
  void handle_info(const exit_signal&, state&) {}
  void terminate(const exit_reason& reason, const state& s) {
    book->ending(*where, self_pid(), reason, {s.order.begin(), s.order.end()});
  }

 private:
  static std::uint32_t write(message_id id, bool crash, state& s) {
    s.order.push_back(id);
    if (crash) throw std::runtime_error{"in the middle of it"};
    return ++s.count;
  }
};

inline void tree_book::starting(place& p, ref<leaf> self, pid parent) {
  const std::lock_guard lock{mutex};
  if (p.starts_to_fail > 0) {
    --p.starts_to_fail;
    ++failed_starts;
    throw std::runtime_error{"does not start"};
  }
  if (lives(p)) complain(p, "started a second time while the first one lives");
  const bool by_hand = p.starting_by_hand;
  if (p.latest != nullptr && p.latest->parent == parent && !by_hand) {
    const bool ended_well =
        p.latest->at_its_end && p.latest->end_reason.kind() == exit_kind::normal;
    if (p.type.when() == restart::temporary) complain(p, "temporary, and restarted");
    if (p.type.when() == restart::transient && ended_well &&
        p.parent->how == strategy::one_for_one) {
      complain(p, "transient, ended normally, and restarted");
    }
  }
  const place* behind =
      by_hand || p.parent->how == strategy::one_for_one ? nullptr : living_behind(p);
  if (behind != nullptr) complain(p, "started before " + behind->id + " behind it was ended");
  const pid id = self.pid();
  const auto [at, fresh] = servers.try_emplace(id);
  if (!fresh) complain(p, "its first init ran twice");
  at->second.server = std::move(self);
  at->second.where = &p;
  at->second.parent = parent;
  at->second.started = ++starts;
  at->second.started_by_hand = by_hand;
  p.latest = &at->second;
  p.ended_by_hand = false;
}

inline void tree_book::ending(place& p, pid self, const exit_reason& reason,
                              std::vector<message_id> order) {
  // After a crash it goes on; the others are its end.
  if (reason.kind() != exit_kind::normal && reason.kind() != exit_kind::shutdown &&
      reason.kind() != exit_kind::stopped) {
    return;
  }
  const std::lock_guard lock{mutex};
  server_record& r = servers.at(self);
  if (r.at_its_end) complain(p, "terminate ran twice for one end");
  r.at_its_end = std::move(order);
  r.end_reason = reason;
  if (reason.kind() != exit_kind::shutdown || p.ending_by_hand) return;
  ++ends_in_order;
  if (const place* behind = living_behind(p)) {
    complain(p, "shut down before " + behind->id + ", which was started after it");
  }
}

// --- the plan ------------------------------------------------------------------------------------

/// Root, regions, groups, teams: each has that many of the next, and a group two leaves around its
/// teams.
struct tree_shape {
  std::size_t regions = 0;
  std::size_t groups = 0;
  std::size_t teams = 0;
  std::size_t leaves = 0;
};

/// Makes the plan, and of the plan the children.
class tree_planner {
 public:
  tree_planner(tree_book& book, chooser choose) : book_{book}, choose_{std::move(choose)} {}

  /// RETURNS: the root's place.
  place& plan(const tree_shape& shape);
  /// What start_supervisor() gets for the children of `p`.
  [[nodiscard]] std::vector<child> children_of(const place& p) const;
  /// One more leaf for a dynamic supervisor.
  place& add_dynamic_leaf(place& supervisor) {
    place& p = new_place(supervisor, place::kind::leaf);
    make_leaf(p);
    p.id.clear();
    book_.dynamic_leaves.push_back(&p);
    return p;
  }
  [[nodiscard]] child_options how(const place& p) const;
  [[nodiscard]] static options<leaf> options_of(const place& p) {
    return {.name = p.name,
            .on_crash = p.policy,
            .max_restarts = p.crashes_allowed,
            .keep_poison = 100'000};
  }
  static constexpr std::size_t max_dynamic_children = 15;

 private:
  bool one_in(std::uint64_t n) { return choose_(n) == 0; }
  place& new_place(place& parent, place::kind what) {
    place& p = book_.places.emplace_back();
    p.what = what;
    p.parent = &parent;
    p.id = std::to_string(parent.children.size());
    return p;
  }
  place& add(place& parent, place::kind what) {
    place& p = new_place(parent, what);
    parent.children.push_back(&p);
    if (what == place::kind::leaf) {
      make_leaf(p);
      p.leaves_first = book_.leaves.size();
      book_.leaves.push_back(&p);
      p.leaves_last = book_.leaves.size();
    } else {
      p.name = tree_book::path(p);
      book_.supervisors.push_back(&p);
    }
    return p;
  }
  void make_leaf(place& p);
  strategy any_strategy(std::uint64_t ones_for_one) {
    const auto n = choose_(ones_for_one + 2);
    return n == 0 ? strategy::one_for_all : n == 1 ? strategy::rest_for_one : strategy::one_for_one;
  }
  void plan_team(place& team, std::size_t leaves);

  tree_book& book_;
  chooser choose_;
  std::unordered_map<const place*, auto_shutdown> shutdowns_;
};

inline void tree_planner::make_leaf(place& p) {
  if (one_in(2)) p.name = "leaf " + std::to_string(++book_.names);
  p.traps = !one_in(4);
  if (const auto n = choose_(8); n < 2)
    p.type = restart::transient;
  else if (n == 2)
    p.type = restart::temporary;
  if (const auto n = choose_(8); n < 2)
    p.policy = on_crash::retry(2);
  else if (n == 2)
    p.policy = on_crash::stop;
  if (p.type.when() == restart::permanent && one_in(8)) p.crashes_allowed = 1;
}

inline void tree_planner::plan_team(place& team, std::size_t leaves) {
  team.crashes_allowed = 3;
  if (const auto n = choose_(10); n < 2)
    team.type = restart::transient;
  else if (n == 2)
    team.type = restart::temporary;
  if (team.what == place::kind::dynamic) return;
  team.how = any_strategy(2);
  if (one_in(3)) {
    shutdowns_[&team] = one_in(2) ? auto_shutdown::any_significant : auto_shutdown::all_significant;
  }
  for (std::size_t i = 0; i < leaves; ++i) {
    place& p = add(team, place::kind::leaf);
    if (!shutdowns_.contains(&team) || !one_in(3)) continue;
    p.type = one_in(2) ? significant(restart::transient) : significant(restart::temporary);
    p.crashes_allowed = 1000;
  }
}

inline place& tree_planner::plan(const tree_shape& shape) {
  place& root = book_.places.emplace_back();
  root.what = place::kind::fixed;
  root.id = root.name = "root";
  book_.supervisors.push_back(&root);
  const auto close = [this](place& p) { p.leaves_last = book_.leaves.size(); };
  for (std::size_t r = 0; r < shape.regions; ++r) {
    place& region = add(root, place::kind::fixed);
    region.crashes_allowed = 10;
    region.leaves_first = book_.leaves.size();
    region.how = any_strategy(8);
    for (std::size_t g = 0; g < shape.groups; ++g) {
      place& group = add(region, place::kind::fixed);
      group.crashes_allowed = 20;
      group.leaves_first = book_.leaves.size();
      group.how = any_strategy(4);
      add(group, place::kind::leaf);
      for (std::size_t t = 0; t < shape.teams; ++t) {
        place& team = add(group, one_in(6) ? place::kind::dynamic : place::kind::fixed);
        team.leaves_first = book_.leaves.size();
        plan_team(team, shape.leaves);
        close(team);
      }
      add(group, place::kind::leaf);
      close(group);
    }
    close(region);
  }
  close(root);
  return root;
}

inline child_options tree_planner::how(const place& p) const {
  child_options o{.id = p.id, .restart = p.type};
  if (p.leaves_first % 10 == 3)
    o.backoff = {.min = std::chrono::milliseconds{50}, .max = std::chrono::milliseconds{400}};
  if (p.what == place::kind::leaf && p.leaves_first % 10 == 7) o.shutdown = brutal_kill;
  return o;
}

inline std::vector<child> tree_planner::children_of(const place& p) const {
  std::vector<child> all;
  for (place* c : p.children) {
    if (c->what == place::kind::leaf) {
      all.push_back(child_spec<leaf>(how(*c), options_of(*c), &book_, c));
    } else if (c->what == place::kind::dynamic) {
      all.push_back(dynamic_supervisor_spec(how(*c), {.name = c->name,
                                                      .max_children = max_dynamic_children,
                                                      .max_restarts = c->crashes_allowed}));
    } else {
      const auto found = shutdowns_.find(c);
      all.push_back(supervisor_spec(
          how(*c),
          {.name = c->name,
           .strategy = c->how,
           .max_restarts = c->crashes_allowed,
           .auto_shutdown = found == shutdowns_.end() ? auto_shutdown::never : found->second},
          children_of(*c)));
    }
  }
  return all;
}

}  // namespace peeper::test
