// SPDX-License-Identifier: Apache-2.0
/// \file
/// What has been measured, and the forms it is written in.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bench.hpp"

namespace bench {

struct row {
  std::string name;
  std::string benchmark;  ///< that has it: `name` without the detail
  std::string unit;
  target goal;
  std::optional<double> x;   ///< of a curve: where
  std::string curve;         ///< of a curve: its benchmark
  std::vector<double> ours;  ///< one a repetition
  std::map<std::string, std::vector<double>> peers;
  std::vector<std::string> left_out;

  [[nodiscard]] std::optional<double> our_median() const;
  struct best_peer {
    std::string name;
    double value;
  };
  [[nodiscard]] std::optional<best_peer> best() const;
  /// More than 1: we are better, whatever the unit. Nothing where a zero would be divided by.
  [[nodiscard]] std::optional<double> ratio() const;
  [[nodiscard]] bool has_target() const noexcept {
    return goal.most || goal.least || goal.times_best;
  }
  /// Nothing where it takes a peer to tell and none is there.
  [[nodiscard]] std::optional<bool> met() const;
};

[[nodiscard]] double median(const std::vector<double>& values);
/// Rates are better when higher, all else is a cost.
[[nodiscard]] bool higher_is_better(std::string_view unit) noexcept;

struct peer_description {
  std::string name;
  std::string (*what)();  ///< asked for when it is needed: it may take time
  bool present;
};

class result_table {
 public:
  row& at(const std::string& name, std::string_view unit);
  /// In the order of their names: what runs is mixed.
  [[nodiscard]] std::vector<row> sorted() const;

 private:
  std::map<std::string, std::size_t, std::less<>> index_;
  std::vector<row> rows_;
};
[[nodiscard]] result_table& results();
[[nodiscard]] std::vector<peer_description>& described_peers();

/// For people: "15.8 us", "13.6 M/s".
[[nodiscard]] std::string value_text(double value, std::string_view unit);
[[nodiscard]] std::string goal_text(const row& r);

void print_table(const std::vector<row>& rows);
/// An array, one object a row. RETURNS: whether it was written.
[[nodiscard]] bool write_json(const std::vector<row>& rows, const std::string& path);
/// Writes the tables between the two marks of the page at `path`.
[[nodiscard]] bool write_markdown(const std::vector<row>& rows, const std::string& path);
/// Draws the plots of docs/performance.md, as SVG. RETURNS: whether all were written.
[[nodiscard]] bool write_plots(const std::vector<row>& rows, const std::string& folder);

}  // namespace bench
