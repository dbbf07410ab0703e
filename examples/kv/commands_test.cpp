// SPDX-License-Identifier: Apache-2.0
// What redis-cli shows for some 400 commands is compared with Redis in transcript_test.sh; here is
// what needs a clock, random input, or a look inside.
#include "commands.hpp"

#include <algorithm>
#include <random>
#include <set>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "store_session.hpp"

namespace kv {
namespace {

TEST(commands, TableIsSortedCompleteAndWellFormed) {
  const auto table = all_commands();
  EXPECT_TRUE(std::ranges::is_sorted(table, {}, &command::name));
  for (const command& entry : table) {
    EXPECT_NE(entry.read == nullptr, entry.write == nullptr) << entry.name;
    EXPECT_EQ(find_command(entry.name), &entry);
    EXPECT_EQ(entry.name, lower_case(entry.name));
    EXPECT_NE(entry.arity, 0) << entry.name;
  }
  EXPECT_EQ(find_command("SeT")->name, "set");
  EXPECT_EQ(find_command("se"), nullptr);
  EXPECT_EQ(find_command(std::string(1000, 's')), nullptr);
}

TEST(commands, AnswerAnythingWithExactlyOneReply) {
  // Every command, with random words for arguments: no crash, and always one well-formed reply.
  const std::vector<std::string> pool = {"a",  "b",     "1",   "-1",   "0",   "9223372036854775807",
                                         "EX", "NX",    "GET", "1.5",  "inf", "COUNT",
                                         "",   "MATCH", "*",   "DOCS", "x y", "WITHSCORES"};
  std::mt19937 random(7);
  store_session session;
  for (int i = 0; i < 30000; ++i) {
    const auto table = all_commands();
    const command& chosen = table[random() % table.size()];
    if (chosen.name == "crash") continue;
    words line = {std::string(chosen.name)};
    for (std::size_t k = 0, n = random() % 6; k < n; ++k)
      line.push_back(pool[random() % pool.size()]);
    const reply answer = session.run(line);
    if (answer.is_error()) {
      ASSERT_THAT(answer.text, testing::Not(testing::StartsWith("CRASH"))) << fmt::format("{}", i);
    }
  }
}

TEST(commands, AKeyIsGoneWhenItsTimeIsOver) {
  store_session session;
  EXPECT_EQ(session("SET a 1 PX 1000"), "OK");
  EXPECT_EQ(session("RPUSH l x"), "(integer) 1");
  EXPECT_EQ(session("EXPIRE l 2"), "(integer) 1");
  session.now_ms += 999;
  EXPECT_EQ(session("GET a"), "\"1\"");
  EXPECT_EQ(session("PTTL a"), "(integer) 1");
  session.now_ms += 1;
  EXPECT_EQ(session("GET a"), "(nil)");
  EXPECT_EQ(session("EXISTS a l"), "(integer) 1");
  EXPECT_EQ(session("TTL a"), "(integer) -2");
  EXPECT_EQ(session("TYPE a"), "none");
  EXPECT_EQ(session("KEYS *"), "[\"l\"]");
  EXPECT_EQ(session("SCAN 0"), "[\"0\", [\"l\"]]");
  EXPECT_EQ(session("DEL a"), "(integer) 0");
  session.now_ms += 1000;
  // A write finds an expired list gone, and starts a new one that does not expire.
  EXPECT_EQ(session("RPUSH l y"), "(integer) 1");
  EXPECT_EQ(session("TTL l"), "(integer) -1");
  EXPECT_TRUE(session.data().deadlines.empty());
  EXPECT_EQ(session.data().expired_keys, 2U);
}

TEST(commands, ExpireRemovesWhatIsDueAndNothingElse) {
  store_session session;
  for (int i = 0; i < 10; ++i)
    session.run({"SET", fmt::format("k{}", i), "v", "PX", fmt::format("{}", 10 + i)});
  session("SET forever v");
  session.kept().begin();
  EXPECT_EQ(expire(session.kept().value(), session.now_ms + 14, 3), 3U);
  EXPECT_EQ(expire(session.kept().value(), session.now_ms + 14, 100), 2U);
  EXPECT_EQ(expire(session.kept().value(), session.now_ms + 14, 100), 0U);
  session.kept().prepare();
  session.kept().commit();
  EXPECT_EQ(session.data().keys.size(), 6U);
  EXPECT_EQ(session.data().deadlines.size(), 5U);
}

TEST(commands, IncrAndAppendKeepTheExpiryAndSetDropsIt) {
  store_session session;
  session("SET n 1 EX 100");
  EXPECT_EQ(session("INCR n"), "(integer) 2");
  EXPECT_EQ(session("APPEND n 3"), "(integer) 2");
  EXPECT_EQ(session("TTL n"), "(integer) 100");
  EXPECT_EQ(session("SET n 5"), "OK");
  EXPECT_EQ(session("TTL n"), "(integer) -1");
}

TEST(commands, ScanFindsEveryKeyThatStaysExactlyOnce) {
  store_session session;
  std::set<std::string> staying;
  for (int i = 0; i < 1000; ++i) {
    staying.insert(fmt::format("stay:{}", i));
    session.run({"SET", fmt::format("stay:{}", i), "v"});
    session.run({"SET", fmt::format("go:{}", i), "v"});
  }
  std::multiset<std::string> found;
  std::string cursor = "0";
  int calls = 0;
  do {
    const reply page = session.run({"SCAN", cursor, "COUNT", "7", "MATCH", "stay:*"});
    cursor = page.elements.at(0).text;
    for (const reply& key : page.elements.at(1).elements) found.insert(key.text);
    // Keys come and go meanwhile; those that stay get new values.
    session.run({"DEL", fmt::format("go:{}", calls)});
    session.run({"SET", fmt::format("new:{}", calls), "v"});
    session.run({"SET", fmt::format("stay:{}", calls), "other"});
    ASSERT_LT(++calls, 1000);
  } while (cursor != "0");
  EXPECT_EQ(found, std::multiset<std::string>(staying.begin(), staying.end()));
}

TEST(commands, SpopTakesEachMemberOnceInRandomOrder) {
  store_session session;
  std::set<std::string> members;
  for (int i = 0; i < 100; ++i) {
    members.insert(fmt::format("{}", i));
    session.run({"SADD", "s", fmt::format("{}", i)});
  }
  std::vector<std::string> popped;
  for (int i = 0; i < 100; ++i) popped.push_back(session.run({"SPOP", "s"}).text);
  EXPECT_EQ(std::set<std::string>(popped.begin(), popped.end()), members);
  EXPECT_FALSE(std::ranges::is_sorted(popped));
  EXPECT_EQ(session("EXISTS s"), "(integer) 0");
}

TEST(commands, CrashLeavesNoTraceOfWhatItDidBefore) {
  store_session session;
  session("SET a 1");
  session("RPUSH l x y z");
  session("SET soon v EX 100");
  const store before = session.data();
  EXPECT_EQ(session("CRASH boom"), "(error) CRASH boom");
  EXPECT_EQ(session.data(), before);
  EXPECT_EQ(session("CRASH boom RPUSH l more"), "(error) CRASH boom");
  EXPECT_EQ(session("CRASH boom FLUSHALL"), "(error) CRASH boom");
  EXPECT_EQ(session("CRASH boom EXPIRE a 1000"), "(error) CRASH boom");
  EXPECT_EQ(session("CRASH boom NOSUCH"), "(error) CRASH boom");
  EXPECT_EQ(session.data(), before);
}

TEST(commands, ACrashInsideACrashDoesNotRecurse) {
  store_session session;
  words line = {"CRASH", "boom"};
  for (int i = 0; i < 200'000; ++i) line.insert(line.end(), {"CRASH", "boom"});
  EXPECT_EQ(session.run(line).text, "CRASH boom");
}

/// What store.hpp promises of every store.
void check_invariants(const store& data) {
  std::size_t with_expiry = 0;
  for (const auto& [key, value] : data.keys) {
    if (value.expires_at_ms != 0) {
      ++with_expiry;
      ASSERT_TRUE(data.deadlines.contains(deadline{value.expires_at_ms, key})) << key;
    }
    if (const auto* set = std::get_if<set_value>(&value.data)) {
      ASSERT_FALSE(set->empty());
      ASSERT_EQ(set->members.size(), set->places.size());
      for (const auto& [member, place] : set->places) ASSERT_EQ(set->members[place], member);
    }
    if (const auto* zset = std::get_if<zset_value>(&value.data)) {
      ASSERT_FALSE(zset->empty());
      ASSERT_EQ(zset->order.size(), zset->scores.size());
      for (const auto& [member, score] : zset->scores) {
        ASSERT_TRUE(zset->order.contains(scored_member{score, member}));
      }
    }
    const auto* list = std::get_if<list_value>(&value.data);
    ASSERT_TRUE(list == nullptr || !list->empty());
    const auto* hash = std::get_if<hash_value>(&value.data);
    ASSERT_TRUE(hash == nullptr || !hash->empty());
  }
  ASSERT_EQ(with_expiry, data.deadlines.size());
}

TEST(commands, InvariantsHoldUnderRandomCommandsAndCrashes) {
  const std::vector<std::string> verbs = {"SET {k} {v}",       "SET {k} {v} PX {n}",
                                          "APPEND {k} {v}",    "INCR {k}",
                                          "LPUSH {k} {v} {n}", "RPUSH {k} {v}",
                                          "LPOP {k}",          "RPOP {k} 2",
                                          "SADD {k} {v} {n}",  "SREM {k} {v} {n}",
                                          "SPOP {k}",          "SPOP {k} 2",
                                          "HSET {k} {v} {n}",  "HDEL {k} {v}",
                                          "ZADD {k} {n} {v}",  "ZADD {k} INCR {n} {v}",
                                          "ZREM {k} {v}",      "ZPOPMIN {k}",
                                          "ZPOPMAX {k} 2",     "EXPIRE {k} {n}",
                                          "PERSIST {k}",       "DEL {k}",
                                          "GETDEL {k}",        "MSET {k} {v} {k}x {n}"};
  for (unsigned seed = 0; seed < 20; ++seed) {
    std::mt19937 random(seed);
    store_session session;
    for (int i = 0; i < 1000; ++i) {
      session.now_ms += random() % 3;
      const std::string line = fmt::format(fmt::runtime(verbs[random() % verbs.size()]),
                                           fmt::arg("k", fmt::format("k{}", random() % 6)),
                                           fmt::arg("v", fmt::format("v{}", random() % 8)),
                                           fmt::arg("n", random() % 12));
      if (random() % 4 == 0) {
        const store before = session.data();
        ASSERT_EQ(session("CRASH mid-way " + line), "(error) CRASH mid-way");
        ASSERT_EQ(session.data(), before) << "seed " << seed << ", after CRASH " << line;
      }
      session(line);
      ASSERT_NO_FATAL_FAILURE(check_invariants(session.data())) << "seed " << seed << ": " << line;
    }
  }
}

TEST(commands, InfoAndConfigTellWhatTheServerIs) {
  store_session session;
  session("SET a 1 EX 100");
  session.statistics().port = 1234;
  EXPECT_THAT(session.run({"INFO"}).text, testing::HasSubstr("db0:keys=1,expires=1"));
  EXPECT_THAT(session.run({"INFO", "server"}).text, testing::HasSubstr("tcp_port:1234"));
  EXPECT_THAT(session.run({"INFO", "server"}).text, testing::Not(testing::HasSubstr("db0")));
  EXPECT_EQ(session("CONFIG GET port"), "[\"port\", \"1234\"]");
  EXPECT_EQ(session("CONFIG GET SAVE"), "[\"save\", \"\"]");
}

TEST(commands, CommandTellsOfEachCommand) {
  store_session session;
  const reply table = session.run({"COMMAND"});
  EXPECT_EQ(table.elements.size(), all_commands().size());
  EXPECT_EQ(session.run({"COMMAND", "COUNT"}).number,
            static_cast<std::int64_t>(all_commands().size()));
  const reply docs = session.run({"COMMAND", "DOCS", "get", "nosuch"});
  EXPECT_EQ(docs.elements.size(), 2U);
  EXPECT_EQ(docs.elements.at(0).text, "get");
}

}  // namespace
}  // namespace kv
