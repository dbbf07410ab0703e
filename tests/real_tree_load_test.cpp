// SPDX-License-Identifier: Apache-2.0
/// \file
/// The load of tree_load_test.cpp on real threads, on a smaller tree: clients, and one who breaks
/// things at every level, for a fixed number of deeds, or for PEEPER_LOAD_SECONDS; then the tree
/// comes to rest, and must be what its plan and its book say.
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include <peeper/peeper.hpp>

#include "support/sim_test.hpp"
#include "support/tree_check.hpp"
#include "support/tree_load.hpp"

namespace peeper::test {
namespace {

using namespace std::chrono_literals;

constexpr std::uint32_t clients = 2;
constexpr int deeds = 400;

chooser numbers_from(std::uint64_t seed) {
  return [random = std::mt19937_64{seed}](std::uint64_t bound) mutable {
    return bound <= 1 ? 0 : random() % bound;
  };
}

/// Empty: as long as the deeds last.
std::chrono::seconds time_wanted() {
  const char* text = std::getenv("PEEPER_LOAD_SECONDS");  // NOLINT(concurrency-mt-unsafe)
  return std::chrono::seconds{text == nullptr ? 0 : std::strtol(text, nullptr, 10)};
}

/// No deed for nothing: something else is to happen between two of them.
void wait_for_messages(tree_book& book, std::size_t more) {
  const auto sent = [&book] {
    const std::lock_guard lock{book.mutex};
    return book.addressee.size();
  };
  for (const std::size_t wanted = sent() + more; sent() < wanted;) std::this_thread::yield();
}

/// Everything that was asked for has been done: restarts that wait, kills that are on their way.
std::vector<std::string> check_at_rest(tree_check& check) {
  std::vector<std::string> wrong;
  for (int i = 0; i < 2000; ++i) {
    wrong = check.check_tree();
    if (wrong.empty()) return wrong;
    std::this_thread::yield();
  }
  return wrong;
}

TEST(real_tree_load, ATreeOnRealThreadsLosesNothingAndKeepsItsOrder_P1_P2_P3_P5_P6) {
  tree_book book;  // outlives the runtime
  runtime rt{{.threads = 2}};
  tree_planner planner{book, numbers_from(1)};
  const place& top = planner.plan({.regions = 3, .groups = 3, .teams = 3, .leaves = 5});
  // No pauses between two deeds here: what a supervisor bears in five seconds must be a lot.
  for (place* p : book.supervisors) p->crashes_allowed = 1'000'000;
  const auto root =
      start_supervisor(rt, {.name = "root", .max_restarts = 1'000'000}, planner.children_of(top))
          .value();
  tree_load breaker{rt, book, planner, numbers_from(2), 0};
  for (place* p : std::vector{book.supervisors}) {
    for (int i = 0; p->what == place::kind::dynamic && i < 5; ++i) breaker.start_dynamic(*p);
  }
  const auto until = std::chrono::steady_clock::now() + time_wanted();
  std::deque<tree_load> senders;
  for (std::uint32_t who = 1; who <= clients; ++who) {
    senders.emplace_back(rt, book, planner, numbers_from(2 + who), who);
  }
  {
    std::atomic<bool> over{false};
    std::vector<std::thread> threads;
    for (tree_load& sender : senders) {
      threads.emplace_back([&] {
        while (!over.load()) sender.send_something();
        sender.take_answers();
      });
    }
    for (int i = 0; i < deeds || std::chrono::steady_clock::now() < until; ++i) {
      breaker.regions_to_kill = breaker.groups_to_kill = 1;
      breaker.break_something();
      wait_for_messages(book, 50);
    }
    over = true;
    for (std::thread& t : threads) t.join();
  }
  tree_check check{rt, book, root};
  for (const std::string& w : check_at_rest(check)) ADD_FAILURE() << w;
  for (const std::string& w : check.check_servers(true)) ADD_FAILURE() << w;
  EXPECT_TRUE(rt.shutdown());
  EXPECT_EQ(rt.server_count(), 0U);
  for (const std::string& w : book.complaints) ADD_FAILURE() << w;
  std::uint64_t acknowledged = 0;
  for (const tree_load& sender : senders) acknowledged += sender.totals.acknowledged;
  EXPECT_GT(acknowledged, 100U);
  EXPECT_GT(breaker.totals.killed, 100U);
  EXPECT_GT(book.ends_in_order, 100U);
  RecordProperty("acknowledged", std::to_string(acknowledged));
  RecordProperty("starts", std::to_string(book.starts));
}

}  // namespace
}  // namespace peeper::test
