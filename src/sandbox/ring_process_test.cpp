// SPDX-License-Identifier: Apache-2.0
//
// Rings between OS processes, which are killed at every point and at random, and wait for each
// other.
#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstring>
#include <new>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <linux/futex.h>
#include <sys/syscall.h>

#include "sandbox/ring_test.hpp"

namespace {

using namespace peeper::sandbox;        // NOLINT(google-build-using-namespace)
using namespace peeper::sandbox::test;  // NOLINT(google-build-using-namespace)

constexpr peeper::time_point for_ever = peeper::time_point::max();

#define REQUIRE(condition) \
  if (!(condition)) ::_exit(__LINE__ % 250 + 1)

/// Waits for a frame. For children, too: no assertion of the test is used.
std::optional<ring_frame> next_frame(ring_consumer& in) {
  for (;;) {
    const auto next = in.read();
    if (!next) return std::nullopt;
    if (*next) return **next;
    if (!in.wait(for_ever)) return std::nullopt;
  }
}

TEST(ring_process, AMillionFramesCross) {
  const test_ring there{{.capacity = 64UL * 1024, .large_bytes = 4096}};
  const test_ring back{{.capacity = 16UL * 1024, .large_bytes = 4096}};
  constexpr std::uint64_t frames = 1'000'000;
  const pid_t child = forked([&] {
    auto in = there.first();
    auto out = back.producer();
    for (std::uint64_t n = 1; n <= frames; ++n) {
      const auto frame = next_frame(in);
      REQUIRE(frame && frame->sequence == n);
      REQUIRE(out.append(frame->type, frame->payload, for_ever));
      out.publish();
      in.release();
    }
  });
  auto out = there.producer();
  auto in = back.first();
  std::uint64_t answered = 0;
  const auto read_answer = [&] {
    const auto frame = next_frame(in);
    ASSERT_TRUE(frame);
    std::uint64_t said = 0;
    ASSERT_EQ(frame->payload.size(), 8 + answered % 50);
    std::memcpy(&said, frame->payload.data(), 8);
    ASSERT_EQ(said, answered);
    ASSERT_EQ(frame->type, static_cast<std::uint16_t>(answered));
    in.release();
    ++answered;
  };
  std::array<std::byte, 64> payload{};
  for (std::uint64_t n = 0; n < frames; ++n) {
    std::memcpy(payload.data(), &n, 8);
    ASSERT_TRUE(
        out.append(static_cast<std::uint16_t>(n), std::span{payload}.first(8 + n % 50), for_ever));
    out.publish();
    while (n - answered >= 100 && !HasFatalFailure()) read_answer();
  }
  while (answered < frames && !HasFatalFailure()) read_answer();
  EXPECT_TRUE(ended_well(ended(child)));
}

// --- waiting -------------------------------------------------------------------------------------

/// Sleeps without looking first. RETURNS: false: nobody has woken it for a minute.
template <class Side>
bool sleep_at_once(Side& side) {
  const auto ticket = side.prepare_sleep();
  if (!ticket) return true;
  const peeper::time_point limit =
      std::chrono::time_point_cast<peeper::duration>(std::chrono::steady_clock::now()) +
      std::chrono::minutes{1};
  const bool woken = sleep_on(*ticket, limit);
  side.end_sleep();
  return woken;
}
bool read_sleeping(ring_consumer& in, std::uint64_t expected) {
  for (;;) {
    const auto next = in.read();
    if (!next) return false;
    if (*next) break;
    if (!sleep_at_once(in)) return false;
  }
  in.release();
  return in.place().sequence == expected + 1;
}
bool write_sleeping(ring_producer& out, std::size_t length) {
  for (;;) {
    const auto room = out.reserve(1, length);
    if (room) break;
    if (room.error().what != ring_errc::full || !sleep_at_once(out)) return false;
  }
  out.commit(length);
  out.publish();
  return true;
}

TEST(ring_process, NoWakeUpIsLostWhenBothSidesSleepAllTheTime) {
  const test_ring there;
  const test_ring back;
  constexpr std::uint64_t rounds = 50'000;
  const pid_t child = forked([&] {
    auto in = there.first();
    auto out = back.producer();
    for (std::uint64_t n = 1; n <= rounds; ++n) {
      REQUIRE(read_sleeping(in, n));
      REQUIRE(write_sleeping(out, n % 100));
    }
  });
  auto out = there.producer();
  auto in = back.first();
  for (std::uint64_t n = 1; n <= rounds; ++n) {
    ASSERT_TRUE(write_sleeping(out, n % 100));
    ASSERT_TRUE(read_sleeping(in, n)) << n;
  }
  EXPECT_TRUE(ended_well(ended(child)));
}

TEST(ring_process, NoWakeUpIsLostWhenProducersSleepForRoomAndTwoConsumersForFrames) {
  const test_ring t;
  constexpr std::uint64_t frames = 30'000;
  auto out = t.producer();
  const ring_place from = out.admit_second();
  const std::array children{forked([&] {
                              auto in = t.first();
                              for (std::uint64_t n = 1; n <= frames; ++n) {
                                REQUIRE(read_sleeping(in, n));
                              }
                            }),
                            forked([&] {
                              auto in = t.second({.from = from});
                              for (std::uint64_t n = 1; n <= frames; ++n) {
                                REQUIRE(read_sleeping(in, n));
                              }
                            })};
  for (std::uint64_t n = 1; n <= frames; ++n) ASSERT_TRUE(write_sleeping(out, n % 900)) << n;
  for (const pid_t child : children) EXPECT_TRUE(ended_well(ended(child)));
}

TEST(ring_process, OneCanSleepOnARingAndOnAnotherWord) {
  const test_ring t;
  const auto words = shared_memory::create("test", 4096).value();
  auto* const death = new (words.bytes().data()) std::atomic<std::uint32_t>{0};
  constexpr std::uint64_t rounds = 2000;
  const pid_t child = forked([&] {
    auto out = t.producer();
    for (std::uint64_t n = 1; n <= rounds; ++n) {
      if (n % 2 == 0) {
        REQUIRE(write_sleeping(out, 8));
      } else {
        death->store(static_cast<std::uint32_t>(n));
        ::syscall(SYS_futex, death, FUTEX_WAKE, 1, nullptr, nullptr, 0);
      }
      // Goes on when the other has seen it.
      while (death[1].load() != n) {
      }
    }
  });
  auto in = t.first();
  std::uint64_t frames = 0;
  for (std::uint64_t n = 1; n <= rounds; ++n) {
    const auto seen = static_cast<std::uint32_t>(n % 2 == 0 ? n - 1 : n - 2 + (n == 1 ? 1 : 0));
    for (;;) {
      const auto next = in.read();
      ASSERT_TRUE(next);
      if (*next) {
        ASSERT_EQ(n % 2, 0U);
        in.release();
        ++frames;
        break;
      }
      if (death->load() != seen) {
        ASSERT_EQ(n % 2, 1U);
        break;
      }
      const auto ticket = in.prepare_sleep();
      if (!ticket) continue;
      std::array<futex_waitv, 2> both{};
      both[0] = {ticket->expected, reinterpret_cast<std::uintptr_t>(ticket->word), FUTEX_32, 0};
      both[1] = {seen, reinterpret_cast<std::uintptr_t>(death), FUTEX_32, 0};
      ::syscall(SYS_futex_waitv, both.data(), 2, 0, nullptr, 0);
      in.end_sleep();
    }
    death[1].store(static_cast<std::uint32_t>(n));
  }
  EXPECT_EQ(frames, rounds / 2);
  EXPECT_TRUE(ended_well(ended(child)));
}

// --- death ---------------------------------------------------------------------------------------

/// What the two OS processes of a test tell each other beside the ring.
struct notes {
  std::atomic<std::uint64_t> published;  ///< groups, as the producer counts them after publish()
  std::atomic<std::uint64_t> attempted;  ///< and before
  ring_place committed;                  ///< a consumer's, written before it releases
};
class shared_notes {
 public:
  shared_notes() : notes_{new (memory_.bytes().data()) notes{}} {}
  notes* operator->() const { return notes_; }

 private:
  shared_memory memory_ = shared_memory::create("test", 4096).value();
  notes* notes_;
};

constexpr ring_options deadly_options{.capacity = 4096, .large_bytes = 4UL * 1024 * 1024};

/// Group `n`: one to four frames that all say n; some of them large, some very large.
std::vector<bytes> group_of(std::uint64_t n) {
  std::vector<bytes> frames;
  for (std::uint64_t i = 0; i < 1 + n % 4; ++i) {
    const std::size_t length = n % 200 == 49 && i == 0 ? 1'200'000 : n % 7 == 3 ? 3000 : n % 300;
    frames.push_back(made_bytes(n, length + i));
  }
  return frames;
}
void write_groups(ring_producer& out, const shared_notes& told, std::uint64_t end) {
  for (std::uint64_t n = told->published; n < end; ++n) {
    told->attempted = n + 1;
    for (const bytes& frame : group_of(n)) REQUIRE(out.append(1, frame, for_ever));
    out.publish();
    told->published = n + 1;
  }
}
/// Reads a group, if one has begun. RETURNS: whether there was one. All of it must be there.
bool read_group(ring_consumer& in, std::uint64_t n) {
  bool some = false;
  for (const bytes& expected : group_of(n)) {
    const auto got = take(in);
    if (!got && !some) return false;
    EXPECT_EQ(got, expected) << "group " << n;
    if (got != expected) return false;
    some = true;
  }
  return some;
}

/// A child produces until it dies; another takes over in the same way, and so on.
/// RETURNS: whether the first was killed where it should be.
bool producer_dies_at(std::string_view point, std::uint64_t nth) {
  const test_ring t{deadly_options};
  const shared_notes told;
  auto in = t.first();
  constexpr std::uint64_t groups = 120;
  std::uint64_t read = 0;
  std::optional<sleep_ticket> asleep;
  const auto read_until_end_of = [&](pid_t child) {
    int status = 0;
    bool alive = true;
    const auto look = [&] {
      alive = alive && ::waitpid(child, &status, WNOHANG) == 0;
      return alive;
    };
    // As if it slept since before the child was made: its first publish() must wake.
    while (asleep->word->load() == asleep->expected && look()) {
    }
    in.end_sleep();
    while (look()) {
      if (read_group(in, read)) ++read;
    }
    while (read_group(in, read)) ++read;
    return status;
  };
  auto out = t.producer();  // is the child's; its start has woken whoever slept
  asleep = in.prepare_sleep();
  int status = read_until_end_of(forked([&] {
    die_at(point, nth);
    write_groups(out, told, groups);
  }));
  const bool killed = was_killed(status);
  EXPECT_TRUE(killed || ended_well(status)) << status;
  if (killed) {
    // Exactly what was published. Only between the store and the note of it may there be one more.
    const bool after_store = read == told->published + 1 && told->attempted == read &&
                             (point == "ring.published" || point == "ring.waking");
    EXPECT_TRUE(read == told->published || after_store) << read << " of " << told->published;
    if (point == "ring.published") {
      EXPECT_EQ(read, told->attempted);
    }
    if (point == "ring.publishing") {
      EXPECT_EQ(read + 1, told->attempted);
    }
  }
  told->published = read;
  const ring_place place = in.place();
  status = 0;
  in.follow(2);
  asleep = in.prepare_sleep();
  EXPECT_TRUE(ended_well(read_until_end_of(forked([&] {
    auto next = ring_producer::take_over(t.ring(), 2, place);
    REQUIRE(next);
    write_groups(*next, told, groups);
  }))));
  EXPECT_EQ(read, groups) << point << ' ' << nth;
  return killed;
}

/// A child consumes until it dies; another begins at the place it has noted.
bool consumer_dies_at(std::string_view point, std::uint64_t nth) {
  const test_ring t{deadly_options};
  const shared_notes told;
  constexpr std::uint64_t groups = 60;
  told->committed = ring_place{};
  const auto consume = [&](std::string_view die_here) {
    const pid_t child = forked([&] {
      auto in = t.first({.from = told->committed});
      if (!die_here.empty()) die_at(die_here, nth);
      for (;;) {
        const auto frame = next_frame(in);
        REQUIRE(frame);
        if (frame->type == 2) return;
        // Each frame exactly once: the place and the count of groups' frames change together, here.
        REQUIRE(frame->sequence == told->committed.sequence);
        told->committed = in.place();
        in.release();
      }
    });
    return child;
  };
  auto out = t.producer();
  pid_t child = consume(point);
  // There is nothing to read yet, so it goes to sleep.
  while (t.ring().header().consumer_sleep[0].episode.load() % 2 == 0) {
  }
  bool killed = false;
  const auto append = [&](std::uint16_t type, const bytes& frame) {
    for (;;) {
      const auto written = out.append(type, frame);
      if (written) return;
      ASSERT_EQ(written.error().what, ring_errc::full);
      if (out.prepare_sleep()) out.end_sleep();
      int status = 0;
      if (!killed && ::waitpid(child, &status, WNOHANG) == child) {
        ASSERT_TRUE(was_killed(status)) << status;
        killed = true;
        child = consume({});
      }
    }
  };
  std::uint64_t frames = 0;
  for (std::uint64_t n = 0; n < groups && !testing::Test::HasFatalFailure(); ++n) {
    for (const bytes& frame : group_of(n)) {
      append(1, frame);
      out.publish();
      ++frames;
    }
  }
  append(2, {});
  out.publish();
  const int status = ended(child);
  if (!killed && was_killed(status)) {
    killed = true;
    child = consume({});
    EXPECT_TRUE(ended_well(ended(child)));
  } else {
    EXPECT_TRUE(ended_well(status)) << status;
  }
  EXPECT_EQ(told->committed.sequence, frames + 1) << point << ' ' << nth;
  return killed;
}

/// A child dies taking over; the next one takes over in spite of it.
bool successor_dies_at(std::string_view point) {
  const test_ring t{deadly_options};
  const shared_notes told;
  auto in = t.first();
  std::uint64_t read = 0;
  {
    auto out = t.producer();
    write_groups(out, told, 2);
  }
  bool killed = false;
  std::uint32_t generation = 1;
  for (std::uint64_t end = 4; end < 12; end += 2) {
    while (read_group(in, read)) ++read;
    EXPECT_EQ(read, told->published);
    const ring_place place = in.place();
    const bool dies = end != 10;
    in.follow(++generation);
    const int status = ended(forked([&] {
      if (dies) die_at(point, 1);
      auto out = ring_producer::take_over(t.ring(), generation, place);
      REQUIRE(out);
      write_groups(*out, told, end);
    }));
    EXPECT_TRUE(dies ? was_killed(status) : ended_well(status)) << point;
    killed = killed || was_killed(status);
  }
  while (read_group(in, read)) ++read;
  EXPECT_EQ(read, 10U) << point;
  return killed;
}

TEST(ring_process, WhoeverDiesAtWhateverPointThePublishedPrefixIsReadAndTheSuccessorGoesOn) {
  std::set<std::string_view> never_reached{ring_fault_points.begin(), ring_fault_points.end()};
  for (const std::string_view point : ring_fault_points) {
    for (const std::uint64_t nth : {1U, 2U, 7U, 40U}) {
      const testing::ScopedTrace trace{__FILE__, __LINE__,
                                       std::string{point} + " " + std::to_string(nth)};
      if (point.starts_with("ring.take")) {
        if (nth == 1 && successor_dies_at(point)) never_reached.erase(point);
        continue;
      }
      if (producer_dies_at(point, nth)) never_reached.erase(point);
      if (consumer_dies_at(point, nth)) never_reached.erase(point);
      if (HasFailure()) return;
    }
  }
  EXPECT_TRUE(never_reached.empty()) << *never_reached.begin() << " was never reached";
}

TEST(ring_process, AProducerKilledAtRandomLeavesWhatItHasPublished) {
  under_seeds(3, [](std::uint64_t seed) {
    dice d{seed};
    const test_ring t{deadly_options};
    const shared_notes told;
    auto in = t.first();
    std::uint64_t read = 0;
    std::uint32_t generation = 1;
    for (int kills = 0; kills < 60; ++kills) {
      const ring_place place = in.place();
      const pid_t child = forked([&] {
        if (generation == 1) {
          auto out = t.producer();
          write_groups(out, told, ~std::uint64_t{0});
        } else {
          auto out = ring_producer::take_over(t.ring(), generation, place);
          REQUIRE(out);
          write_groups(*out, told, ~std::uint64_t{0});
        }
      });
      const std::uint64_t last = read + d.below(200);
      while (read < last) {
        if (read_group(in, read)) {
          ++read;
        } else if (testing::Test::HasFailure()) {
          break;
        }
      }
      for (std::uint64_t spins = d.below(100'000); spins != 0; --spins) {
        (void)told->published.load();
      }
      ::kill(child, SIGKILL);
      ASSERT_TRUE(was_killed(ended(child)));
      while (read_group(in, read)) ++read;
      ASSERT_FALSE(testing::Test::HasFailure());
      ASSERT_TRUE(read == told->published || read == told->published + 1);
      ASSERT_LE(read, told->attempted);
      told->published = read;
      in.follow(++generation);
    }
  });
}

}  // namespace
