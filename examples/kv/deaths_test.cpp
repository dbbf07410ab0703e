// SPDX-License-Identifier: Apache-2.0
// What ends an OS process costs the command that did it, and nobody else anything.
#include "deaths.hpp"

#include <csignal>
#include <string>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "running_server.hpp"
#include "store_session.hpp"

namespace kv {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

#if defined(__SANITIZE_THREAD__)
constexpr bool signals_are_put_off = true;
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
constexpr bool signals_are_put_off = true;
#else
constexpr bool signals_are_put_off = false;
#endif
#else
constexpr bool signals_are_put_off = false;
#endif

TEST(deaths, AreRefusedWhereTheyWouldEndTheProgram) {
  store_session session;
  session("RPUSH l a");
  for (const death way : all_deaths) {
    const auto before = session.data();
    EXPECT_EQ(session(fmt::format("CRASH {} RPUSH l never", to_string(way))),
              fmt::format("(error) ERR CRASH {} would end the program and lose all data: start it "
                          "with --isolation=os-process",
                          to_string(way)));
    EXPECT_EQ(session.data(), before);
  }
  EXPECT_EQ(session("CRASH sedge"), "(error) CRASH sedge") << "a message as any other";
}

class isolated : public running_server {
 protected:
  /// The number behind `name` in INFO.
  static pid_t process(tcp_client& client, const std::string& name) {
    const std::string info = client.command({"INFO", "server"}).text;
    return std::stoi(info.substr(info.find("\n" + name + ":") + name.size() + 2));
  }
};
INSTANTIATE_TEST_SUITE_P(kv, isolated, testing::Values(isolation::os_process));

TEST_P(isolated, RunsItsCommandsInAnotherOsProcess) {
  tcp_client client(port());
  EXPECT_EQ(process(client, "process_id"), getpid());
  EXPECT_NE(process(client, "worker_process_id"), getpid());
}

TEST_P(isolated, EachWayToDieFailsOneCommandAndIsRolledBack) {
  if (signals_are_put_off) GTEST_SKIP() << "the thread sanitizer puts signals off";
  const std::pair<death, std::string> cases[] = {
      {death::segv, "SIGSEGV"},         {death::abort, "SIGABRT"}, {death::kill, "signalled"},
      {death::stack, "stack overflow"}, {death::hang, "hung"},     {death::leak, "out of memory"},
  };
  tcp_client other(port());
  other.command({"PING"});
  tcp_client client(port());
  std::int64_t n = 0;
  for (const auto& [way, how] : cases) {
    if (way == death::leak && !memory_can_be_limited) continue;
    SCOPED_TRACE(how);
    const pid_t before = process(client, "worker_process_id");
    client.send(
        fmt::format("INCR n\r\nCRASH {} RPUSH l never\r\nINCR n\r\nLLEN l\r\n", to_string(way)));
    EXPECT_EQ(client.receive().number, ++n);
    const std::string died = client.receive().text;
    EXPECT_THAT(died, StartsWith("CRASH worker crashed: "));
    EXPECT_THAT(died, HasSubstr(how));
    EXPECT_EQ(client.receive().number, ++n);
    EXPECT_EQ(client.receive().number, 0) << "rolled back";
    EXPECT_NE(process(client, "worker_process_id"), before);
    EXPECT_EQ(other.command({"GET", "n"}).text, fmt::format("{}", n));
  }
}

TEST_P(isolated, ASigkillFromOutsideFailsNoCommandAndRepeatsNone) {
  if (signals_are_put_off) GTEST_SKIP() << "the thread sanitizer puts signals off";
  tcp_client client(port());
  tcp_client asks(port());
  std::int64_t expected = 0;
  for (int round = 0; round < 100; ++round) {
    const pid_t worker = process(asks, "worker_process_id");
    for (int i = 0; i < 20; ++i) client.send("INCR n\r\n");
    ASSERT_EQ(::kill(worker, SIGKILL), 0);
    for (int i = 0; i < 20; ++i) {
      const reply answer = client.receive();
      ASSERT_EQ(answer.number, ++expected) << to_string(answer);
    }
    while (process(asks, "worker_process_id") == worker) {
    }
  }
}

}  // namespace
}  // namespace kv
