// SPDX-License-Identifier: Apache-2.0
#include "sandbox/dictionary_copy.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <peeper/dictionary.hpp>

namespace peeper::sandbox {
namespace {

using peeper::detail::dictionary_erase;
using peeper::detail::dictionary_put;
using testing::ElementsAre;
using testing::IsEmpty;

using note = std::vector<std::byte>;

note with_number(std::uint32_t number, const cbor_writer& rest) {
  note all(sizeof number);
  std::memcpy(all.data(), &number, sizeof number);
  const auto bytes = rest.view();
  all.insert(all.end(), bytes.begin(), bytes.end());
  return all;
}
note put(const std::string& key, int value) {
  cbor_writer out;
  peeper::detail::encode_value(out, key);
  peeper::detail::encode_value(out, value);
  return with_number(dictionary_put<std::string, int>.number(), out);
}
note erase(const std::string& key) {
  cbor_writer out;
  peeper::detail::encode_value(out, key);
  return with_number(dictionary_erase<std::string>.number(), out);
}

std::vector<note> written(const dictionary_copy& copy) {
  cbor_writer out;
  copy.write(out);
  cbor_reader in{out.view()};
  std::size_t count = 0;
  EXPECT_TRUE(in.array(count));
  std::vector<note> notes;
  for (; count > 0; --count) {
    std::span<const std::byte> one;
    EXPECT_TRUE(in.bytes(one));
    notes.emplace_back(one.begin(), one.end());
  }
  return notes;
}

TEST(dictionary_copy, HasTheLastCommittedChangeOfEachKey) {
  dictionary_copy copy;
  ASSERT_TRUE(copy.take(put("a", 1)));
  ASSERT_TRUE(copy.take(put("b", 2)));
  ASSERT_TRUE(copy.take(put("a", 3)));
  EXPECT_THAT(written(copy), IsEmpty());
  copy.commit();
  EXPECT_THAT(written(copy), ElementsAre(put("a", 3), put("b", 2)));
  ASSERT_TRUE(copy.take(erase("a")));
  copy.commit();
  EXPECT_THAT(written(copy), ElementsAre(put("b", 2)));
}

TEST(dictionary_copy, ForgetsWhatIsRolledBack_P2) {
  dictionary_copy copy;
  ASSERT_TRUE(copy.take(put("a", 1)));
  copy.commit();
  ASSERT_TRUE(copy.take(put("a", 2)));
  ASSERT_TRUE(copy.take(put("b", 2)));
  copy.rollback();
  copy.commit();
  EXPECT_THAT(written(copy), ElementsAre(put("a", 1)));
}

TEST(dictionary_copy, TakesNothingThatIsNoChange) {
  dictionary_copy copy;
  EXPECT_FALSE(copy.take({}));
  EXPECT_FALSE(copy.take(with_number(~std::uint32_t{0}, {})));
  EXPECT_FALSE(copy.take(with_number(dictionary_erase<std::string>.number(), {})));
}

}  // namespace
}  // namespace peeper::sandbox
