// SPDX-License-Identifier: Apache-2.0
/// \file
/// Who owns a table, and what becomes of it: crashes, ends, heirs, gifts, names, access.
#include <string>

#include <gtest/gtest.h>

#include <peeper/table.hpp>

#include "support/counter.hpp"
#include "support/sim_test.hpp"
#include "table/table_test.hpp"

namespace peeper::test {
namespace {

template <class R>
table_errc code_of(const R& r) {
  EXPECT_FALSE(r);
  return r ? table_errc{} : r.error().code();
}
std::string told(const ref<table_server<names>>& s) {
  return inspect(s, [](const auto& st) { return st.told; }).value();
}

// --- crashes -------------------------------------------------------------------------------------

PEEPER_SIM_TEST(a_kept_table, ComesBackAfterEveryCrashWithItsRowsAndItsId_P1) {
  auto owner = start_owner<names>(rt, {.name = "names"}, {"names"});
  in(owner, [](names::owner& t) { t.insert({1, "a", 0}); });
  const names::owner before = handle_of(owner);
  const auto reader = find_table<names>(rt, "names").value();
  for (int i = 0; i < 3; ++i) {
    crash_in(owner, [](names::owner& t) { t.insert({2, "never", 0}); });
    EXPECT_EQ(handle_of(owner).id(), before.id());
    EXPECT_EQ(reader.size(), 1U);
    EXPECT_TRUE(kill(worker_of(owner)));
    EXPECT_TRUE(kill(keeper_of(owner)));
    sim.run();
    EXPECT_EQ(handle_of(owner).id(), before.id());
    in(owner, [](names::owner& t) { EXPECT_EQ(t.lookup(1)->name, "a"); });
    EXPECT_EQ(reader.lookup(1).value()->name, "a");
  }
  EXPECT_TRUE(kill(supervisor_of(owner)));
  sim.run();
  in(owner, [](names::owner& t) { EXPECT_EQ(t.lookup(1)->name, "a"); });
  EXPECT_TRUE(reader.info()->kept);
}

PEEPER_SIM_TEST(a_kept_table, IsKeptTooIfItsOwnerIsItsHeir) {
  struct heir_of_itself {
    using state = int;
    names::owner all;
    int init() {
      all = names::create({.name = "own heir", .heir = self_pid()}).value();
      all.insert({static_cast<int>(restart_count()), "start", 0});
      return 0;
    }
    int handle_call(get, const int&) { return static_cast<int>(all.size()); }
    void handle_cast(const crash&, int&) { throw std::runtime_error{"unlucky"}; }
  };
  auto owner = start<heir_of_itself>(rt).value();
  const auto id = find_table<names>(rt, "own heir")->id();
  owner.cast(crash{});
  EXPECT_EQ(owner.call(get{}), 2);
  EXPECT_EQ(find_table<names>(rt, "own heir")->id(), id);
}

PEEPER_SIM_TEST(a_kept_table, WithoutANameIsFoundAgainByItsId) {
  struct keeper_of_id {
    using state = table_id;
    table_id init() {
      const auto t = names::create().value();
      t.insert({1, "a", 0});
      return t.id();
    }
    int handle_call(get, const table_id& id) {
      return static_cast<int>(names::own(id).value().size());
    }
    void handle_cast(const crash&, table_id&) { throw std::runtime_error{"unlucky"}; }
  };
  auto owner = start<keeper_of_id>(rt, {.keep_tables = kept_tables::all()}).value();
  owner.cast(crash{});
  EXPECT_EQ(owner.call(get{}), 1);
}

PEEPER_SIM_TEST(a_table_that_is_not_kept, GoesWithItsWorker) {
  auto owner = start_owner<names>(rt, {.name = "names"}, {"others"});
  in(owner, [](names::owner& t) { t.insert({1, "a", 0}); });
  const auto reader = find_table<names>(rt, "names").value();
  crash_in(owner, [](names::owner&) {});
  sim.run();
  EXPECT_EQ(code_of(reader.lookup(1)), table_errc::gone);
  const auto again = find_table<names>(rt, "names").value();
  EXPECT_NE(again.id(), reader.id());
  EXPECT_EQ(again.size(), 0U);
}

PEEPER_SIM_TEST(a_table, MadeByACallbackThatCrashesHasNeverBeen_P2) {
  auto owner = start_owner<names>(rt, {}, kept_tables::all());
  crash_in(owner, [&](names::owner&) {
    const auto t = names::create({.name = "new"}).value();
    t.insert({1, "a", 0});
    EXPECT_TRUE(find_table<names>(rt, "new")) << "its maker finds it";
  });
  EXPECT_EQ(code_of(find_table<names>(rt, "new")), table_errc::no_such_table);
  in(owner, [](names::owner&) { EXPECT_TRUE(names::create({.name = "new"})); });
  EXPECT_TRUE(find_table<names>(rt, "new"));
}

PEEPER_SIM_TEST(a_table, MadeByAnInitThatFailsHasNeverBeen_P2) {
  struct failing {
    using state = int;
    int init() {
      names::create({.name = "new"}).value().insert({1, "a", 0});
      throw std::runtime_error{"unlucky"};
    }
  };
  EXPECT_FALSE(start<failing>(rt));
  EXPECT_EQ(code_of(find_table<names>(rt, "new")), table_errc::no_such_table);
}

PEEPER_SIM_TEST(a_table, IsSeenByOthersFromTheCommitOfItsMakerOn) {
  auto owner = start_owner<names>(rt);
  in(owner, [&](names::owner&) {
    const auto t = names::create({.name = "new"}).value();
    t.insert({1, "a", 0});
    const detail::outside_callbacks another_thread;
    EXPECT_EQ(code_of(find_table<names>(rt, "new")), table_errc::no_such_table);
  });
  EXPECT_EQ(find_table<names>(rt, "new")->size(), 1U);
}

// --- ends ----------------------------------------------------------------------------------------

PEEPER_SIM_TEST(a_table, EndsWithItsServerAndItsHandlesSayGone_P8) {
  auto owner =
      start_owner<names>(rt, {.name = "names", .access = access::public_}, kept_tables::all());
  const auto reader = find_table<names>(rt, "names").value();
  const auto writer = find_public_table<names>(rt, "names").value();
  EXPECT_TRUE(stop(owner));
  EXPECT_EQ(code_of(reader.lookup(1)), table_errc::gone);
  EXPECT_EQ(code_of(reader.size()), table_errc::gone);
  EXPECT_EQ(code_of(reader.first()), table_errc::gone);
  EXPECT_EQ(code_of(reader.select([](const name_row&) { return true; })), table_errc::gone);
  EXPECT_EQ(code_of(reader.info()), table_errc::gone);
  EXPECT_EQ(code_of(writer.insert({1, "a", 0})), table_errc::gone);
  EXPECT_EQ(code_of(writer.clear()), table_errc::gone);
  EXPECT_EQ(code_of(find_table<names>(rt, "names")), table_errc::no_such_table);
}

TEST(a_table, HandleOutlivesTheRuntime) {
  names::reader reader;
  names::writer writer;
  {
    runtime rt{{.threads = 1}};
    auto owner = start_owner<names>(rt, {.name = "names", .access = access::public_});
    reader = find_table<names>(rt, "names").value();
    writer = find_public_table<names>(rt, "names").value();
    EXPECT_TRUE(writer.insert({1, "a", 0}));
    EXPECT_EQ(reader.size(), 1U);
  }
  EXPECT_EQ(code_of(reader.lookup(1)), table_errc::gone);
  EXPECT_EQ(code_of(writer.insert({1, "a", 0})), table_errc::gone);
}

PEEPER_SIM_TEST(a_table, ThatIsDroppedIsGoneFromTheCommitOn) {
  auto owner = start_owner<names>(rt, {.name = "names"}, kept_tables::all());
  const auto reader = find_table<names>(rt, "names").value();
  const names::owner handle = handle_of(owner);
  crash_in(owner, [](names::owner& t) { t.drop(); });
  EXPECT_EQ(reader.size(), 0U) << "a crashed callback has dropped nothing";
  in(owner, [&](names::owner& t) {
    t.drop();
    EXPECT_EQ(t.size(), 0U);
    EXPECT_EQ(reader.size(), 0U);
  });
  EXPECT_EQ(code_of(reader.size()), table_errc::gone);
  in(owner, [](names::owner& t) {
    EXPECT_THROW((void)t.size(), std::logic_error);
    t = names::create({.name = "names"}).value();
  });
  EXPECT_NE(handle_of(owner).id(), handle.id());
}

// --- heirs and gifts -----------------------------------------------------------------------------

PEEPER_SIM_TEST(an_heir, GetsTheTableOfAWorkerThatCrashedAsOfItsLastCommitAndIsTold_P2) {
  auto heir = start_owner<names>(rt);
  auto owner = start_owner<names>(
      rt, {.name = "names", .heir = heir.pid(), .heir_data = any_message::of(std::string{"hi"})});
  in(owner, [](names::owner& t) { t.insert({1, "a", 0}); });
  const auto reader = find_table<names>(rt, "names").value();
  // Its next worker would make one of the same name.
  EXPECT_TRUE(rt.server_count() == 2U);
  std::ignore = owner.call(job<names>{[](names::owner& t) {
    t.insert({2, "never", 0});
    throw std::runtime_error{"unlucky"};
  }});
  sim.run();
  EXPECT_EQ(told(heir), "names:hi");
  EXPECT_EQ(reader.info()->owner, heir.pid());
  in(heir, [](names::owner& t) {
    EXPECT_EQ(t.size(), 1U);
    t.insert({2, "by the heir", 0});
  });
  EXPECT_EQ(reader.lookup(2).value()->name, "by the heir");
}

PEEPER_SIM_TEST(an_heir, OfAKeptTableGetsItWhenTheServerEnds) {
  auto heir = start_owner<names>(rt);
  auto owner = start_owner<names>(rt, {.name = "names", .heir = heir.pid()}, kept_tables::all());
  crash_in(owner, [](names::owner&) {});
  sim.run();
  const auto reader = find_table<names>(rt, "names").value();
  EXPECT_EQ(reader.info()->owner, owner.pid());
  EXPECT_TRUE(stop(owner));
  sim.run();
  EXPECT_EQ(reader.info()->owner, heir.pid());
  EXPECT_EQ(told(heir), "names:");
}

PEEPER_SIM_TEST(an_heir, ThatHasEndedGetsNothing) {
  auto heir = start_owner<names>(rt);
  auto owner = start_owner<names>(rt, {.name = "names", .heir = heir.pid()});
  const auto reader = find_table<names>(rt, "names").value();
  EXPECT_TRUE(stop(heir));
  EXPECT_TRUE(stop(owner));
  EXPECT_EQ(code_of(reader.size()), table_errc::gone);
}

PEEPER_SIM_TEST(an_heir, MayBeSetLater) {
  auto heir = start_owner<names>(rt);
  auto owner = start_owner<names>(rt, {.name = "names"});
  const auto reader = find_table<names>(rt, "names").value();
  crash_in(start_owner<names>(rt, {.name = "other"}),
           [&](names::owner& t) { t.set_heir(heir.pid()); });
  in(owner, [&](names::owner& t) { t.set_heir(heir.pid()); });
  EXPECT_EQ(reader.info()->heir, heir.pid());
  EXPECT_TRUE(stop(owner));
  sim.run();
  EXPECT_EQ(reader.info()->owner, heir.pid());
  EXPECT_EQ(told(heir), "names:") << "and the one whose callback crashed is nobody's heir";
}

PEEPER_SIM_TEST(a_gift, IsTheOthersFromTheCommitOnAndComesBeforeLaterMessages_P6) {
  auto owner = start_owner<names>(rt, {.name = "names"});
  auto other = start_owner<names>(rt);
  const auto reader = find_table<names>(rt, "names").value();
  const names::owner handle = handle_of(owner);
  crash_in(owner, [&](names::owner& t) { EXPECT_TRUE(t.give_away(other.pid())); });
  sim.run();
  ASSERT_EQ(code_of(find_table<names>(rt, "none")), table_errc::no_such_table);
  auto giver = start_owner<names>(rt, {.name = "gift"});
  const auto gift = find_table<names>(rt, "gift").value();
  std::size_t seen = 0;
  in(giver, [&](names::owner& t) {
    t.insert({1, "a", 0});
    EXPECT_TRUE(t.give_away(other.pid(), any_message::of(std::string{"for you"})));
    t.insert({2, "b", 0});
    EXPECT_EQ(code_of(t.give_away(self_pid())), table_errc::bad_options);
    EXPECT_EQ(code_of(t.give_away(pid{})), table_errc::no_such_server);
    std::ignore = other.ask(job<names>{[&](names::owner& mine) { seen = mine.size(); }});
  });
  sim.run();
  EXPECT_EQ(seen, 2U);
  EXPECT_EQ(told(other), "gift:for you");
  EXPECT_EQ(gift.info()->owner, other.pid());
  in(giver, [](names::owner& t) { EXPECT_THROW((void)t.size(), std::logic_error); });
  EXPECT_TRUE(stop(giver));
  EXPECT_EQ(gift.size(), 2U);
  EXPECT_TRUE(stop(other));
  EXPECT_EQ(code_of(gift.size()), table_errc::gone);
}

PEEPER_SIM_TEST(a_gift, ToAServerThatEndsBeforeItHasItIsItsHeirsOrGone) {
  for (const bool has_heir : {false, true}) {
    auto heir = start_owner<names>(rt);
    auto owner = start_owner<names>(rt, {.name = "names"});
    auto other = start_owner<names>(rt);
    const auto reader = find_table<names>(rt, "names").value();
    suspend(other);
    in(owner, [&](names::owner& t) {
      if (has_heir) t.set_heir(heir.pid());
      EXPECT_TRUE(t.give_away(other.pid()));
    });
    EXPECT_TRUE(kill(other.pid()));
    sim.run();
    if (has_heir) {
      EXPECT_EQ(reader.info()->owner, heir.pid());
    } else {
      EXPECT_EQ(code_of(reader.size()), table_errc::gone);
    }
    EXPECT_TRUE(stop(owner));
    EXPECT_TRUE(stop(heir));
  }
}

PEEPER_SIM_TEST(a_gift, IsKeptIfItsNewOwnerKeepsTables) {
  auto owner = start_owner<names>(rt, {.name = "names"});
  auto other = start_owner<names>(rt, {}, {"names"});
  const auto reader = find_table<names>(rt, "names").value();
  in(owner, [&](names::owner& t) { EXPECT_TRUE(t.give_away(other.pid())); });
  crash_in(other, [](names::owner&) {});
  sim.run();
  EXPECT_TRUE(reader.info()->kept);
}

// --- names and access ----------------------------------------------------------------------------

PEEPER_SIM_TEST(the_name_of_a_table, IsUniqueAndMayChangeWithACommit) {
  auto one = start_owner<names>(rt, {.name = "one"});
  auto two = start_owner<names>(rt, {.name = "two"});
  const auto reader = find_table<names>(rt, "one").value();
  in(one, [](names::owner& t) {
    EXPECT_EQ(code_of(names::create({.name = "two"})), table_errc::name_taken);
    EXPECT_EQ(code_of(names::create({.name = "one"})), table_errc::name_taken);
    EXPECT_EQ(code_of(t.rename("two")), table_errc::name_taken);
    EXPECT_EQ(code_of(t.rename("")), table_errc::bad_options);
    EXPECT_TRUE(t.rename("one"));
  });
  auto three = start_owner<names>(rt, {.name = "three"}, kept_tables::all());
  crash_in(three, [](names::owner& t) {
    EXPECT_TRUE(t.rename("four"));
    EXPECT_EQ(code_of(names::create({.name = "four"})), table_errc::name_taken);
  });
  EXPECT_TRUE(find_table<names>(rt, "three"));
  in(one, [](names::owner& t) { EXPECT_TRUE(t.rename("four")); });
  EXPECT_EQ(find_table<names>(rt, "four")->id(), reader.id());
  EXPECT_EQ(reader.info()->name, "four");
  EXPECT_EQ(code_of(find_table<names>(rt, "one")), table_errc::no_such_table);
}

PEEPER_SIM_TEST(a_table, IsFoundOnlyByItsOwnType_P8) {
  auto owner = start_owner<names>(rt, {.name = "names"}, kept_tables::all());
  EXPECT_EQ(code_of(find_table<ordered_names>(rt, "names")), table_errc::type_mismatch);
  in(owner, [](names::owner& t) {
    EXPECT_EQ(code_of(ordered_names::own(t.id())), table_errc::type_mismatch);
    EXPECT_EQ(code_of(names::own(table_id{})), table_errc::not_owner);
  });
}

PEEPER_SIM_TEST(access_to_a_table, IsWhatItsOwnerSaid_P8) {
  auto a = start_owner<names>(rt, {.name = "private", .access = access::private_});
  auto b = start_owner<names>(rt, {.name = "protected"});
  auto c = start_owner<names>(rt, {.name = "public", .access = access::public_});
  EXPECT_EQ(code_of(find_table<names>(rt, "private")), table_errc::access_denied);
  EXPECT_EQ(code_of(find_public_table<names>(rt, "protected")), table_errc::access_denied);
  EXPECT_TRUE(find_table<names>(rt, "protected"));
  EXPECT_TRUE(find_public_table<names>(rt, "public"));
  EXPECT_EQ(code_of(handle_of(a).reader()), table_errc::access_denied);
  EXPECT_EQ(code_of(handle_of(b).writer()), table_errc::access_denied);
  EXPECT_TRUE(handle_of(b).reader());
  EXPECT_TRUE(handle_of(c).writer());
}

PEEPER_SIM_TEST(an_owners_handle, WorksInTheCallbacksOfItsServerOnly_P8) {
  auto a = start_owner<names>(rt, {.name = "a"});
  auto b = start_owner<names>(rt, {.name = "b"});
  names::owner stolen = handle_of(a);
  EXPECT_THROW((void)stolen.lookup(1), std::logic_error);
  EXPECT_THROW(stolen.insert({1, "a", 0}), std::logic_error);
  in(b, [&](names::owner&) { EXPECT_THROW((void)stolen.size(), std::logic_error); });
  EXPECT_THROW((void)names::create(), std::logic_error);
  EXPECT_THROW((void)names::owner{}.size(), std::logic_error);
  EXPECT_THROW((void)names::reader{}.size(), std::logic_error);
}

}  // namespace
}  // namespace peeper::test
