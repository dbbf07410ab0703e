// SPDX-License-Identifier: Apache-2.0
//
// The table on the terminal.
#include <cstdio>

#include <fmt/format.h>
#include <unistd.h>

#include "results.hpp"

namespace bench {
namespace {

struct style {
  const char* bold = "";
  const char* dim = "";
  const char* good = "";
  const char* bad = "";
  const char* end = "";
};

style style_of_terminal() {
  if (isatty(STDOUT_FILENO) == 0) return {};
  return {
      .bold = "\x1b[1m", .dim = "\x1b[2m", .good = "\x1b[32m", .bad = "\x1b[31m", .end = "\x1b[0m"};
}

/// "call/foreign thread to idle server, p50": "call" is the heading of its group.
std::string_view group_of(const row& r) {
  return std::string_view{r.name}.substr(0, r.name.find('/'));
}
std::string_view name_in_group(const row& r) {
  const auto slash = r.name.find('/');
  return slash == std::string::npos ? std::string_view{r.name}
                                    : std::string_view{r.name}.substr(slash + 1);
}

std::string best_text(const row& r) {
  if (const auto best = r.best()) {
    return fmt::format("{}  {}", value_text(best->value, r.unit), best->name);
  }
  return r.left_out.empty() ? "" : "left out";
}

std::string ratio_text(const row& r) {
  const auto times = r.ratio();
  if (!times) return "";
  return fmt::format("{:.{}f} x", *times, *times < 10 ? 2 : 0);
}

}  // namespace

void print_table(const std::vector<row>& rows) {
  const style s = style_of_terminal();
  std::size_t width = 10;
  for (const row& r : rows) width = std::max(width, name_in_group(r).size());
  std::size_t met = 0;
  std::size_t judged = 0;
  std::string_view group;
  for (const row& r : rows) {
    if (group_of(r) != group) {
      group = group_of(r);
      fmt::print("\n{}{:<{}}  {:>16}  {:>28}  {:>8}  {}{}\n", s.bold, group, width + 2, "ours",
                 "best peer", "ratio", "target", s.end);
    }
    const auto ours = r.our_median();
    const auto reached = r.met();
    if (reached) {
      ++judged;
      met += *reached ? 1 : 0;
    }
    fmt::print("  {:<{}}  {:>16}  {:>28}  {:>8}  {}{}{}{}{}\n", name_in_group(r), width,
               ours ? value_text(*ours, r.unit) : "", best_text(r), ratio_text(r),
               reached ? (*reached ? s.good : s.bad) : "",
               reached ? (*reached ? "met      " : "not met  ") : "", s.dim, goal_text(r), s.end);
  }
  fmt::print("\nMedians. A ratio above 1 means that ours is better. Targets met: {} of {}.\n", met,
             judged);
  for (const peer_description& p : described_peers()) {
    fmt::print("{}{}: {}\n", p.present ? "" : "left out: ", p.name, p.what());
  }
}

}  // namespace bench
