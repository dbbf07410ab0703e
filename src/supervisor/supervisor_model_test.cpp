// SPDX-License-Identifier: Apache-2.0
/// \file
/// The rules of OTP's supervisor.erl as a small model, against the supervisor: random children,
/// strategies and intensities, random ends, requests, failing starts and passing time. Both must
/// have started and ended the same children in the same order, and agree on who runs.
#include <algorithm>
#include <chrono>
#include <deque>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <peeper/peeper.hpp>
#include <peeper/sim.hpp>

#include "supervisor/test_family.hpp"
#include "support/sim_test.hpp"

namespace peeper::test {
namespace {

using namespace std::chrono_literals;

struct model_child {
  std::string id;
  restart_type type = restart::permanent;
  child_status status = child_status::undefined;
};

class model {
 public:
  model(const supervisor_options& o, std::vector<model_child> children, diary& d)
      : options_{o}, children_{std::move(children)}, book_{&d} {
    for (model_child& c : children_) std::ignore = start(c);
  }

  bool alive = true;
  [[nodiscard]] const std::vector<model_child>& children() const { return children_; }
  [[nodiscard]] model_child* find(const std::string& id) {
    const auto found = std::ranges::find(children_, id, &model_child::id);
    return found == children_.end() ? nullptr : &*found;
  }

  /// A child that runs ends by itself.
  void ended(const std::string& id, bool normal, time_point now) {
    model_child* c = find(id);
    book_->lines.push_back("-" + id);
    c->status = child_status::undefined;
    const restart when = c->type.when();
    if (when == restart::permanent || (when == restart::transient && !normal)) {
      restarted(id, now);
      return;
    }
    const bool significant = c->type.significant();
    if (when == restart::temporary) forget(id);
    const bool another = std::ranges::any_of(children_, [](const model_child& each) {
      return each.type.significant() && each.status != child_status::undefined;
    });
    if (significant && (options_.auto_shutdown == auto_shutdown::any_significant ||
                        (options_.auto_shutdown == auto_shutdown::all_significant && !another))) {
      give_up();
    }
  }
  void terminate(const std::string& id) {
    model_child* c = find(id);
    if (c == nullptr) return;
    end(*c);
    if (c->type.when() == restart::temporary) forget(id);
  }
  void restart_by_hand(const std::string& id) {
    model_child* c = find(id);
    if (c != nullptr && c->status == child_status::undefined) std::ignore = start(*c);
  }
  void delete_child(const std::string& id) {
    const model_child* c = find(id);
    if (c != nullptr && c->status == child_status::undefined) forget(id);
  }
  void start_child(const std::string& id) {
    if (find(id) != nullptr) return;
    children_.push_back(model_child{id});
    if (!start(children_.back())) children_.pop_back();
  }

 private:
  bool start(model_child& c) {
    if (book_->failures[c.id] > 0) {
      --book_->failures[c.id];
      return false;
    }
    book_->lines.push_back("+" + c.id);
    c.status = child_status::running;
    return true;
  }
  void end(model_child& c) {
    if (c.status == child_status::running) book_->lines.push_back("-" + c.id);
    c.status = child_status::undefined;
  }
  void forget(const std::string& id) {
    std::erase_if(children_, [&](const model_child& c) { return c.id == id; });
  }
  void give_up() {
    while (!children_.empty()) {
      end(children_.back());
      children_.pop_back();
    }
    alive = false;
  }
  void restarted(std::string id, time_point now) {
    for (;;) {
      std::erase_if(stamps_, [&](time_point t) { return now - t > options_.max_seconds; });
      stamps_.push_back(now);
      if (stamps_.size() > options_.max_restarts) {
        give_up();
        return;
      }
      find(id)->status = child_status::restarting;
      if (options_.strategy == strategy::one_for_one) {
        if (start(*find(id))) return;
        continue;
      }
      const auto self = std::ranges::find(children_, id, &model_child::id) - children_.begin();
      const auto from = options_.strategy == strategy::one_for_all ? 0 : self;
      for (auto i = std::ssize(children_) - 1; i >= from; --i) {
        model_child& c = children_[static_cast<std::size_t>(i)];
        if (c.id == id) continue;
        end(c);
        if (c.type.when() == restart::temporary) forget(std::string{c.id});
      }
      // Forgetting may have moved it.
      auto at = options_.strategy == strategy::one_for_all
                    ? 0
                    : std::ranges::find(children_, id, &model_child::id) - children_.begin();
      std::string failed;
      for (; at < std::ssize(children_) && failed.empty(); ++at) {
        model_child& c = children_[static_cast<std::size_t>(at)];
        if (!start(c)) failed = c.id;
      }
      if (failed.empty()) return;
      if (find(id)->status == child_status::restarting) {
        find(id)->status = child_status::undefined;
      }
      id = failed;
    }
  }

  supervisor_options options_;
  std::vector<model_child> children_;
  diary* book_;
  std::vector<time_point> stamps_;
};

restart_type any_type(simulation& sim) {
  switch (sim.choose(5)) {
    case 0: return restart::transient;
    case 1: return restart::temporary;
    case 2: return significant(restart::transient);
    case 3: return significant(restart::temporary);
    default: return restart::permanent;
  }
}

void expect_same(const supervisor& real, const model& m, const diary& book, const diary& expected) {
  ASSERT_EQ(book.text(), expected.text());
  ASSERT_EQ(real.alive(), m.alive);
  if (!m.alive) return;
  const auto children = real.which_children().value();
  ASSERT_EQ(children.size(), m.children().size());
  for (std::size_t i = 0; i < children.size(); ++i) {
    EXPECT_EQ(children[i].id, m.children()[i].id);
    EXPECT_EQ(children[i].status, m.children()[i].status) << children[i].id;
  }
}

/// Both start the same children; a failing start is arranged for both.
void do_something(simulation& sim, const supervisor& real, model& m, diary& book, diary& expected) {
  const std::string id{static_cast<char>('a' + sim.choose(6))};
  const model_child* c = m.find(id);
  const bool runs = c != nullptr && c->status == child_status::running;
  switch (sim.choose(9)) {
    case 0:
      // Fewer than the intensity bears, so that it is not always the end.
      book.failures[id] = expected.failures[id] = static_cast<int>(sim.choose(3));
      break;
    case 1:
      m.terminate(id);
      std::ignore = real.terminate_child(id);
      break;
    case 2:
      m.restart_by_hand(id);
      std::ignore = real.restart_child(id);
      break;
    case 3:
      m.delete_child(id);
      std::ignore = real.delete_child(id);
      break;
    case 4:
      m.start_child(id);
      std::ignore = real.start_child(member_spec(book, {.id = id}));
      break;
    case 5: sim.advance(std::chrono::milliseconds{sim.choose(3000)}); break;
    default:
      if (!runs) break;
      const bool normal = sim.choose(3) == 0;
      m.ended(id, normal, sim.now());
      real.child<member>(id).value().cast(
          end_as{normal ? exit_reason::normal() : exit_reason::stopped("broken")});
      sim.run();
  }
}

TEST(supervisor_model, DoesWhatOtpsSupervisorDoesInTheSameOrder) {
  static diary book;
  static diary expected;
  under_seeds(
      [](simulation& sim, runtime& rt) {
        book = expected = {};
        supervisor_options o{.strategy = static_cast<strategy>(sim.choose(3)),
                             .max_restarts = static_cast<unsigned>(sim.choose(6)),
                             .max_seconds = 5s,
                             .auto_shutdown = static_cast<auto_shutdown>(1 + sim.choose(2))};
        std::vector<child> specs;
        std::vector<model_child> models;
        for (std::uint64_t i = 1 + sim.choose(5); i > 0; --i) {
          const std::string id{static_cast<char>('a' + i)};
          const restart_type type = any_type(sim);
          specs.push_back(member_spec(book, {.id = id, .restart = type}));
          models.push_back({.id = id, .type = type});
        }
        const auto real = start_supervisor(rt, o, std::move(specs)).value();
        model m{o, std::move(models), expected};
        for (int i = 0; i < 40 && m.alive; ++i) {
          do_something(sim, real, m, book, expected);
          expect_same(real, m, book, expected);
          if (testing::Test::HasFailure()) return;
        }
      },
      400);
}

/// Against the rule itself: keep the stamps of the last period, add now, too many is the end.
TEST(supervisor_model, GivesUpExactlyWhenTheStampsOfThePeriodAreTooMany) {
  static diary book;
  under_seeds(
      [](simulation& sim, runtime& rt) {
        book = {};
        const auto most = static_cast<unsigned>(sim.choose(5));
        const duration period = std::chrono::milliseconds{1 + sim.choose(1000)};
        const auto top = start_supervisor(rt, {.max_restarts = most, .max_seconds = period},
                                          {member_spec(book, {.id = "a"})})
                             .value();
        std::vector<time_point> crashes;
        for (int i = 0; i < 100; ++i) {
          sim.advance(std::chrono::milliseconds{sim.choose(400)});
          top.child<member>("a").value().cast(end_as{exit_reason::stopped("broken")});
          sim.run();
          crashes.push_back(sim.now());
          const auto in_period =
              std::ranges::count_if(crashes, [&](time_point t) { return sim.now() - t <= period; });
          ASSERT_EQ(top.alive(), static_cast<unsigned>(in_period) <= most);
          if (!top.alive()) return;
        }
      },
      200);
}

}  // namespace
}  // namespace peeper::test
