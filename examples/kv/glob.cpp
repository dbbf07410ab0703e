// SPDX-License-Identifier: Apache-2.0
#include "glob.hpp"

#include <cstddef>
#include <utility>

namespace kv {
namespace {

/// Matches `c` against the [...] whose '[' is at `at`. RETURNS: whether it matches, and where the
/// pattern goes on. A class that never closes ends with the pattern, as in Redis.
std::pair<bool, std::size_t> match_class(std::string_view pattern, std::size_t at, char c) {
  const auto byte = [](char value) { return static_cast<unsigned char>(value); };
  ++at;
  const bool negated = at < pattern.size() && pattern[at] == '^';
  if (negated) ++at;
  bool found = false;
  for (; at < pattern.size() && pattern[at] != ']'; ++at) {
    if (pattern[at] == '\\' && at + 1 < pattern.size()) {
      ++at;
      found = found || pattern[at] == c;
    } else if (at + 2 < pattern.size() && pattern[at + 1] == '-') {
      auto low = byte(pattern[at]);
      auto high = byte(pattern[at + 2]);
      if (low > high) std::swap(low, high);
      at += 2;
      found = found || (low <= byte(c) && byte(c) <= high);
    } else {
      found = found || pattern[at] == c;
    }
  }
  if (at < pattern.size()) ++at;
  return {found != negated, at};
}

/// Matches one character of the text against what is at `at`, which is no '*'.
std::pair<bool, std::size_t> match_one(std::string_view pattern, std::size_t at, char c) {
  if (pattern[at] == '?') return {true, at + 1};
  if (pattern[at] == '[') return match_class(pattern, at, c);
  if (pattern[at] == '\\' && at + 1 < pattern.size()) ++at;
  return {pattern[at] == c, at + 1};
}

}  // namespace

bool glob_match(std::string_view pattern, std::string_view text) {
  // On a mismatch it is enough to let the last '*' take one character more: what an earlier one
  // took need not be tried again.
  std::size_t at = 0;
  std::size_t read = 0;
  std::size_t star = std::string_view::npos;
  std::size_t star_read = 0;
  while (read < text.size()) {
    if (at < pattern.size() && pattern[at] == '*') {
      star = ++at;
      star_read = read;
      continue;
    }
    if (at < pattern.size()) {
      const auto [matches, next] = match_one(pattern, at, text[read]);
      if (matches) {
        at = next;
        ++read;
        continue;
      }
    }
    if (star == std::string_view::npos) return false;
    at = star;
    read = ++star_read;
  }
  while (at < pattern.size() && pattern[at] == '*') ++at;
  return at == pattern.size();
}

}  // namespace kv
