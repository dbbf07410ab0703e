// SPDX-License-Identifier: Apache-2.0
/// \file
/// What a server counts about itself; see `statistics_of`.
#pragma once

#include <cstdint>
#include <string>

#include <peeper/pid.hpp>

namespace peeper {

/// Counts since the server was started; they outlive restarts.
///
/// Each process of the branch has a count of its own. `crashes` is `restarts`, or one more while
/// the next worker is not there: during a back-off, and once the server has given up. A keeper
/// killed alone costs no worker, so it is a `keeper_restarts` only; a killed supervisor takes
/// keeper and worker along, so all three count it. What the restart intensity (P7) counts is
/// therefore `crashes + keeper_restarts - supervisor_restarts`.
struct statistics {
  std::uint64_t handled = 0;              ///< callbacks that committed
  std::uint64_t crashes = 0;              ///< workers that ended without being asked to: by a
                                          ///< callback, an init on restart, hibernate(), a kill
  std::uint64_t restarts = 0;             ///< workers started after the first
  std::uint64_t keeper_restarts = 0;      ///< keepers started after the first
  std::uint64_t supervisor_restarts = 0;  ///< supervisors started after the first
  std::uint64_t poison = 0;               ///< messages set aside now
  std::uint64_t expired = 0;              ///< calls skipped: their deadline had passed
  std::uint64_t unexpected = 0;           ///< infos without a handler
  std::uint64_t queued = 0;               ///< messages waiting when this was asked
  std::uint64_t dropped = 0;              ///< messages that a full mailbox did not take
  bool suspended = false;
};

/// One server at a glance; see `status_of`.
struct status {
  std::string name;    ///< its name, or its pid in words
  std::string server;  ///< its class
  pid supervisor;
  pid keeper;
  pid worker;
  std::string phase;  ///< "running", "suspended", "restarting"
  statistics counts;
  std::string state;  ///< describe(state), or of what the class's redact(state) returns

  /// The above as lines for people.
  [[nodiscard]] std::string to_string() const;
};

}  // namespace peeper
