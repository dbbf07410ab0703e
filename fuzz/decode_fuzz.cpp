// SPDX-License-Identifier: Apache-2.0
//
// libFuzzer target: bytes from anywhere become a state (of an older version, too), an error, or a
// delta that is applied as a whole or not at all; never a crash. Run it with
//   decode_fuzz -max_total_time=60 -rss_limit_mb=512 -dict=fuzz/decode.dict <corpus directory>
// Started with PEEPER_FUZZ_SEEDS=<directory> it writes valid encodings there first, to begin with.
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

// The state that the tests use, compiled here since there is no library of tests.
#include "kept/test_world_test.cpp"  // NOLINT(bugprone-suspicious-include)

namespace {

using peeper::test::dice;
using peeper::test::dump;
using peeper::test::kept_world;
using state = peeper::test::world_state;

/// A chain of versions whose migrate() refuses some of what it is given.
struct first_version {
  std::vector<int> numbers;
};
struct second_version {
  static constexpr unsigned version = 1;
  using previous = first_version;
  static second_version migrate(first_version&& old) {
    if (old.numbers.size() > 3) throw std::length_error{"too many"};
    return {std::move(old.numbers), {}};
  }
  std::vector<int> numbers;
  std::string text;
};
struct third_version {
  static constexpr unsigned version = 3;
  using previous = second_version;
  static third_version migrate(second_version&& old) {
    third_version made;
    for (const int n : old.numbers) made.numbers.push_back(n);
    made.text = std::move(old.text);
    return made;
  }
  peeper::kept_vector<int> numbers;
  std::string text;
};

void require(bool holds) {
  if (!holds) std::abort();
}

/// A state with something in each field, the same each time.
void fill(state& s) {
  dice d{1};
  s.begin();
  for (int n = 0; n < 400; ++n) peeper::test::change_world(s.value(), d);
  s.prepare();
  s.commit();
}

void write_seed(const std::filesystem::path& file, char first, std::span<const std::byte> bytes) {
  std::ofstream out{file, std::ios::binary};
  out.put(first);
  out.write(reinterpret_cast<const char*>(bytes.data()),
            static_cast<std::streamsize>(bytes.size()));
}

void write_seeds(const std::filesystem::path& directory) {
  std::filesystem::create_directories(directory);
  state s;
  fill(s);
  write_seed(directory / "state", 0, peeper::encode(s.value()));
  write_seed(directory / "empty", 0, peeper::encode(kept_world{}));
  write_seed(directory / "version0", 2, peeper::encode(first_version{{1, 2, 3}}));
  write_seed(directory / "version1", 2, peeper::encode(second_version{{1, 2, 3, 4}, "x"}));
  write_seed(directory / "version3", 2, peeper::encode(third_version{{1}, "y"}));
  s.record_deltas(true);
  dice d{2};
  for (int n = 0; n < 200; ++n) {
    // Each of these applies to the filled state, as the fuzz target has it.
    state fresh;
    fill(fresh);
    fresh.record_deltas(true);
    fresh.begin();
    for (int changes = 1 + d.below(4); changes > 0; --changes) {
      peeper::test::change_world(fresh.value(), d);
    }
    fresh.prepare();
    if (fresh.commit()) {
      write_seed(directory / ("delta" + std::to_string(n)), 1, fresh.last_delta());
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int* /*argc*/, char*** /*argv*/) {
  if (const char* directory = std::getenv("PEEPER_FUZZ_SEEDS")) write_seeds(directory);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  if (size == 0) return 0;
  const std::span<const std::byte> bytes = std::as_bytes(std::span{data, size}).subspan(1);
  if (data[0] % 3 == 2) {
    if (const auto got = peeper::decode<third_version>(bytes)) {
      const auto now = peeper::encode(*got);
      require(peeper::encode(peeper::decode<third_version>(now).value()) == now);
    }
    return 0;
  }
  if (data[0] % 3 == 0) {
    if (const auto got = peeper::decode<kept_world>(bytes)) {
      // What was accepted can be written and read again, and is the same then.
      const auto again = peeper::decode<kept_world>(peeper::encode(*got));
      require(again.has_value());
      require(dump(*again, true) == dump(*got, true));
    }
    return 0;
  }
  static state target;
  static const std::string before = [] {
    fill(target);
    return dump(target.value(), true);
  }();
  // In a transaction of its own, so that the target is the same for the next input.
  (void)target.try_delta(bytes);
  require(dump(target.value(), true) == before);
  return 0;
}
