// SPDX-License-Identifier: Apache-2.0
/// \file
/// `scheduler`: runs what is runnable. Two of them: a pool of threads, and the simulation's.
///
/// THREADS: any.
#pragma once

#include <memory>

#include <peeper/detail/process.hpp>
#include <peeper/environment.hpp>

namespace peeper::detail {

/// This thread has made something runnable next on itself and has woken nobody for it.
inline constinit thread_local bool something_unannounced = false;

class scheduler {
 public:
  scheduler() = default;
  scheduler(const scheduler&) = delete;
  scheduler& operator=(const scheduler&) = delete;
  virtual ~scheduler() = default;

  /// Takes over the claim of `p`.
  virtual void submit(process& p) noexcept = 0;
  /// Parks this thread; if it is a pool thread, another one takes over its part meanwhile.
  /// RETURNS: false if the deadline passed first.
  virtual bool block(parker& self, time_point deadline) noexcept = 0;
  /// Around a wait of this thread for something that is not a parker.
  virtual void blocks(bool /*begins*/) noexcept {}
  /// The running callback goes on after something became runnable: let another thread see to it.
  virtual void announce() noexcept = 0;
  /// A slice goes on to its next callback: as announce(), if there is something untold.
  void before_callback() noexcept {
    if (something_unannounced) announce();
  }
  /// Should an idle server's call be run by its caller? (The simulation tries both.)
  [[nodiscard]] virtual bool may_run_on_caller() noexcept = 0;
  /// Waits until all is idle, or for good work; stops and joins the threads.
  /// REQUIRES: nothing is submitted any more.
  virtual void stop() noexcept = 0;
};

/// A pool of `threads` threads (0: all cores) with work stealing.
[[nodiscard]] std::unique_ptr<scheduler> make_pool_scheduler(environment& env, unsigned threads);

}  // namespace peeper::detail
