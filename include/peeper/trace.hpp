// SPDX-License-Identifier: Apache-2.0
/// \file
/// What trace() reports of a server, callback by callback.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

#include <peeper/pid.hpp>

namespace peeper {

enum class trace_point : std::uint8_t { begin, commit, rollback };

struct trace_event {
  trace_point point;
  pid worker;
  std::string_view message;  ///< the type's name; "init" and the like for those without one
};

/// Called on the thread that runs the callback, between callbacks' steps: be quick, do not call
/// servers. What it throws is logged and ends the trace.
using trace_sink = std::function<void(const trace_event&)>;

}  // namespace peeper
