// SPDX-License-Identifier: Apache-2.0
/// A client that writes, remembers what the server acknowledged, and can tell at the end whether
/// all of it is there, once each, and nothing else.
///
/// Every write carries a number that is used once. It goes to one of seven kinds of place: its own
/// key (SET), a counter (INCR), a text (APPEND), the ends of a list (RPUSH, LPUSH), a set (SADD), a
/// hash (HSET), a sorted set (ZADD). Some commands are told to crash half-way (CRASH ... RPUSH
/// ...): their numbers must be found nowhere.
///
/// THREADS: one at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "resp.hpp"
#include "tcp_client.hpp"

namespace kv {

/// What a verifier, or several together, found.
struct findings {
  std::uint64_t requests = 0;      ///< commands answered, in all
  std::uint64_t acknowledged = 0;  ///< writes the server said it did
  std::uint64_t crashed = 0;       ///< commands it said it rolled back
  std::uint64_t lost = 0;          ///< acknowledged, and not there
  std::uint64_t duplicated = 0;  ///< there more often than acknowledged: twice, or not rolled back
  std::uint64_t wrong_replies = 0;    ///< replies that contradict what was acknowledged before
  std::vector<std::string> examples;  ///< the first few of the last three, in words

  [[nodiscard]] bool clean() const { return lost + duplicated + wrong_replies == 0; }
  void add(const findings& more);
  void note(std::string example);
};

class verifier {
 public:
  /// Sends commands, returns their replies: a TCP client, or a store in a test.
  using transport = std::function<std::vector<reply>(std::span<const words>)>;

  struct options {
    std::string prefix;  ///< of all its keys: no other client may use it
    std::uint64_t seed = 1;
    unsigned crashes_per_10000 = 0;  ///< of its commands are told to crash half-way
  };

  explicit verifier(options wanted);

  /// Sends `commands` commands as one pipeline and checks each reply.
  void write(std::size_t commands, const transport& send);
  /// Reads back everything and compares. Call once, after the last write.
  void read_back(const transport& send);

  [[nodiscard]] const findings& found() const { return found_; }

 private:
  enum class kind { set, incr, append, rpush, lpush, sadd, hset, zadd, get };

  struct sent {
    kind what = kind::get;
    bool told_to_crash = false;
    std::string key;
    std::uint64_t number = 0;
  };

  /// One key as it must be.
  struct expected {
    kind what = kind::set;
    std::int64_t count = 0;            // a counter's value; a text's length
    std::vector<std::uint64_t> front;  // put before the first one: the last of these is the first
    std::vector<std::uint64_t> back;   // put behind the last one
  };

  std::pair<sent, words> next_command();
  void check(const sent& command, const reply& answer);
  void acknowledge(const sent& command, const reply& answer);
  void expect_number(const sent& command, const reply& answer, std::int64_t wanted);
  void wrong_reply(const sent& command, const reply& answer, std::string_view wanted);
  void check_no_other_keys(const transport& send);
  void check_value(const std::string& key, const expected& value, const reply& answer);
  void check_counter(const std::string& key, std::int64_t wanted, std::int64_t found);
  void check_numbers(const std::string& key, const expected& value,
                     const std::vector<std::string>& numbers);

  options options_;
  std::mt19937_64 random_;
  std::uint64_t last_number_ = 0;
  std::unordered_map<std::string, expected> keys_;
  findings found_;
};

}  // namespace kv
