// SPDX-License-Identifier: Apache-2.0
//
// CAF, the C++ Actor Framework, as its manual writes an actor: a behavior over a stateful_actor,
// request(...).then between actors, a scoped_actor where a thread of one's own asks. Requests have
// the 5 s limit that ours have; "CAF, no limit" is the same with caf::infinite.
#include "../bench.hpp"

#if PEEPER_BENCH_CAF

#include <atomic>
#include <memory>
#include <stdexcept>
#include <vector>

#include <caf/all.hpp>

#include "../workload.hpp"

namespace {

using bench::report;

using get_atom = caf::atom_constant<caf::atom("get")>;
using add_atom = caf::atom_constant<caf::atom("addget")>;
using inc_atom = caf::atom_constant<caf::atom("increase")>;
using fail_atom = caf::atom_constant<caf::atom("fail")>;
using drive_atom = caf::atom_constant<caf::atom("drive")>;
using stamp_atom = caf::atom_constant<caf::atom("stamp")>;
using hold_atom = caf::atom_constant<caf::atom("hold")>;

struct config : caf::actor_system_config {
  explicit config(unsigned threads = 0) {
    if (threads != 0) set("scheduler.max-threads", threads);
  }
};

struct counter_state {
  std::int64_t n = 0;
};
using counter_actor = caf::stateful_actor<counter_state>;

caf::behavior counter(counter_actor* self, std::int64_t first, bench::finish_line* line,
                      std::binary_semaphore* gate) {
  self->state.n = first;
  // The default handler prints to the terminal.
  self->set_exception_handler(
      [](std::exception_ptr&) -> caf::error { return caf::exit_reason::unhandled_exception; });
  return {[=](get_atom) { return self->state.n; },
          [=](add_atom, std::int64_t by) { return self->state.n += by; },
          [=](inc_atom, std::int64_t by) {
            self->state.n += by;
            if (line != nullptr) line->passed(self->state.n);
          },
          [=](hold_atom) { gate->acquire(); },
          [=](fail_atom) -> std::int64_t {
            self->state.n = -1;
            throw std::runtime_error{"unlucky"};
          }};
}

caf::actor spawn_counter(caf::actor_system& sys, std::int64_t first = 0,
                         bench::finish_line* line = nullptr,
                         std::binary_semaphore* gate = nullptr) {
  return sys.spawn(counter, first, line, gate);
}

template <class Limit, class Atom, class... Arguments>
std::int64_t ask_within(Limit limit, caf::scoped_actor& self, const caf::actor& c, Atom what,
                        Arguments... arguments) {
  std::int64_t got = -1;
  self->request(c, limit, what, arguments...)
      .receive([&](std::int64_t n) { got = n; },
               [](caf::error&) { bench::require(false, "CAF answered the request"); });
  return got;
}
template <class Atom, class... Arguments>
std::int64_t ask(caf::scoped_actor& self, const caf::actor& c, Atom what, Arguments... arguments) {
  return ask_within(bench::call_limit, self, c, what, arguments...);
}
std::int64_t add_one(caf::scoped_actor& self, const caf::actor& c) {
  return ask(self, c, add_atom::value, std::int64_t{1});
}

// ------------------------------------------------------------------------------------ calls

void foreign_to_idle(report& r) {
  config cfg;
  caf::actor_system sys{cfg};
  const auto c = spawn_counter(sys);
  caf::scoped_actor self{sys};
  bench::foreign_calls(r, 20'000, [&] { return add_one(self, c); });
}

void foreign_after_pause(report& r) {
  config cfg;
  caf::actor_system sys{cfg};
  const auto c = spawn_counter(sys);
  caf::scoped_actor self{sys};
  bench::foreign_calls_after_pause(r, [&] { return add_one(self, c); });
}

void foreign_to_busy(report& r) {
  config cfg;
  caf::actor_system sys{cfg};
  const auto c = spawn_counter(sys);
  bench::foreign_calls_to_busy(r, [&] {
    return [&, self = std::make_shared<caf::scoped_actor>(sys)] { return add_one(*self, c); };
  });
}

struct driver_state {
  std::int64_t handled = 0;
  std::int64_t wanted = 0;
  caf::response_promise done;
};
using driver_actor = caf::stateful_actor<driver_state>;

template <class Limit>
void next_request(driver_actor* self, const caf::actor& target, Limit limit) {
  self->request(target, limit, add_atom::value, std::int64_t{1}).then([=](std::int64_t) {
    if (++self->state.handled < self->state.wanted) {
      next_request(self, target, limit);
    } else {
      self->state.done.deliver(self->state.handled);
    }
  });
}

template <class Limit>
caf::behavior driver(driver_actor* self, const caf::actor& target, Limit limit) {
  return {[=](drive_atom, std::int64_t calls) {
    self->state.wanted = calls;
    self->state.done = self->make_response_promise();
    next_request(self, target, limit);
    return self->state.done;
  }};
}

template <class Limit>
void server_to_server(report& r, unsigned threads, Limit limit) {
  config cfg{threads};
  caf::actor_system sys{cfg};
  const auto target = spawn_counter(sys);
  const auto driving = sys.spawn(driver<Limit>, target, limit);
  caf::scoped_actor self{sys};
  const auto n = static_cast<std::int64_t>(bench::scaled(100'000));
  const auto begin = bench::clock::now();
  std::int64_t handled = 0;
  self->request(driving, caf::infinite, drive_atom::value, n)
      .receive([&](std::int64_t done) { handled = done; },
               [](caf::error&) { bench::require(false, "CAF's driver finished"); });
  const double ns = bench::ns_since(begin) / static_cast<double>(n);
  bench::require(handled == n && ask(self, target, get_atom::value) == n, "calls are handled once");
  r.row("M/s", bench::millions_a_second(ns));
  // Or the system waits for the last of the time-outs, which hold it.
  self->send_exit(driving, caf::exit_reason::user_shutdown);
}
using milliseconds = std::chrono::milliseconds;
void server_to_server_1(report& r) { server_to_server<milliseconds>(r, 1, bench::call_limit); }
void server_to_server_2(report& r) { server_to_server<milliseconds>(r, 2, bench::call_limit); }
void unlimited_1(report& r) { server_to_server(r, 1, caf::infinite); }
void unlimited_2(report& r) { server_to_server(r, 2, caf::infinite); }

// ------------------------------------------------------------------------------------ casts

double ns_from_threads(std::size_t senders, std::size_t each) {
  config cfg;
  caf::actor_system sys{cfg};
  bench::finish_line line{.at = static_cast<std::int64_t>(each * senders)};
  const auto c = spawn_counter(sys, 0, &line);
  const double ns = bench::ns_of_casts(
      line, senders, each, [&] { caf::anon_send(c, inc_atom::value, std::int64_t{1}); });
  caf::scoped_actor self{sys};
  bench::require(ask(self, c, get_atom::value) == line.at, "casts are handled once");
  return ns;
}
void from_threads(report& r, std::size_t senders) {
  bench::report_casts(r, ns_from_threads(senders, bench::scaled(500'000 / senders)));
}
void producers(report& r) { bench::producers_curve(r, ns_from_threads); }
void from_1_thread(report& r) { from_threads(r, 1); }
void from_8_threads(report& r) { from_threads(r, 8); }

caf::behavior caster(caf::event_based_actor* self, const caf::actor& target) {
  return {[=](drive_atom, std::int64_t left) {
    const auto now = std::min<std::int64_t>(left, 100);
    for (std::int64_t i = 0; i < now; ++i) self->send(target, inc_atom::value, std::int64_t{1});
    if (left > now) self->send(self, drive_atom::value, left - now);
  }};
}

void from_servers(report& r, std::size_t senders, unsigned threads) {
  const std::size_t each = bench::scaled(500'000 / senders);
  bench::finish_line line{.at = static_cast<std::int64_t>(each * senders)};
  config cfg{threads};
  caf::actor_system sys{cfg};
  const auto c = spawn_counter(sys, 0, &line);
  std::vector<caf::actor> casters;
  for (std::size_t s = 0; s < senders; ++s) casters.push_back(sys.spawn(caster, c));
  const auto begin = bench::clock::now();
  for (const auto& one : casters) {
    caf::anon_send(one, drive_atom::value, static_cast<std::int64_t>(each));
  }
  line.wait();
  const double ns = bench::ns_since(begin) / static_cast<double>(each * senders);
  caf::scoped_actor self{sys};
  bench::require(ask(self, c, get_atom::value) == line.at, "casts are handled once");
  r.row("M/s", bench::millions_a_second(ns));
}
void from_1_server_1(report& r) { from_servers(r, 1, 1); }
void from_1_server_2(report& r) { from_servers(r, 1, 2); }
void from_8_servers_2(report& r) { from_servers(r, 8, 2); }

// ------------------------------------------------------------------------------------ the rest

bench::spawn_figures spawned(std::size_t n) {
  config cfg;
  caf::actor_system sys{cfg};
  caf::scoped_actor self{sys};
  std::vector<caf::actor> servers(n);
  return bench::figures_of_spawning(
      n, [&](std::size_t i) { servers[i] = spawn_counter(sys, static_cast<std::int64_t>(i)); },
      [&](std::size_t i) {
        // No limit: after 5 s the time-outs of all requests before would pile up in the
        // scoped_actor, which looks at each of them for each answer.
        return ask_within(caf::infinite, self, servers[i], get_atom::value);
      });
}
void spawn_100k(report& r) { bench::report_spawning(r, spawned(bench::scaled(100'000))); }
void growing(report& r) { bench::spawn_curve(r, 100'000, spawned); }

/// No supervisor is part of it: who is told of the end starts the next one, without its state.
void exception_to_answer(report& r) {
  config cfg;
  caf::actor_system sys{cfg};
  caf::scoped_actor self{sys};
  auto c = spawn_counter(sys, bench::committed);
  bench::crashes(r, 5'000, [&] {
    self->request(c, bench::call_limit, fail_atom::value)
        .receive([](std::int64_t) { bench::require(false, "CAF's handler failed"); },
                 [](caf::error&) {});
    c = spawn_counter(sys, bench::committed);
    return ask(self, c, get_atom::value);
  });
}

caf::behavior clerk(caf::event_based_actor* /*self*/, std::atomic<std::int64_t>* waited) {
  return {[=](stamp_atom, std::int64_t sent_ns) {
    *waited = bench::ns_now() - sent_ns;
    return true;
  }};
}

caf::behavior computing_caller(caf::event_based_actor* self, const caf::actor& asked) {
  return {[=](drive_atom) {
    auto done = self->make_response_promise();
    self->request(asked, bench::call_limit, stamp_atom::value, bench::ns_now())
        .then([=](bool ok) mutable { done.deliver(ok); });
    bench::spin_for(bench::computing);
    return done;
  }};
}

void call_then_compute(report& r) {
  config cfg{2};
  caf::actor_system sys{cfg};
  std::atomic<std::int64_t> waited{-1};
  const auto asked = sys.spawn(clerk, &waited);
  const auto caller = sys.spawn(computing_caller, asked);
  caf::scoped_actor self{sys};
  bench::picked_up(r, waited, [&] {
    self->request(caller, bench::call_limit, drive_atom::value)
        .receive([](bool ok) { bench::require(ok, "the call was answered"); },
                 [](caf::error&) { bench::require(false, "CAF answered the request"); });
  });
  self->send_exit(caller, caf::exit_reason::user_shutdown);
}

caf::behavior worker(caf::event_based_actor* self, std::atomic<bool>* enough) {
  return {[=](drive_atom) {
    bench::spin_for(bench::busy_callback);
    if (!enough->load(std::memory_order_relaxed)) self->send(self, drive_atom::value);
  }};
}

void quiet_server(report& r) {
  std::atomic<std::int64_t> waited{-1};
  std::atomic<bool> enough{false};
  config cfg{2};
  // By default an actor that has always something to do never gives way, and the quiet one starves.
  cfg.set("scheduler.max-throughput", std::size_t{8});
  caf::actor_system sys{cfg};
  const auto quiet = sys.spawn(clerk, &waited);
  for (std::size_t i = 0; i < bench::busy_servers; ++i) {
    caf::anon_send(sys.spawn(worker, &enough), drive_atom::value);
  }
  bench::quiet_beside_busy(r, waited,
                           [&] { caf::anon_send(quiet, stamp_atom::value, bench::ns_now()); });
  enough = true;
}

void idle(report& r) {
  config cfg;
  caf::actor_system sys{cfg};
  caf::scoped_actor self{sys};
  std::vector<caf::actor> servers;
  for (std::size_t i = 0; i < 1000; ++i) {
    servers.push_back(spawn_counter(sys));
    bench::require(add_one(self, servers.back()) == 1, "it is at work");
  }
  bench::idle_for_a_second(r);
}

bench::burst_figures burst_of(std::size_t n) {
  bench::finish_line line{.at = static_cast<std::int64_t>(n)};
  std::binary_semaphore gate{0};
  config cfg;
  caf::actor_system sys{cfg};
  const auto c = spawn_counter(sys, 0, &line, &gate);
  return bench::figures_of_burst(
      line, n, [&] { caf::anon_send(c, hold_atom::value); },
      [&] { caf::anon_send(c, inc_atom::value, std::int64_t{1}); }, [&] { gate.release(); });
}
void burst(report& r) { bench::report_burst(r, burst_of(bench::scaled(1'000'000))); }
void bursts(report& r) { bench::burst_curve(r, burst_of); }

[[maybe_unused]] const bool described = bench::describe_peer(
    "CAF",
    [] {
      return "C++ Actor Framework " + std::to_string(CAF_VERSION / 10000) + '.' +
             std::to_string(CAF_VERSION / 100 % 100) + '.' + std::to_string(CAF_VERSION % 100);
    },
    true);

}  // namespace

#define PEEPER_BENCH_RUN(f) f
#else
#define PEEPER_BENCH_RUN(f) nullptr
namespace {
[[maybe_unused]] const bool described = bench::describe_peer(
    "CAF", [] { return std::string{"not found when this was built (Debian: libcaf-dev)"}; }, false);
}  // namespace
#endif

namespace {

constexpr const char* caf_name = "CAF";
constexpr const char* unlimited_name = "CAF, no limit";

[[maybe_unused]] const bool added[] = {
    bench::add_peer("call/foreign thread to idle server", caf_name,
                    PEEPER_BENCH_RUN(foreign_to_idle)),
    bench::add_peer("call/foreign thread to idle server after 20 ms", caf_name,
                    PEEPER_BENCH_RUN(foreign_after_pause)),
    bench::add_peer("call/foreign thread to busy server", caf_name,
                    PEEPER_BENCH_RUN(foreign_to_busy)),
    bench::add_peer("call/server to server, 1 thread", caf_name,
                    PEEPER_BENCH_RUN(server_to_server_1)),
    bench::add_peer("call/server to server, 1 thread", unlimited_name,
                    PEEPER_BENCH_RUN(unlimited_1)),
    bench::add_peer("call/server to server, 2 threads", caf_name,
                    PEEPER_BENCH_RUN(server_to_server_2)),
    bench::add_peer("call/server to server, 2 threads", unlimited_name,
                    PEEPER_BENCH_RUN(unlimited_2)),
    bench::add_peer("cast/1 foreign thread to 1 server", caf_name, PEEPER_BENCH_RUN(from_1_thread)),
    bench::add_peer("cast/8 foreign threads to 1 server", caf_name,
                    PEEPER_BENCH_RUN(from_8_threads)),
    bench::add_peer("cast/1 server to 1 server, 1 thread", caf_name,
                    PEEPER_BENCH_RUN(from_1_server_1)),
    bench::add_peer("cast/1 server to 1 server, 2 threads", caf_name,
                    PEEPER_BENCH_RUN(from_1_server_2)),
    bench::add_peer("cast/8 servers to 1 server, 2 threads", caf_name,
                    PEEPER_BENCH_RUN(from_8_servers_2)),
    bench::add_peer("spawn/100,000 servers", caf_name, PEEPER_BENCH_RUN(spawn_100k)),
    bench::add_peer("crash/exception to next answer", caf_name,
                    PEEPER_BENCH_RUN(exception_to_answer)),
    bench::add_peer("schedule/call from a server that computes on", caf_name,
                    PEEPER_BENCH_RUN(call_then_compute)),
    bench::add_peer("schedule/quiet server beside 100 busy ones", caf_name,
                    PEEPER_BENCH_RUN(quiet_server)),
    bench::add_peer("schedule/idle runtime with 1,000 servers", caf_name, PEEPER_BENCH_RUN(idle)),
    bench::add_peer("memory/a million messages", caf_name, PEEPER_BENCH_RUN(burst)),
    bench::add_peer("growth/producers", caf_name, PEEPER_BENCH_RUN(producers)),
    bench::add_peer("growth/servers", caf_name, PEEPER_BENCH_RUN(growing)),
    bench::add_peer("growth/queued messages", caf_name, PEEPER_BENCH_RUN(bursts)),
};

}  // namespace
