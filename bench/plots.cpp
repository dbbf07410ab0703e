// SPDX-License-Identifier: Apache-2.0
//
// The plots of docs/performance.md as SVG: curves on logarithmic scales, each labelled at its end,
// and bars of ours against peers. On a light card of their own, to be read on any background.
#include <cmath>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

#include <fmt/format.h>

#include "results.hpp"

namespace bench {
namespace {

constexpr double width = 860;
constexpr const char* ink = "#1f2328";
constexpr const char* faint = "#59636e";
constexpr const char* grid = "#e4e8ec";

/// A series keeps its colour in all plots.
std::string colour_of(const std::string& name, std::size_t index) {
  static const std::map<std::string, std::string, std::less<>> fixed{
      {"ours", "#c2410c"},        {"CAF", "#1d4ed8"},   {"CAF, no limit", "#60a5fa"},
      {"Asio strand", "#047857"}, {"mutex", "#7c3aed"}, {"OTP", "#6b7280"},
  };
  if (const auto at = fixed.find(name); at != fixed.end()) return at->second;
  static constexpr const char* others[] = {"#c2410c", "#1d4ed8", "#047857", "#7c3aed",
                                           "#334155", "#0e7490", "#be185d", "#6b7280"};
  return others[index % std::size(others)];
}

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      default: out += c;
    }
  }
  return out;
}

class svg {
 public:
  svg(double height, std::string_view title) {
    out_ << fmt::format(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0:g} {1:g}\" width=\"{0:g}\" "
        "height=\"{1:g}\" font-family=\"system-ui, 'DejaVu Sans', sans-serif\" font-size=\"13\" "
        "role=\"img\">\n<title>{2}</title>\n"
        "<rect x=\"0.5\" y=\"0.5\" width=\"{3:g}\" height=\"{4:g}\" rx=\"8\" fill=\"#ffffff\" "
        "stroke=\"#d1d9e0\"/>\n",
        width, height, escaped(title), width - 1, height - 1);
    text(24, 32, title, {.size = 16, .bold = true});
  }
  struct style {
    double size = 13;
    const char* anchor = "start";
    std::string colour = ink;
    bool bold = false;
    bool upright = false;  ///< along the vertical axis
  };
  void text(double x, double y, std::string_view what, const style& s) {
    out_ << fmt::format(
        "<text x=\"{:.1f}\" y=\"{:.1f}\" font-size=\"{:g}\" text-anchor=\"{}\" fill=\"{}\"{}{}>{}"
        "</text>\n",
        x, y, s.size, s.anchor, s.colour, s.bold ? " font-weight=\"600\"" : "",
        s.upright ? fmt::format(" transform=\"rotate(-90 {:.1f} {:.1f})\"", x, y) : "",
        escaped(what));
  }
  void line(double x1, double y1, double x2, double y2, std::string_view colour,
            double thickness = 1, std::string_view more = "") {
    out_ << fmt::format(
        "<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\" stroke=\"{}\" "
        "stroke-width=\"{:g}\"{}/>\n",
        x1, y1, x2, y2, colour, thickness, more);
  }
  void rectangle(double x, double y, double w, double h, std::string_view colour) {
    out_ << fmt::format(
        "<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\" rx=\"2\" "
        "fill=\"{}\"/>\n",
        x, y, w, h, colour);
  }
  void curve(const std::vector<std::pair<double, double>>& points, std::string_view colour,
             double thickness) {
    out_ << "<polyline fill=\"none\" stroke-linejoin=\"round\" stroke=\"" << colour
         << fmt::format("\" stroke-width=\"{:g}\" points=\"", thickness);
    for (const auto& [x, y] : points) out_ << fmt::format("{:.1f},{:.1f} ", x, y);
    out_ << "\"/>\n";
    for (const auto& [x, y] : points) {
      out_ << fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"{:g}\" fill=\"{}\"/>\n", x, y,
                          thickness + 1, colour);
    }
  }
  [[nodiscard]] bool write(const std::filesystem::path& path) {
    std::ofstream file{path};
    file << out_.str() << "</svg>\n";
    file.flush();
    return file.good();
  }

 private:
  std::ostringstream out_;
};

struct series {
  std::string name;
  std::vector<std::pair<double, double>> points;
};

struct curve_plot {
  const char* file;
  const char* title;
  const char* x_title;
  bool binary_x;  ///< bytes: in steps of 1,024
  /// Benchmarks whose points it shows, and what each is called; empty: "ours".
  std::vector<std::pair<const char*, const char*>> curves;
};

std::string short_number(double v, bool binary) {
  static constexpr const char* decimal[] = {"", "k", "M", "G"};
  static constexpr const char* bytes[] = {" B", " KB", " MB", " GB"};
  const double step = binary ? 1024 : 1000;
  std::size_t power = 0;
  while (v >= step && power < 3) {
    v /= step;
    ++power;
  }
  return fmt::format("{:g}{}", v, binary ? bytes[power] : decimal[power]);
}

/// "10 ns", "1 us", "0.1 M/s": round numbers stay round.
std::string axis_text(double v, std::string_view unit) {
  if (unit == "bytes" && v >= 1000) return fmt::format("{:g} kB", v / 1000);
  if (unit != "ns") return fmt::format("{:g} {}", v, unit);
  static constexpr const char* units[] = {"ns", "us", "ms", "s"};
  std::size_t power = 0;
  while (v >= 999.5 && power < 3) {
    v /= 1000;
    ++power;
  }
  return fmt::format("{:g} {}", v, units[power]);
}

/// Labels beside the ends of curves, moved apart where they would overlap.
void label_ends(svg& out, const std::vector<series>& all, const std::vector<double>& xs,
                const std::vector<double>& ys, double label_x, double low, double high) {
  constexpr double gap = 17;
  std::vector<std::size_t> order(all.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::ranges::sort(order, {}, [&](std::size_t i) { return ys[i]; });
  std::vector<double> at(all.size());
  double last = low - gap;
  for (const std::size_t i : order) last = at[i] = std::max(ys[i], last + gap);
  // Too far down: push up from the bottom.
  double next = high + gap;
  for (auto i = order.rbegin(); i != order.rend(); ++i)
    next = at[*i] = std::min(at[*i], next - gap);
  for (std::size_t i = 0; i < all.size(); ++i) {
    const std::string colour = colour_of(all[i].name, i);
    out.line(xs[i] + 5, ys[i], label_x - 5, at[i], colour, 1,
             " stroke-dasharray=\"2 3\" opacity=\"0.6\"");
    out.text(label_x, at[i] + 4.5, all[i].name,
             {.size = 13, .colour = colour, .bold = all[i].name == "ours"});
  }
}

std::vector<series> series_of(const curve_plot& plot, const std::vector<row>& rows,
                              std::string& unit) {
  std::vector<series> all;
  const auto add = [&](const std::string& name, double x, double y) {
    if (x <= 0 || y <= 0) return;  // not on a logarithmic scale
    const auto at = std::ranges::find(all, name, &series::name);
    (at == all.end() ? all.emplace_back(series{.name = name, .points = {}}) : *at)
        .points.emplace_back(x, y);
  };
  for (const auto& [curve, label] : plot.curves) {
    for (const row& r : rows) {
      if (!r.x || r.curve != curve) continue;
      unit = r.unit;
      const std::string called = label;
      if (const auto ours = r.our_median()) add(called.empty() ? "ours" : called, *r.x, *ours);
      for (const auto& [who, values] : r.peers) {
        add(called.empty() ? who : fmt::format("{}, {}", who, called), *r.x, median(values));
      }
    }
  }
  return all;
}

bool draw(const curve_plot& plot, const std::vector<row>& rows, const std::string& folder) {
  std::string unit;
  const std::vector<series> all = series_of(plot, rows, unit);
  if (all.empty()) return true;
  double x_low = 1e300;
  double x_high = 0;
  double y_low = 1e300;
  double y_high = 0;
  for (const series& s : all) {
    for (const auto& [x, y] : s.points) {
      x_low = std::min(x_low, x);
      x_high = std::max(x_high, x);
      y_low = std::min(y_low, y);
      y_high = std::max(y_high, y);
    }
  }
  // Whole decades, so that every line of the grid has a round number.
  y_low = std::pow(10, std::floor(std::log10(y_low)));
  y_high = std::pow(10, std::ceil(std::log10(y_high) + 1e-9));
  constexpr double height = 420;
  constexpr double left = 88;
  constexpr double right = width - 210;
  constexpr double top = 56;
  constexpr double bottom = height - 62;
  const auto x_at = [&](double x) {
    return left + (right - left) * std::log(x / x_low) / std::max(std::log(x_high / x_low), 1e-9);
  };
  const auto y_at = [&](double y) {
    return bottom - (bottom - top) * std::log(y / y_low) / std::log(y_high / y_low);
  };
  svg out{height, plot.title};
  for (double y = y_low; y <= y_high * 1.001; y *= 10) {
    out.line(left, y_at(y), right, y_at(y), grid);
    out.text(left - 8, y_at(y) + 4.5, axis_text(y, unit), {.anchor = "end", .colour = faint});
  }
  std::vector<double> ticks;
  for (const series& s : all) {
    for (const auto& [x, y] : s.points) ticks.push_back(x);
  }
  std::ranges::sort(ticks);
  double last = -1e9;
  for (const double x : ticks) {
    if (x_at(x) - last < 50) continue;
    last = x_at(x);
    out.line(last, top, last, bottom, grid);
    out.text(last, bottom + 20, short_number(x, plot.binary_x),
             {.anchor = "middle", .colour = faint});
  }
  out.text((left + right) / 2, height - 18, plot.x_title, {.anchor = "middle", .colour = faint});
  std::vector<double> end_x;
  std::vector<double> end_y;
  for (std::size_t i = 0; i < all.size(); ++i) {
    auto points = all[i].points;
    for (auto& [x, y] : points) {
      x = x_at(x);
      y = y_at(y);
    }
    end_x.push_back(points.back().first);
    end_y.push_back(points.back().second);
    out.curve(points, colour_of(all[i].name, i), all[i].name == "ours" ? 3 : 2);
  }
  label_ends(out, all, end_x, end_y, right + 26, top, bottom);
  return out.write(std::filesystem::path{folder} / plot.file);
}

struct bar_plot {
  const char* file;
  const char* title;
  std::vector<std::pair<const char*, const char*>> rows;  ///< name, and what it is called here
};

bool draw(const bar_plot& plot, const std::vector<row>& rows, const std::string& folder) {
  struct bar {
    std::string who;
    double value;
  };
  struct group {
    std::string title;
    std::vector<bar> bars;
  };
  std::vector<group> groups;
  std::string unit;
  double low = 1e300;
  double high = 0;
  std::size_t bars = 0;
  for (const auto& [name, called] : plot.rows) {
    const auto at = std::ranges::find(rows, std::string_view{name}, &row::name);
    if (at == rows.end()) continue;
    unit = at->unit;
    group g{.title = called, .bars = {}};
    if (const auto ours = at->our_median()) g.bars.push_back({"ours", *ours});
    std::vector<bar> peers;
    for (const auto& [who, values] : at->peers) peers.push_back({who, median(values)});
    std::ranges::sort(peers, [&](const bar& a, const bar& b) {
      return higher_is_better(unit) ? a.value > b.value : a.value < b.value;
    });
    g.bars.insert(g.bars.end(), peers.begin(), peers.end());
    std::erase_if(g.bars, [](const bar& b) { return b.value <= 0; });
    for (const bar& b : g.bars) {
      low = std::min(low, b.value);
      high = std::max(high, b.value);
    }
    bars += g.bars.size();
    if (!g.bars.empty()) groups.push_back(std::move(g));
  }
  if (groups.empty()) return true;
  low = std::pow(10, std::floor(std::log10(low) - 0.15));
  high = std::pow(10, std::ceil(std::log10(high) + 1e-9));
  constexpr double left = 132;
  constexpr double right = width - 110;
  constexpr double top = 54;
  constexpr double bar_height = 19;
  constexpr double title_height = 30;
  const double bottom = top + static_cast<double>(bars) * bar_height +
                        static_cast<double>(groups.size()) * title_height + 6;
  const double height = bottom + 56;
  const auto x_at = [&](double v) {
    return left + (right - left) * std::log(v / low) / std::log(high / low);
  };
  svg out{height, plot.title};
  for (double v = low; v <= high * 1.001; v *= 10) {
    out.line(x_at(v), top, x_at(v), bottom, grid);
    out.text(x_at(v), bottom + 18, axis_text(v, unit), {.anchor = "middle", .colour = faint});
  }
  out.text((left + right) / 2, height - 14,
           higher_is_better(unit) ? "longer is better (logarithmic scale)"
                                  : "shorter is better (logarithmic scale)",
           {.anchor = "middle", .colour = faint});
  double y = top;
  for (const group& g : groups) {
    out.text(24, y + 20, g.title, {.bold = true});
    y += title_height;
    for (const bar& b : g.bars) {
      const std::string colour = colour_of(b.who, 0);
      out.text(left - 8, y + 12.5, b.who,
               {.anchor = "end", .colour = colour, .bold = b.who == "ours"});
      out.rectangle(left, y + 1.5, std::max(x_at(b.value) - left, 2.0), bar_height - 5, colour);
      out.text(x_at(b.value) + 7, y + 12.5, value_text(b.value, unit), {.size = 12});
      y += bar_height;
    }
  }
  return out.write(std::filesystem::path{folder} / plot.file);
}

}  // namespace

bool write_plots(const std::vector<row>& rows, const std::string& folder) {
  const std::vector<bar_plot> bars{
      {"bench_calls.svg",
       "Call round trips, server to server, in millions a second",
       {{"call/server to server, 1 thread", "on one thread"},
        {"call/server to server, 2 threads", "on two threads"}}},
      {"bench_casts.svg",
       "Casts handled, in millions a second",
       {{"cast/1 server to 1 server, 1 thread", "from 1 server, on one thread"},
        {"cast/1 server to 1 server, 2 threads", "from 1 server, on two threads"},
        {"cast/8 servers to 1 server, 2 threads", "from 8 servers, on two threads"},
        {"cast/1 foreign thread to 1 server", "from 1 foreign thread"},
        {"cast/8 foreign threads to 1 server", "from 8 foreign threads"}}},
      {"bench_latency.svg",
       "Time until the answer, median",
       {{"call/foreign thread to idle server, p50", "a foreign thread calls an idle server"},
        {"call/foreign thread to idle server after 20 ms, p50", "the same, after 20 ms of silence"},
        {"call/foreign thread to busy server, p50", "a foreign thread calls a busy server"},
        {"crash/exception to next answer, p50", "an exception in a handler, until the next answer"},
        {"schedule/call from a server that computes on, p50",
         "picked up while its sender computes on"}}},
      {"bench_spawn.svg",
       "Starting one of 100,000 servers",
       {{"spawn/100,000 servers, time of each", "time of each"},
        {"spawn/100,000 servers, first answer of each", "until it has answered first"}}},
  };
  const std::vector<curve_plot> curves{
      {"growth_spawn.svg",
       "Time to start one server, by how many are started",
       "servers",
       false,
       {{"growth/servers, time of each", ""}}},
      {"growth_spawn_memory.svg",
       "Memory of one idle server, by how many there are",
       "servers",
       false,
       {{"growth/servers, memory of each", ""}}},
      {"growth_first_answer.svg",
       "Time of the first answer of one server, by how many there are",
       "servers",
       false,
       {{"growth/servers, first answer of each", ""}}},
      {"growth_queue.svg",
       "Time to handle one message, by how many had queued",
       "queued messages",
       false,
       {{"growth/queued messages, time to handle each", ""}}},
      {"growth_queue_send.svg",
       "Time to queue one message, by how many are queued",
       "queued messages",
       false,
       {{"growth/queued messages, time to queue each", ""}}},
      {"growth_queue_memory.svg",
       "Memory held when a burst of messages has been handled",
       "messages in the burst",
       false,
       {{"growth/queued messages, memory when all are handled", ""}}},
      {"growth_producers.svg",
       "Casts handled, by how many threads send them",
       "sending threads",
       false,
       {{"growth/producers, casts", ""}}},
      {"growth_containers.svg",
       "Cost of a commit with one entry changed",
       "entries in the container",
       false,
       {{"growth/commit, one entry of many, kept_map", "kept_map"},
        {"growth/commit, one entry of many, kept_ordered_map", "kept_ordered_map"},
        {"growth/commit, one entry of many, kept_set", "kept_set (in and out)"},
        {"growth/commit, one entry of many, kept_ordered_set", "kept_ordered_set (same)"},
        {"growth/commit, one entry of many, kept_vector", "kept_vector"},
        {"growth/commit, one entry of many, kept_deque", "kept_deque"},
        {"growth/commit, one entry of many, kept_map of kept_deque", "map of deques"},
        {"growth/commit, one entry of many, std::unordered_map, not kept",
         "unordered_map, not kept"}}},
      {"growth_state.svg",
       "Cost of a commit with one change, by the size of the state",
       "size of the state",
       true,
       {{"growth/commit, bytes of the state, a plain string", "one plain string"},
        {"growth/commit, bytes of the state, a kept_vector", "one kept_vector"}}},
  };
  std::error_code failed;
  std::filesystem::create_directories(folder, failed);
  if (failed) return false;
  return std::ranges::all_of(bars, [&](const auto& p) { return draw(p, rows, folder); }) &&
         std::ranges::all_of(curves, [&](const auto& p) { return draw(p, rows, folder); });
}

}  // namespace bench
