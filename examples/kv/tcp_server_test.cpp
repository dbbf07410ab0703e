// SPDX-License-Identifier: Apache-2.0
// The whole server behind real sockets.
#include "tcp_server.hpp"

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "running_server.hpp"

namespace kv {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

class tcp : public running_server {
 protected:
  /// Asks until the answer is the wanted one: the test's time limit is the limit.
  void wait_until(tcp_client& client, const words& command, std::string_view wanted) {
    while (to_string(client.command(command)).find(wanted) == std::string::npos) {
      std::this_thread::yield();
    }
  }
};

KV_FOR_BOTH_ISOLATIONS(tcp);

TEST_P(tcp, AnswersACommand) {
  tcp_client client(port());
  EXPECT_EQ(to_string(client.command({"SET", "a", "1"})), "OK");
  EXPECT_EQ(to_string(client.command({"GET", "a"})), "\"1\"");
}

TEST_P(tcp, AnswersTenThousandCommandsOfOneWriteInOrder) {
  std::string wire;
  for (int i = 0; i < 10'000; ++i)
    append_command(wire, std::span<const std::string>(words{"INCR", "n"}));
  tcp_client client(port());
  client.send(wire);
  for (int i = 1; i <= 10'000; ++i) ASSERT_EQ(client.receive().number, i);
}

TEST_P(tcp, KeepsOrderWhereConnectionCommandsStandAmongOthers) {
  tcp_client client(port());
  client.send(
      "INCR n\r\nCLIENT SETNAME me\r\nINCR n\r\nCLIENT GETNAME\r\nGET n\r\nSELECT 0\r\nPING\r\n");
  std::string text;
  for (int i = 0; i < 7; ++i) text += to_string(client.receive()) + " ";
  EXPECT_EQ(text, "(integer) 1 OK (integer) 2 \"me\" \"2\" OK PONG ");
}

TEST_P(tcp, MovesLargeValues) {
  const std::string large(10 * 1024 * 1024, 'x');
  tcp_client client(port());
  EXPECT_EQ(to_string(client.command({"SET", "large", large})), "OK");
  EXPECT_EQ(client.command({"GET", "large"}).text, large);
  EXPECT_EQ(client.command({"STRLEN", "large"}).number, 10 * 1024 * 1024);
}

TEST_P(tcp, AnswersWhatCameBeforeAProtocolErrorThenClosesWithItsText) {
  const std::pair<std::string, std::string> cases[] = {
      {"*1\r\n$-5\r\n", "-ERR Protocol error: invalid bulk length\r\n"},
      {"*1\r\n$70000000\r\n", "-ERR Protocol error: invalid bulk length\r\n"},
      {"*x\r\n", "-ERR Protocol error: invalid multibulk length\r\n"},
      {"*1\r\n!\r\n", "-ERR Protocol error: expected '$', got '!'\r\n"},
      {"GET 'a\r\n", "-ERR Protocol error: unbalanced quotes in request\r\n"},
      {std::string(70'000, 'a'), "-ERR Protocol error: too big inline request\r\n"},
      {"*" + std::string(70'000, '1'), "-ERR Protocol error: too big mbulk count string\r\n"},
      {"*1\r\n$" + std::string(70'000, '1'), "-ERR Protocol error: too big bulk count string\r\n"},
  };
  for (const auto& [sent, answer] : cases) {
    tcp_client client(port());
    client.send("PING\r\n" + sent + "\r\nPING\r\n");
    EXPECT_EQ(client.receive_until_closed(), "+PONG\r\n" + answer);
  }
  EXPECT_EQ(statistics_->protocol_errors, std::size(cases));
}

TEST_P(tcp, RefusesARequestOverItsLimits) {
  tcp_server::options small;
  small.limits.bulk_bytes_max = 1000;
  small.limits.request_bytes_max = 1500;
  start(small);
  tcp_client client(port());
  const std::string fits(1000, 'x');
  EXPECT_EQ(to_string(client.command({"SET", "a", fits})), "OK");
  EXPECT_EQ(client.command({"APPEND", "a", "y"}).text,
            "ERR string exceeds maximum allowed size (proto-max-bulk-len)");
  client.send("*3\r\n$3\r\nSET\r\n$1000\r\n" + fits + "\r\n$1000\r\n");
  EXPECT_EQ(client.receive_until_closed(), "-ERR Protocol error: too big request\r\n");
}

TEST_P(tcp, AnswersAClientThatHasClosedItsSide) {
  tcp_client client(port());
  client.send("INCR n\r\nINCR n\r\nINCR n\r\nINCR half");
  client.close_sending_side();
  EXPECT_EQ(client.receive_until_closed(), ":1\r\n:2\r\n:3\r\n");
}

TEST_P(tcp, QuitAnswersAndClosesAndRunsNothingBehindIt) {
  tcp_client client(port());
  client.send("SET a 1\r\nQUIT\r\nSET a 2\r\n");
  EXPECT_EQ(client.receive_until_closed(), "+OK\r\n+OK\r\n");
  tcp_client other(port());
  EXPECT_EQ(other.command({"GET", "a"}).text, "1");
}

TEST_P(tcp, RunsNothingForABrowser) {
  tcp_client client(port());
  client.send("POST / HTTP/1.1\r\nHost: localhost\r\n\r\nSET a 1\r\n");
  EXPECT_EQ(client.receive_until_closed(), "");
  tcp_client other(port());
  EXPECT_EQ(to_string(other.command({"GET", "a"})), "(nil)");
}

TEST_P(tcp, ServesThousandsOfConnections) {
  const std::size_t files = raise_open_files_limit();
  const std::size_t wanted = std::min<std::size_t>(2000, (files - 200) / 2);
  std::vector<std::unique_ptr<tcp_client>> clients;
  for (std::size_t i = 0; i < wanted; ++i) clients.push_back(std::make_unique<tcp_client>(port()));
  for (auto& client : clients) client->send("INCR n\r\nPING\r\n");
  std::uint64_t sum = 0;
  for (auto& client : clients) {
    sum += static_cast<std::uint64_t>(client->receive().number);
    ASSERT_EQ(client->receive().text, "PONG");
  }
  EXPECT_EQ(sum, wanted * (wanted + 1) / 2);
  EXPECT_EQ(statistics_->connections_now, wanted);
  clients.resize(1);
  wait_until(*clients[0], {"INFO"}, "connected_clients:1\r");
}

TEST_P(tcp, TellsAClientTooManyThatItIsOne) {
  tcp_server::options few;
  few.clients_max = 2;
  start(few);
  tcp_client first(port());
  tcp_client second(port());
  first.command({"PING"});
  second.command({"PING"});
  tcp_client third(port());
  EXPECT_EQ(third.receive_until_closed(), "-ERR max number of clients reached\r\n");
  EXPECT_EQ(first.command({"PING"}).text, "PONG");
}

TEST_P(tcp, ForgetsClientsThatVanish) {
  tcp_client stays(port());
  for (int i = 0; i < 200; ++i) {
    tcp_client idle(port());
    idle.send("*2\r\n$3\r\nGET\r\n$100\r\nhalf a key");
    tcp_client busy(port());
    for (int k = 0; k < 50; ++k) busy.send("INCR n\r\n");
    busy.reset();
  }
  wait_until(stays, {"INFO"}, "connected_clients:1\r");
  wait_until(stays, {"CLIENT", "LIST"}, "id=1 ");
}

TEST_P(tcp, ASlowReaderWaitsForItselfOnly) {
  tcp_client slow(port());
  const std::string megabyte(1024 * 1024, 'x');
  slow.command({"SET", "large", megabyte});
  for (int i = 0; i < 200; ++i) slow.send("GET large\r\n");
  // The replies are 200 MB. Only what the sockets hold, and little more, has been made of them.
  tcp_client other(port());
  for (int i = 0; i < 1000; ++i) ASSERT_EQ(other.command({"PING"}).text, "PONG");
  EXPECT_LT(statistics_->commands, 1001U + 100U);
  for (int i = 0; i < 200; ++i) ASSERT_EQ(slow.receive().text.size(), megabyte.size());
}

TEST_P(tcp, ListsItsClientsByName) {
  tcp_client one(port());
  tcp_client two(port());
  one.command({"CLIENT", "SETNAME", "first"});
  two.command({"CLIENT", "SETNAME", "second"});
  const std::string list = one.command({"CLIENT", "LIST"}).text;
  EXPECT_THAT(list, HasSubstr("name=first"));
  EXPECT_THAT(list, HasSubstr("name=second"));
  EXPECT_THAT(one.command({"CLIENT", "INFO"}).text, HasSubstr("name=first"));
}

TEST_P(tcp, ExpiredKeysGoWithoutBeingTouched) {
  tcp_client client(port());
  for (int i = 0; i < 100; ++i) client.command({"SET", fmt::format("k{}", i), "v", "PX", "1"});
  client.command({"SET", "stays", "v"});
  wait_until(client, {"DBSIZE"}, "(integer) 1");
  EXPECT_EQ(client.command({"GET", "stays"}).text, "v");
}

TEST_P(tcp, SaysWhyItCannotListen) {
  tcp_server::options taken;
  taken.port = port();
  const auto second = tcp_server::start(data_, std::make_shared<server_statistics>(), taken);
  ASSERT_FALSE(second.has_value());
  EXPECT_THAT(second.error(), HasSubstr(fmt::format("127.0.0.1:{}", port())));
  EXPECT_THAT(second.error(), HasSubstr("choose another port"));
  tcp_server::options nowhere;
  nowhere.bind = "nowhere";
  const auto third = tcp_server::start(data_, std::make_shared<server_statistics>(), nowhere);
  ASSERT_FALSE(third.has_value());
  EXPECT_THAT(third.error(), HasSubstr("'nowhere' is not an IP address"));
}

TEST_P(tcp, StopAnswersWhatIsUnderWayAndFreesThePort) {
  tcp_client client(port());
  client.command({"PING"});
  const std::uint16_t was = port();
  tcp_->stop();
  EXPECT_EQ(client.receive_until_closed(), "");
  EXPECT_THROW(tcp_client another(was), connection_lost);
  tcp_->stop();
}

TEST_P(tcp, SaysSoWhenTheDataServerHasStopped) {
  tcp_client client(port());
  client.command({"PING"});
  ASSERT_TRUE(peeper::stop(data_).has_value());
  client.send("SET a 1\r\nSET b 2\r\n");
  EXPECT_THAT(client.receive_until_closed(), StartsWith("-ERR "));
}

// --- crashes -------------------------------------------------------------------------------------

TEST_P(tcp, OnlyTheCommandThatCrashesFails) {
  tcp_client client(port());
  client.send(
      "INCR n\r\nRPUSH l a\r\nCRASH boom\r\nINCR n\r\nCRASH bang RPUSH l never\r\nRPUSH l b\r\n"
      "GET n\r\nLRANGE l 0 -1\r\n");
  std::string text;
  for (int i = 0; i < 8; ++i) text += to_string(client.receive()) + "\n";
  EXPECT_EQ(text,
            "(integer) 1\n(integer) 1\n"
            "(error) CRASH worker crashed: boom; state rolled back\n(integer) 2\n"
            "(error) CRASH worker crashed: bang; state rolled back\n(integer) 2\n"
            "\"2\"\n[\"a\", \"b\"]\n");
}

TEST_P(tcp, CrashesOfOneClientDoNotReachAnother) {
  std::atomic<bool> stop{false};
  std::thread crashing([&] {
    tcp_client client(port());
    while (!stop) client.command({"CRASH", "boom"});
  });
  tcp_client client(port());
  for (int i = 1; i <= 2000; ++i) {
    const reply answer = client.command({"INCR", "n"});
    ASSERT_EQ(answer.number, i) << to_string(answer);
  }
  stop = true;
  crashing.join();
}

TEST_P(tcp, KillsFailNoCommandAndRepeatNone) {
  tcp_client client(port());
  std::string wire;
  for (int i = 0; i < 50; ++i)
    append_command(wire, std::span<const std::string>(words{"INCR", "n"}));
  std::int64_t expected = 0;
  for (int round = 0; round < 400; ++round) {
    client.send(wire);
    if (round % 4 != 0) peeper::kill(peeper::worker_of(data_));
    if (round % 4 > 1) peeper::kill(peeper::keeper_of(data_));
    for (int i = 0; i < 50; ++i) {
      const reply answer = client.receive();
      ASSERT_EQ(answer.number, ++expected) << to_string(answer);
    }
    // Isolated: whoever answers after the kill has a follower. To kill it before would be the
    // second death at once.
    ASSERT_EQ(client.command({"PING"}).text, "PONG");
  }
}

}  // namespace
}  // namespace kv
