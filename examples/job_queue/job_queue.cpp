// SPDX-License-Identifier: Apache-2.0
//
// A job queue. The queue is the server's mailbox, and what a crash leaves is peeper's affair: a job
// that fails is tried again in its place, after a pause that grows; one that fails too often is set
// aside, and the ones behind it go on. The state knows nothing of all that: it holds what is done.
#include <atomic>
#include <chrono>
#include <cstdint>
#include <stdexcept>
#include <string>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <spdlog/spdlog.h>

#include <peeper/kept.hpp>
#include <peeper/peeper.hpp>

using namespace std::chrono_literals;

/// The world outside, which no rollback reaches.
struct printing_shop {
  std::atomic<bool> has_paper{false};
  std::atomic<int> jams{2};  ///< to come
  std::atomic<int> attempts{0};

  void print(int job, const std::string& document) {
    ++attempts;
    if (document.empty()) throw std::runtime_error{fmt::format("job {} cannot be read", job)};
    if (document == "poster" && !has_paper) {
      throw std::runtime_error{fmt::format("job {}: no paper of that size", job)};
    }
    if (document == "book" && jams-- > 0) throw std::runtime_error{"paper jam"};
  }
};

struct job {
  int id = 0;
  std::string document;
};
struct done {
  using reply = peeper::kept_vector<int>;
};

struct printer {
  struct state {
    peeper::kept_vector<int> done;
  };
  printing_shop* shop = nullptr;

  state init(printing_shop* s) {
    shop = s;
    return {};
  }
  void handle_cast(const job& j, state& s) {
    s.done.push_back(j.id);  // undone if what follows throws
    shop->print(j.id, j.document);
  }
  done::reply handle_call(done, const state& s) { return s.done; }
};

namespace {

/// A call is answered after all that was sent before it.
void show_done(const peeper::ref<printer>& queue) {
  fmt::print("done: {}\n", fmt::join(queue.call(done{}).value(), " "));
}

void show_set_aside(const peeper::ref<printer>& queue) {
  const auto all = peeper::list_poison(queue).value();
  if (all.empty()) fmt::print("set aside: nothing\n");
  for (const auto& p : all) {
    fmt::print("set aside: a {}, after {} attempts: {}\n", p.message, p.attempts,
               p.reason.detail());
  }
}

}  // namespace

int main() {
  spdlog::set_level(spdlog::level::err);  // each crash is a warning in the log
  printing_shop shop;                     // outlives the runtime
  peeper::runtime rt;
  const auto queue = peeper::start<printer>(rt,
                                            {.name = "queue",
                                             .on_crash = peeper::on_crash::retry(3),
                                             .backoff = {.min = 5ms, .max = 50ms}},
                                            &shop)
                         .value();

  int id = 0;
  for (const char* document : {"letter", "book", "", "letter", "poster", "poster", "letter"}) {
    queue.cast(job{++id, document});
  }
  show_done(queue);
  show_set_aside(queue);

  fmt::print("-- paper has come, and is put in\n");
  shop.has_paper = true;
  const auto waiting = peeper::list_poison(queue).value();
  for (const auto& p : waiting) {
    if (p.reason.detail().find("no paper") == std::string_view::npos) continue;
    if (!peeper::replay_poison(queue, p.id).value()) return 1;
  }
  show_done(queue);
  show_set_aside(queue);

  fmt::print("-- what nobody can read is given up\n");
  const auto hopeless = peeper::list_poison(queue).value();
  for (const auto& p : hopeless) {
    if (!peeper::discard_poison(queue, p.id).value()) return 1;
  }
  show_set_aside(queue);
  fmt::print("{} attempts, {} crashes, one server: {}\n", shop.attempts.load(),
             peeper::statistics_of(queue).value().crashes, queue.name());
}
