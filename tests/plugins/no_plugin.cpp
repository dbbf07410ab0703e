// SPDX-License-Identifier: Apache-2.0
/// A library without a PEEPER_PLUGIN.
extern "C" int something_else() { return 1; }
