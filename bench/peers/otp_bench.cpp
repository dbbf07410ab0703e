// SPDX-License-Identifier: Apache-2.0
//
// OTP's GenServer, measured inside the BEAM by bench/peers/otp.exs; this runs the script, once for
// each benchmark in each repetition, and takes over the figures that it prints.
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>

#include <fmt/format.h>

#include "../bench.hpp"

namespace {

using bench::report;
using figures = std::map<std::string, std::string, std::less<>>;

constexpr const char* otp_name = "OTP";

/// RETURNS: nothing where there is no Elixir.
figures run_script(const std::string& task, unsigned schedulers, const char* flags = "") {
  // As many schedulers as the others have threads; the rest as the BEAM chooses.
  const std::string on = schedulers == 0 ? "" : fmt::format(R"(--erl "+S {0}:{0}")", schedulers);
  const std::string command =
      fmt::format("elixir {} {} '{}' {} {} 2>&1", on, flags, PEEPER_BENCH_OTP_SCRIPT, task,
                  bench::short_run() ? "short" : "full");
  figures found;
  std::string said;
  std::FILE* pipe = ::popen(command.c_str(), "r");
  bench::require(pipe != nullptr, "a shell can be started");
  char line[512];
  while (std::fgets(line, sizeof line, pipe) != nullptr) {
    const std::string text = line;
    said += text;
    const auto space = text.find(' ');
    if (space == std::string::npos) continue;
    found[text.substr(0, space)] = text.substr(space + 1, text.find('\n') - space - 1);
  }
  bench::require(::pclose(pipe) == 0, fmt::format("otp.exs {} worked:\n{}", task, said));
  return found;
}

double figure(const figures& found, std::string_view key) {
  const auto at = found.find(key);
  bench::require(at != found.end(), fmt::format("otp.exs printed {}", key));
  return std::strtod(at->second.c_str(), nullptr);
}

void percentiles(report& r, const char* task, const char* unit = "ns", unsigned schedulers = 0) {
  const auto found = run_script(task, schedulers);
  r.row("p50", unit, figure(found, "p50"));
  r.row("p99", unit, figure(found, "p99"));
}
void rate(report& r, const char* task, unsigned schedulers) {
  r.row("M/s", figure(run_script(task, schedulers), "M/s"));
}

void call(report& r) { percentiles(r, "call"); }
void call_pause(report& r) { percentiles(r, "call_pause"); }
void call_busy(report& r) { percentiles(r, "call_busy"); }
void server_to_server_1(report& r) { rate(r, "server_to_server", 1); }
void server_to_server_2(report& r) { rate(r, "server_to_server", 2); }
void cast_from_1(report& r) { rate(r, "cast_threads_1", 0); }
void cast_from_8(report& r) { rate(r, "cast_threads_8", 0); }
void cast_server_1(report& r) { rate(r, "cast_servers_1", 1); }
void cast_server_2(report& r) { rate(r, "cast_servers_1", 2); }
void cast_servers_8(report& r) { rate(r, "cast_servers_8", 2); }
void crash(report& r) { percentiles(r, "crash"); }
void quiet(report& r) { percentiles(r, "quiet", "callbacks", 2); }
void compute(report& r) { r.row("p50", "ns", figure(run_script("compute", 2), "p50")); }
void spawn(report& r) {
  const auto found = run_script("spawn", 0);
  r.row("time of each", "ns", figure(found, "time"));
  r.row("memory of each", "bytes", figure(found, "bytes"));
  r.row("first answer of each", "ns", figure(found, "answer"));
}
void restart(report& r) { r.row("ns", figure(run_script("restart", 1), "time")); }
void children(report& r) {
  r.row("start of all", "s", figure(run_script("children", 0, R"(--erl "+P 2000000")"), "start"));
}
void look_up(report& r, const char* task) {
  r.row("table", "ns", figure(run_script(task, 2), "time"));
}
void look_up_1k(report& r) { look_up(r, "table_look_up_1000"); }
void look_up_1m(report& r) { look_up(r, "table_look_up_1000000"); }
/// ETS has no commit: what it writes stays when the callback crashes.
void write(report& r, const char* task) {
  r.row("kept table", "ns", figure(run_script(task, 2), "time"));
}
void write_1k(report& r) { write(r, "table_write_1000"); }
void write_1m(report& r) { write(r, "table_write_1000000"); }
void idle(report& r) {
  const auto found = run_script("idle", 0);
  r.row("wake-ups", "wakes/s", figure(found, "wakes"));
  r.row("CPU time", "us/second", figure(found, "cpu"));
}
void burst(report& r) {
  const auto found = run_script("burst", 0);
  r.row("while they wait", "MB", figure(found, "peak"));
  r.row("when all are handled", "MB", figure(found, "after"));
}

/// Looked for when it is run, not when it is built: nothing of it is linked.
bool here() {
  static const bool found = std::system("command -v elixir >/dev/null 2>&1") == 0;
  return found;
}
bench::run_function if_here(bench::run_function run) { return here() ? run : nullptr; }

std::string version() {
  return here() ? run_script("version", 1)["version"] : "elixir is not installed";
}

[[maybe_unused]] const bool added[] = {
    bench::describe_peer(otp_name, version, here()),
    bench::add_peer("call/foreign thread to idle server", otp_name, if_here(call)),
    bench::add_peer("call/foreign thread to idle server after 20 ms", otp_name,
                    if_here(call_pause)),
    bench::add_peer("call/foreign thread to busy server", otp_name, if_here(call_busy)),
    bench::add_peer("call/server to server, 1 thread", otp_name, if_here(server_to_server_1)),
    bench::add_peer("call/server to server, 2 threads", otp_name, if_here(server_to_server_2)),
    bench::add_peer("cast/1 foreign thread to 1 server", otp_name, if_here(cast_from_1)),
    bench::add_peer("cast/8 foreign threads to 1 server", otp_name, if_here(cast_from_8)),
    bench::add_peer("cast/1 server to 1 server, 1 thread", otp_name, if_here(cast_server_1)),
    bench::add_peer("cast/1 server to 1 server, 2 threads", otp_name, if_here(cast_server_2)),
    bench::add_peer("cast/8 servers to 1 server, 2 threads", otp_name, if_here(cast_servers_8)),
    bench::add_peer("spawn/100,000 servers", otp_name, if_here(spawn)),
    bench::add_peer("crash/exception to next answer", otp_name, if_here(crash)),
    bench::add_peer("schedule/call from a server that computes on", otp_name, if_here(compute)),
    bench::add_peer("schedule/quiet server beside 100 busy ones", otp_name, if_here(quiet)),
    bench::add_peer("schedule/idle runtime with 1,000 servers", otp_name, if_here(idle)),
    bench::add_peer("supervisor/restart of a plain child", otp_name, if_here(restart)),
    bench::add_peer("supervisor/1,000,000 children", otp_name, if_here(children)),
    bench::add_peer("table/look-up from another thread, 1k rows", otp_name, if_here(look_up_1k)),
    bench::add_peer("table/look-up from another thread, 1M rows", otp_name, if_here(look_up_1m)),
    bench::add_peer("table/write in a callback, 1k rows", otp_name, if_here(write_1k)),
    bench::add_peer("table/write in a callback, 1M rows", otp_name, if_here(write_1m)),
    bench::add_peer("memory/a million messages", otp_name, if_here(burst)),
};

}  // namespace
