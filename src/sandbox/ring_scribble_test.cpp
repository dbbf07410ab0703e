// SPDX-License-Identifier: Apache-2.0
//
// Somebody writes into the ring's memory what he likes. Only frames that were published come out of
// it, or an error.
#include "sandbox/ring_scribble.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "sandbox/ring_test.hpp"

namespace {

using namespace peeper::sandbox;        // NOLINT(google-build-using-namespace)
using namespace peeper::sandbox::test;  // NOLINT(google-build-using-namespace)

TEST(ring_scribble, AnyScriptOfWritesForgedFramesAndChangedWordsIsSurvived) {
  std::size_t frames = 0;
  std::size_t errors = 0;
  under_seeds(3000, [&](std::uint64_t seed) {
    dice d{seed};
    std::vector<std::uint8_t> script(d.below(400));
    for (auto& b : script) b = static_cast<std::uint8_t>(d.below(256));
    scribbled_ring r{script};
    EXPECT_TRUE(r.run());
    frames += r.frames();
    errors += r.errors();
  });
  if (std::getenv("PEEPER_SEED") != nullptr) return;
  EXPECT_GT(frames, 1000U);
  EXPECT_GT(errors, 1000U);
}

/// Twenty frames, some of them large, at the beginning of a ring.
constexpr std::uint64_t frame_count = 20;
bytes frame_of(std::uint64_t sequence) {
  return made_bytes(sequence, sequence % 7 == 3 ? 2000 : sequence * 5);
}
void fill(const test_ring& t) {
  auto out = t.producer();
  for (std::uint64_t n = 1; n <= frame_count; ++n) ASSERT_TRUE(out.append(1, frame_of(n)));
  out.publish();
}
struct seen {
  std::uint64_t good = 0;
  std::uint64_t errors = 0;
  bool wrong = false;
};
/// Reads from the beginning until the end or an error. In place nobody may write meanwhile.
void read_all(const test_ring& t, bool in_place, seen& s) {
  auto in = t.first({.in_place = in_place});
  for (std::uint64_t n = 1; n <= frame_count; ++n) {
    const auto next = in.read();
    if (!next) {
      ++s.errors;
      return;
    }
    if (!*next) return;
    ++s.good;
    if ((*next)->sequence != n || copied((*next)->payload) != frame_of(n)) s.wrong = true;
  }
}

TEST(ring_scribble, RandomBytesAnywhereGiveGoodFramesOrAnError) {
  seen s;
  under_seeds(2000, [&](std::uint64_t seed) {
    dice d{seed};
    const test_ring t{{.capacity = 4096, .large_bytes = 16384}};
    fill(t);
    // Mostly where something is; some writes are long.
    for (std::uint64_t writes = 1 + d.below(4); writes != 0; --writes) {
      const std::size_t at = d.below(d.one_in(4) ? t.memory().size() : 8192);
      const std::size_t count =
          std::min<std::size_t>(d.one_in(10) ? 2000 : 1 + d.below(8), t.memory().size() - at);
      for (std::byte& b : t.memory().subspan(at, count)) b = static_cast<std::byte>(d.below(256));
    }
    read_all(t, false, s);
    read_all(t, true, s);
    EXPECT_FALSE(s.wrong);
  });
  if (std::getenv("PEEPER_SEED") != nullptr) return;
  EXPECT_GT(s.good, 1000U);
  EXPECT_GT(s.errors, 1000U);
}

TEST(ring_scribble, AProducerThatWritesWhileWeReadGivesGoodFramesOrAnError) {
  const test_ring t{{.capacity = 4096, .large_bytes = 16384}};
  fill(t);
  const pid_t mad = forked([&] {
    dice d{1};
    for (;;) {
      // Changed and put back, so that the ring is never ruined for good.
      const std::size_t at = 8 * d.below((4096 + 3000) / 8);
      volatile auto* const word = reinterpret_cast<std::uint64_t*>(t.memory().data() + at);
      const std::uint64_t before = *word;
      *word = d.one_in(2) ? before ^ (std::uint64_t{1} << d.below(64)) : d.below(~std::uint64_t{0});
      for (std::uint64_t stay = d.below(300); stay != 0; --stay) (void)*word;
      *word = before;
    }
  });
  seen s;
  // The consumer writes some of the words itself: what it wrote may be put back, that is harmless.
  while ((s.good < 20'000 || s.errors < 200) && !s.wrong) read_all(t, false, s);
  EXPECT_FALSE(s.wrong);
  ::kill(mad, SIGKILL);
  EXPECT_TRUE(was_killed(ended(mad)));
}

}  // namespace
