// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include <gtest/gtest.h>

#include <peeper/table.hpp>

#include "support/sim_test.hpp"
#include "table/table_test.hpp"

namespace peeper::test {
namespace {

namespace fs = std::filesystem;

/// A folder of its own for each test.
class folder {
 public:
  folder() {
    std::string name = (fs::temp_directory_path() / "peeper_table_XXXXXX").string();
    path_ = ::mkdtemp(name.data());
  }
  folder(const folder&) = delete;
  folder& operator=(const folder&) = delete;
  ~folder() { fs::remove_all(path_); }
  [[nodiscard]] std::string file(const char* name) const { return (path_ / name).string(); }
  [[nodiscard]] std::size_t files() const {
    return static_cast<std::size_t>(
        std::distance(fs::directory_iterator{path_}, fs::directory_iterator{}));
  }

 private:
  fs::path path_;
};

std::string contents(const std::string& path) {
  std::ifstream in{path, std::ios::binary};
  return {std::istreambuf_iterator<char>{in}, {}};
}
void write(const std::string& path, const std::string& bytes) {
  std::ofstream{path, std::ios::binary} << bytes;
}

template <class Table>
std::vector<name_row> all_of(const typename Table::owner& t) {
  return by_id(t.select([](const name_row&) { return true; }));
}

template <class Table>
void survives_a_file(runtime& rt) {
  const folder here;
  auto owner = start_owner<Table>(rt, {.name = "names"});
  std::vector<name_row> rows;
  for (int i = 0; i < 5000; ++i) {
    rows.push_back({i % 4000, std::string(static_cast<std::size_t>(i % 50), 'x'), i});
  }
  in(owner, [&](typename Table::owner& t) {
    t.insert(rows);
    EXPECT_EQ(t.to_file(here.file("none")), 0U) << "nothing is committed yet";
  });
  const auto reader = find_table<Table>(rt, "names").value();
  EXPECT_EQ(reader.to_file(here.file("t")).value(), reader.size().value());
  EXPECT_EQ(here.files(), 2U);
  in(owner, [&](typename Table::owner& t) {
    const auto again = Table::from_file(here.file("t"), {.name = "again"});
    ASSERT_TRUE(again) << again.error().what();
    EXPECT_EQ(all_of<Table>(*again), all_of<Table>(t));
  });
  EXPECT_EQ(find_table<Table>(rt, "again")->size(), reader.size().value());
}
PEEPER_SIM_TEST(a_file, BringsASetBackWithAllItsRows) { survives_a_file<names>(rt); }
PEEPER_SIM_TEST(a_file, BringsAnOrderedSetBackWithAllItsRows) {
  survives_a_file<ordered_names>(rt);
}
PEEPER_SIM_TEST(a_file, BringsABagBackWithAllItsRowsInOrder) { survives_a_file<bag_of_names>(rt); }
PEEPER_SIM_TEST(a_file, BringsADuplicateBagBackWithAllItsRowsInOrder) {
  survives_a_file<duplicate_names>(rt);
}

/// Loads `bytes` as a file. RETURNS: the error's code; nothing if it was loaded.
std::optional<table_errc> loading(const ref<table_server<names>>& owner, const folder& here,
                                  const std::string& bytes) {
  write(here.file("changed"), bytes);
  std::optional<table_errc> code;
  in(owner, [&](names::owner&) {
    const auto t = names::from_file(here.file("changed"), {.name = "changed"});
    if (t) {
      t->drop();
    } else {
      code = t.error().code();
    }
  });
  return code;
}

TEST(a_file, ThatIsCutOffOrAlteredAnywhereIsAnErrorAndMakesNoTable_P8) {
  const folder here;
  runtime rt{{.threads = 1}};
  auto owner = start_owner<names>(rt, {.name = "names"});
  in(owner, [&](names::owner& t) {
    for (int i = 0; i < 20; ++i) t.insert({i, "somebody", i});
  });
  ASSERT_TRUE(find_table<names>(rt, "names")->to_file(here.file("t")));
  const std::string good = contents(here.file("t"));
  ASSERT_EQ(loading(owner, here, good), std::nullopt);
  for (std::size_t i = 0; i < good.size(); ++i) {
    EXPECT_EQ(loading(owner, here, good.substr(0, i)), table_errc::bad_file) << "cut off at " << i;
    for (const char bit : {char{1}, char{64}}) {
      std::string altered = good;
      altered[i] = static_cast<char>(altered[i] ^ bit);
      EXPECT_EQ(loading(owner, here, altered), table_errc::bad_file) << "altered at " << i;
    }
  }
  EXPECT_EQ(loading(owner, here, good + "x"), table_errc::bad_file);
  EXPECT_EQ(loading(owner, here, "something else altogether"), table_errc::bad_file);
  EXPECT_FALSE(find_table<names>(rt, "changed"));
}

TEST(a_file, WithABlockLeftOutOrInAnotherOrderIsAnError_P8) {
  const folder here;
  runtime rt{{.threads = 1}};
  auto owner = start_owner<names>(rt, {.name = "names"});
  in(owner, [&](names::owner& t) {
    for (int i = 0; i < 3; ++i) t.insert({i, std::string(70'000, 'x'), i});  // a block each
  });
  ASSERT_TRUE(find_table<names>(rt, "names")->to_file(here.file("t")));
  const std::string good = contents(here.file("t"));
  std::vector<std::string> blocks;
  std::size_t at = 8;
  while (at < good.size()) {
    std::uint32_t length = 0;
    std::memcpy(&length, good.data() + at + 1, 4);
    blocks.push_back(good.substr(at, 13 + length));
    at += 13 + length;
  }
  ASSERT_EQ(blocks.size(), 5U);
  const std::string begin = good.substr(0, 8);
  EXPECT_EQ(loading(owner, here, begin + blocks[0] + blocks[1] + blocks[2] + blocks[4]),
            table_errc::bad_file);
  EXPECT_EQ(loading(owner, here, begin + blocks[0] + blocks[2] + blocks[1] + blocks[3] + blocks[4]),
            table_errc::bad_file);
  EXPECT_EQ(loading(owner, here, begin + blocks[0] + blocks[4]), table_errc::bad_file);
}

PEEPER_SIM_TEST(a_file, ThatCannotBeLoadedLeavesItsNameFreeAndTheCallbackGoesOn) {
  const folder here;
  auto owner = start_owner<names>(rt, {.name = "names"});
  in(owner, [&](names::owner& t) {
    const auto none = names::from_file(here.file("none"), {.name = "new"});
    ASSERT_FALSE(none);
    EXPECT_EQ(none.error().code(), table_errc::file);
    const auto taken = names::from_file(here.file("none"), {.name = "names"});
    ASSERT_FALSE(taken);
    EXPECT_EQ(taken.error().code(), table_errc::name_taken);
    EXPECT_TRUE(names::create({.name = "new"}));
    t.insert({1, "a", 0});
  });
  EXPECT_EQ(find_table<names>(rt, "names")->size(), 1U);
  crash_in(owner, [&](names::owner&) {
    EXPECT_FALSE(names::from_file(here.file("none"), {.name = "newer"}));
  });
  EXPECT_FALSE(find_table<names>(rt, "newer"));
}

PEEPER_SIM_TEST(a_file, OfAnotherKindIsAnErrorThatNamesBoth_P8) {
  const folder here;
  auto owner = start_owner<bag_of_names>(rt, {.name = "names"});
  ASSERT_TRUE(find_table<bag_of_names>(rt, "names")->to_file(here.file("t")));
  in(owner, [&](bag_of_names::owner&) {
    const auto t = names::from_file(here.file("t"));
    ASSERT_FALSE(t);
    EXPECT_EQ(t.error().code(), table_errc::bad_file);
    EXPECT_NE(t.error().what().find("holds a bag, not a set"), std::string::npos)
        << t.error().what();
  });
}

struct old_row {
  int id = 0;
  std::string name;
};
struct new_row {
  static constexpr unsigned version = 1;
  using previous = old_row;
  int id = 0;
  std::string first;
  std::string last;
  static new_row migrate(old_row&& r) { return {r.id, std::move(r.name), "?"}; }
};
PEEPER_SIM_TEST(a_file, OfAnOlderVersionIsLoadedOfANewerOneRefusedWithBothNamed_P8) {
  using old_table = table<old_row, &old_row::id>;
  using new_table = table<new_row, &new_row::id>;
  const folder here;
  auto owner = start_owner<names>(rt, {.name = "names"});
  in(owner, [&](names::owner&) {
    old_table::create({.name = "old"}).value().insert({1, "ann"});
    new_table::create({.name = "new"}).value().insert({1, "ann", "lee"});
  });
  ASSERT_TRUE(find_table<old_table>(rt, "old")->to_file(here.file("old")));
  ASSERT_TRUE(find_table<new_table>(rt, "new")->to_file(here.file("new")));
  in(owner, [&](names::owner&) {
    const auto t = new_table::from_file(here.file("old"));
    ASSERT_TRUE(t) << t.error().what();
    EXPECT_EQ(t->lookup(1)->first, "ann");
    EXPECT_EQ(t->lookup(1)->last, "?");
    const auto refused = old_table::from_file(here.file("new"));
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), table_errc::bad_file);
    EXPECT_NE(refused.error().what().find("version 1, this program knows them up to 0"),
              std::string::npos)
        << refused.error().what();
  });
}

/// A machine whose disk fails at the nth thing that is done with a file.
class failing_disk final : public environment {
 public:
  int fails_at = 0;  ///< 1 = the next one; 0: never
  std::size_t largest_write = 0;

  bool failed() { return fails_at > 0 && --fails_at == 0; }
  static std::error_code error() { return std::make_error_code(std::errc::no_space_on_device); }

  class failing_file final : public file {
   public:
    failing_file(failing_disk& d, std::unique_ptr<file> real) : disk_{d}, real_{std::move(real)} {}
    std::expected<std::size_t, std::error_code> read(std::span<std::byte> into) override {
      if (disk_.failed()) return std::unexpected{error()};
      return real_->read(into);
    }
    std::error_code write(std::span<const std::byte> bytes) override {
      disk_.largest_write = std::max(disk_.largest_write, bytes.size());
      return disk_.failed() ? error() : real_->write(bytes);
    }
    std::error_code sync() override { return disk_.failed() ? error() : real_->sync(); }

   private:
    failing_disk& disk_;
    std::unique_ptr<file> real_;
  };
  std::expected<std::unique_ptr<file>, std::error_code> open_file(const std::string& path,
                                                                  file_use use) override {
    if (failed()) return std::unexpected{error()};
    auto real = machine_.open_file(path, use);
    if (!real) return std::unexpected{real.error()};
    return std::make_unique<failing_file>(*this, std::move(*real));
  }
  std::error_code rename_file(const std::string& from, const std::string& to) override {
    return failed() ? error() : machine_.rename_file(from, to);
  }

  time_point now() noexcept override { return machine_.now(); }
  time_point coarse_now() noexcept override { return machine_.coarse_now(); }
  std::uint64_t random() noexcept override { return machine_.random(); }
  unsigned default_threads() noexcept override { return machine_.default_threads(); }
  std::unique_ptr<thread> start_thread(std::string_view name,
                                       std::move_only_function<void()> body) override {
    return machine_.start_thread(name, std::move(body));
  }
  bool park(parker& self, time_point deadline) noexcept override {
    return machine_.park(self, deadline);
  }
  void unpark(parker& other) noexcept override { machine_.unpark(other); }
  unsigned spin_limit() noexcept override { return machine_.spin_limit(); }

 private:
  environment& machine_ = real_environment();
};

TEST(a_file, IsAsItWasIfWritingFailsAnywhereAndLoadingFailsWithoutATable_P8) {
  const folder here;
  failing_disk disk;
  runtime rt{{.threads = 1, .env = &disk}};
  auto owner = start_owner<names>(rt, {.name = "names"});
  const auto reader = find_table<names>(rt, "names").value();
  ASSERT_TRUE(reader.to_file(here.file("t")));
  const std::string before = contents(here.file("t"));
  in(owner, [](names::owner& t) {
    for (int i = 0; i < 10'000; ++i) t.insert({i, "a name that takes its place", i});
  });
  int points = 0;
  for (;; ++points) {
    disk.fails_at = points + 1;
    const auto done = reader.to_file(here.file("t"));
    if (done) break;
    EXPECT_EQ(done.error().code(), table_errc::file);
    EXPECT_EQ(contents(here.file("t")), before);
    EXPECT_EQ(here.files(), 1U) << "nothing is left beside it";
  }
  EXPECT_GE(points, 10) << "opening, blocks, syncing, renaming";
  EXPECT_LT(disk.largest_write, 70'000U) << "memory is bounded, whatever the table's size";
  int reads = 0;
  for (bool loaded = false; !loaded; ++reads) {
    in(owner, [&](names::owner&) {
      disk.fails_at = reads + 1;
      const auto t = names::from_file(here.file("t"), {.name = "again"});
      loaded = t.has_value();
      if (!t) {
        EXPECT_EQ(t.error().code(), table_errc::file);
      }
    });
    disk.fails_at = 0;
    EXPECT_EQ(find_table<names>(rt, "again").has_value(), loaded);
  }
  EXPECT_GE(reads, 10);
  EXPECT_EQ(find_table<names>(rt, "again")->size(), 10'000U);
}

TEST(a_file, OfAnEndedTableIsNotWritten) {
  const folder here;
  names::reader reader;
  {
    runtime rt{{.threads = 1}};
    auto owner = start_owner<names>(rt, {.name = "names"});
    reader = find_table<names>(rt, "names").value();
    EXPECT_TRUE(stop(owner));
    const auto done = reader.to_file(here.file("t"));
    ASSERT_FALSE(done);
    EXPECT_EQ(done.error().code(), table_errc::gone);
  }
  EXPECT_EQ(here.files(), 0U);
}

}  // namespace
}  // namespace peeper::test
