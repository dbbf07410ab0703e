// SPDX-License-Identifier: Apache-2.0
#include "glob.hpp"

#include <string>

#include <gtest/gtest.h>

namespace kv {
namespace {

TEST(glob_match, FollowsRedis) {
  for (const auto& [pattern, text] : {
           std::pair{"", ""},
           {"*", ""},
           {"*", "any"},
           {"a*", "abc"},
           {"*c", "abc"},
           {"a*c", "abbbc"},
           {"a**c", "ac"},
           {"?", "x"},
           {"h?llo", "hello"},
           {"h[ae]llo", "hallo"},
           {"h[^e]llo", "hallo"},
           {"h[a-c]llo", "hbllo"},
           {"h[c-a]llo", "hbllo"},
           {"\\*", "*"},
           {"a\\?b", "a?b"},
           {"[\\]]", "]"},
           {"[a", "a"},
           {"*a*b*", "xxaxxbxx"},
           {"abc\\", "abc\\"},
           {"*[0-9]", "key:7"},
           {"a*a*b", "aaab"},
       }) {
    EXPECT_TRUE(glob_match(pattern, text)) << pattern << " against " << text;
  }
  for (const auto& [pattern, text] : {
           std::pair{"", "a"},
           {"a", ""},
           {"?", ""},
           {"a*", "ba"},
           {"h?llo", "hllo"},
           {"h[ae]llo", "hillo"},
           {"h[^e]llo", "hello"},
           {"\\*", "a"},
           {"a", "A"},
           {"[]", "a"},
           {"a*c", "acb"},
           {"[", "["},
           {"[]", ""},
       }) {
    EXPECT_FALSE(glob_match(pattern, text)) << pattern << " against " << text;
  }
}

TEST(glob_match, IsNotSlowForHostilePatterns) {
  std::string pattern;
  for (int i = 0; i < 1000; ++i) pattern += "*a";
  EXPECT_FALSE(glob_match(pattern + "b", std::string(5000, 'a')));
}

}  // namespace
}  // namespace kv
