// SPDX-License-Identifier: Apache-2.0
/// \file
/// Children for the tests of supervisors: each notes its starts and ends in one diary.
#pragma once

#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include <peeper/peeper.hpp>

namespace peeper::test {

/// What happened, in order: "+a" started, "-a" ended. Declared before the runtime.
struct diary {
  std::vector<std::string> lines;
  /// How often the next starts of this child are to fail.
  std::map<std::string, int> failures;

  [[nodiscard]] std::string text() const {
    std::string all;
    for (const std::string& line : lines) all += (all.empty() ? "" : " ") + line;
    return all;
  }
  void clear() { lines.clear(); }
};

struct end_as {
  exit_reason reason;
};
struct ping {
  using reply = int;
};
struct bump {
  using reply = int;
};
struct fail {};

/// Writes into the diary when it starts and when it is shut down or stops.
struct member {
  using state = int;

  diary* book = nullptr;
  std::string name;

  state init(diary* d, const std::string& who) {
    book = d;
    name = who;
    if (d->failures[who] > 0) {
      --d->failures[who];
      throw std::runtime_error{who + " does not start"};
    }
    if (restart_count() == 0) {
      trap_exit(true);
      d->lines.push_back("+" + who);
    }
    return 0;
  }
  int handle_call(ping, const state& n) { return n; }
  int handle_call(bump, state& n) { return ++n; }
  auto handle_cast(const end_as& m, state&) { return stop(m.reason); }
  void handle_cast(fail, state& n) {
    n = -1;
    throw std::runtime_error{"failed"};
  }
  void handle_info(const exit_signal&, state&) {}
  void terminate(const exit_reason& reason, const state&) {
    if (reason.kind() != exit_kind::exception && reason.kind() != exit_kind::killed) {
      book->lines.push_back("-" + name);
    }
  }
};

struct counter_of_another_class {
  using state = int;
};

struct keep_busy {
  duration d;
};
/// Its callback takes its (simulated) time, and cannot be interrupted.
struct sleeper {
  using state = int;
  void handle_cast(const keep_busy& m, state&) {
    parker p;
    environment& env = detail::env_of(*detail::current_branch());
    env.park(p, env.now() + m.d);
  }
};

struct replace {
  using reply = int;
  supervisor top;
  std::string id;
  diary* book;
};

inline child member_spec(diary& d, child_options how, options<member> o);

/// Has a sibling ended and another one started.
struct boss {
  using state = int;
  int handle_call(const replace& m, const state& n) {
    const auto& top = m.top;
    if (!top.terminate_child(m.id)) return 1;
    if (!top.start_child(member_spec(*m.book, {.id = "x"}, {}))) return 2;
    return n;
  }
};

inline child member_spec(diary& d, child_options how, options<member> o = {}) {
  const std::string id = how.id;
  return child_spec<member>(std::move(how), std::move(o), &d, id);
}

}  // namespace peeper::test
