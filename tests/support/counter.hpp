// SPDX-License-Identifier: Apache-2.0
/// \file
/// A server that counts, and can be made to crash in the middle of it.
#pragma once

#include <stdexcept>
#include <string>

#include <peeper/peeper.hpp>

namespace peeper::test {

struct get {
  using reply = int;
};
struct add {
  int by = 1;
};
struct add_and_get {
  using reply = int;
  int by = 1;
};
/// Changes the state, then throws.
struct crash {};
struct crash_call {
  using reply = int;
};

struct counter {
  using state = int;
  int handle_call(get, const state& n) { return n; }
  int handle_call(add_and_get m, state& n) { return n += m.by; }
  int handle_call(const crash_call&, state& n) {
    n = -1000;
    throw std::runtime_error{"unlucky"};
  }
  void handle_cast(const add& m, state& n) { n += m.by; }
  void handle_cast(const crash&, state& n) {
    n = -1000;
    throw std::runtime_error{"unlucky"};
  }
};

/// "ok", or the error's code.
template <class R>
std::string outcome(const std::expected<R, call_error>& r) {
  return r ? "ok" : std::string{to_string(r.error().code())};
}

}  // namespace peeper::test
