// SPDX-License-Identifier: Apache-2.0
// What redis-cli shows for each command of transcript_commands.txt must be, byte for byte, what it
// showed when Redis 7.0.15 answered (record_transcript.sh).
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "redis_benchmark.hpp"
#include "running_server.hpp"

namespace kv {
namespace {

std::string read_file(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

std::vector<std::string> lines_of(const std::string& text) {
  std::istringstream stream(text);
  std::vector<std::string> lines;
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

class transcript : public running_server {};
KV_FOR_BOTH_ISOLATIONS(transcript);

TEST_P(transcript, RedisCliShowsWhatItShowsForRedis) {
  const std::string folder = KV_SOURCE_DIR;
  const auto ran = run_child({"redis-cli", "-p", fmt::format("{}", port()), "--no-raw"},
                             folder + "/transcript_commands.txt");
  if (!ran) GTEST_SKIP() << ran.error() << " (apt-get install redis-tools)";
  EXPECT_EQ(ran->exit_code, 0);
  const auto shown = lines_of(ran->output);
  const auto expected = lines_of(read_file(folder + "/transcript_replies.txt"));
  ASSERT_GT(expected.size(), 400U);
  for (std::size_t i = 0; i < std::min(shown.size(), expected.size()); ++i) {
    ASSERT_EQ(shown[i], expected[i]) << "line " << i + 1 << " of transcript_replies.txt";
  }
  EXPECT_EQ(shown.size(), expected.size());
}

}  // namespace
}  // namespace kv
