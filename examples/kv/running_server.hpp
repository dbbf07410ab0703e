// SPDX-License-Identifier: Apache-2.0
/// For tests: a whole kv server, listening on a free port of this machine, isolated or not:
///
///     class tcp : public kv::running_server {};
///     KV_FOR_BOTH_ISOLATIONS(tcp);
///     TEST_P(tcp, AnswersACommand) { ... }
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include <gtest/gtest.h>

#include <peeper/peeper.hpp>
#include <peeper/zygote.hpp>

#include "kv_server.hpp"
#include "tcp_client.hpp"
#include "tcp_server.hpp"

namespace kv {

/// The test program's zygote: made before any test has threads.
class with_zygote : public testing::Environment {
 public:
  void SetUp() override { zygote_.emplace(); }
  void TearDown() override { zygote_.reset(); }

 private:
  std::optional<peeper::zygote> zygote_;
};
inline testing::Environment* const zygote_of_tests =
    testing::AddGlobalTestEnvironment(new with_zygote);

class running_server : public testing::TestWithParam<isolation> {
 protected:
  running_server() { start({}); }

  void start(tcp_server::options wanted) {
    tcp_.reset();
    wanted.port = 0;
    auto started = tcp_server::start(data_, statistics_, wanted);
    if (!started) throw std::runtime_error(started.error());
    tcp_ = std::move(*started);
  }

  [[nodiscard]] std::uint16_t port() const { return tcp_->port(); }

  peeper::runtime runtime_;
  std::shared_ptr<server_statistics> statistics_ = std::make_shared<server_statistics>();
  peeper::ref<kv_server> data_ =
      peeper::start<kv_server>(runtime_, server_options(GetParam())).value();
  std::unique_ptr<tcp_server> tcp_;
};

#define KV_FOR_BOTH_ISOLATIONS(suite)                                             \
  INSTANTIATE_TEST_SUITE_P(                                                       \
      kv, suite, testing::Values(isolation::in_program, isolation::os_process),   \
      [](const testing::TestParamInfo<isolation>& each) {                         \
        return each.param == isolation::in_program ? "in_program" : "os_process"; \
      })

}  // namespace kv
