// SPDX-License-Identifier: Apache-2.0
/// \file
/// `simulation`: the same servers, timers and mailboxes, run one step at a time in an order that a
/// seed chooses, with a clock that moves only when nothing else can. For testing your own servers.
///
///     peeper::simulation sim{seed};                 // PEEPER_SEED overrides a default seed
///     peeper::runtime rt{{.env = &sim.env()}};
///     auto c = peeper::start<counter>(rt).value();
///     sim.crash_at("callback.done", 3);             // the third callback crashes at its end
///     c.cast(inc{});
///     sim.run();                                    // until nothing is runnable now
///     sim.advance(500ms);                           // timers fire on the way
///
/// A blocking call of the test's thread runs the simulation until it is answered. Threads that the
/// test needs beside it are made by sim.thread(): one runs at a time, which one the seed says.
///
/// THREADS: the simulation is driven by the thread that made it. One simulation at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>

#include <peeper/detail/fault_point.hpp>
#include <peeper/environment.hpp>
#include <peeper/time.hpp>

namespace peeper {

/// What crash_at() and crash_randomly() throw inside a callback.
class injected_crash : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// A named point of your own code at which the simulation may crash the running worker. Costs a
/// load outside simulations. The library's own points are detail::library_fault_points:
/// "init.done", "callback.done", "edit.done" (before the commit), "committed", "published" (after
/// it), "rolled_back", "terminate.done", "restarting" (on the way to the next worker).
inline void fault_point(std::string_view name) { detail::fault_point(name, true); }

class simulation {
 public:
  /// The seed chooses everything. Default: PEEPER_SEED from the environment, else 1.
  explicit simulation(std::uint64_t seed = default_seed());
  simulation(const simulation&) = delete;
  simulation& operator=(const simulation&) = delete;
  ~simulation();

  [[nodiscard]] static std::uint64_t default_seed() noexcept;
  [[nodiscard]] std::uint64_t seed() const noexcept;
  /// For runtime_options::env. Lives as long as the simulation.
  [[nodiscard]] environment& env() noexcept;
  [[nodiscard]] time_point now() const noexcept;

  /// Runs until nothing is runnable at this moment of the clock. RETURNS: steps taken.
  std::size_t run();
  /// One step. RETURNS: false if nothing is runnable now.
  bool step();
  /// Moves the clock by `d`, running everything and firing timers on the way, each at its time.
  void advance(duration d);

  /// A client thread; it starts when the simulation picks it. Its destructor runs the simulation
  /// until it has ended.
  [[nodiscard]] std::unique_ptr<environment::thread> thread(std::move_only_function<void()> body);

  /// The nth time (from now, 1 = next) that `point` is reached, the running worker crashes there:
  /// by injected_crash, or by a kill where exceptions cannot leave.
  void crash_at(std::string_view point, unsigned nth = 1);
  /// As crash_at(), by a kill.
  void kill_at(std::string_view point, unsigned nth = 1);
  /// Every time any point is reached, crash with this probability (0..1).
  void crash_randomly(double probability);
  /// Crashes that were injected so far.
  [[nodiscard]] std::uint64_t injected() const noexcept;
  /// The points that were reached so far.
  [[nodiscard]] const std::set<std::string, std::less<>>& reached() const noexcept;

  /// A number from the seed, for the test's own choices: 0 <= n < bound.
  [[nodiscard]] std::uint64_t choose(std::uint64_t bound) noexcept;

  struct world;

 private:
  std::unique_ptr<world> world_;
};

/// Runs `test(sim)` under the seeds first, first + 1, ... and stops at the first one under which it
/// throws or returns false.
/// RETURNS: that seed, or nothing. PEEPER_SEED makes it run that seed only.
[[nodiscard]] std::optional<std::uint64_t> find_failing_seed(
    std::uint64_t first, std::uint64_t count, const std::function<bool(simulation&)>& test);

}  // namespace peeper
