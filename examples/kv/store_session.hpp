// SPDX-License-Identifier: Apache-2.0
/// For tests: runs commands on a store as a peeper server's callback would, without the server.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <peeper/kept.hpp>

#include "commands.hpp"
#include "tcp_client.hpp"

namespace kv {

class store_session {
 public:
  std::int64_t now_ms = 1'700'000'000'000;

  /// Runs one command, commits, and returns its reply. A command that throws is rolled back.
  reply run(const words& command) {
    const request_batch batch = request_batch::of(std::span(&command, 1));
    std::string wire;
    reply_writer writer(wire);
    const server_figures figures = figures_of(statistics_);
    const invocation call{batch[0], now_ms, statistics_.limits.bulk_bytes_max, figures, writer};
    if (reads_only(batch[0])) {
      run_read(kept_.value(), call);
    } else {
      kept_.begin();
      try {
        kv::run(kept_.value(), call);
        kept_.prepare();
      } catch (const std::exception& error) {
        kept_.rollback();
        wire.clear();
        writer.error(std::string("CRASH ") + error.what());
        return parse(wire);
      }
      kept_.commit();
    }
    return parse(wire);
  }

  /// The command as words between spaces, the reply as text.
  std::string operator()(std::string_view line) {
    words command;
    while (!line.empty()) {
      const std::size_t end = std::min(line.find(' '), line.size());
      if (end > 0) command.emplace_back(line.substr(0, end));
      line.remove_prefix(std::min(end + 1, line.size()));
    }
    return to_string(run(command));
  }

  [[nodiscard]] const store& data() { return kept_.value(); }
  peeper::detail::kept_state<store>& kept() { return kept_; }
  server_statistics& statistics() { return statistics_; }

 private:
  static reply parse(const std::string& wire) {
    reply_parser parser;
    parser.feed(wire);
    return parser.next().value();
  }

  server_statistics statistics_;
  peeper::detail::kept_state<store> kept_{store{}};
};

}  // namespace kv
