// SPDX-License-Identifier: Apache-2.0
/// \file
/// The servers and drivers that several benchmarks use.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>

#include <peeper/peeper.hpp>

#include "bench.hpp"

namespace bench {

struct get {
  using reply = std::int64_t;
};
struct add_and_get {
  using reply = std::int64_t;
  std::int64_t by = 1;
};
struct increase {
  std::int64_t by = 1;
};
struct fail {
  using reply = std::int64_t;
};

/// The smallest server that keeps something.
struct counter {
  using state = std::int64_t;
  std::int64_t handle_call(get /*m*/, const state& n) { return n; }
  std::int64_t handle_call(add_and_get m, state& n) { return n += m.by; }
  std::int64_t handle_call(fail /*m*/, state& n) {
    n = -1;
    throw std::runtime_error{"unlucky"};
  }
  void handle_cast(increase m, state& n) { n += m.by; }
};

/// The same, with its number in the worker instead: nothing is kept.
struct loose_counter {
  struct state {};
  std::int64_t handle_call(get /*m*/) { return n_; }
  std::int64_t handle_call(add_and_get m) { return n_ += m.by; }
  void handle_cast(increase m) { n_ += m.by; }

 private:
  std::int64_t n_ = 0;
};

template <class Server>
[[nodiscard]] peeper::ref<Server> started(peeper::runtime& rt, peeper::options<Server> o = {}) {
  auto server = peeper::start<Server>(rt, std::move(o));
  require(server.has_value(), "the server started");
  return std::move(*server);
}

/// The answer, which must have come.
template <class Server, class Message>
[[nodiscard]] auto answer(const peeper::ref<Server>& server, Message m) {
  auto reply = server.call(m);
  require(reply.has_value(), "the call was answered");
  return std::move(*reply);
}

}  // namespace bench
