// SPDX-License-Identifier: Apache-2.0
/// Names: one server each, free again when it has ended, found with its class.
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "support/counter.hpp"
#include "support/sim_test.hpp"

namespace peeper {
namespace {

using namespace std::chrono_literals;
using test::counter;
using test::get;

struct other {
  using state = int;
};

PEEPER_SIM_TEST(a_name, ThatIsTakenIsAStartErrorWithThePid) {
  const auto first = start<counter>(rt, {.name = "one", .state = 1}).value();
  const auto second = start<counter>(rt, {.name = "one", .state = 2});
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code(), start_errc::already_started);
  EXPECT_EQ(second.error().existing(), first.pid());
  EXPECT_NE(second.error().what().find("'one'"), std::string::npos);
  EXPECT_EQ(rt.server_count(), 1U);
  EXPECT_EQ(first.call(get{}), 1);
  EXPECT_EQ(whereis<counter>(rt, "one")->call(get{}), 1);
}

PEEPER_SIM_TEST(a_name, IsFreeWhenItsServerHasEnded) {
  for (int i = 0; i < 3; ++i) {
    const auto c = start<counter>(rt, {.name = "one", .state = i});
    ASSERT_TRUE(c);
    EXPECT_EQ(whereis<counter>(rt, "one")->call(get{}), i);
    if (i == 2) {
      EXPECT_TRUE(kill(c->pid()));
      sim.run();
    } else {
      EXPECT_TRUE(stop(*c));
    }
    EXPECT_EQ(whereis<counter>(rt, "one").error().code(), call_errc::noproc);
  }
}

PEEPER_SIM_TEST(a_name, LastsThroughCrashesAndKills) {
  const auto c = start<counter>(rt, {.name = "one", .state = 1}).value();
  c.cast(test::crash{});
  EXPECT_TRUE(kill(worker_of(c)));
  EXPECT_TRUE(kill(keeper_of(c)));
  EXPECT_TRUE(kill(supervisor_of(c)));
  sim.run();
  EXPECT_TRUE(whereis<counter>(rt, "one").value() == c);
  EXPECT_EQ(start<counter>(rt, {.name = "one"}).error().code(), start_errc::already_started);
}

PEEPER_SIM_TEST(a_name, IsFreeWhenRestartsAreGivenUp) {
  const auto c = start<counter>(rt, {.name = "one", .max_restarts = 0}).value();
  c.cast(test::crash{});
  sim.run();
  EXPECT_FALSE(c.alive());
  EXPECT_TRUE(start<counter>(rt, {.name = "one"}));
}

PEEPER_SIM_TEST(a_name, OfAnotherClassIsAMismatch) {
  ASSERT_TRUE(start<counter>(rt, {.name = "one"}));
  const auto r = whereis<other>(rt, "one");
  ASSERT_FALSE(r);
  EXPECT_EQ(r.error().code(), call_errc::name_mismatch);
  EXPECT_TRUE(r.error().not_delivered());
}

PEEPER_SIM_TEST(a_name, ThatNobodyHasIsNoproc) {
  const auto r = whereis<counter>(rt, "nobody");
  ASSERT_FALSE(r);
  EXPECT_EQ(r.error().code(), call_errc::noproc);
  EXPECT_NE(r.error().what().find("'nobody'"), std::string::npos);
  EXPECT_EQ(whereis<counter>(rt, "").error().code(), call_errc::noproc);
}

PEEPER_SIM_TEST(a_name, IsGivenToOneOfManyWhoWantIt) {
  int started = 0;
  std::vector<pid> existing;
  {
    std::vector<std::unique_ptr<environment::thread>> threads;
    for (int i = 0; i < 5; ++i) {
      threads.push_back(sim.thread([&] {
        if (const auto r = start<counter>(rt, {.name = "one"})) {
          ++started;
        } else {
          existing.push_back(r.error().existing());
        }
      }));
    }
  }
  EXPECT_EQ(started, 1);
  EXPECT_EQ(existing, std::vector<pid>(4, whereis<counter>(rt, "one")->pid()));
}

PEEPER_SIM_TEST(a_name, IsWhatLogsAndErrorsCallTheServer) {
  EXPECT_EQ(start<counter>(rt, {.name = "one"})->name(), "one");
  const auto nameless = start<counter>(rt).value();
  EXPECT_EQ(nameless.name(), to_string(nameless.pid()));
  EXPECT_EQ(ref<counter>{}.name(), "<no server>");
}

// --- via -----------------------------------------------------------------------------------------

class own_registry final : public registry {
 public:
  bool register_name(const std::string& name, pid server) override {
    const std::lock_guard lock{mutex_};
    return names_.try_emplace(name, server).second;
  }
  void unregister_name(const std::string& name) noexcept override {
    const std::lock_guard lock{mutex_};
    ++unregistered;
    names_.erase(name);
  }
  [[nodiscard]] pid whereis_name(const std::string& name) const override {
    const std::lock_guard lock{mutex_};
    const auto found = names_.find(name);
    return found == names_.end() ? pid{} : found->second;
  }
  int unregistered = 0;

 private:
  mutable std::mutex mutex_;
  std::map<std::string, pid> names_;
};

PEEPER_SIM_TEST(a_registry, OfTheUsersHasTheNameInsteadOfTheRuntime) {
  const auto names = std::make_shared<own_registry>();
  const auto c = start<counter>(rt, {.name = "one", .via = names}).value();
  EXPECT_EQ(names->whereis_name("one"), c.pid());
  EXPECT_FALSE(whereis<counter>(rt, "one"));
  const auto local = start<counter>(rt, {.name = "one"});
  EXPECT_TRUE(local);  // another name space
  const auto taken = start<counter>(rt, {.name = "one", .via = names});
  ASSERT_FALSE(taken);
  EXPECT_EQ(taken.error().code(), start_errc::already_started);
  EXPECT_EQ(taken.error().existing(), c.pid());
  EXPECT_TRUE(kill(worker_of(c)));
  sim.run();
  EXPECT_EQ(names->whereis_name("one"), c.pid());
  EXPECT_TRUE(stop(c));
  EXPECT_FALSE(names->whereis_name("one"));
  EXPECT_EQ(names->unregistered, 1);
  EXPECT_TRUE(stop(*local));
  EXPECT_EQ(names->unregistered, 1);
}

PEEPER_SIM_TEST(a_registry, GetsTheNameBackWhenInitFails) {
  struct never_starts {
    using state = int;
    state init() { throw std::runtime_error{"no"}; }
  };
  const auto names = std::make_shared<own_registry>();
  EXPECT_FALSE(start<never_starts>(rt, {.name = "one", .via = names}));
  EXPECT_FALSE(names->whereis_name("one"));
  EXPECT_EQ(names->unregistered, 1);
}

}  // namespace
}  // namespace peeper
