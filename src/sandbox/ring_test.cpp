// SPDX-License-Identifier: Apache-2.0
#include "sandbox/ring_test.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <thread>

#include <sys/mman.h>

#include "sandbox/checksum.hpp"

namespace {

using namespace peeper::sandbox;        // NOLINT(google-build-using-namespace)
using namespace peeper::sandbox::test;  // NOLINT(google-build-using-namespace)

TEST(checksum, IsTheOneOfCastagnoliWithAndWithoutTheInstruction) {
  const std::string_view digits = "123456789";
  const auto said = std::as_bytes(std::span{digits});
  EXPECT_EQ(crc32c(0, said), 0xE3069283U);
  EXPECT_EQ(crc32c_by_table(0, said), 0xE3069283U);
  for (std::size_t length = 0; length < 100; ++length) {
    const bytes some = made_bytes(length, length);
    const std::span all{some};
    EXPECT_EQ(crc32c(0, all), crc32c_by_table(0, all));
    EXPECT_EQ(crc32c(crc32c(0, all.first(length / 3)), all.subspan(length / 3)), crc32c(0, all));
    if (length >= 24) {
      std::array<std::uint64_t, 3> words{};
      std::memcpy(words.data(), some.data(), 24);
      EXPECT_EQ(crc32c(words[0], words[1], words[2], all.subspan(24)), crc32c(0, all));
    }
  }
}

TEST(ring, AFrameIsReadAsItWasWritten) {
  const test_ring t;
  auto out = t.producer();
  auto in = t.first();
  EXPECT_FALSE(take(in));
  const bytes payload = made_bytes(1, 100);
  ASSERT_TRUE(out.append(7, payload));
  out.publish();
  const auto next = in.read();
  ASSERT_TRUE(next && *next);
  EXPECT_EQ((*next)->type, 7);
  EXPECT_EQ((*next)->sequence, 1U);
  EXPECT_EQ((*next)->generation, 1U);
  EXPECT_EQ(copied((*next)->payload), payload);
  EXPECT_FALSE(take(in));
  EXPECT_EQ(in.place(), out.place());
}

TEST(ring, AFrameThatWasNotPublishedIsNotSeen) {
  const test_ring t;
  auto out = t.producer();
  auto in = t.first();
  ASSERT_TRUE(out.append(1, made_bytes(1, 10)));
  ASSERT_TRUE(out.append(1, made_bytes(2, 20)));
  EXPECT_FALSE(take(in));
  out.publish();
  EXPECT_EQ(take(in), made_bytes(1, 10));
  EXPECT_EQ(take(in), made_bytes(2, 20));
  EXPECT_FALSE(take(in));
}

TEST(ring, WhatWasDiscardedNeverHappened) {
  const test_ring t;
  auto out = t.producer();
  auto in = t.first();
  ASSERT_TRUE(out.append(1, made_bytes(1, 10)));
  ASSERT_TRUE(out.append(1, made_bytes(2, 30'000)));
  out.discard();
  out.publish();
  EXPECT_FALSE(take(in));
  ASSERT_TRUE(out.append(1, made_bytes(3, 30)));
  out.publish();
  EXPECT_EQ(take(in), made_bytes(3, 30));
}

TEST(ring, AFrameWrittenInPlaceMayBeShorterThanReserved) {
  const test_ring t;
  auto out = t.producer();
  auto in = t.first();
  const auto room = out.reserve(3, 500);
  ASSERT_TRUE(room);
  ASSERT_EQ(room->size(), 500U);
  const bytes payload = made_bytes(1, 33);
  std::ranges::copy(payload, room->begin());
  out.commit(33);
  ASSERT_TRUE(out.append(4, {}));
  out.publish();
  EXPECT_EQ(take(in), payload);
  EXPECT_EQ(take(in), bytes{});
}

TEST(ring, FramesOfEveryLengthGoRoundManyTimes) {
  const test_ring t;
  auto out = t.producer();
  auto in = t.first();
  std::uint64_t n = 0;
  for (int round = 0; round < 3; ++round) {
    for (std::size_t length = 0; length < 1100; ++length) {
      ++n;
      ASSERT_TRUE(out.append(1, made_bytes(n, length))) << length;
      out.publish();
      ASSERT_EQ(take(in), made_bytes(n, length)) << length;
    }
  }
  EXPECT_EQ(in.place().sequence, n + 1);
}

TEST(ring, AFullRingIsAnErrorUntilTheConsumerHasReleased) {
  const test_ring t;
  auto out = t.producer();
  auto in = t.first();
  std::uint64_t written = 0;
  while (out.append(1, made_bytes(written, 100))) {
    out.publish();
    ++written;
  }
  EXPECT_EQ(out.append(1, made_bytes(0, 100)).error().what, ring_errc::full);
  EXPECT_EQ(written, 4096U / 128U);
  for (std::uint64_t n = 0; n < written; ++n) {
    const auto next = in.read();
    ASSERT_TRUE(next && *next);
    EXPECT_EQ(copied((*next)->payload), made_bytes(n, 100));
  }
  EXPECT_EQ(out.append(1, made_bytes(0, 100)).error().what, ring_errc::full)
      << "what is not released may be read again by a successor";
  in.release();
  EXPECT_FALSE(take(in));
  EXPECT_TRUE(out.append(1, made_bytes(0, 100)));
}

TEST(ring, ARecordLargerThanTheRingIsOneFrameUnderOnePublish) {
  const test_ring t;
  auto out = t.producer();
  auto in = t.first();
  ASSERT_TRUE(out.append(1, made_bytes(1, 50)));
  ASSERT_TRUE(out.append(2, made_bytes(2, 20'001)));
  ASSERT_TRUE(out.append(2, made_bytes(3, 30'003)));
  ASSERT_TRUE(out.append(1, made_bytes(4, 50)));
  EXPECT_FALSE(take(in));
  out.publish();
  EXPECT_EQ(take(in), made_bytes(1, 50));
  EXPECT_EQ(take(in), made_bytes(2, 20'001));
  EXPECT_EQ(take(in), made_bytes(3, 30'003));
  EXPECT_EQ(take(in), made_bytes(4, 50));
}

TEST(ring, AGroupThatDoesNotFitIntoTheRingGoesBesideIt) {
  const test_ring t;
  auto out = t.producer();
  auto in = t.first();
  constexpr std::uint64_t frames = 40;
  for (int group = 0; group < 3; ++group) {
    for (std::uint64_t n = 0; n < frames; ++n) ASSERT_TRUE(out.append(1, made_bytes(n, 600)));
    out.publish();
    for (std::uint64_t n = 0; n < frames; ++n) ASSERT_EQ(take(in), made_bytes(n, 600));
    EXPECT_FALSE(take(in));
  }
}

TEST(ring, WhatCanNeverFitIsAnErrorAndChangesNothing) {
  const test_ring t;
  auto out = t.producer();
  auto in = t.first();
  const std::size_t limit = t.options().large_bytes;
  EXPECT_EQ(out.append(1, made_bytes(1, limit + 1)).error().what, ring_errc::too_large);
  EXPECT_EQ(out.reserve(1, ~std::size_t{0}).error().what, ring_errc::too_large);
  ASSERT_TRUE(out.append(1, made_bytes(2, limit)));
  EXPECT_EQ(out.append(1, made_bytes(3, 5000)).error().what, ring_errc::too_large)
      << "the limit is that of the group";
  ASSERT_TRUE(out.append(1, made_bytes(4, 5)));
  out.publish();
  EXPECT_EQ(take(in), made_bytes(2, limit));
  EXPECT_EQ(take(in), made_bytes(4, 5));
  EXPECT_FALSE(take(in));
  for (int n = 0; n < 200 && out.append(1, made_bytes(0, 5)); ++n) {
  }
  EXPECT_EQ(out.append(1, made_bytes(0, 5)).error().what, ring_errc::too_large)
      << "of one group, not even more places for frames beside the ring";
}

TEST(ring, GroupsOfLargeFramesTakeTurns) {
  const test_ring t;
  auto out = t.producer();
  auto in = t.first();
  ASSERT_TRUE(out.append(1, made_bytes(1, 10'000)));
  out.publish();
  EXPECT_EQ(out.append(1, made_bytes(2, 10'000)).error().what, ring_errc::full);
  ASSERT_TRUE(out.append(1, made_bytes(3, 10)));
  out.publish();
  EXPECT_TRUE(out.prepare_sleep());
  out.end_sleep();
  EXPECT_EQ(take(in), made_bytes(1, 10'000));
  ASSERT_TRUE(out.append(1, made_bytes(2, 10'000)));
  out.publish();
  EXPECT_EQ(take(in), made_bytes(3, 10));
  EXPECT_EQ(take(in), made_bytes(2, 10'000));
}

TEST(ring, TheMemoryOfAVeryLargeFrameIsGivenBack) {
  constexpr std::size_t mb = 1024UL * 1024;
  const test_ring t{{.capacity = 4096, .large_bytes = 16 * mb}};
  auto out = t.producer();
  auto in = t.first();
  const auto resident = [&] {
    std::vector<unsigned char> pages(16 * mb / 4096);
    EXPECT_EQ(::mincore(t.ring().large().data(), 16 * mb, pages.data()), 0);
    return static_cast<std::size_t>(
        std::ranges::count_if(pages, [](unsigned char p) { return (p & 1U) != 0; }));
  };
  EXPECT_EQ(resident(), 0U);
  ASSERT_TRUE(out.append(1, made_bytes(1, 8 * mb)));
  out.publish();
  EXPECT_EQ(resident(), 8 * mb / 4096);
  EXPECT_EQ(take(in), made_bytes(1, 8 * mb));
  ASSERT_TRUE(out.append(1, made_bytes(2, 8)));
  out.publish();
  EXPECT_EQ(resident(), mb / 4096);
}

TEST(ring, ATrustedFrameIsReadWhereItLies) {
  const test_ring t;
  auto out = t.producer();
  auto in = t.first({.in_place = true});
  for (const std::size_t length : {100UL, 5000UL}) {
    ASSERT_TRUE(out.append(1, made_bytes(1, length)));
    out.publish();
    const auto next = in.read();
    ASSERT_TRUE(next && *next);
    EXPECT_EQ(copied((*next)->payload), made_bytes(1, length));
    const std::byte* const at = (*next)->payload.data();
    EXPECT_TRUE(at > t.memory().data() && at < t.memory().data() + t.memory().size());
    in.release();
  }
}

TEST(ring, WhatWasCopiedDoesNotChangeAnyMore) {
  const test_ring t;
  auto out = t.producer();
  auto in = t.first();
  for (const std::size_t length : {100UL, 5000UL}) {
    ASSERT_TRUE(out.append(1, made_bytes(1, length)));
    out.publish();
    const auto next = in.read();
    ASSERT_TRUE(next && *next);
    std::ranges::fill(t.ring().data(), std::byte{0xFF});
    std::ranges::fill(t.ring().large(), std::byte{0xFF});
    EXPECT_EQ(copied((*next)->payload), made_bytes(1, length));
    in.release();
  }
}

// --- two consumers -------------------------------------------------------------------------------

TEST(ring, SpaceIsFreedAtTheSlowerConsumer) {
  const test_ring t;
  auto out = t.producer();
  auto one = t.first();
  auto two = t.second({.from = out.admit_second()});
  std::uint64_t written = 0;
  for (; out.append(1, made_bytes(written, 100)); ++written) out.publish();
  for (std::uint64_t n = 0; n < written; ++n) EXPECT_EQ(take(one), made_bytes(n, 100));
  EXPECT_FALSE(take(one));
  EXPECT_EQ(out.append(1, made_bytes(0, 100)).error().what, ring_errc::full);
  for (std::uint64_t n = 0; n < written; ++n) EXPECT_EQ(take(two), made_bytes(n, 100));
  EXPECT_FALSE(take(two));
  EXPECT_TRUE(out.append(1, made_bytes(0, 100)));
}

TEST(ring, NobodyWaitsForASecondConsumerThatWasDismissed) {
  const test_ring t;
  auto out = t.producer();
  auto one = t.first();
  auto two = t.second({.from = one.admit_second()});
  std::uint64_t written = 0;
  for (; out.append(1, made_bytes(written, 100)); ++written) out.publish();
  while (take(one)) {
  }
  EXPECT_EQ(out.append(1, made_bytes(0, 100)).error().what, ring_errc::full);
  EXPECT_TRUE(out.prepare_sleep());
  one.dismiss_second();
  EXPECT_FALSE(out.prepare_sleep()) << "there is room now";
  EXPECT_TRUE(out.append(1, made_bytes(0, 100)));
}

TEST(ring, ASecondConsumerBeginsWhereTheFirstHasReleased) {
  const test_ring t;
  auto out = t.producer();
  auto one = t.first();
  for (std::uint64_t n = 0; n < 10; ++n) ASSERT_TRUE(out.append(1, made_bytes(n, 100)));
  out.publish();
  for (std::uint64_t n = 0; n < 4; ++n) EXPECT_EQ(take(one), made_bytes(n, 100));
  auto two = t.second({.from = one.admit_second()});
  while (take(one)) {
  }
  std::uint64_t written = 10;
  for (; out.append(1, made_bytes(written, 100)); ++written) {
    out.publish();
    while (take(one)) {
    }
  }
  EXPECT_GT(written, 15U);
  for (std::uint64_t n = 4; n < written; ++n) ASSERT_EQ(take(two), made_bytes(n, 100));
}

// --- taking over ---------------------------------------------------------------------------------

TEST(ring, ASuccessorGoesOnWhereTheLastPublishedFrameEnds) {
  const test_ring t;
  auto one = t.first();
  auto out = t.producer();
  auto follower = t.second({.from = out.admit_second()});
  ASSERT_TRUE(out.append(1, made_bytes(1, 100)));
  out.publish();
  ASSERT_TRUE(out.append(1, made_bytes(99, 100)));  // and dies
  EXPECT_EQ(take(follower), made_bytes(1, 100));
  EXPECT_FALSE(take(follower));

  auto next = ring_producer::take_over(t.ring(), 2, follower.place());
  ASSERT_TRUE(next);
  ASSERT_TRUE(next->append(1, made_bytes(2, 50)));
  next->publish();
  one.follow(2);
  EXPECT_EQ(take(one), made_bytes(1, 100)) << "what the dead one has published still counts";
  EXPECT_EQ(take(one), made_bytes(2, 50));
  EXPECT_FALSE(take(one));
  EXPECT_EQ(one.place().sequence, 3U);
}

TEST(ring, NothingIsReadBetweenFollowAndTheTakeOver) {
  const test_ring t;
  auto one = t.first();
  auto out = t.producer();
  ASSERT_TRUE(out.append(1, made_bytes(1, 100)));
  out.publish();
  one.follow(2);
  EXPECT_FALSE(take(one));
  const auto next = ring_producer::take_over(t.ring(), 2, out.place());
  ASSERT_TRUE(next);
  EXPECT_EQ(take(one), made_bytes(1, 100));
}

TEST(ring, AnOldGenerationThatWakesUpLatePublishesNothing) {
  const test_ring t;
  auto one = t.first();
  auto old = t.producer();
  ASSERT_TRUE(old.append(1, made_bytes(1, 40)));
  old.publish();
  ASSERT_TRUE(old.append(1, made_bytes(98, 40)));
  auto next = ring_producer::take_over(t.ring(), 2, {.position = 64, .sequence = 2});
  ASSERT_TRUE(next);
  one.follow(2);
  ASSERT_TRUE(next->append(1, made_bytes(2, 40)));
  next->publish();
  old.publish();
  EXPECT_EQ(take(one), made_bytes(1, 40));
  EXPECT_EQ(take(one), made_bytes(2, 40));
  EXPECT_FALSE(take(one));
}

TEST(ring, AnOldGenerationThatOverwritesItsSuccessorIsRefused) {
  const test_ring t;
  auto one = t.first();
  auto old = t.producer();
  auto next = ring_producer::take_over(t.ring(), 2, {});
  ASSERT_TRUE(next);
  one.follow(2);
  ASSERT_TRUE(next->append(1, made_bytes(2, 40)));
  next->publish();
  ASSERT_TRUE(old.append(1, made_bytes(98, 40)));
  EXPECT_EQ(error_of(one), ring_errc::old_generation);
  EXPECT_EQ(error_of(one), ring_errc::old_generation) << "and stays so";
}

TEST(ring, ATakeOverBeforeWhatWasReadIsRefused) {
  const test_ring t;
  auto one = t.first();
  auto old = t.producer();
  ASSERT_TRUE(old.append(1, made_bytes(1, 40)));
  old.publish();
  const auto read = one.read();
  ASSERT_TRUE(read && *read);
  auto next = ring_producer::take_over(t.ring(), 2, {});
  ASSERT_TRUE(next) << "the consumer has not released it";
  // What it writes instead, and what follows, would pass for what comes next.
  for (const std::uint64_t n : {2UL, 3UL}) ASSERT_TRUE(next->append(1, made_bytes(n, 40)));
  next->publish();
  one.follow(2);
  EXPECT_EQ(error_of(one), ring_errc::corrupt_cursor);
}

TEST(ring, ManyGenerationsFollowOneAnother) {
  const test_ring t;
  auto one = t.first();
  auto out = t.producer();
  for (std::uint32_t generation = 1; generation < 200; ++generation) {
    ASSERT_TRUE(out.append(1, made_bytes(generation, generation)));
    out.publish();
    ASSERT_TRUE(out.append(1, made_bytes(99, 500)));
    auto next = ring_producer::take_over(t.ring(), generation + 1, out.place());
    ASSERT_TRUE(next);
    out = std::move(*next);
    if (generation % 3 == 0) {
      // It has missed some: frames of up to three generations are there at once.
      one.follow(generation + 1);
      for (std::uint32_t g = generation - 2; g <= generation; ++g) {
        ASSERT_EQ(take(one), made_bytes(g, g));
      }
      ASSERT_FALSE(take(one));
    }
  }
}

TEST(ring, ASuccessorOfAConsumerReadsAgainWhatWasNotReleased) {
  const test_ring t;
  auto out = t.producer();
  ring_place committed;
  {
    auto in = t.first();
    for (std::uint64_t n = 0; n < 4; ++n) ASSERT_TRUE(out.append(1, made_bytes(n, 100)));
    out.publish();
    EXPECT_EQ(take(in), made_bytes(0, 100));
    committed = in.place();
    EXPECT_TRUE(in.read().value());
    EXPECT_TRUE(in.read().value());
  }
  auto next = t.first({.from = committed});
  for (std::uint64_t n = 1; n < 4; ++n) EXPECT_EQ(take(next), made_bytes(n, 100));
  EXPECT_FALSE(take(next));
}

// --- what must not be believed -------------------------------------------------------------------

TEST(ring, MemoryThatHoldsNoSuchRingIsRefused) {
  const test_ring t;
  EXPECT_TRUE(ring_memory::find(t.memory(), t.options()));
  ring_options other = t.options();
  other.capacity *= 2;
  other.large_bytes /= 2;
  EXPECT_EQ(ring_memory::find(t.memory(), other).error().what, ring_errc::not_a_ring);
  EXPECT_FALSE(ring_memory::find(t.memory().first(8192), t.options()));
  EXPECT_FALSE(ring_memory::find(t.memory().subspan(8), t.options()));
  t.memory()[0] ^= std::byte{1};
  EXPECT_FALSE(ring_memory::find(t.memory(), t.options()));
}

TEST(ring, EveryChangedByteOfAFrameIsFound) {
  const test_ring t;
  auto out = t.producer();
  auto in = t.first();
  ASSERT_TRUE(out.append(1, made_bytes(1, 100)));
  ASSERT_TRUE(out.append(1, made_bytes(2, 5000)));
  out.publish();
  const auto every_change_is_found = [&](std::span<std::byte> where) {
    for (std::byte& b : where) {
      for (const unsigned bit : {1U, 16U, 128U}) {
        b ^= std::byte(bit);
        EXPECT_TRUE(error_of(in)) << &b - t.ring().data().data();
        b ^= std::byte(bit);
      }
    }
  };
  every_change_is_found(t.ring().data().first(124));  // 128, but for the padding
  EXPECT_EQ(take(in), made_bytes(1, 100));
  every_change_is_found(t.ring().data().subspan(128, 48));
  every_change_is_found(t.ring().large().first(5000));
  EXPECT_EQ(take(in), made_bytes(2, 5000));
}

TEST(ring, AProducersCursorThatCannotBeIsRefused) {
  const test_ring t;
  auto out = t.producer();
  auto in = t.first();
  for (int n = 0; n < 3; ++n) ASSERT_TRUE(out.append(1, made_bytes(1, 100)));
  out.publish();
  EXPECT_TRUE(take(in) && take(in) && take(in));
  auto& cursor = t.ring().header().producers[1].published;
  for (const std::uint64_t wrong : {0UL, 376UL, 385UL, 384UL + 4104UL, ~0UL}) {
    cursor = wrong;
    EXPECT_EQ(error_of(in), ring_errc::corrupt_cursor) << wrong;
    EXPECT_FALSE(in.prepare_sleep()) << "an error is something to be read";
  }
  cursor = 384 + 8;
  EXPECT_EQ(error_of(in), ring_errc::corrupt_length);
}

TEST(ring, AFrameThatReachesBeyondWhatIsPublishedIsRefused) {
  const test_ring t;
  auto out = t.producer();
  ASSERT_TRUE(out.append(1, made_bytes(1, 100)));
  out.publish();
  for (std::uint64_t published = 24; published < 128; published += 8) {
    auto in = t.first();
    t.ring().header().producers[1].published = published;
    EXPECT_EQ(error_of(in), ring_errc::corrupt_length) << published;
  }
}

TEST(ring, AConsumersCursorThatCannotBeIsRefused) {
  const test_ring t;
  auto out = t.producer();
  const auto in = t.first();
  while (out.append(1, made_bytes(1, 100))) {
  }
  out.publish();
  for (const std::size_t which : {0UL, 1UL}) {
    auto& cursor = t.ring().header().consumers[which].released;
    const std::uint64_t before = cursor;
    cursor = out.place().position + 8;
    EXPECT_EQ(out.append(1, made_bytes(1, 100)).error().what, ring_errc::corrupt_cursor);
    EXPECT_FALSE(out.prepare_sleep());
    EXPECT_EQ(ring_producer::take_over(t.ring(), 2, out.place()).has_value(), which == 1);
    cursor = before;
  }
  t.ring().header().consumers[0].released = ~std::uint64_t{0};
  EXPECT_EQ(out.append(1, made_bytes(1, 100)).error().what, ring_errc::corrupt_cursor);
}

// --- waiting, within one OS process --------------------------------------------------------------

TEST(ring, TwoThreadsHandFramesOverBothSleepingOften) {
  const test_ring t;
  constexpr std::uint64_t frames = 20'000;
  std::thread producing{[&, out = t.producer()]() mutable {
    for (std::uint64_t n = 0; n < frames; ++n) {
      ASSERT_TRUE(out.append(1, made_bytes(n, n % 700), peeper::time_point::max()));
      if (n % 5 != 0) out.publish();
    }
    out.publish();
  }};
  auto in = t.first();
  for (std::uint64_t n = 0; n < frames; ++n) {
    auto payload = take(in);
    while (!payload) {
      ASSERT_TRUE(in.wait(peeper::time_point::max()));
      payload = take(in);
    }
    ASSERT_EQ(*payload, made_bytes(n, n % 700));
  }
  producing.join();
}

TEST(ring, WaitingEndsAtTheDeadline) {
  const test_ring t;
  auto out = t.producer();
  auto in = t.first();
  EXPECT_FALSE(in.wait(peeper::time_point{}));
  while (out.append(1, made_bytes(1, 100))) out.publish();
  EXPECT_FALSE(out.wait(peeper::time_point{}));
  EXPECT_EQ(out.append(1, made_bytes(1, 100), peeper::time_point{}).error().what, ring_errc::full);
  EXPECT_TRUE(in.wait(peeper::time_point{}));
}

TEST(ring, AWakeUpForTooLittleDoesNotHideTheNextOne) {
  const test_ring t;
  auto out = t.producer();
  static ring_consumer* reading = nullptr;
  auto in = t.first();
  reading = &in;
  while (out.append(1, made_bytes(1, 100))) out.publish();
  ASSERT_EQ(out.append(1, made_bytes(1, 900)).error().what, ring_errc::full);
  const auto release_some = [] {
    for (int n = 0; n < 4; ++n) EXPECT_TRUE(reading->read().value());
    reading->release();
  };
  // Between the mark and the last look the consumer frees an eighth of the ring, which is too
  // little.
  peeper::detail::the_fault_hook = [](std::string_view point, bool) {
    if (point != "ring.sleep_marked") return;
    peeper::detail::the_fault_hook = nullptr;
    for (int n = 0; n < 4; ++n) EXPECT_TRUE(reading->read().value());
    reading->release();
  };
  const auto ticket = out.prepare_sleep();
  ASSERT_TRUE(ticket) << "an eighth is not enough";
  release_some();
  EXPECT_NE(ticket->word->load(), ticket->expected) << "it would sleep for ever";
  out.end_sleep();
  EXPECT_FALSE(out.prepare_sleep());
}

TEST(ring, WhoPreparesToSleepIsToldWhatHasComeMeanwhile) {
  const test_ring t;
  auto out = t.producer();
  auto in = t.first();
  const auto ticket = in.prepare_sleep();
  ASSERT_TRUE(ticket);
  EXPECT_EQ(ticket->word->load(), ticket->expected);
  ASSERT_TRUE(out.append(1, made_bytes(1, 8)));
  out.publish();
  EXPECT_NE(ticket->word->load(), ticket->expected) << "so that it does not fall asleep";
  const std::uint32_t after_one = ticket->word->load();
  ASSERT_TRUE(out.append(1, made_bytes(1, 8)));
  out.publish();
  EXPECT_EQ(ticket->word->load(), after_one) << "one wake-up for each sleep";
  EXPECT_EQ(t.ring().header().consumer_sleep[0].episode % 2, 1U)
      << "only who sleeps says that it is over";
  in.end_sleep();
  EXPECT_FALSE(in.prepare_sleep());
  ASSERT_TRUE(out.append(1, made_bytes(1, 8)));
  out.publish();
  EXPECT_EQ(ticket->word->load(), after_one) << "nobody sleeps";
}

}  // namespace
