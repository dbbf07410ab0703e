// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <stdexcept>

#include <peeper/peeper.hpp>

struct get {
  using reply = int;
};
struct increment {
  int by = 1;
};

struct counter {
  using state = int;
  int handle_call(get, const state& n) { return n; }
  void handle_cast(increment m, state& n) {
    n += m.by;
    if (n == 13) throw std::runtime_error("unlucky");
  }
};

int main() {
  peeper::runtime rt;
  auto c = peeper::start<counter>(rt, {.name = "counter", .state = 0}).value();
  c.cast(increment{12});
  c.cast(increment{});
  std::printf("kept %d\n", c.call(get{}).value());
}
