// SPDX-License-Identifier: Apache-2.0
/// Brings a class whose name the program has already.
#include "built_in.hpp"

PEEPER_PLUGIN(plugin_test::protocol, plugin_test::built_in);
