// SPDX-License-Identifier: Apache-2.0
/// A class that the program and a plugin have under the same name.
#pragma once

#include <stdexcept>

#include "protocol.hpp"

namespace plugin_test {

struct built_in : handlers<built_in, state_v1> {
  using own_exception = std::runtime_error;
  static constexpr const char* name = "built in";
};

}  // namespace plugin_test
