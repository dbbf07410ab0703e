// SPDX-License-Identifier: Apache-2.0
/// \file
/// Compares a tree that is at rest (nothing runs, no restart is pending) with its plan and its
/// book: order, counts, names, no server without a place, no place without its server; and what
/// each server has noted with what its clients were told.
#pragma once

#include <algorithm>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "support/load_tree.hpp"

namespace peeper::test {

/// THREADS: one; it never holds the book's mutex while it waits for a server.
class tree_check {
 public:
  tree_check(runtime& rt, tree_book& book, supervisor root)
      : rt_{rt}, book_{book}, root_{std::move(root)} {}

  /// RETURNS: what is wrong; empty if nothing is.
  [[nodiscard]] std::vector<std::string> check_tree() {
    wrong_.clear();
    in_tree_.clear();
    for (place& p : book_.places) p.seen_as = {};
    place& top = book_.places.front();
    top.seen_as = root_.pid();
    in_tree_.insert(root_.pid());
    walk(top, root_);
    check_names();
    check_orphans();
    return std::move(wrong_);
  }

  /// `all`: also of servers that were sent nothing since the last time.
  [[nodiscard]] std::vector<std::string> check_servers(bool all) {
    wrong_.clear();
    std::vector<const server_record*> chosen;
    {
      const std::lock_guard lock{book_.mutex};
      for (auto& [id, r] : book_.servers) {
        if (all || r.sent != r.sent_when_checked) chosen.push_back(&r);
        r.sent_when_checked = r.sent;
      }
    }
    for (const server_record* r : chosen) check_server(*r);
    return std::move(wrong_);
  }

 private:
  void say(const place& p, const std::string& what) {
    if (wrong_.size() < 20) wrong_.push_back(tree_book::path(p) + ": " + what);
  }

  void walk(place& p, const any_supervisor& s) {
    const auto infos = s.which_children();
    const auto counts = s.count_children();
    if (!infos || !counts) {
      say(p, "does not answer");
      return;
    }
    child_counts counted;
    for (const child_info& c : *infos) {
      ++counted.specs;
      if (c.status == child_status::running) ++counted.active;
      ++(c.type == child_type::supervisor ? counted.supervisors : counted.workers);
    }
    if (counted != *counts) say(p, "count_children and which_children differ");
    if (p.what == place::kind::dynamic) {
      walk_dynamic(p, s, *infos);
    } else {
      walk_fixed(p, s, *infos);
    }
  }

  void walk_dynamic(place& p, const any_supervisor& s, const std::vector<child_info>& infos) {
    if (infos.size() > tree_planner::max_dynamic_children) say(p, "has more children than it may");
    for (const child_info& c : infos) {
      place* leaf = place_of(c.process);
      if (leaf == nullptr || leaf->parent != &p) {
        say(p, "has a child that is not its own");
      } else if (c.status != child_status::running) {
        say(*leaf, "does not run, and is not forgotten");
      } else {
        look_at_leaf(*leaf, s, c);
      }
    }
  }

  void walk_fixed(place& p, const any_supervisor& s, const std::vector<child_info>& infos) {
    auto next = p.children.begin();
    std::uint64_t last_start = 0;
    for (const child_info& c : infos) {
      // Its children in the plan's order; only temporary ones may be missing.
      for (; next != p.children.end() && (*next)->id != c.id; ++next) look_at_missing(**next);
      if (next == p.children.end()) {
        say(p, "its child " + c.id + " is not where it was planned");
        return;
      }
      place& child = **next++;
      if (c.status == child_status::restarting) say(child, "still restarts");
      if (c.status == child_status::undefined) look_at_ended(child);
      if (c.status != child_status::running) continue;
      if (child.what != place::kind::leaf) {
        look_at_supervisor(child, c);
        continue;
      }
      look_at_leaf(child, s, c);
      const std::lock_guard lock{book_.mutex};
      const server_record& r = *child.latest;
      if (c.restarts != 0 || r.started_by_hand) continue;
      if (r.started < last_start) say(child, "was started before one that comes before it");
      last_start = r.started;
    }
    for (; next != p.children.end(); ++next) look_at_missing(**next);
  }

  void look_at_missing(const place& p) {
    if (p.type.when() != restart::temporary) say(p, "is missing, and not temporary");
  }
  void look_at_ended(const place& p) {
    const std::lock_guard lock{book_.mutex};
    if (p.type.when() == restart::temporary) say(p, "has ended, is temporary, and not forgotten");
    if (p.ended_by_hand) return;
    // A supervisor that gives up ends with `shutdown`, which is normal.
    const bool may_rest =
        p.type.when() == restart::transient &&
        (p.what != place::kind::leaf || (p.latest != nullptr && p.latest->asked_to_end_well));
    if (!may_rest) say(p, "has ended, and is not restarted");
  }

  void look_at_supervisor(place& p, const child_info& c) {
    p.seen_as = c.process;
    in_tree_.insert(c.process);
    if (p.what == place::kind::dynamic) {
      const auto found = whereis_dynamic_supervisor<>(rt_, p.name);
      if (!found || found->pid() != c.process) return say(p, "is not found by its name");
      walk(p, *found);
    } else {
      const auto found = whereis_supervisor(rt_, p.name);
      if (!found || found->pid() != c.process) return say(p, "is not found by its name");
      walk(p, *found);
    }
  }

  void look_at_leaf(place& p, const any_supervisor& s, const child_info& c) {
    p.seen_as = c.process;
    in_tree_.insert(c.process);
    const std::lock_guard lock{book_.mutex};
    if (p.latest == nullptr || p.latest->server.pid() != c.process) {
      say(p, "is another server than the one that was started last");
    } else if (p.latest->parent != s.pid()) {
      say(p, "was started by another supervisor");
    }
    if (!alive(c.process)) say(p, "is said to run, and does not");
  }

  [[nodiscard]] place* place_of(pid server) {
    const std::lock_guard lock{book_.mutex};
    const auto found = book_.servers.find(server);
    return found == book_.servers.end() ? nullptr : found->second.where;
  }

  void check_names() {
    for (const place& p : book_.places) {
      if (p.name.empty() || &p == &book_.places.front()) continue;
      pid found;
      if (p.what == place::kind::leaf) {
        if (const auto r = whereis<leaf>(rt_, p.name)) found = r->pid();
      } else if (p.what == place::kind::fixed) {
        if (const auto r = whereis_supervisor(rt_, p.name)) found = r->pid();
      } else {
        if (const auto r = whereis_dynamic_supervisor<>(rt_, p.name)) found = r->pid();
      }
      if (found != p.seen_as) say(p, found ? "is found, and not in the tree" : "is not found");
    }
  }

  void check_orphans() {
    if (rt_.server_count() != in_tree_.size()) {
      wrong_.push_back(std::to_string(rt_.server_count()) + " servers run, and " +
                       std::to_string(in_tree_.size()) + " are in the tree");
    }
    const std::lock_guard lock{book_.mutex};
    for (const auto& [id, r] : book_.servers) {
      if (alive(id) && !in_tree_.contains(id)) say(*r.where, "runs, and is not in the tree");
    }
  }

  void check_server(const server_record& r) {
    const place& p = *r.where;
    if (alive(r.server.pid())) {
      const auto order = inspect(
          r.server,
          [](const leaf_state& s) {
            return std::pair{std::vector<message_id>{s.order.begin(), s.order.end()}, valid(s)};
          },
          infinity);
      const auto aside = list_poison(r.server, infinity);
      if (!order || !aside) return say(p, "does not answer");
      if (!order->second) say(p, "half a change is there (P2)");
      check_messages(r, order->first);
      const std::lock_guard lock{book_.mutex};
      if (order->first.size() + aside->size() != r.sent) {
        say(p, std::to_string(r.sent) + " messages were sent, " +
                   std::to_string(order->first.size()) + " are noted, " +
                   std::to_string(aside->size()) + " are set aside (P3)");
      }
    } else if (r.at_its_end) {
      check_messages(r, *r.at_its_end);
    }
  }

  void check_messages(const server_record& r, const std::vector<message_id>& order) {
    const std::lock_guard lock{book_.mutex};
    std::unordered_set<message_id> noted;
    std::unordered_map<message_id, message_id> last_of;
    for (const message_id id : order) {
      if (!noted.insert(id).second) say(*r.where, std::to_string(id) + " is handled twice");
      if (book_.addressee.at(id) != r.server.pid()) {
        say(*r.where, std::to_string(id) + " was sent to another server");
      }
      message_id& last = last_of[book_.sender.at(id)];
      if (last > id) say(*r.where, std::to_string(id) + " comes late (P6)");
      last = id;
    }
    for (const message_id id : r.acknowledged) {
      if (!noted.contains(id))
        say(*r.where, std::to_string(id) + " was acknowledged, is lost (P1)");
    }
    for (const message_id id : r.crashed) {
      if (noted.contains(id)) say(*r.where, std::to_string(id) + " crashed, and is there (P2)");
    }
  }

  runtime& rt_;
  tree_book& book_;
  const supervisor root_;
  std::vector<std::string> wrong_;
  std::unordered_set<pid> in_tree_;
};

}  // namespace peeper::test
