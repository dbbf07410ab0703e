// SPDX-License-Identifier: Apache-2.0
#include "resp.hpp"

#include <limits>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace kv {
namespace {

using namespace std::string_literals;
using testing::ElementsAre;
using testing::IsEmpty;

using words = std::vector<std::string>;

template <typename Commands>
std::vector<words> words_of(const Commands& commands, std::size_t first, std::size_t count) {
  std::vector<words> found;
  for (std::size_t i = first; i < first + count; ++i) {
    words command;
    for (std::size_t k = 0; k < commands[i].size(); ++k) command.emplace_back(commands[i][k]);
    found.push_back(std::move(command));
  }
  return found;
}

std::vector<words> commands_of(const request_batch& batch) {
  return words_of(batch, 0, batch.size());
}

struct parsed {
  std::vector<words> commands;
  std::string error;
  bool operator==(const parsed&) const = default;
};

void PrintTo(const parsed& value, std::ostream* out) {
  *out << testing::PrintToString(value.commands) << " error: " << value.error;
}

void feed(request_parser& parser, std::string_view piece, parsed& into) {
  parser.feed(piece);
  for (auto& command : commands_of(parser.take())) into.commands.push_back(std::move(command));
  into.error = parser.error();
}

parsed parse(std::string_view bytes, resp_limits limits = {}) {
  request_parser parser(limits);
  parsed result;
  feed(parser, bytes, result);
  return result;
}

std::string encode(const std::vector<words>& commands) {
  std::string wire;
  for (const words& command : commands) append_command(wire, std::span(command));
  return wire;
}

TEST(request_parser, ReadsAnArrayOfBulkStrings) {
  EXPECT_THAT(parse("*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n").commands, ElementsAre(words{"GET", "key"}));
}

TEST(request_parser, ReadsPipelinedCommandsInOrder) {
  EXPECT_THAT(parse("*1\r\n$4\r\nPING\r\nECHO hi\r\n*2\r\n$3\r\nGET\r\n$0\r\n\r\n").commands,
              ElementsAre(words{"PING"}, words{"ECHO", "hi"}, words{"GET", ""}));
}

TEST(request_parser, KeepsEveryByteOfAnArgument) {
  std::string all;
  for (int c = 0; c < 256; ++c) all.push_back(static_cast<char>(c));
  EXPECT_THAT(parse(encode({{"SET", "k", all}})).commands, ElementsAre(words{"SET", "k", all}));
}

TEST(request_parser, IgnoresEmptyCommands) {
  const parsed result = parse("\r\n\n*0\r\n*-1\r\n   \r\nPING\n");
  EXPECT_THAT(result.commands, ElementsAre(words{"PING"}));
  EXPECT_EQ(result.error, "");
}

TEST(request_parser, ReadsInlineQuotesAsRedisDoes) {
  EXPECT_THAT(parse("SET \"a b\" 'c\\'d' \"\\x41\\n\\\"\\q\"\r\n").commands,
              ElementsAre(words{"SET", "a b", "c'd", "A\n\"q"}));
  EXPECT_THAT(parse("SET '' \"\"\n").commands, ElementsAre(words{"SET", "", ""}));
  EXPECT_THAT(parse("SET a\"b c\" \"\\xZZ\"\n").commands, ElementsAre(words{"SET", "ab c", "xZZ"}));
}

TEST(request_parser, RefusesUnbalancedQuotes) {
  for (const char* line :
       {"SET \"a\r\n", "SET 'a\r\n", "SET \"a\"b\r\n", "SET 'a'b\r\n", "SET \"a\\\"\r\n"}) {
    EXPECT_EQ(parse(line).error, "Protocol error: unbalanced quotes in request") << line;
  }
}

TEST(request_parser, GivesRedisTextsForBrokenFraming) {
  EXPECT_EQ(parse("*x\r\n").error, "Protocol error: invalid multibulk length");
  EXPECT_EQ(parse("*1048577\r\n").error, "Protocol error: invalid multibulk length");
  EXPECT_EQ(parse("*99999999999999999999\r\n").error, "Protocol error: invalid multibulk length");
  EXPECT_EQ(parse("*1\r\n+OK\r\n").error, "Protocol error: expected '$', got '+'");
  EXPECT_EQ(parse("*1\r\n$-1\r\n").error, "Protocol error: invalid bulk length");
  EXPECT_EQ(parse("*1\r\n$1x\r\n").error, "Protocol error: invalid bulk length");
  EXPECT_EQ(parse("*1\r\n$67108865\r\n").error, "Protocol error: invalid bulk length");
  EXPECT_EQ(parse("*1\r\n$9223372036854775807\r\n").error, "Protocol error: invalid bulk length");
}

TEST(request_parser, LimitsWhatItHoldsOfOneRequest) {
  const std::string line(64 * 1024 + 1, 'a');
  EXPECT_EQ(parse(line).error, "Protocol error: too big inline request");
  EXPECT_EQ(parse(line + "\r\n").error, "Protocol error: too big inline request");
  EXPECT_EQ(parse("*" + std::string(65 * 1024, '1')).error,
            "Protocol error: too big mbulk count string");
  EXPECT_EQ(parse("*" + std::string(65 * 1024, '1') + "\r\n").error,
            "Protocol error: too big mbulk count string");
  EXPECT_EQ(parse("*1\r\n$" + std::string(65 * 1024, '1')).error,
            "Protocol error: too big bulk count string");
  const resp_limits small{.bulk_bytes_max = 100, .request_bytes_max = 150};
  EXPECT_EQ(parse("*2\r\n$100\r\n" + std::string(100, 'x') + "\r\n$100\r\n", small).error,
            "Protocol error: too big request");
}

TEST(request_parser, GivesTheCommandsBeforeAnErrorAndNothingAfterIt) {
  request_parser parser;
  parsed result;
  feed(parser, "PING\r\n*1\r\n$-5\r\nPING\r\n", result);
  EXPECT_THAT(result.commands, ElementsAre(words{"PING"}));
  EXPECT_EQ(result.error, "Protocol error: invalid bulk length");
  feed(parser, "PING\r\n", result);
  EXPECT_EQ(result.commands.size(), 1U);
}

TEST(request_parser, HoldsOnlyWhatIsIncomplete) {
  request_parser parser;
  parser.feed("PING\r\n*1\r\n$4\r\nPI");
  EXPECT_EQ(parser.take().size(), 1U);
  EXPECT_EQ(parser.pending_bytes(), 10U);
  parser.feed("NG\r\n");
  EXPECT_THAT(commands_of(parser.take()), ElementsAre(words{"PING"}));
  EXPECT_EQ(parser.pending_bytes(), 0U);
}

TEST(request_parser, AllocatesForWhatArrivesNotForWhatIsAnnounced) {
  request_parser parser;
  parser.feed("*1000000\r\n$60000000\r\nabc");
  EXPECT_TRUE(parser.take().empty());
  EXPECT_LT(parser.pending_bytes(), 100U);
}

const std::vector<words> mixed_commands = {{"SET", "key", std::string("a\r\n$3\0b", 7)},
                                           {"GET", ""},
                                           {"PING"},
                                           {"MSET", "a", "1", "b", std::string(300, 'x')},
                                           {"LPUSH", "l", "*1\r\n", "$-1\r\n"}};

TEST(request_parser, ReadsTheSameHoweverTheBytesAreSplitInTwo) {
  const std::string wire = encode(mixed_commands) + "SET 'in line' \"\\x00\"\r\n";
  const parsed whole = parse(wire);
  ASSERT_EQ(whole.commands.size(), mixed_commands.size() + 1);
  for (std::size_t cut = 0; cut <= wire.size(); ++cut) {
    request_parser parser;
    parsed result;
    feed(parser, std::string_view(wire).substr(0, cut), result);
    feed(parser, std::string_view(wire).substr(cut), result);
    ASSERT_EQ(result, whole) << "cut at " << cut;
  }
}

TEST(request_parser, ReadsTheSameByteByByte) {
  const std::string wire = encode(mixed_commands);
  request_parser parser;
  parsed result;
  for (const char c : wire) feed(parser, std::string_view(&c, 1), result);
  EXPECT_EQ(result.commands, mixed_commands);
}

TEST(request_parser, ReadsTheSameInRandomPieces) {
  for (unsigned seed = 0; seed < 300; ++seed) {
    std::mt19937 random(seed);
    std::vector<words> commands(1 + random() % 20);
    for (words& command : commands) {
      command.resize(1 + random() % 5);
      for (std::string& word : command) {
        word.resize(random() % 40);
        for (char& c : word) c = static_cast<char>(random());
      }
    }
    const std::string wire = encode(commands);
    request_parser parser;
    parsed result;
    for (std::size_t at = 0; at < wire.size();) {
      const std::size_t piece = 1 + random() % 50;
      feed(parser, std::string_view(wire).substr(at, piece), result);
      at += piece;
    }
    ASSERT_EQ(result.commands, commands) << "seed " << seed;
  }
}

TEST(request_parser, SurvivesHostileBytes) {
  constexpr std::string_view alphabet = "*$0123456789-\r\n\r\n\"'\\x aPING\0";
  for (unsigned seed = 0; seed < 3000; ++seed) {
    std::mt19937 random(seed);
    std::string wire;
    for (std::size_t i = 0, n = random() % 200; i < n; ++i) {
      wire.push_back(alphabet[random() % alphabet.size()]);
    }
    // However the bytes are cut, the outcome is the same, and no argument lies outside them.
    const parsed whole = parse(wire);
    request_parser parser;
    parsed result;
    for (const char c : wire) feed(parser, std::string_view(&c, 1), result);
    ASSERT_EQ(result, whole) << "seed " << seed;
    std::size_t bytes = 0;
    for (const words& command : whole.commands) {
      for (const std::string& word : command) bytes += word.size();
    }
    ASSERT_LE(bytes, wire.size()) << "seed " << seed;
  }
}

TEST(request_parser, SurvivesMutatedRequests) {
  const std::string good = encode(mixed_commands);
  for (unsigned seed = 0; seed < 3000; ++seed) {
    std::mt19937 random(seed);
    std::string wire = good;
    for (int i = 0; i < 3; ++i) wire[random() % wire.size()] = static_cast<char>(random());
    wire.resize(wire.size() - random() % 10);
    const parsed whole = parse(wire);
    request_parser parser;
    parsed result;
    const std::size_t cut = random() % wire.size();
    feed(parser, std::string_view(wire).substr(0, cut), result);
    feed(parser, std::string_view(wire).substr(cut), result);
    ASSERT_EQ(result, whole) << "seed " << seed;
  }
}

TEST(reply_writer, WritesEachKind) {
  std::string out;
  reply_writer writer(out);
  writer.ok();
  writer.error("ERR two\r\nlines");
  writer.integer(std::numeric_limits<std::int64_t>::min());
  writer.bulk(std::string_view("a\0b", 3));
  writer.null();
  writer.array(1);
  writer.bulk(0.1);
  writer.null_array();
  using std::string_literals::operator""s;
  EXPECT_EQ(out,
            "+OK\r\n-ERR two  lines\r\n:-9223372036854775808\r\n$3\r\na\0b\r\n"
            "$-1\r\n*1\r\n$3\r\n0.1\r\n*-1\r\n"s);
}

TEST(reply_parser, ReadsWhatTheWriterWroteHoweverItIsSplit) {
  std::string wire;
  reply_writer writer(wire);
  writer.array(3);
  writer.bulk("key");
  writer.array(0);
  writer.array(2);
  writer.integer(-5);
  writer.null();
  writer.error("ERR no");
  writer.ok();
  for (std::size_t cut = 0; cut <= wire.size(); ++cut) {
    reply_parser parser;
    std::string text;
    for (const auto& piece : {wire.substr(0, cut), wire.substr(cut)}) {
      parser.feed(piece);
      while (auto found = parser.next()) text += to_string(*found) + ";";
    }
    ASSERT_EQ(text, "[\"key\", [], [(integer) -5, (nil)]];(error) ERR no;OK;") << "cut " << cut;
    ASSERT_FALSE(parser.broken());
  }
}

TEST(reply_parser, ReadsALargeArrayInTimeThatGrowsWithIt) {
  constexpr std::size_t elements = 200'000;
  std::string wire;
  reply_writer writer(wire);
  writer.array(elements);
  for (std::size_t i = 0; i < elements; ++i) writer.bulk("element");
  // In 25,000 pieces: to start again with each would take minutes.
  reply_parser parser;
  std::optional<reply> found;
  for (std::size_t at = 0; at < wire.size(); at += 100) {
    ASSERT_FALSE(found.has_value());
    parser.feed(std::string_view(wire).substr(at, 100));
    found = parser.next();
  }
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->elements.size(), elements);
}

TEST(reply_parser, SaysSoWhenTheStreamIsNotReplies) {
  for (const char* wire : {"hello\r\n", "$x\r\n", ":\r\n", "\r\n"}) {
    reply_parser parser;
    parser.feed(wire);
    EXPECT_FALSE(parser.next().has_value()) << wire;
    EXPECT_TRUE(parser.broken()) << wire;
  }
}

TEST(format_double, IsShortestAndReadsBack) {
  EXPECT_EQ(format_double(3), "3");
  EXPECT_EQ(format_double(0.1), "0.1");
  EXPECT_EQ(format_double(-2.5), "-2.5");
  EXPECT_EQ(format_double(100000), "100000");
  EXPECT_EQ(format_double(std::numeric_limits<double>::infinity()), "inf");
  EXPECT_EQ(format_double(-std::numeric_limits<double>::infinity()), "-inf");
}

TEST(parse_integer, IsAsStrictAsRedis) {
  EXPECT_EQ(parse_integer("0"), 0);
  EXPECT_EQ(parse_integer("-9223372036854775808"), std::numeric_limits<std::int64_t>::min());
  for (const char* text : {"", "-", "+1", "01", "-0", " 1", "1 ", "1.0", "9223372036854775808"}) {
    EXPECT_EQ(parse_integer(text), std::nullopt) << text;
  }
}

TEST(packed_commands, AreThoseOfTheBatch) {
  request_parser parser;
  parser.feed("*2\r\n$3\r\nGET\r\n$0\r\n\r\nSET 'a b' \"\"\r\nPING\r\n*1\r\n$3\r\n\0\r\n\r\n"s);
  const request_batch batch = parser.take();
  ASSERT_EQ(batch.size(), 4U);
  for (std::size_t first = 0; first < batch.size(); ++first) {
    for (std::size_t count = 1; first + count <= batch.size(); ++count) {
      const std::vector<std::byte> bytes = batch.pack(first, count);
      const packed_commands packed(bytes, count);
      ASSERT_EQ(words_of(packed, 0, count), words_of(batch, first, count)) << first << " " << count;
    }
  }
}

}  // namespace
}  // namespace kv
