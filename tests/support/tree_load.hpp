// SPDX-License-Identifier: Apache-2.0
/// \file
/// What happens to a tree under load: messages to its leaves, and things that break, at every
/// level. Nothing here knows whether the world is simulated.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "support/load_tree.hpp"

namespace peeper::test {

/// One client, or one who breaks things. THREADS: one each; the book is shared.
class tree_load {
 public:
  tree_load(runtime& rt, tree_book& book, tree_planner& planner, chooser choose,
            std::uint32_t client)
      : rt_{rt}, book_{book}, planner_{planner}, choose_{std::move(choose)}, client_{client} {}

  /// How many whole regions and groups may still be killed: each is hundreds of servers.
  unsigned regions_to_kill = 0;
  unsigned groups_to_kill = 0;
  struct {
    std::uint64_t acknowledged = 0;
    std::uint64_t crashed = 0;
    std::uint64_t ended = 0;    ///< its server ended before it was answered
    std::uint64_t killed = 0;   ///< processes and servers
    std::uint64_t by_hand = 0;  ///< children ended and started
  } totals;

  /// Most of what follows goes to a few servers, so that those have something to lose.
  void choose_favourites() {
    favourites_.clear();
    for (int i = 0; i < 40; ++i) favourites_.push_back(any_leaf());
  }
  void send_something() {
    const bool crash = choose_(5) == 0;
    const bool call = choose_(2) == 0;
    server_record* to = nullptr;
    ref<leaf> server;
    message_id id = 0;
    {
      const std::lock_guard lock{book_.mutex};
      place& p = favourites_.empty() || choose_(4) == 0 ? any_leaf() : favourite();
      to = p.latest;
      if (to == nullptr) return;
      server = to->server;
      id = new_message(*to);
    }
    if (call) {
      asked_.push_back({to, id, server.ask(note{id, crash}, infinity)});
    } else {
      server.cast(note_only{id, crash});
    }
    if (asked_.size() >= 16) take_answers();
  }
  void take_answers() {
    for (auto& [to, id, answer] : asked_) {
      const auto told = answer.get();
      const std::lock_guard lock{book_.mutex};
      if (told) {
        ++totals.acknowledged;
        to->acknowledged.push_back(id);
      } else if (told.error().code() == call_errc::crashed) {
        ++totals.crashed;
        to->crashed.push_back(id);
      } else if (told.error().code() == call_errc::noproc ||
                 told.error().code() == call_errc::stopped) {
        ++totals.ended;
      } else {
        book_.complain(*to->where, "a call was answered by " + told.error().what());
      }
    }
    asked_.clear();
  }

  void break_something() {
    const auto n = choose_(100);
    if (n < 40) return kill_part_of(latest_of(any_leaf_locked()));
    if (n < 55) return kill_part_of(server_of(any_supervisor_place()));
    if (n < 70) return kill_whole_leaf(any_leaf_locked());
    if (n < 80) return tell_to_end();
    if (n < 85) return stop_from_outside();
    if (n < 89) return fail_to_start();
    if (n < 91) return break_often();
    if (n < 93) return kill_whole(any_team());
    if (n < 94) return kill_whole_group();
    if (n < 97) return change_by_hand();
    change_dynamic();
  }
  /// Starts a child under a dynamic supervisor.
  void start_dynamic(place& p) {
    const auto s = whereis_dynamic_supervisor<>(rt_, p.name);
    if (!s) return;
    place* fresh = nullptr;
    {
      const std::lock_guard lock{book_.mutex};
      fresh = &planner_.add_dynamic_leaf(p);
    }
    const auto started = s->start_child_as<leaf>({.restart = fresh->type},
                                                 tree_planner::options_of(*fresh), &book_, fresh);
    if (started || started.error().code() == child_errc::max_children ||
        started.error().code() == child_errc::start_failed ||
        started.error().code() == child_errc::noproc) {
      return;
    }
    const std::lock_guard lock{book_.mutex};
    book_.complain(p, "a start by hand was refused: " + started.error().what());
  }

 private:
  // --- choices. REQUIRES: the book's mutex, but for what says otherwise
  place& any_leaf() {
    const std::size_t fixed = book_.leaves.size();
    const std::size_t n = choose_(fixed + book_.dynamic_leaves.size());
    return n < fixed ? *book_.leaves[n] : *book_.dynamic_leaves[n - fixed];
  }
  place& favourite() { return favourites_[choose_(favourites_.size())]; }
  message_id new_message(server_record& to) {
    ++to.sent;
    book_.addressee.push_back(to.server.pid());
    book_.sender.push_back(client_);
    return static_cast<message_id>(book_.addressee.size() - 1);
  }
  /// Without the mutex, as all that follows.
  place& any_leaf_locked() {
    const std::lock_guard lock{book_.mutex};
    return any_leaf();
  }
  place& any_supervisor_place() {
    if (choose_(4) != 0) return any_team();
    return *book_.supervisors[choose_(choose_(2) == 0 ? 1 : book_.supervisors.size())];
  }
  place& any_team() {
    for (;;) {
      place& p = *book_.supervisors[choose_(book_.supervisors.size())];
      if (is_team(p)) return p;
    }
  }
  static bool is_team(const place& p) {
    return p.what == place::kind::dynamic || std::ranges::all_of(p.children, [](const place* c) {
             return c->what == place::kind::leaf;
           });
  }
  ref<leaf> latest_of(const place& p) {
    const std::lock_guard lock{book_.mutex};
    return p.latest == nullptr ? ref<leaf>{} : p.latest->server;
  }
  any_supervisor server_of(const place& p) {
    if (p.what == place::kind::dynamic) {
      const auto found = whereis_dynamic_supervisor<>(rt_, p.name);
      return found ? any_supervisor{*found} : any_supervisor{};
    }
    const auto found = whereis_supervisor(rt_, p.name);
    return found ? any_supervisor{*found} : any_supervisor{};
  }

  // --- what breaks
  void kill_this(pid id) { totals.killed += kill(id) ? 1U : 0U; }
  template <class Server>
  void kill_part_of(const Server& s) {
    switch (choose_(6)) {
      case 0: return kill_this(keeper_of(s));
      case 1: return kill_this(supervisor_of(s));
      case 2: kill_this(keeper_of(s)); return kill_this(worker_of(s));
      case 3: kill_this(worker_of(s)); return kill_this(keeper_of(s));
      default: kill_this(worker_of(s));
    }
  }
  void kill_whole_leaf(const place& p) { kill_this(latest_of(p).pid()); }
  void kill_whole(const place& p) { kill_this(server_of(p).pid()); }
  void kill_whole_group() {
    const place& p = *book_.supervisors[choose_(book_.supervisors.size())];
    if (p.parent == nullptr || is_team(p)) return kill_whole(any_team());
    unsigned& left = p.parent->parent == nullptr ? regions_to_kill : groups_to_kill;
    if (left == 0) return;
    --left;
    kill_whole(p);
  }

  exit_reason a_reason() {
    return choose_(2) == 0 ? exit_reason::normal() : exit_reason::stopped("enough");
  }
  void tell_to_end() {
    const exit_reason why = a_reason();
    ref<leaf> server;
    message_id id = 0;
    {
      const std::lock_guard lock{book_.mutex};
      server_record* r = any_leaf().latest;
      if (r == nullptr) return;
      server = r->server;
      id = new_message(*r);
      r->asked_to_end_well = r->asked_to_end_well || why.is_normal();
    }
    server.cast(end_as{id, why});
  }
  void stop_from_outside() {
    const exit_reason why = a_reason();
    ref<leaf> server;
    {
      const std::lock_guard lock{book_.mutex};
      server_record* r = any_leaf().latest;
      if (r == nullptr) return;
      server = r->server;
      r->asked_to_end_well = r->asked_to_end_well || why.is_normal();
    }
    std::ignore = stop(server, why);
  }
  void fail_to_start() {
    place& p = any_leaf_locked();
    {
      const std::lock_guard lock{book_.mutex};
      p.starts_to_fail = 1 + static_cast<unsigned>(choose_(4));
    }
    kill_whole_leaf(p);
  }
  /// More than the team bears.
  void break_often() {
    const place& team = any_team();
    if (team.children.empty()) return;
    for (int i = 0; i < 6; ++i) {
      kill_whole_leaf(*team.children[choose_(team.children.size())]);
      std::ignore = server_of(team).count_children();
    }
  }

  // --- by hand
  void change_by_hand() {
    const place& team = any_team();
    if (team.children.empty()) return;
    const auto found = whereis_supervisor(rt_, team.name);
    if (!found) return;
    place& p = *team.children[choose_(team.children.size())];
    ++totals.by_hand;
    if (choose_(2) == 0) {
      set(p.starting_by_hand, true);
      std::ignore = found->restart_child(p.id);
      set(p.starting_by_hand, false);
      return;
    }
    set(p.ending_by_hand, true);
    const bool ended = found->terminate_child(p.id).has_value();
    set(p.ending_by_hand, false);
    if (ended) set(p.ended_by_hand, !alive(latest_of(p).pid()));
  }
  void set(bool& flag, bool to) {
    const std::lock_guard lock{book_.mutex};
    flag = to;
  }
  void change_dynamic() {
    place& p = any_team();
    if (p.what != place::kind::dynamic) return change_by_hand();
    if (choose_(3) != 0) return start_dynamic(p);
    const auto s = whereis_dynamic_supervisor<>(rt_, p.name);
    if (!s) return;
    const auto children = s->which_children();
    if (children && !children->empty()) {
      ++totals.by_hand;
      std::ignore = s->terminate_child((*children)[choose_(children->size())].process);
    }
  }

  struct asked {
    server_record* to;
    message_id id;
    pending<std::uint32_t> answer;
  };
  runtime& rt_;
  tree_book& book_;
  tree_planner& planner_;
  const chooser choose_;
  const std::uint32_t client_;
  std::vector<std::reference_wrapper<place>> favourites_;
  std::vector<asked> asked_;
};

}  // namespace peeper::test
