// SPDX-License-Identifier: Apache-2.0
/// \file
/// One thread has the baton at any time; only it touches the world. The test's thread gives an
/// order
/// ("until this is so") and the baton to a runner, which picks, by the seed, one process after the
/// other and runs it on its own stack. When a callback blocks, its runner waits with it and another
/// goes on; when a waiting thread is picked, the runner that picked it steps aside. So nothing is
/// handed over while nothing blocks, and the test's thread never holds a callback that does not
/// end.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <limits>
#include <map>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include <peeper/detail/branch.hpp>
#include <peeper/sim.hpp>

#include "core/log.hpp"
#include "sim/sim_scheduler.hpp"

namespace peeper {
namespace {

using detail::process;
using detail::scheduler;
using detail::timer_service;

/// A thread of the simulated world. What follows `turn` belongs to who has the baton.
struct actor_thread {
  parker turn;  ///< a real one: the baton comes by it
  parker* parked_on = nullptr;
  time_point deadline = time_point::max();
  bool not_started = false;
  bool finished = false;
};

thread_local actor_thread* this_actor = nullptr;

simulation::world* the_world = nullptr;

[[noreturn]] void give_up(const char* why, std::uint64_t seed) {
  std::fprintf(stderr, "peeper simulation: %s (seed %llu; PEEPER_SEED=%llu repeats it)\n", why,
               static_cast<unsigned long long>(seed), static_cast<unsigned long long>(seed));
  std::abort();
}

}  // namespace

struct simulation::world final : environment {
  explicit world(std::uint64_t s) : seed{s}, generator{s} {}

  // --- environment
  time_point now() noexcept override { return clock; }
  time_point coarse_now() noexcept override { return clock; }
  std::uint64_t random() noexcept override { return generator(); }
  unsigned default_threads() noexcept override { return 1; }
  unsigned spin_limit() noexcept override { return 0; }
  bool simulated() const noexcept override { return true; }

  class simulated_thread final : public thread {
   public:
    simulated_thread(world& w, std::move_only_function<void()> body) : world_{w} {
      actor_.not_started = true;
      w.waiting.push_back(&actor_);
      os_thread_ = std::thread{[this, body = std::move(body)]() mutable {
        this_actor = &actor_;
        await_baton(actor_);
        body();
        body = nullptr;
        actor_.finished = true;
        give_baton(world_.idle_runner());
      }};
    }
    ~simulated_thread() override {
      if (!world_.run_until([this] { return actor_.finished; }, true)) {
        give_up("a thread of the test waits for something that nobody will do", world_.seed);
      }
      os_thread_.join();
    }
    simulated_thread(const simulated_thread&) = delete;
    simulated_thread& operator=(const simulated_thread&) = delete;

   private:
    world& world_;
    actor_thread actor_;
    std::thread os_thread_;
  };

  std::unique_ptr<thread> start_thread(std::string_view /*name*/,
                                       std::move_only_function<void()> body) override {
    return std::make_unique<simulated_thread>(*this, std::move(body));
  }

  bool park(parker& self, time_point deadline) noexcept override {
    if (take_token(self)) return true;
    if (clock >= deadline) return false;
    if (this_actor == nullptr) {
      give_up("a thread that is not the simulation's waits in it: make it by sim.thread()", seed);
    }
    if (this_actor == &driver) {
      const bool happened =
          run_until([&] { return self.token.load() != 0 || clock >= deadline; }, true, deadline);
      if (!happened) give_up("the test waits for something that nobody will do", seed);
      return take_token(self);
    }
    actor_thread& me = *this_actor;
    me.parked_on = &self;
    me.deadline = deadline;
    waiting.push_back(&me);
    give_baton(idle_runner());
    await_baton(me);
    return take_token(self);
  }
  void unpark(parker& other) noexcept override { other.token.store(1); }

  // --- the baton
  static void await_baton(actor_thread& me) {
    std::ignore = real_environment().park(me.turn, time_point::max());
  }
  static void give_baton(actor_thread& to) { real_environment().unpark(to.turn); }
  actor_thread& idle_runner() {
    if (idle_runners.empty()) {
      runners.push_back(std::make_unique<actor_thread>());
      actor_thread* a = runners.back().get();
      idle_runners.push_back(a);
      runner_threads.emplace_back([this, a] { run_orders(*a); });
    }
    actor_thread* runner = idle_runners.back();
    idle_runners.pop_back();
    return *runner;
  }
  void run_orders(actor_thread& me) {
    this_actor = &me;
    for (;;) {
      await_baton(me);
      if (stopping) return;
      drive(me);
    }
  }
  void stop_runners() {
    if (idle_runners.size() != runners.size()) {
      give_up("the runtime must be destroyed before its simulation", seed);
    }
    stopping = true;
    for (auto& r : runners) give_baton(*r);
    for (std::thread& t : runner_threads) t.join();
  }

  // --- steps
  static bool take_token(parker& p) noexcept { return p.token.exchange(0) != 0; }
  [[nodiscard]] bool can_go_on(const actor_thread& a) const noexcept {
    return a.not_started || a.parked_on->token.load() != 0 || clock >= a.deadline;
  }

  /// What the test's thread wants: go on until `met`, for at most `steps_left` steps.
  struct order {
    std::function<bool()> met{};
    bool may_move_clock = false;
    time_point limit = time_point::max();
    std::size_t steps_left = std::numeric_limits<std::size_t>::max();
    bool fulfilled = false;
  };

  /// On a runner's thread, with the baton.
  void drive(actor_thread& me) {
    for (;;) {
      if (the_order.steps_left == 0 || (the_order.met && the_order.met())) {
        the_order.fulfilled = true;
        break;
      }
      find_candidates();
      if (runnable.size() + candidates.size() == 0) {
        if (the_order.may_move_clock && move_clock(the_order.limit)) continue;
        the_order.fulfilled = false;
        break;
      }
      ++steps;
      --the_order.steps_left;
      const std::size_t pick = choose(runnable.size() + candidates.size());
      if (pick < runnable.size()) {
        process* p = std::exchange(runnable[pick], runnable.back());
        runnable.pop_back();
        // If it blocks, others drive meanwhile, perhaps on behalf of a later order.
        if (p->run(1)) runnable.push_back(p);
        continue;
      }
      actor_thread* a = candidates[pick - runnable.size()];
      std::erase(waiting, a);
      a->not_started = false;
      a->parked_on = nullptr;
      idle_runners.push_back(&me);
      give_baton(*a);
      return;
    }
    idle_runners.push_back(&me);
    give_baton(driver);
  }
  void find_candidates() {
    candidates.clear();
    for (actor_thread* a : waiting) {
      if (can_go_on(*a)) candidates.push_back(a);
    }
  }
  /// On the test's thread. RETURNS: whether the order was fulfilled.
  bool carry_out(order wanted) {
    PEEPER_ASSERT(this_actor == &driver);
    if (wanted.met && wanted.met()) return true;
    the_order = std::move(wanted);
    give_baton(idle_runner());
    await_baton(driver);
    return the_order.fulfilled;
  }
  /// One step at this moment of the clock. RETURNS: false if nothing is runnable.
  bool step_now() { return carry_out({.steps_left = 1}); }
  /// To the next thing that has a time, at most to `limit`. RETURNS: false if there is none.
  bool move_clock(time_point limit) {
    time_point next = limit;
    for (timer_service* t : timers) next = std::min(next, t->next());
    for (const actor_thread* a : waiting) next = std::min(next, a->deadline);
    if (next == time_point::max()) return false;
    clock = std::max(clock, next);
    for (timer_service* t : timers) t->expire(clock);
    return true;
  }
  bool run_until(std::function<bool()> met, bool may_move_clock,
                 time_point limit = time_point::max()) {
    return carry_out({.met = std::move(met), .may_move_clock = may_move_clock, .limit = limit});
  }
  std::size_t choose(std::size_t bound) noexcept {
    return bound <= 1 ? 0 : static_cast<std::size_t>(generator() % bound);
  }

  // --- faults
  void reached_point(std::string_view point, bool may_throw) {
    if (!points.contains(point)) points.emplace(point);
    detail::branch* self = detail::current_branch();
    bool crash = false;
    bool kill = false;
    if (const auto armed = planned.find(point); armed != planned.end()) {
      if (--armed->second.countdown == 0) {
        crash = true;
        kill = armed->second.kill;
        planned.erase(armed);
      }
    }
    if (!crash && crash_probability > 0 &&
        std::uniform_real_distribution<>{}(generator) < crash_probability) {
      crash = true;
      kill = choose(2) == 0;
    }
    if (!crash) return;
    ++injected;
    if (kill || !may_throw) {
      if (self != nullptr) std::ignore = self->kill(self->make_pid(process_role::worker));
      return;
    }
    throw injected_crash{"injected at " + std::string{point}};
  }

  struct plan {
    unsigned countdown;
    bool kill;
  };

  const std::uint64_t seed;
  std::mt19937_64 generator;
  time_point clock{};
  std::vector<process*> runnable;
  std::vector<timer_service*> timers;
  std::vector<actor_thread*> waiting;
  std::vector<actor_thread*> candidates;
  std::size_t steps = 0;

  actor_thread driver;
  std::vector<std::unique_ptr<actor_thread>> runners;
  std::vector<actor_thread*> idle_runners;
  std::vector<std::thread> runner_threads;
  order the_order;
  bool stopping = false;

  std::map<std::string, plan, std::less<>> planned;
  double crash_probability = 0;
  std::uint64_t injected = 0;
  std::set<std::string, std::less<>> points;
};

namespace {

class sim_scheduler final : public scheduler {
 public:
  sim_scheduler(simulation::world& w, timer_service& timers) : world_{w}, timers_{timers} {
    w.timers.push_back(&timers);
  }
  void submit(process& p) noexcept override { world_.runnable.push_back(&p); }
  bool block(parker& self, time_point deadline) noexcept override {
    return world_.park(self, deadline);
  }
  void announce() noexcept override {}
  bool may_run_on_caller() noexcept override { return world_.choose(2) == 0; }
  void stop() noexcept override { std::erase(world_.timers, &timers_); }

 private:
  simulation::world& world_;
  timer_service& timers_;
};

void hook(std::string_view point, bool may_throw) {
  if (the_world != nullptr) the_world->reached_point(point, may_throw);
}

}  // namespace

namespace detail {
std::unique_ptr<scheduler> make_sim_scheduler(environment& env, timer_service& timers) {
  return std::make_unique<sim_scheduler>(static_cast<simulation::world&>(env), timers);
}
}  // namespace detail

std::uint64_t simulation::default_seed() noexcept {
  const char* text = std::getenv("PEEPER_SEED");  // NOLINT(concurrency-mt-unsafe): tests read it
  return text == nullptr ? 1 : std::strtoull(text, nullptr, 10);
}

simulation::simulation(std::uint64_t seed) : world_{std::make_unique<world>(seed)} {
  PEEPER_ASSERT(the_world == nullptr);
  the_world = world_.get();
  this_actor = &world_->driver;
  // ORDER: release pairs with the acquire in fault_point().
  detail::the_fault_hook.store(&hook, std::memory_order_release);
}

simulation::~simulation() {
  detail::the_fault_hook.store(nullptr, std::memory_order_release);
  world_->stop_runners();
  this_actor = nullptr;
  the_world = nullptr;
}

std::uint64_t simulation::seed() const noexcept { return world_->seed; }
environment& simulation::env() noexcept { return *world_; }
time_point simulation::now() const noexcept { return world_->clock; }

std::size_t simulation::run() {
  const std::size_t before = world_->steps;
  std::ignore = world_->carry_out({});
  return world_->steps - before;
}

bool simulation::step() { return world_->step_now(); }

void simulation::advance(duration d) {
  const time_point until = deadline_after(world_->clock, d);
  run();
  while (world_->clock < until) {
    std::ignore = world_->move_clock(until);
    run();
  }
}

std::unique_ptr<environment::thread> simulation::thread(std::move_only_function<void()> body) {
  return world_->start_thread("", std::move(body));
}

void simulation::crash_at(std::string_view point, unsigned nth) {
  world_->planned.insert_or_assign(std::string{point}, world::plan{nth, false});
}
void simulation::kill_at(std::string_view point, unsigned nth) {
  world_->planned.insert_or_assign(std::string{point}, world::plan{nth, true});
}
void simulation::crash_randomly(double probability) { world_->crash_probability = probability; }
std::uint64_t simulation::injected() const noexcept { return world_->injected; }
const std::set<std::string, std::less<>>& simulation::reached() const noexcept {
  return world_->points;
}
std::uint64_t simulation::choose(std::uint64_t bound) noexcept { return world_->choose(bound); }

std::optional<std::uint64_t> find_failing_seed(std::uint64_t first, std::uint64_t count,
                                               const std::function<bool(simulation&)>& test) {
  if (std::getenv("PEEPER_SEED") != nullptr) {  // NOLINT(concurrency-mt-unsafe): tests read it
    first = simulation::default_seed();
    count = 1;
  }
  for (std::uint64_t seed = first; seed < first + count; ++seed) {
    bool passed = false;
    try {
      simulation sim{seed};
      passed = test(sim);
    } catch (const std::exception& e) {
      detail::log_error("seed {}: {}", seed, e.what());
    }
    if (!passed) {
      detail::log_error("seed {} fails; PEEPER_SEED={} repeats it", seed, seed);
      return seed;
    }
  }
  return std::nullopt;
}

}  // namespace peeper
