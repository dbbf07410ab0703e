// SPDX-License-Identifier: Apache-2.0
//
// What a program pays for the headers: processor time of the compiler, at -O2, for one file with
// one server and five messages (bench/compile/). Never through a compiler cache.
#include <cstdlib>
#include <string>

#include <fmt/format.h>
#include <sys/resource.h>

#include "bench.hpp"

namespace {

using bench::report;

double cpu_seconds_of_children() {
  rusage used{};
  bench::require(getrusage(RUSAGE_CHILDREN, &used) == 0, "the processor time can be read");
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
  };
  return seconds(used.ru_utime) + seconds(used.ru_stime);
}

double compile(const char* file) {
  const std::string command =
      fmt::format("'{}' -std=c++23 -O2 -I'{}/include' -c '{}/bench/compile/{}' -o /dev/null",
                  PEEPER_BENCH_COMPILER, PEEPER_BENCH_SOURCES, PEEPER_BENCH_SOURCES, file);
  const double before = cpu_seconds_of_children();
  bench::require(std::system(command.c_str()) == 0, fmt::format("{} compiles", file));
  return cpu_seconds_of_children() - before;
}

void ours(report& r) { r.row("s", compile("peeper.cpp"), bench::at_most(2.5)); }
[[maybe_unused]] void caf(report& r) { r.row("s", compile("caf.cpp")); }
void plain(report& r) { r.row("s", compile("plain.cpp")); }

constexpr const char* row_name = "compile/one server, five messages, -O2, CPU time";
[[maybe_unused]] const bool added[] = {
    bench::add(row_name, ours, 3),
#if PEEPER_BENCH_CAF
    bench::add_peer(row_name, "CAF", caf),
#else
    bench::add_peer(row_name, "CAF", nullptr),
#endif
    bench::add_peer(row_name, "standard library", plain),
};

}  // namespace
