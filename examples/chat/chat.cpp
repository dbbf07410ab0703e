// SPDX-License-Identifier: Apache-2.0
// A chat room with a listener. Guests are servers; the room keeps who is in and what was said last.
// One guest sends what makes the room crash: nobody is thrown out, no line is lost, and the
// chronicle, which listens, has written down what was committed, in order, and the crash.
#include <cstdio>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include <peeper/peeper.hpp>

namespace {

struct heard {  // what a room tells its guests
  std::string line;
};
struct lines_heard {
  using reply = std::vector<std::string>;
};

struct guest {
  struct state {
    peeper::kept_vector<std::string> lines;
  };
  void handle_cast(heard m, state& s) { s.lines.push_back(std::move(m.line)); }
  std::vector<std::string> handle_call(lines_heard, const state& s) {
    return {s.lines.begin(), s.lines.end()};
  }
};

struct enter {
  using reply = int;  // how many are in
  std::string name;
  peeper::ref<guest> who;
};
struct leave {
  using reply = bool;
  std::string name;
};
struct say {
  using reply = int;  // the number of the line
  std::string name;
  std::string text;
};

struct room {
  static constexpr std::size_t lines_kept = 3;
  struct state {
    int said = 0;
    peeper::kept_ordered_map<std::string, peeper::ref<guest>> guests;
    peeper::kept_deque<std::string> last_lines;
  };

  int handle_call(const enter& m, state& s) {
    for (const std::string& line : s.last_lines) m.who.cast(heard{line});
    s.guests.insert_or_assign(m.name, m.who);
    return static_cast<int>(s.guests.size());
  }
  bool handle_call(const leave& m, state& s) { return s.guests.erase(m.name) == 1; }
  int handle_call(const say& m, state& s) {
    if (!s.guests.contains(m.name)) return 0;
    const std::string line = m.name + ": " + m.text;
    for (const auto& [name, who] : s.guests) who.cast(heard{line});  // leaves at the commit
    s.last_lines.push_back(line);
    if (m.text.starts_with("%n")) throw std::runtime_error{"nobody thought of that"};
    if (s.last_lines.size() > lines_kept) s.last_lines.pop_front();
    return ++s.said;
  }
};

/// Writes the room's history. Each server gets a copy of its listeners: the pages are shared.
struct chronicle {
  std::shared_ptr<std::vector<std::string>> pages = std::make_shared<std::vector<std::string>>();

  void on_state_changed(const peeper::change<room::state>& c) const {
    for (const auto& op : c.of<&room::state::guests>()) {
      if (op.kind == peeper::change_kind::inserted) pages->push_back(*op.key + " enters");
      if (op.kind == peeper::change_kind::erased) pages->push_back(*op.key + " leaves");
    }
    for (const auto& op : c.of<&room::state::last_lines>()) {
      if (op.kind == peeper::change_kind::inserted) pages->push_back(*op.now);
    }
  }
  void on_terminate(const peeper::end_event<room::state>& e) const {
    pages->push_back(e.server_goes_on() ? "(a crash: " + e.reason().to_string() + ")"
                                        : "the room closes");
  }
};

}  // namespace

int main() {
  const chronicle history;
  std::vector<std::string> heard_by_bob;
  {
    peeper::runtime rt;
    const auto r = peeper::start<room>(rt, {.name = "room", .listeners = {history}}).value();
    const auto ann = peeper::start<guest>(rt, {.name = "ann"}).value();
    const auto bob = peeper::start<guest>(rt, {.name = "bob"}).value();

    std::printf("in the room: %d\n", r.call(enter{"ann", ann}).value());
    std::printf("line %d\n", r.call(say{"ann", "hello?"}).value());
    std::printf("in the room: %d\n", r.call(enter{"bob", bob}).value());
    std::printf("line %d\n", r.call(say{"bob", "hello!"}).value());
    const auto lost = r.call(say{"bob", "%n%n%n"});
    std::printf("bob is told: %s\n", lost ? "nothing" : lost.error().reason().to_string().c_str());
    std::printf("line %d\n", r.call(say{"ann", "still there?"}).value());
    peeper::kill(peeper::worker_of(r));
    std::printf("line %d\n", r.call(say{"bob", "still here"}).value());
    std::printf("ann leaves: %s\n", r.call(leave{"ann"}).value() ? "yes" : "no");
    heard_by_bob = bob.call(lines_heard{}).value();
    peeper::stop(r).value();
  }  // all listeners have heard all
  std::printf("\nbob has heard:\n");
  for (const std::string& line : heard_by_bob) std::printf("  %s\n", line.c_str());
  std::printf("\nthe chronicle:\n");
  for (const std::string& line : *history.pages) std::printf("  %s\n", line.c_str());
}
