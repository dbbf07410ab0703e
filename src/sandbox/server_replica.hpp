// SPDX-License-Identifier: Apache-2.0
/// \file
/// `server_replica`: a server in the OS process of its worker: its cell, whose callbacks run here,
/// and how what they ask for goes into the record.
///
/// CRASH: at any instruction: the follower has the state of the last record, and its own copy of
/// the cell.
#pragma once

#include <memory>
#include <span>

#include "sandbox/pair_member.hpp"

namespace peeper::sandbox {

/// A replica_factory. `argument`: a replica_argument.
[[nodiscard]] std::unique_ptr<replica> make_server_replica(std::span<const std::byte> argument);

}  // namespace peeper::sandbox
