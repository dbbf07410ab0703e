// SPDX-License-Identifier: Apache-2.0
/// \file
/// All of peeper but the simulation (peeper/sim.hpp).
#pragma once

#include <peeper/change.hpp>
#include <peeper/child_spec.hpp>
#include <peeper/codec.hpp>
#include <peeper/control.hpp>
#include <peeper/describe.hpp>
#include <peeper/dictionary.hpp>
#include <peeper/dynamic_supervisor.hpp>
#include <peeper/environment.hpp>
#include <peeper/error.hpp>
#include <peeper/exit_reason.hpp>
#include <peeper/from.hpp>
#include <peeper/info.hpp>
#include <peeper/kept.hpp>
#include <peeper/listener.hpp>
#include <peeper/next.hpp>
#include <peeper/options.hpp>
#include <peeper/partition_supervisor.hpp>
#include <peeper/pending.hpp>
#include <peeper/pid.hpp>
#include <peeper/poison.hpp>
#include <peeper/ref.hpp>
#include <peeper/request_set.hpp>
#include <peeper/runtime.hpp>
#include <peeper/self.hpp>
#include <peeper/server.hpp>
#include <peeper/statistics.hpp>
#include <peeper/supervisor.hpp>
#include <peeper/task.hpp>
#include <peeper/time.hpp>
#include <peeper/trace.hpp>
#include <peeper/transfer.hpp>
