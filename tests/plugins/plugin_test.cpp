// SPDX-License-Identifier: Apache-2.0
/// Classes from shared libraries: loaded, upgraded to, and refused.
#include <filesystem>
#include <string>
#include <string_view>

#include <gtest/gtest.h>
#include <spdlog/spdlog.h>

#include <peeper/peeper.hpp>

#include "built_in.hpp"

namespace plugin_test {
namespace {

namespace fs = std::filesystem;
using implementation = peeper::implementation<protocol>;
using peeper::upgrade_errc;

const bool log_is_quiet = (spdlog::set_level(spdlog::level::off), true);

fs::path plugin(const std::string& name) {
  return fs::path{PEEPER_PLUGIN_FOLDER} / ("peeper_test_plugin_" + name + ".so");
}
peeper::ref<server> start(peeper::runtime& rt, const implementation& of) {
  return peeper::start<server>(rt, {.name = "s", .state = of}).value();
}
void expect_refused(const std::expected<void, peeper::upgrade_error>& got, upgrade_errc code,
                    std::string_view text) {
  ASSERT_FALSE(got);
  EXPECT_EQ(to_string(got.error().code()), to_string(code));
  EXPECT_NE(got.error().what().find(text), std::string::npos) << got.error().what();
}

TEST(a_plugin, BringsTheClassOfAServer) {
  const auto v1 = implementation::load(plugin("v1"));
  ASSERT_TRUE(v1) << v1.error().what();
  EXPECT_EQ(v1->name(), "plugin_test::v1::server");
  EXPECT_EQ(v1->version(), 1U);
  EXPECT_EQ(implementation::load(plugin("v1")).value(), *v1) << "loaded once";
  peeper::runtime rt;
  const auto s = start(rt, *v1);
  s.cast(put{5});
  EXPECT_EQ(s.call(who{}), "version 1");
  EXPECT_EQ(s.call(get{}), 5);
}

TEST(a_plugin, TakesOverARunningServerWithItsState) {
  peeper::runtime rt;
  const auto s = start(rt, implementation::of<built_in>());
  s.cast(put{5});
  EXPECT_EQ(s.call(who{}), "built in");
  ASSERT_TRUE(peeper::upgrade(s, plugin("v1")));
  EXPECT_EQ(s.call(who{}), "version 1");
  ASSERT_TRUE(peeper::upgrade(s, plugin("v2")));
  EXPECT_EQ(s.call(who{}), "version 2");
  EXPECT_EQ(s.call(get{}), 50);
}

TEST(a_plugin, CrashesLikeAnyClassAndItsExceptionOutlivesIt) {
  peeper::runtime rt;
  const auto s = start(rt, implementation::load(plugin("v1")).value());
  s.cast(put{5});
  const auto crashed = s.call(crash_now{});
  ASSERT_TRUE(peeper::upgrade(s, plugin("v2")));
  ASSERT_FALSE(crashed);
  EXPECT_EQ(crashed.error().reason().detail(), "thrown by version 1");
  EXPECT_EQ(s.call(crash_now{}).error().reason().detail(), "thrown by version 2");
  EXPECT_EQ(s.call(get{}), 50);
  EXPECT_EQ(peeper::list_poison(s)->size(), 2U);
}

struct collector {
  using state = int;
  using infos = peeper::types<put>;
  static int handle_call(get /*m*/, const state& n) { return n; }
  static void handle_info(put m, state& n) { n = m.value; }
};

TEST(a_message, ThatAnOldVersionHasSentIsHandledAfterTheVersionIsGone) {
  peeper::runtime rt;
  const auto to = peeper::start<collector>(rt).value();
  ASSERT_TRUE(peeper::suspend(to));
  const auto s = start(rt, implementation::load(plugin("v1")).value());
  s.cast(forward{6, to.pid()});
  EXPECT_EQ(s.call(get{}), 0);
  ASSERT_TRUE(peeper::upgrade(s, plugin("v2")));
  ASSERT_TRUE(peeper::resume(to));
  EXPECT_EQ(to.call(get{}), 7);
}

TEST(a_library, ThatCannotBeUsedIsRefusedAndTheOldVersionGoesOn_P8) {
  peeper::runtime rt;
  const auto s = start(rt, implementation::of<built_in>());
  s.cast(put{5});
  expect_refused(peeper::upgrade(s, plugin("of_nobody")), upgrade_errc::bad_library,
                 "No such file");
  expect_refused(peeper::upgrade(s, fs::path{__FILE__}), upgrade_errc::bad_library,
                 "cannot be used");
  expect_refused(peeper::upgrade(s, plugin("no_plugin")), upgrade_errc::bad_library,
                 "it has no PEEPER_PLUGIN");
  expect_refused(peeper::upgrade(s, plugin("other_protocol")), upgrade_errc::mismatch,
                 "build both from the same header");
  expect_refused(peeper::upgrade(s, plugin("other_peeper")), upgrade_errc::mismatch,
                 "another version of peeper");
  expect_refused(peeper::upgrade(s, plugin("same_name")), upgrade_errc::mismatch,
                 "put each version into a namespace of its own");
  EXPECT_EQ(s.call(who{}), "built in");
  EXPECT_EQ(s.call(get{}), 5);
}

TEST(a_library, ReplacedUnderTheSameNameIsRefusedSinceTheOldOneIsLoaded_P8) {
  const fs::path file = fs::temp_directory_path() /
                        ("peeper_plugin_" +
                         std::to_string(::testing::UnitTest::GetInstance()->random_seed()) + ".so");
  fs::copy_file(plugin("v1"), file, fs::copy_options::overwrite_existing);
  ASSERT_TRUE(implementation::load(file));
  fs::remove(file);
  fs::copy_file(plugin("v2"), file);
  const auto again = implementation::load(file);
  fs::remove(file);
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code(), upgrade_errc::bad_library);
  EXPECT_NE(again.error().what().find("another file of that name is loaded already"),
            std::string::npos);
}

}  // namespace
}  // namespace plugin_test
