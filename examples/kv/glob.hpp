// SPDX-License-Identifier: Apache-2.0
/// Redis's glob patterns: * ? [a-z] [^a] and \ before a character that stands for itself.
#pragma once

#include <string_view>

namespace kv {

/// RETURNS: whether the whole text matches. Time is at most |pattern| * |text|, whatever they are:
/// a pattern comes from a client.
[[nodiscard]] bool glob_match(std::string_view pattern, std::string_view text);

}  // namespace kv
