// SPDX-License-Identifier: Apache-2.0
#include "deaths.hpp"

#include <algorithm>
#include <csignal>
#include <cstddef>
#include <cstdlib>
#include <memory>
#include <vector>

#include <sys/mman.h>
#include <unistd.h>

#include "commands.hpp"

namespace kv {
namespace {

// Known before main(), so before anything is forked.
const pid_t program = getpid();

[[noreturn]] void write_where_nothing_may_be_written() {
  constexpr std::size_t bytes = 4096;
  void* const forbidden = mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  *static_cast<volatile char*>(forbidden) = 1;
  std::abort();
}

[[noreturn]] void hang() {
  for (volatile unsigned turns = 0;;) turns = turns + 1;
}

[[noreturn]] void leak() {
  constexpr std::size_t block_bytes = 1 << 20;
  std::vector<std::unique_ptr<char[]>> leaked;
  for (;;) {
    leaked.push_back(std::make_unique_for_overwrite<char[]>(block_bytes));
    // Used, so that it is there; not all of it: the machine is needed for other things.
    leaked.back()[0] = 1;
  }
}

// NOLINTNEXTLINE(misc-no-recursion): that is what it is for
[[gnu::noinline]] int overflow_stack(const volatile char* caller) {
  volatile char frame[1024];
  frame[0] = *caller;
  if (frame[0] != 0) return 0;  // never, which compilers do not know: they refuse what never ends
  return overflow_stack(frame) + frame[0];
}

}  // namespace

std::string_view to_string(death way) {
  switch (way) {
    case death::segv: return "segv";
    case death::abort: return "abort";
    case death::kill: return "kill";
    case death::hang: return "hang";
    case death::leak: return "leak";
    case death::stack: return "stack";
  }
  return "?";
}

std::optional<death> death_of(std::string_view word) {
  const auto found = std::ranges::find_if(
      all_deaths, [&](death way) { return equal_ignoring_case(word, to_string(way)); });
  if (found == all_deaths.end()) return std::nullopt;
  return *found;
}

bool in_the_program() { return getpid() == program; }

void die(death way) {
  switch (way) {
    case death::segv: write_where_nothing_may_be_written();
    case death::abort: std::abort();
    case death::kill: kill(getpid(), SIGKILL); break;
    case death::hang: hang();
    case death::leak: leak();
    case death::stack: {
      const volatile char first = 0;
      overflow_stack(&first);
      break;
    }
  }
  std::abort();
}

}  // namespace kv
