// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include <peeper/environment.hpp>

#include "core/scheduler.hpp"
#include "core/timer_service.hpp"

namespace peeper::detail {

/// The scheduler of a runtime that lives in a simulation. REQUIRES: env is a simulation's.
[[nodiscard]] std::unique_ptr<scheduler> make_sim_scheduler(environment& env,
                                                            timer_service& timers);

}  // namespace peeper::detail
