// SPDX-License-Identifier: Apache-2.0
//
// Who runs when: what a caller that goes on computing leaves to the other core, what a quiet server
// gets beside busy ones, and what a runtime does that has nothing to do.
#include <atomic>
#include <thread>
#include <vector>

#include "servers.hpp"
#include "workload.hpp"

namespace {

using bench::report;

struct stamped_call {
  using reply = bool;
  std::int64_t sent_ns;
};
struct stamped_cast {
  std::int64_t sent_ns;
};
/// Tells how old the messages are that it gets.
struct clerk {
  struct state {};
  explicit clerk(std::atomic<std::int64_t>* waited) : waited_{waited} {}
  bool handle_call(stamped_call m) {
    *waited_ = bench::ns_now() - m.sent_ns;
    return true;
  }
  void handle_cast(stamped_cast m) { *waited_ = bench::ns_now() - m.sent_ns; }

 private:
  std::atomic<std::int64_t>* waited_;
};

struct ask_and_compute {
  using reply = bool;
};
struct computing_caller {
  struct state {};
  explicit computing_caller(peeper::ref<clerk> asked) : asked_{std::move(asked)} {}
  bool handle_call(ask_and_compute /*m*/) {
    auto answer = asked_.ask(stamped_call{bench::ns_now()});
    // Sent now, and not at the commit: that is what waiting for no time asks for.
    auto early = answer.wait_for(std::chrono::nanoseconds{0});
    bench::spin_for(bench::computing);
    return early ? early->value_or(false) : answer.get().value_or(false);
  }

 private:
  peeper::ref<clerk> asked_;
};

void call_then_compute(report& r) {
  peeper::runtime rt{{.threads = 2}};
  std::atomic<std::int64_t> waited{-1};
  auto asked = peeper::start<clerk>(rt, {}, &waited);
  bench::require(asked.has_value(), "the server started");
  // On a pool thread, as with the peers: what is asked for is found by another one.
  auto caller = peeper::start<computing_caller>(rt, {.run_on_caller = false}, *asked);
  bench::require(caller.has_value(), "the server started");
  bench::picked_up(r, waited, [&] {
    bench::require(bench::answer(*caller, ask_and_compute{}), "the call was answered");
  });
}

struct work {};
struct worker {
  struct state {};
  explicit worker(std::atomic<bool>* enough) : enough_{enough} {}
  void handle_cast(work /*m*/) {
    bench::spin_for(bench::busy_callback);
    if (!enough_->load(std::memory_order_relaxed)) peeper::self<worker>().cast(work{});
  }

 private:
  std::atomic<bool>* enough_;
};

void quiet_server(report& r) {
  std::atomic<std::int64_t> waited{-1};
  std::atomic<bool> enough{false};
  peeper::runtime rt{{.threads = 2}};
  auto quiet = peeper::start<clerk>(rt, {}, &waited);
  bench::require(quiet.has_value(), "the server started");
  for (std::size_t i = 0; i < bench::busy_servers; ++i) {
    auto busy = peeper::start<worker>(rt, {}, &enough);
    bench::require(busy.has_value(), "the server started");
    busy->cast(work{});
  }
  bench::quiet_beside_busy(r, waited, [&] { quiet->cast(stamped_cast{bench::ns_now()}); });
  enough = true;
}

void idle(report& r) {
  peeper::runtime rt;
  std::vector<peeper::ref<bench::counter>> servers;
  for (std::size_t i = 0; i < 1000; ++i) {
    servers.push_back(bench::started<bench::counter>(rt, {.run_on_caller = false}));
    bench::require(bench::answer(servers.back(), bench::add_and_get{}) == 1, "it is at work");
  }
  bench::idle_for_a_second(r);
}

struct hold {};
struct burst_counter {
  using state = std::int64_t;
  burst_counter(bench::finish_line* line, std::binary_semaphore* gate) : line_{line}, gate_{gate} {}
  void handle_cast(hold /*m*/, state& /*n*/) { gate_->acquire(); }
  void handle_cast(bench::increase m, state& n) {
    n += m.by;
    line_->passed(n);
  }

 private:
  bench::finish_line* line_;
  std::binary_semaphore* gate_;
};

bench::burst_figures burst_of(std::size_t n) {
  bench::finish_line line{.at = static_cast<std::int64_t>(n)};
  std::binary_semaphore gate{0};
  peeper::runtime rt;
  auto c = peeper::start<burst_counter>(rt, {}, &line, &gate);
  bench::require(c.has_value(), "the server started");
  return bench::figures_of_burst(
      line, n, [&] { c->cast(hold{}); }, [&] { c->cast(bench::increase{}); },
      [&] { gate.release(); });
}
void burst(report& r) { bench::report_burst(r, burst_of(bench::scaled(1'000'000))); }
void bursts(report& r) { bench::burst_curve(r, burst_of); }

[[maybe_unused]] const bool added[] = {
    bench::add("schedule/call from a server that computes on", call_then_compute),
    bench::add("schedule/quiet server beside 100 busy ones", quiet_server),
    bench::add("schedule/idle runtime with 1,000 servers", idle),
    bench::add("memory/a million messages", burst),
    bench::add("growth/queued messages", bursts, 3),
};

}  // namespace
