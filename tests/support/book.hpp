// SPDX-License-Identifier: Apache-2.0
/// \file
/// A server that notes which messages it has handled, and the model of what must be noted: whatever
/// crashes, each message is handled once or set aside, what was acknowledged is there, and what
/// was reported as crashed is not.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <peeper/kept.hpp>
#include <peeper/peeper.hpp>
#include <peeper/sim.hpp>

namespace peeper::test {

/// Unique over a run: of a client's message, or of one that a message brought about.
using message_id = std::uint32_t;
inline constexpr message_id of_a_client = 100'000;  ///< client * of_a_client + number
inline constexpr message_id derived = 50'000;       ///< added: the message that it brought about

struct ledger {
  std::uint32_t count = 0;  ///< plain, beside two kept containers: all three or none
  kept_map<message_id, std::uint32_t> times;
  kept_vector<message_id> order;
};
/// A half-undone callback would break it.
inline bool valid(const ledger& l) {
  return l.count == l.order.size() && l.times.size() <= l.count;
}

struct book;
struct book_ping {
  using reply = int;
};
struct book_helper {
  struct state {};
  int handle_call(book_ping) { return 1; }
};

struct put {
  using reply = std::uint32_t;
  message_id id = 0;
};
struct put_slowly {
  using reply = std::uint32_t;
  message_id id = 0;
  ref<book_helper> helper;
};
struct put_later {
  using reply = std::uint32_t;
  message_id id = 0;
};
struct put_only {
  message_id id = 0;
};
/// Also starts a timer, whose message is id + derived.
struct put_and_start_timer {
  message_id id = 0;
};
/// Also casts id + derived to another.
struct put_and_forward {
  message_id id = 0;
  ref<book> to;
};
struct words_written {
  using reply = std::uint32_t;
};

struct book {
  using state = ledger;

  std::uint32_t handle_call(const put& m, state& s) { return write(m.id, s); }
  task<std::uint32_t> handle_call(const put_slowly& m, state& s) {
    begin_to_write(m.id, s);
    std::ignore = co_await m.helper.ask(book_ping{});
    co_return end_writing(m.id, s);
  }
  void handle_call(const put_later& m, from<std::uint32_t> caller, state& s) {
    caller.reply(write(m.id, s));
  }
  void handle_cast(const put_only& m, state& s) { write(m.id, s); }
  void handle_info(const put_only& m, state& s) { write(m.id, s); }
  void handle_cast(const put_and_start_timer& m, state& s) {
    send_after(self<book>(), std::chrono::milliseconds{m.id % 7}, put_only{m.id + derived});
    write(m.id, s);
  }
  void handle_cast(const put_and_forward& m, state& s) {
    m.to.cast(put_only{m.id + derived});
    write(m.id, s);
  }
  std::uint32_t handle_call(words_written, const state&) {
    return dictionary().get<std::uint32_t>("written").value_or(0);
  }
  void terminate(const exit_reason&, const state& s) { EXPECT_TRUE(valid(s)); }

 private:
  static void begin_to_write(message_id id, state& s) {
    s.times.modify_or_insert(id, [](std::uint32_t& n) { ++n; });
    fault_point("book.one third");
    s.order.push_back(id);
    dictionary().put("written", dictionary().get<std::uint32_t>("written").value_or(0) + 1);
    fault_point("book.two thirds");
  }
  static std::uint32_t end_writing(message_id, state& s) { return ++s.count; }
  static std::uint32_t write(message_id id, state& s) {
    begin_to_write(id, s);
    return end_writing(id, s);
  }
};

/// What clients know of a run: what they sent, and what they were told.
struct client_log {
  struct sent {
    message_id id = 0;
    std::size_t book = 0;
    enum class outcome : std::uint8_t { unknown, acknowledged, crashed } what = outcome::unknown;
    enum class kind : std::uint8_t { plain, timer, forward } brings = kind::plain;
  };
  std::vector<sent> all;
};

inline ledger contents(const ref<book>& b) {
  return inspect(b, [](const ledger& l) { return l; }).value();
}

}  // namespace peeper::test
