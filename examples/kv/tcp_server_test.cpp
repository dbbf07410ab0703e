// SPDX-License-Identifier: Apache-2.0
#include "tcp_server.hpp"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "running_server.hpp"

namespace kv {
namespace {

class tcp : public running_server {};

TEST_F(tcp, AnswersACommand) {
  tcp_client client(port());
  EXPECT_EQ(to_string(client.command({"SET", "a", "1"})), "OK");
  EXPECT_EQ(to_string(client.command({"GET", "a"})), "\"1\"");
}

}  // namespace
}  // namespace kv
