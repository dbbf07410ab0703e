// SPDX-License-Identifier: Apache-2.0
// What compile_bench.cpp compiles: one server, five messages, all of them sent.
#include <peeper/peeper.hpp>

struct get {
  using reply = long;
};
struct add {
  using reply = long;
  long by;
};
struct exchange {
  using reply = long;
  long value;
};
struct increase {
  long by;
};
struct clear {};

struct counter {
  using state = long;
  long handle_call(get /*m*/, const state& n) { return n; }
  long handle_call(add m, state& n) { return n += m.by; }
  long handle_call(exchange m, state& n) { return std::exchange(n, m.value); }
  void handle_cast(increase m, state& n) { n += m.by; }
  void handle_cast(clear /*m*/, state& n) { n = 0; }
};

long use(peeper::runtime& rt) {
  auto c = peeper::start<counter>(rt, {.name = "counter"}).value();
  c.cast(increase{2});
  c.cast(clear{});
  return c.call(get{}).value() + c.call(add{2}).value() + c.call(exchange{3}).value();
}
