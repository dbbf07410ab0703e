// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace peeper::sandbox {

/// "openat"; its number if it has no name. On the processor this is built for.
[[nodiscard]] std::string system_call_name(int number);

}  // namespace peeper::sandbox
