// SPDX-License-Identifier: Apache-2.0
/// Chains of versions: what an older program wrote, this one reads. The bytes in golden/ were
/// written once and must never change.
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include <boost/describe/class.hpp>
#include <gtest/gtest.h>

#include <peeper/kept.hpp>
#include <peeper/kept/state.hpp>

namespace peeper::test {

struct account_v0 {
  std::string owner;
  int cents = 0;
};

struct account_v1 {
  static constexpr unsigned version = 1;
  using previous = account_v0;
  static account_v1 migrate(account_v0&& old) {
    if (old.cents < 0) throw std::runtime_error{"no debts in version 1"};
    if (old.owner.empty()) throw 42;  // NOLINT(hicpp-exception-baseclass)
    return {std::move(old.owner), old.cents, 1000};
  }
  std::string owner;
  int cents = 0;
  int limit = 0;
};
BOOST_DESCRIBE_STRUCT(account_v1, (), (owner, cents, limit))

/// Versions 2 and 3 were never released.
struct account {
  static constexpr unsigned version = 4;
  using previous = account_v1;
  static account migrate(account_v1&& old) {
    account a{std::move(old.owner), {}, old.limit};
    a.money.try_emplace("eur", old.cents);
    return a;
  }
  std::string owner;
  kept_map<std::string, int> money;
  int limit = 0;
};
BOOST_DESCRIBE_STRUCT(account, (), (owner, money, limit))

struct deposit_v1 {
  static constexpr unsigned version = 1;
  int euros = 0;
};
struct deposit {
  static constexpr unsigned version = 2;
  using previous = deposit_v1;
  static deposit migrate(deposit_v1&& old) { return {old.euros * 100, "eur"}; }
  int cents = 0;
  std::string currency;
};

namespace {

std::vector<std::byte> golden(const std::string& name) {
  std::ifstream file{PEEPER_GOLDEN_FOLDER + ("/" + name) + ".hex"};
  EXPECT_TRUE(file) << name;
  std::vector<std::byte> bytes;
  for (std::string line; std::getline(file, line);) {
    std::istringstream words{line.substr(0, line.find('#'))};
    for (std::string word; words >> word;) {
      bytes.push_back(static_cast<std::byte>(std::stoi(word, nullptr, 16)));
    }
  }
  return bytes;
}

account ann() {
  account a{"ann", {}, 1000};
  a.money.try_emplace("eur", 7);
  return a;
}

TEST(an_encoding, OfEachVersionIsStillThatOfItsGoldenFile) {
  EXPECT_EQ(encode(account_v0{"ann", 7}), golden("account_v0"));
  EXPECT_EQ(encode(account_v1{"ann", 7, 1000}), golden("account_v1"));
  EXPECT_EQ(encode(ann()), golden("account_v4"));
  EXPECT_EQ(encode(deposit_v1{7}), golden("message_v1"));
  EXPECT_EQ(encode(deposit{700, "eur"}), golden("message_v2"));
}

TEST(an_encoding, OfAnyOlderVersionIsReadAndMigratedUpTheChain) {
  for (const char* name : {"account_v0", "account_v1", "account_v4"}) {
    const auto got = decode<account>(golden(name));
    ASSERT_TRUE(got) << name << ": " << got.error().text;
    EXPECT_EQ(encode(*got), golden("account_v4")) << name;
  }
  EXPECT_EQ(encode(decode<account_v1>(golden("account_v0")).value()), golden("account_v1"));
  EXPECT_EQ(encode(decode<deposit>(golden("message_v1")).value()), golden("message_v2"));
  EXPECT_EQ(encode(decode<deposit>(golden("message_v2")).value()), golden("message_v2"));
}

TEST(an_encoding, ThatWasMigratedCommitsAndRollsBackLikeAnyState) {
  detail::kept_state<account> s{decode<account>(golden("account_v0")).value()};
  s.begin();
  s.value().money.try_emplace("usd", 1);
  s.rollback();
  EXPECT_EQ(encode(s.value()), golden("account_v4"));
}

template <class T>
decode_error refused(const std::vector<std::byte>& bytes) {
  const auto got = decode<T>(bytes);
  EXPECT_FALSE(got);
  return got ? decode_error{} : got.error();
}

TEST(an_encoding, OfANewerVersionIsAnErrorThatNamesBoth) {
  EXPECT_EQ(refused<account_v1>(golden("account_v4")),
            (decode_error{2, "version 4 was written by a newer program: this one has version 1"}));
  EXPECT_EQ(refused<account_v0>(golden("account_v1")),
            (decode_error{2, "version 1 was written by a newer program: this one has version 0"}));
  EXPECT_EQ(refused<deposit_v1>(golden("message_v2")).text,
            "version 2 was written by a newer program: this one has version 1");
}

TEST(an_encoding, OfAVersionThatIsNotInTheChainIsAnErrorThatNamesBoth) {
  auto bytes = golden("account_v4");
  bytes[2] = std::byte{3};
  EXPECT_EQ(refused<account>(bytes),
            (decode_error{2,
                          "version 3 cannot be read: this program has version 4, and migrates from "
                          "version 0 on; see `previous` and `migrate`"}));
  bytes = golden("message_v1");
  bytes[2] = std::byte{0};
  EXPECT_EQ(refused<deposit>(bytes).text,
            "version 0 cannot be read: this program has version 2, and migrates from version 1 on; "
            "see `previous` and `migrate`");
}

TEST(an_encoding, WhoseMigrateThrowsIsAnErrorWithItsText) {
  EXPECT_EQ(refused<account>(encode(account_v0{"ann", -1})).text,
            "migrate() from version 0 to version 1 threw: no debts in version 1");
  EXPECT_EQ(refused<account>(encode(account_v0{"", 1})).text,
            "migrate() from version 0 to version 1 threw: something that is no std::exception");
}

TEST(an_encoding, OfAnOlderVersionCutOffOrLongerIsAnError) {
  const auto whole = golden("account_v0");
  for (std::size_t n = 0; n < whole.size(); ++n) {
    EXPECT_FALSE(decode<account>(std::span{whole}.first(n))) << n;
  }
  auto longer = whole;
  longer.push_back(std::byte{0});
  EXPECT_EQ(refused<account>(longer).text, "bytes are left over after the end");
}

TEST(a_delta, OfAnotherVersionIsRefusedWithBothVersions) {
  detail::kept_state<account> target{ann()};
  const std::vector<std::byte> delta{std::byte{0x9F}, std::byte{1}, std::byte{1}, std::byte{0xFF}};
  const auto applied = apply_delta(target, delta);
  ASSERT_FALSE(applied);
  EXPECT_EQ(applied.error().text,
            "this is a delta of version 1, this program has version 4: a delta cannot be migrated, "
            "a whole state can");
}

}  // namespace
}  // namespace peeper::test
