// SPDX-License-Identifier: Apache-2.0
/// For tests: a whole kv server, listening on a free port of this machine.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>

#include <gtest/gtest.h>

#include <peeper/peeper.hpp>

#include "kv_server.hpp"
#include "tcp_client.hpp"
#include "tcp_server.hpp"

namespace kv {

class running_server : public testing::Test {
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
      peeper::start<kv_server>(runtime_, server_options(), statistics_).value();
  std::unique_ptr<tcp_server> tcp_;
};

}  // namespace kv
