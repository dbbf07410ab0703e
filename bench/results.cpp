// SPDX-License-Identifier: Apache-2.0
#include "results.hpp"

#include <algorithm>
#include <cmath>
#include <fstream>

#include <fmt/format.h>

namespace bench {

double median(const std::vector<double>& values) {
  std::vector<double> copy = values;
  return percentile(copy, 0.5);
}

bool higher_is_better(std::string_view unit) noexcept { return unit == "M/s"; }

std::optional<double> row::our_median() const {
  if (ours.empty()) return std::nullopt;
  return median(ours);
}

std::optional<row::best_peer> row::best() const {
  std::optional<best_peer> found;
  for (const auto& [who, values] : peers) {
    const double value = median(values);
    if (!found || (higher_is_better(unit) ? value > found->value : value < found->value)) {
      found = best_peer{.name = who, .value = value};
    }
  }
  return found;
}

std::optional<double> row::ratio() const {
  const auto us = our_median();
  const auto them = best();
  if (!us || !them) return std::nullopt;
  const double better = higher_is_better(unit) ? *us : them->value;
  const double worse = higher_is_better(unit) ? them->value : *us;
  // Less than nothing (memory given back) has no ratio either.
  if (worse <= 0 || better < 0) return std::nullopt;
  return better / worse;
}

std::optional<bool> row::met() const {
  const auto us = our_median();
  if (!has_target() || !us) return std::nullopt;
  if (goal.most && *us > *goal.most) return false;
  if (goal.least && *us < *goal.least) return false;
  if (goal.times_best) {
    if (const auto times = ratio()) return *times >= *goal.times_best;
    return std::nullopt;
  }
  return true;
}

row& result_table::at(const std::string& name, std::string_view unit) {
  auto [at, fresh] = index_.try_emplace(name, rows_.size());
  if (fresh) {
    row r;
    r.name = name;
    r.unit = unit;
    rows_.push_back(std::move(r));
  }
  return rows_[at->second];
}

std::vector<row> result_table::sorted() const {
  std::vector<row> rows = rows_;
  std::ranges::sort(rows, [](const row& a, const row& b) {
    // The points of a curve by their place on it.
    if (a.x && b.x && a.curve == b.curve && a.unit == b.unit) return *a.x < *b.x;
    return a.name < b.name;
  });
  return rows;
}

result_table& results() {
  static result_table table;
  return table;
}

std::vector<peer_description>& described_peers() {
  static std::vector<peer_description> all;
  return all;
}

std::string value_text(double value, std::string_view unit) {
  const auto three_digits = [](double v) {
    const double size = std::abs(v);
    if (size >= 100 || v == 0) return fmt::format("{:.0f}", v);
    return size >= 10 ? fmt::format("{:.1f}", v) : fmt::format("{:.2f}", v);
  };
  if (unit == "ns") {
    const double size = std::abs(value);
    if (size < 1e3) return fmt::format("{:.{}f} ns", value, size < 10 ? 1 : 0);
    if (size < 1e6) return three_digits(value / 1e3) + " us";
    if (size < 1e9) return three_digits(value / 1e6) + " ms";
    return three_digits(value / 1e9) + " s";
  }
  return fmt::format("{} {}", three_digits(value), unit);
}

std::string goal_text(const row& r) {
  if (r.goal.most) return "<= " + value_text(*r.goal.most, r.unit);
  if (r.goal.least) return ">= " + value_text(*r.goal.least, r.unit);
  if (!r.goal.times_best) return "";
  const std::string aim = r.goal.aim ? ", aim " + value_text(*r.goal.aim, r.unit) : "";
  if (*r.goal.times_best == 1) return "no slower than best peer" + aim;
  return fmt::format(">= {:g} x best peer{}", *r.goal.times_best, aim);
}

namespace {

std::string json_text(std::string_view text) {
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') quoted += '\\';
    quoted += c;
  }
  return quoted + '"';
}

std::string json_number(std::optional<double> v) {
  return v && std::isfinite(*v) ? fmt::format("{:.6g}", *v) : "null";
}

}  // namespace

bool write_json(const std::vector<row>& rows, const std::string& path) {
  std::ofstream out{path};
  out << "[\n";
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const row& r = rows[i];
    std::string peers;
    const auto add = [&](const std::string& name, const std::string& value) {
      peers += fmt::format("{}{}: {}", peers.empty() ? "" : ", ", json_text(name), value);
    };
    for (const auto& [name, values] : r.peers) add(name, json_number(median(values)));
    for (const std::string& name : r.left_out) add(name, "null");
    const auto met = r.met();
    out << fmt::format(
        R"(  {{"name": {}, "unit": {}, "ours": {}, "peers": {{{}}}, "ratio_to_best_peer": {}, )"
        R"("target": {}, "met": {}}}{})",
        json_text(r.name), json_text(r.unit), json_number(r.our_median()), peers,
        json_number(r.ratio()), r.has_target() ? json_text(goal_text(r)) : "null",
        met ? (*met ? "true" : "false") : "null", i + 1 < rows.size() ? ",\n" : "\n");
  }
  out << "]\n";
  out.flush();
  return out.good();
}

}  // namespace bench
