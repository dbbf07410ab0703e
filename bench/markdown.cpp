// SPDX-License-Identifier: Apache-2.0
//
// The figures of docs/performance.md, between two marks; the prose around them is written by hand.
#include <fstream>
#include <set>
#include <sstream>
#include <thread>

#include <fmt/format.h>

#include "results.hpp"

namespace bench {
namespace {

constexpr std::string_view begin_mark = "<!-- figures: written by make bench, from here -->";
constexpr std::string_view end_mark = "<!-- figures: to here -->";

std::string first_line_with(const char* path, std::string_view key) {
  std::ifstream in{path};
  for (std::string line; std::getline(in, line);) {
    if (!line.starts_with(key)) continue;
    auto value = line.substr(line.find_first_of(":=") + 1);
    std::erase(value, '"');
    const auto first = value.find_first_not_of(" \t");
    return first == std::string::npos ? "" : value.substr(first);
  }
  return "unknown";
}

std::string compiler() {
#if defined(__clang__)
  return fmt::format("clang {}", __clang_version__);
#else
  return fmt::format("g++ {}", __VERSION__);
#endif
}

std::string group_of(const row& r) { return r.name.substr(0, r.name.find('/')); }

std::string cell(const row& r, const std::string& who) {
  if (const auto at = r.peers.find(who); at != r.peers.end()) {
    const std::string text = value_text(median(at->second), r.unit);
    const auto best = r.best();
    return best && best->name == who ? "**" + text + "**" : text;
  }
  return std::ranges::find(r.left_out, who) != r.left_out.end() ? "left out" : "";
}

/// Without its group; names of templates are no markup.
std::string name_cell(const row& r) {
  const std::string name = r.name.substr(r.name.find('/') + 1);
  return name.find('<') == std::string::npos ? name : '`' + name + '`';
}

std::string met_text(const row& r) {
  const auto met = r.met();
  if (!met) return r.has_target() ? goal_text(r) + ": no peer to compare with" : "";
  return goal_text(r) + (*met ? ": met" : ": **not met**");
}

void write_group(std::ostream& out, const std::string& group, const std::vector<const row*>& rows) {
  std::set<std::string> peers;
  bool targets = false;
  for (const row* r : rows) {
    for (const auto& [who, values] : r->peers) peers.insert(who);
    peers.insert(r->left_out.begin(), r->left_out.end());
    targets = targets || r->has_target();
  }
  out << "\n### " << group << "\n\n| | ours |";
  for (const std::string& who : peers) out << ' ' << who << " |";
  if (!peers.empty()) out << " ratio |";
  if (targets) out << " target |";
  out << "\n|---|--:|";
  for (std::size_t i = 0; i < peers.size() + (peers.empty() ? 0 : 1); ++i) out << "--:|";
  if (targets) out << "---|";
  out << '\n';
  for (const row* r : rows) {
    const auto ours = r->our_median();
    out << "| " << name_cell(*r) << " | " << (ours ? value_text(*ours, r->unit) : "") << " |";
    for (const std::string& who : peers) out << ' ' << cell(*r, who) << " |";
    if (!peers.empty()) {
      const auto times = r->ratio();
      out << ' ' << (times ? fmt::format("{:.{}f}", *times, *times < 10 ? 2 : 0) : "") << " |";
    }
    if (targets) out << ' ' << met_text(*r) << " |";
    out << '\n';
  }
}

std::string figures(const std::vector<row>& rows) {
  std::size_t repetitions = 0;
  for (const row& r : rows) repetitions = std::max(repetitions, r.ours.size());
  std::ostringstream out;
  out << "\nMachine: " << first_line_with("/proc/cpuinfo", "model name") << ", "
      << std::thread::hardware_concurrency() << " cores, "
      << first_line_with("/etc/os-release", "PRETTY_NAME") << ", " << compiler() << ". Medians of "
      << repetitions << " repetitions unless said otherwise.\n\n";
  for (const peer_description& p : described_peers()) {
    out << "- " << p.name << ": " << (p.present ? "" : "left out: ") << p.what() << '\n';
  }
  std::vector<const row*> of_group;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    // Points of curves are in the plots.
    if (!rows[i].x) of_group.push_back(&rows[i]);
    if (i + 1 < rows.size() && group_of(rows[i + 1]) == group_of(rows[i])) continue;
    if (!of_group.empty()) write_group(out, group_of(rows[i]), of_group);
    of_group.clear();
  }
  out << '\n';
  return out.str();
}

}  // namespace

bool write_markdown(const std::vector<row>& rows, const std::string& path) {
  std::stringstream page;
  page << std::ifstream{path}.rdbuf();
  std::string text = page.str();
  const auto begin = text.find(begin_mark);
  const auto end = text.find(end_mark);
  if (begin == std::string::npos || end == std::string::npos || end < begin) return false;
  const auto after_mark = begin + begin_mark.size();
  text.replace(after_mark, end - after_mark, "\n" + figures(rows));
  std::ofstream out{path};
  out << text;
  out.flush();
  return out.good();
}

}  // namespace bench
