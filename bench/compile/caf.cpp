// SPDX-License-Identifier: Apache-2.0
// What compile_bench.cpp compiles: one actor, five messages, all of them sent.
#include <chrono>
#include <utility>

#include <caf/all.hpp>

using get_atom = caf::atom_constant<caf::atom("get")>;
using add_atom = caf::atom_constant<caf::atom("add")>;
using exchange_atom = caf::atom_constant<caf::atom("exchange")>;
using increase_atom = caf::atom_constant<caf::atom("increase")>;
using clear_atom = caf::atom_constant<caf::atom("clear")>;

struct counter_state {
  long n = 0;
};

caf::behavior counter(caf::stateful_actor<counter_state>* self) {
  return {[=](get_atom) { return self->state.n; },
          [=](add_atom, long by) { return self->state.n += by; },
          [=](exchange_atom, long value) { return std::exchange(self->state.n, value); },
          [=](increase_atom, long by) { self->state.n += by; },
          [=](clear_atom) { self->state.n = 0; }};
}

long use(caf::actor_system& sys) {
  const auto c = sys.spawn(counter);
  caf::scoped_actor self{sys};
  const std::chrono::seconds limit{5};
  long sum = 0;
  const auto answered = [&](long n) { sum += n; };
  const auto failed = [](caf::error&) {};
  self->send(c, increase_atom::value, 2L);
  self->send(c, clear_atom::value);
  self->request(c, limit, get_atom::value).receive(answered, failed);
  self->request(c, limit, add_atom::value, 2L).receive(answered, failed);
  self->request(c, limit, exchange_atom::value, 3L).receive(answered, failed);
  return sum;
}
