// SPDX-License-Identifier: Apache-2.0
/// \file
/// The hub's side of a crash: makes a report of what the dead OS process wrote down.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <sys/types.h>

#include <peeper/crash_report.hpp>

#include "sandbox/crash_block.hpp"

namespace peeper::sandbox {

/// Of a block that others may still write to.
void copy_crash(crash_block& to, const crash_block& from) noexcept;

/// Trusts nothing in `block`: it may be random. As complete as it gets once there is a wait status;
/// before that, it says what the handler has written so far (phase::complete: all).
/// `status`: as of waitpid(), if it is known already. `type_name`: turns what callback_begins() was
/// given into a name; gets any number. Allocates; looks for symbols: not on a hot path.
[[nodiscard]] crash_report read_crash(const crash_block& block, pid_t pid,
                                      std::optional<int> status, std::string_view server,
                                      std::string (*type_name)(std::uint64_t) = nullptr);

}  // namespace peeper::sandbox
