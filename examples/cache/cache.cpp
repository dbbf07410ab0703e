// SPDX-License-Identifier: Apache-2.0
// A cache with a kept table and expiry. One server owns the table: it writes, and erases what has
// expired. Any thread reads, without asking the server. A poisoned write crashes the worker again
// and again; what was stored before is still there.
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

#include <spdlog/spdlog.h>

#include <peeper/peeper.hpp>
#include <peeper/sim.hpp>

using namespace std::chrono_literals;

struct entry {
  std::string key;
  std::string value;
  peeper::time_point expires;
};
using entries = peeper::table<entry, &entry::key>;

struct store {
  using reply = bool;
  std::string key;
  std::string value;
  peeper::duration lives{};
};
struct sweep {};

/// The table by the time of expiry: what is due is at its beginning.
struct due {
  peeper::time_point at;
  std::string key;
};
inline std::pair<peeper::time_point, std::string> by_time(const due& d) { return {d.at, d.key}; }
using schedule = peeper::table<due, &by_time, peeper::ordered_set>;

struct cache {
  struct state {
    std::uint64_t expired = 0;
  };

  explicit cache(peeper::environment* world) : env{world} {
    all = entries::create({.name = "cache"}).value();  // a restart is given the table that was kept
    soon = schedule::create({.name = "cache schedule", .access = peeper::access::private_}).value();
    if (peeper::restart_count() == 0) {
      peeper::send_interval(peeper::self<cache>(), 100ms, sweep{});
    }
  }

  // Both tables and the state commit together, or, if this throws, none of them.
  bool handle_call(const store& m, state&) {
    const bool fresh = !all.member(m.key);
    if (const auto old = all.lookup(m.key)) soon.erase({old->expires, m.key});
    const peeper::time_point expires = env->now() + m.lives;
    all.insert({m.key, m.value, expires});
    if (m.value == "poison") throw std::runtime_error{"cannot store poison"};
    soon.insert({expires, m.key});
    return fresh;
  }
  void handle_info(const sweep&, state& s) {
    for (auto first = soon.first(); first && first->first <= env->now(); first = soon.first()) {
      all.erase(first->second);
      soon.erase(*first);
      ++s.expired;
    }
  }

  peeper::environment* env;
  entries::owner all;
  schedule::owner soon;
};

/// What any thread does: it looks for itself, and does not take what has just expired.
std::optional<std::string> fetch(const entries::reader& t, const std::string& key,
                                 peeper::time_point now) {
  const auto found = t.lookup(key);
  if (!found || !*found || (*found)->expires <= now) return std::nullopt;
  return (*found)->value;
}

bool check(bool ok, const char* what) {
  std::printf("%s: %s\n", ok ? "ok" : "WRONG", what);
  return ok;
}

// In the simulation, so that ten seconds take no time; with a plain peeper::runtime it is the same.
int main() {
  spdlog::set_level(spdlog::level::off);  // the crashes are meant
  peeper::simulation sim{1};
  peeper::runtime rt{{.env = &sim.env()}};
  const auto c = peeper::start<cache>(rt, {.keep_tables = peeper::kept_tables::all()}, &sim.env());
  const auto reader = peeper::find_table<entries>(rt, "cache");
  if (!c || !reader) return 1;
  const auto get = [&](const char* key) { return fetch(*reader, key, sim.now()); };

  bool ok = true;
  ok &= check(c->call(store{"a", "1", 10s}).value_or(false), "a is new");
  ok &= check(c->call(store{"b", "2", 1s}).value_or(false), "b is new");
  ok &= check(get("a") == "1" && get("b") == "2", "any thread reads them");

  for (int i = 0; i < 100; ++i) std::ignore = c->call(store{"a", "poison", 1s});
  peeper::kill(peeper::worker_of(*c));
  peeper::kill(peeper::keeper_of(*c));
  sim.run();
  ok &= check(get("a") == "1", "a hundred crashes and a kill later a is as it was");
  ok &= check(reader->info()->id == peeper::find_table<entries>(rt, "cache")->id(),
              "and the table is the same one");

  sim.advance(1s);
  ok &= check(!get("b") && get("a") == "1", "b has expired, a has not");
  sim.advance(200ms);
  ok &= check(reader->size().value() == 1, "and b is erased");
  ok &= check(!c->call(store{"a", "3", 1s}).value_or(true), "a is stored again");
  sim.advance(2s);
  ok &= check(reader->size().value() == 0, "and lives as long as was said last");
  ok &= check(peeper::inspect(*c, [](const cache::state& s) { return s.expired; }).value() == 2,
              "two have expired, as the state says, which commits with the tables");
  return ok ? 0 : 1;
}
