// SPDX-License-Identifier: Apache-2.0
/// What the plugins of this folder answer to.
#pragma once

#include <string>

#include <peeper/self.hpp>
#include <peeper/upgrade.hpp>

namespace plugin_test {

struct get {
  using reply = int;
};
struct who {
  using reply = std::string;
};
struct crash_now {
  using reply = int;
};
struct put {
  int value = 0;
};
/// Sends put{value + 1} to `to`, from the plugin's code.
struct forward {
  int value = 0;
  peeper::pid to;
};

struct protocol {
  using calls = peeper::types<get, who, crash_now>;
  using casts = peeper::types<put, forward>;
};
using server = peeper::upgradable<protocol>;

struct state_v1 {
  static constexpr unsigned version = 1;
  int value = 0;
};

/// All of a version but its name.
template <class Self, class State>
struct handlers {
  using state = State;
  static int handle_call(get /*m*/, const state& s) { return s.value; }
  static std::string handle_call(who /*m*/) { return Self::name; }
  static int handle_call(crash_now /*m*/, state& s) {
    s.value = -1;
    throw typename Self::own_exception{"thrown by " + std::string{Self::name}};
  }
  static void handle_cast(put m, state& s) { s.value = m.value; }
  static void handle_cast(const forward& m) { peeper::send(m.to, put{m.value + 1}); }
};

}  // namespace plugin_test
