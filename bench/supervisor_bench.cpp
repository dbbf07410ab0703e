// SPDX-License-Identifier: Apache-2.0
//
// What supervisors cost: a restart, and a million children that come and go.
#include <atomic>
#include <cstddef>
#include <memory>
#include <vector>

#include <malloc.h>

#include "servers.hpp"
#include "workload.hpp"

namespace bench {

struct lives {
  std::size_t left = 0;
  std::atomic<bool> over{false};
};
struct leave {};

/// Ends as soon as it runs, until it has done so often enough.
struct short_lived {
  struct state {};
  state init(lives* l) {
    if (l->left-- > 0) {
      peeper::self<short_lived>().cast(leave{});
    } else {
      l->over = true;
      l->over.notify_all();
    }
    return {};
  }
  auto handle_cast(leave /*m*/, const state& /*s*/) { return peeper::stop(); }
};

}  // namespace bench

namespace {

using bench::report;
using namespace std::chrono_literals;

void restart(report& r) {
  const std::size_t n = bench::scaled(200'000);
  bench::lives lives{.left = n};
  peeper::runtime rt{{.threads = 1}};
  const auto begin = bench::clock::now();
  const auto top = peeper::start_supervisor(
      rt, {.max_restarts = 1U << 30U, .max_seconds = 1ms},
      {peeper::child_spec<bench::short_lived>({.id = "child"}, {}, &lives)});
  bench::require(top.has_value(), "the supervisor started");
  lives.over.wait(false);
  const double ns = bench::ns_since(begin) / static_cast<double>(n);
  const auto children = top->which_children();
  bench::require(children && children->size() == 1 && children->front().restarts == n,
                 "every end was followed by a restart");
  r.row("ns", ns, bench::at_most(5000));
}

/// Bytes of each of `n` that `start(i)` starts.
template <class Start>
double bytes_of_each(std::size_t n, Start start) {
  malloc_trim(0);
  const double before = bench::resident_bytes();
  for (std::size_t i = 0; i < n; ++i) start(i);
  return (bench::resident_bytes() - before) / static_cast<double>(n);
}

void a_million_children(report& r) {
  const std::size_t n = bench::scaled(1'000'000);
  const std::size_t plain = n / 4 + 1;
  peeper::runtime rt;
  std::vector<peeper::ref<bench::counter>> refs(plain + n);
  // They stay, so that the children find nothing that these have left.
  const double bytes = bytes_of_each(plain, [&](std::size_t i) {
    refs[n + i] = bench::started<bench::counter>(rt, {.state = 1});
  });
  const auto top = peeper::start_dynamic_supervisor(rt).value();
  const auto begin = bench::clock::now();
  const double with_supervisor = bytes_of_each(n, [&](std::size_t i) {
    auto child = top.start_child<bench::counter>({.state = static_cast<std::int64_t>(i)});
    bench::require(child.has_value(), "the child started");
    refs[i] = std::move(*child);
  });
  bench::require(rt.server_count() == plain + n + 1, "all children are there");
  const auto last = static_cast<std::int64_t>(n - 1);
  bench::require(bench::answer(refs[n - 1], bench::get{}) == last, "the last one has its state");
  const double started = bench::ns_since(begin) / 1e9;
  const auto stopping = bench::clock::now();
  bench::require(top.stop().has_value(), "the supervisor ended");
  const double stopped = bench::ns_since(stopping) / 1e9;
  bench::require(rt.server_count() == plain, "all children ended");
  r.row("start of all", "s", started, bench::at_most(5));
  r.row("stop of all", "s", stopped, bench::at_most(5));
  r.row("of the supervisor's own for each", "bytes", with_supervisor - bytes, bench::at_most(100));
}

[[maybe_unused]] const bool added[] = {
    bench::add("supervisor/restart of a plain child", restart),
    bench::add("supervisor/1,000,000 children", a_million_children, 3),
};

}  // namespace
