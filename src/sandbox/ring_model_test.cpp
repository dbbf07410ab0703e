// SPDX-License-Identifier: Apache-2.0
//
// Random frames, groups, deaths and take-overs, against a model that is a list of frames.
#include <algorithm>
#include <optional>
#include <vector>

#include "sandbox/ring_test.hpp"

namespace {

using namespace peeper::sandbox;        // NOLINT(google-build-using-namespace)
using namespace peeper::sandbox::test;  // NOLINT(google-build-using-namespace)

struct model_frame {
  std::uint16_t type;
  std::uint32_t generation;
  bytes payload;
  bool operator==(const model_frame&) const = default;
};

/// One consumer, and what the model says of it.
struct reader {
  ring_consumer ring;
  std::size_t at;        ///< in the list of all frames: what it reads next
  std::size_t released;  ///< it may be begun again from here on
  ring_place released_place;
};

class world {
 public:
  explicit world(std::uint64_t seed)
      : dice_{seed},
        ring_{{.capacity = std::size_t{4096} << dice_.below(3), .large_bytes = 128UL * 1024}},
        producer_{ring_.producer()},
        first_{ring_.first(), 0, 0, {}} {}

  void step() {
    switch (dice_.below(24)) {
      case 0: return producer_dies();
      case 1: return first_dies();
      case 2: return second_comes_or_goes();
      case 3: return discard();
      case 4: return drain_and_fill();
      default: break;
    }
    switch (dice_.below(5)) {
      case 0:
      case 1: return write();
      case 2: return publish();
      case 3: return read(first_);
      default:
        if (second_) read(*second_);
    }
  }
  void drain() {
    publish();
    for (reader* r : readers()) {
      while (r->at < published_.size()) read(*r);
      read(*r);
    }
  }

 private:
  std::vector<reader*> readers() {
    if (!second_) return {&first_};
    return {&first_, &*second_};
  }

  bytes some_bytes() {
    const std::uint64_t limit = dice_.one_in(20) ? 40'000 : dice_.one_in(4) ? 1500 : 100;
    return made_bytes(++made_, dice_.below(limit));
  }
  void write() {
    const auto type = static_cast<std::uint16_t>(dice_.below(65536));
    const bytes payload = some_bytes();
    if (dice_.one_in(2)) {
      const auto room = producer_.reserve(type, payload.size() + dice_.below(200));
      if (!room) return expect_refusal(room.error());
      if (dice_.one_in(10)) return;  // thought better of it
      std::ranges::copy(payload, room->begin());
      producer_.commit(payload.size());
    } else if (const auto written = producer_.append(type, payload); !written) {
      return expect_refusal(written.error());
    }
    unpublished_.push_back({type, producer_.generation(), payload});
  }
  void expect_refusal(const ring_error& why) {
    EXPECT_TRUE(why.what == ring_errc::full || why.what == ring_errc::too_large) << why.text();
    // Nobody is full who has nothing to read, so waiting would end.
    const bool all_read = std::ranges::all_of(
        readers(), [&](const reader* r) { return r->released == published_.size(); });
    if (why.what == ring_errc::full && all_read) {
      drain();
      EXPECT_FALSE(producer_.prepare_sleep()) << "it would wait for ever";
    }
    if (why.what == ring_errc::too_large) {
      EXPECT_FALSE(unpublished_.empty());
    }
  }
  void publish() {
    producer_.publish();
    std::ranges::move(unpublished_, std::back_inserter(published_));
    unpublished_.clear();
  }
  void discard() {
    producer_.discard();
    unpublished_.clear();
  }

  void read(reader& r) {
    const auto next = r.ring.read();
    ASSERT_TRUE(next.has_value()) << next.error().text();
    ASSERT_EQ(next->has_value(), r.at < published_.size());
    if (*next) {
      const model_frame expected = published_[r.at];
      ASSERT_EQ((*next)->sequence, r.at + 1);
      ASSERT_EQ((model_frame{(*next)->type, (*next)->generation, copied((*next)->payload)}),
                expected);
      ++r.at;
    }
    if (dice_.one_in(2)) {
      r.ring.release();
      r.released = r.at;
      r.released_place = r.ring.place();
    }
  }

  /// A follower reads all that was published, and takes over; or the first consumer's OS process
  /// makes a new producer where it has read all.
  void producer_dies() {
    unpublished_.clear();
    reader& heir = second_ ? *second_ : first_;
    while (heir.at < published_.size()) read(heir);
    read(heir);
    auto next =
        ring_producer::take_over(ring_.ring(), producer_.generation() + 1, heir.ring.place());
    ASSERT_TRUE(next) << next.error().text();
    producer_ = std::move(*next);
    second_.reset();
    first_.ring.follow(producer_.generation());
  }
  void first_dies() {
    first_.ring = ring_.first({.generation = producer_.generation(),
                               .from = first_.released_place,
                               .in_place = dice_.one_in(2)});
    first_.at = first_.released;
  }
  void second_comes_or_goes() {
    if (second_) {
      second_.reset();
      if (dice_.one_in(2)) return first_.ring.dismiss_second();
      return producer_.dismiss_second();
    }
    const bool by_producer = unpublished_.empty() && dice_.one_in(2);
    const ring_place from = by_producer ? producer_.admit_second() : first_.ring.admit_second();
    const std::size_t at = by_producer ? published_.size() : first_.released;
    ASSERT_EQ(from.sequence, at + 1);
    second_.emplace(ring_.second({.generation = producer_.generation(), .from = from}), at, at,
                    from);
  }
  /// Nothing of the ring's room is ever lost.
  void drain_and_fill() {
    drain();
    for (reader* r : readers()) {
      r->ring.release();
      r->released = r->at;
      r->released_place = r->ring.place();
      read(*r);
    }
    const std::size_t most = ring_.options().capacity / 4 - 24;
    for (int n = 0; n < 2; ++n) {
      const bytes payload = made_bytes(++made_, most - dice_.below(100));
      ASSERT_TRUE(producer_.append(1, payload));
      unpublished_.push_back({1, producer_.generation(), payload});
    }
    publish();
  }

  dice dice_;
  test_ring ring_;
  ring_producer producer_;
  reader first_;
  std::optional<reader> second_;
  std::vector<model_frame> published_;
  std::vector<model_frame> unpublished_;
  std::uint64_t made_ = 0;
};

TEST(ring_model, WhateverHappensThePublishedFramesAreReadInOrderAndOnce) {
  under_seeds(40, [](std::uint64_t seed) {
    world w{seed};
    for (int n = 0; n < 3000 && !testing::Test::HasFailure(); ++n) w.step();
    w.drain();
  });
}

}  // namespace
