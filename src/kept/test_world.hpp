// SPDX-License-Identifier: Apache-2.0
//
// For the tests in this folder: a state with everything in it, the same in plain std containers as
// a model, random operations that do the same to both, and a hook into the general heap.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <expected>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <span>
#include <sstream>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <variant>
#include <vector>

#include <peeper/kept.hpp>

namespace peeper::test {

// ---------------------------------------------------------------------------- the heap

/// Filled by the operators new of the test program (allocation_hook_test.cpp).
struct allocation_counters {
  std::size_t calls = 0;
  std::size_t bytes = 0;
  std::size_t largest = 0;
  /// The next so many succeed, then one throws std::bad_alloc; negative: none does.
  std::ptrdiff_t until_failure = -1;
};
extern thread_local allocation_counters allocations;

// ---------------------------------------------------------------------------- randomness

/// The seeds to run: those from `first` on, or the one that PEEPER_SEED names.
inline std::vector<std::uint64_t> seeds(std::uint64_t first, std::uint64_t count) {
  if (const char* given = std::getenv("PEEPER_SEED")) return {std::strtoull(given, nullptr, 0)};
  std::vector<std::uint64_t> result;
  for (std::uint64_t i = 0; i < count; ++i) result.push_back(first + i);
  return result;
}

struct dice {
  std::mt19937_64 engine;

  explicit dice(std::uint64_t seed) : engine(seed) {}
  int below(int limit) { return static_cast<int>(engine() % static_cast<std::uint64_t>(limit)); }
  bool one_in(int n) { return below(n) == 0; }
  std::string word() {
    // Long ones too: those have memory of their own.
    return std::string(static_cast<std::size_t>(one_in(4) ? 40 : 2),
                       static_cast<char>('a' + below(6)));
  }
};

// ---------------------------------------------------------------------------- two worlds

struct kept_kind {
  static constexpr bool is_kept = true;
  template <class T>
  using value = kept_value<T>;
  template <class T>
  using vector = kept_vector<T>;
  template <class T>
  using deque = kept_deque<T>;
  template <class K, class V>
  using map = kept_map<K, V>;
  template <class K, class V>
  using ordered_map = kept_ordered_map<K, V>;
  template <class T>
  using set = kept_set<T>;
  template <class T>
  using ordered_set = kept_ordered_set<T>;
};

struct std_kind {
  static constexpr bool is_kept = false;
  template <class T>
  using value = T;
  template <class T>
  using vector = std::vector<T>;
  template <class T>
  using deque = std::deque<T>;
  template <class K, class V>
  using map = std::unordered_map<K, V>;
  template <class K, class V>
  using ordered_map = std::map<K, V>;
  template <class T>
  using set = std::unordered_set<T>;
  template <class T>
  using ordered_set = std::set<T>;
};

template <class Kind>
struct item {
  int number = 0;
  std::string note;
  typename Kind::template vector<int> list;
  typename Kind::template ordered_map<int, std::string> names;
};

template <class Kind>
struct shape {
  int expires = 0;
  std::variant<std::string, typename Kind::template deque<std::string>,
               typename Kind::template map<int, int>, item<Kind>>
      data;
  std::optional<typename Kind::template set<int>> tags;
};

template <class Kind>
struct world {
  int counter = 0;
  double ratio = 0;
  std::string label;
  std::vector<int> plain;
  typename Kind::template value<std::string> page;
  typename Kind::template vector<int> numbers;
  typename Kind::template deque<std::string> queue;
  typename Kind::template map<std::string, int> hits;
  typename Kind::template ordered_map<int, std::string> names;
  typename Kind::template set<int> seen;
  typename Kind::template ordered_set<std::string> words;
  typename Kind::template map<std::string, typename Kind::template deque<std::string>> lists;
  typename Kind::template map<int, item<Kind>> items;
  typename Kind::template ordered_map<int, shape<Kind>> shapes;
  typename Kind::template vector<typename Kind::template vector<int>> grid;
  std::optional<typename Kind::template map<int, int>> maybe;
  std::variant<int, typename Kind::template vector<int>> either;
  typename Kind::template value<shape<Kind>> boxed;
};

using kept_world = world<kept_kind>;
using std_world = world<std_kind>;

// ---------------------------------------------------------------------------- looking at them

/// A text that is equal for equal values. `exact`: hashed containers in their own order; else
/// sorted, so that a kept one and a std one can be compared.
template <class T>
std::string dump(const T& value, bool exact);

template <class T>
constexpr bool is_kept_value = false;
template <class T>
constexpr bool is_kept_value<kept_value<T>> = true;

template <class T>
std::string dump(const T& value, bool exact) {
  std::ostringstream out;
  if constexpr (is_kept_value<T>) {
    out << dump(value.get(), exact);
  } else if constexpr (std::is_same_v<T, std::string>) {
    out << '"' << value << '"';
  } else if constexpr (std::is_arithmetic_v<T>) {
    out << value;
  } else if constexpr (detail::optional_like<T>) {
    out << (value ? "some " + dump(*value, exact) : "none");
  } else if constexpr (detail::variant_like<T>) {
    out << value.index() << ' ';
    std::visit([&](const auto& held) { out << dump(held, exact); }, value);
  } else if constexpr (detail::kept<T> || std::ranges::range<T>) {
    std::vector<std::string> parts;
    for (const auto& each : value) parts.push_back(dump(each, exact));
    constexpr bool hashed = requires { typename T::hasher; };
    if (hashed && !exact) std::sort(parts.begin(), parts.end());
    out << '[';
    for (const auto& part : parts) out << part << ',';
    out << ']';
  } else {
    out << '{';
    detail::for_each_index<detail::field_count<T>>(
        [&](auto i) { out << dump(detail::field<i>(value), exact) << ';'; });
    out << '}';
  }
  return std::move(out).str();
}

// ---------------------------------------------------------------------------- one way to change
// both

/// Runs fn on the element with this key or index, if there is one.
template <class Container, class Key, class F>
void modify(Container& container, const Key& key, F fn) {
  constexpr bool keyed = requires { typename Container::key_type; };
  if constexpr (keyed) {
    if (container.find(key) == container.end()) return;
  } else {
    if (static_cast<std::size_t>(key) >= container.size()) return;
  }
  if constexpr (detail::kept<Container> && keyed) {
    container.modify(key, fn);
  } else if constexpr (detail::kept<Container>) {
    container.modify(static_cast<std::size_t>(key), fn);
  } else if constexpr (keyed) {
    fn(container.at(key));
  } else {
    fn(container[static_cast<std::size_t>(key)]);
  }
}

template <class T, class F>
void modify_value(kept_value<T>& value, F fn) {
  value.modify(fn);
}
template <class T, class F>
void modify_value(T& value, F fn) {
  fn(value);
}

template <class Sequence>
void change_numbers(Sequence& s, dice& d) {
  const auto size = static_cast<int>(s.size());
  const int at = d.below(size + 1);
  const int x = d.below(1000);
  switch (d.below(12)) {
    case 0:
      if (size > 0) s.pop_back();
      break;
    case 1: s.insert(s.begin() + at, x); break;
    case 2:
      if (at < size) s.erase(s.begin() + at);
      break;
    case 3: {
      const int last = at + d.below(size - at + 1);
      s.erase(s.begin() + at, s.begin() + last);
      break;
    }
    case 4: modify(s, at, [&](int& n) { n += x; }); break;
    case 5:
      if (at < size) s[static_cast<std::size_t>(at)] = x;
      break;
    case 6: s.resize(static_cast<std::size_t>(d.below(12)), x); break;
    case 7: {
      const std::vector<int> more{x, x + 1, x + 2};
      s.insert(s.begin() + at, more.begin(), more.end());
      break;
    }
    case 8:
      if (d.one_in(4)) s.clear();
      break;
    case 9:
      if (d.one_in(4)) s = {x, x};
      break;
    default: s.push_back(x);
  }
}

template <class Deque>
void change_queue(Deque& q, dice& d) {
  const auto size = static_cast<int>(q.size());
  const int at = d.below(size + 1);
  const std::string w = d.word();
  switch (d.below(10)) {
    case 0:
      if (size > 0) q.pop_front();
      break;
    case 1:
      if (size > 0) q.pop_back();
      break;
    case 2: q.push_front(w); break;
    case 3: q.insert(q.begin() + at, w); break;
    case 4:
      if (at < size) q.erase(q.begin() + at);
      break;
    case 5: modify(q, at, [&](std::string& s) { s += w; }); break;
    case 6:
      if (d.one_in(4)) q.clear();
      break;
    default: q.push_back(w);
  }
}

template <class Map>
void change_int_map(Map& m, dice& d) {
  const auto key = static_cast<int>(d.below(20));
  const int x = d.below(1000);
  switch (d.below(8)) {
    case 0:
    case 1: m.erase(key); break;
    case 2: m.insert_or_assign(key, x); break;
    case 3: m[key] = x; break;
    case 4: modify(m, key, [&](int& n) { n ^= x; }); break;
    case 5:
      if (d.one_in(8)) m.clear();
      break;
    default: m.try_emplace(key, x);
  }
}

template <class Map>
void change_names(Map& m, dice& d) {
  const int key = d.below(20);
  const std::string w = d.word();
  switch (d.below(8)) {
    case 0:
    case 1: m.erase(key); break;
    case 2: m.insert_or_assign(key, w); break;
    case 3: {
      auto it = m.lower_bound(key);
      if (it != m.end()) m.erase(it);
      break;
    }
    case 4: modify(m, key, [&](std::string& s) { s = w + s; }); break;
    case 5:
      if (d.one_in(8)) m.clear();
      break;
    default: m.emplace(key, w);
  }
}

template <class Set, class Element>
void change_set(Set& s, const Element& e, dice& d) {
  switch (d.below(6)) {
    case 0:
    case 1: s.erase(e); break;
    case 2:
      if (d.one_in(8)) s.clear();
      break;
    default: s.insert(e);
  }
}

template <class Kind>
void change_item(item<Kind>& i, dice& d) {
  switch (d.below(5)) {
    case 0: i.number = d.below(1000); break;
    case 1: i.note = d.word(); break;
    case 2:
      if (d.one_in(4)) i = item<Kind>{};
      break;
    case 3: change_names(i.names, d); break;
    default: change_numbers(i.list, d);
  }
}

template <class Kind>
void change_shape(shape<Kind>& s, dice& d) {
  for (int n = 1 + d.below(3); n > 0; --n) {
    switch (d.below(9)) {
      case 0: s.expires = d.below(1000); break;
      case 1: s.data = d.word(); break;
      case 2: s.data.template emplace<1>(); break;
      case 3: s.data = typename Kind::template map<int, int>{{d.below(9), d.below(9)}}; break;
      case 4: s.data.template emplace<3>(); break;
      case 5:
        if (s.tags && d.one_in(3)) {
          s.tags.reset();
        } else if (!s.tags) {
          s.tags.emplace();
        }
        break;
      case 6:
        if (s.tags) change_set(*s.tags, d.below(20), d);
        break;
      default:
        switch (s.data.index()) {
          case 0: std::get<0>(s.data) += d.word(); break;
          case 1: change_queue(std::get<1>(s.data), d); break;
          case 2: change_int_map(std::get<2>(s.data), d); break;
          default: change_item(std::get<3>(s.data), d);
        }
    }
  }
}

/// One random change. What it does depends on `d` and on contents, never on hashed order.
template <class Kind>
void change_world(world<Kind>& w, dice& d) {
  switch (d.below(20)) {
    case 0:
      ++w.counter;
      w.ratio = d.below(100) / 8.0;
      break;
    case 1: w.label = d.word(); break;
    case 2:
      w.plain.push_back(d.below(100));
      if (w.plain.size() > 10) w.plain.clear();
      break;
    case 3: {
      const std::string word = d.word();
      if (d.one_in(2)) {
        w.page = word;
      } else {
        modify_value(w.page, [&](std::string& s) { s = s.size() > 200 ? word : s + word; });
      }
      break;
    }
    case 4: change_numbers(w.numbers, d); break;
    case 5: change_queue(w.queue, d); break;
    case 6: {
      const std::string key = d.word();
      const int x = d.below(100);
      if (d.one_in(3)) {
        w.hits.erase(key);
      } else if (d.one_in(2)) {
        w.hits[key] += x;
      } else {
        w.hits.insert_or_assign(key, x);
      }
      break;
    }
    case 7: change_names(w.names, d); break;
    case 8: change_set(w.seen, d.below(30), d); break;
    case 9: change_set(w.words, d.word(), d); break;
    case 10:
    case 11: {
      const std::string key = d.word();
      if (d.one_in(4)) {
        w.lists.erase(key);
      } else {
        w.lists.try_emplace(key);
        modify(w.lists, key, [&](auto& list) { change_queue(list, d); });
      }
      break;
    }
    case 12:
    case 13: {
      const int key = d.below(6);
      if (d.one_in(5)) {
        w.items.erase(key);
      } else {
        w.items.try_emplace(key);
        modify(w.items, key, [&](item<Kind>& i) { change_item(i, d); });
      }
      break;
    }
    case 14:
    case 15: {
      const int key = d.below(6);
      if (d.one_in(5)) {
        w.shapes.erase(key);
      } else if (d.one_in(6)) {
        shape<Kind> fresh;
        change_shape(fresh, d);
        w.shapes.insert_or_assign(key, fresh);
      } else {
        w.shapes.try_emplace(key);
        modify(w.shapes, key, [&](shape<Kind>& s) {
          change_shape(s, d);
          // Another element, and this one again, from inside.
          const int other = d.below(6);
          modify(w.shapes, other, [&](shape<Kind>& o) { change_shape(o, d); });
          if (d.one_in(2)) change_numbers(w.numbers, d);
        });
      }
      break;
    }
    case 16: {
      const int at = d.below(static_cast<int>(w.grid.size()) + 1);
      switch (d.below(5)) {
        case 0:
          if (at < static_cast<int>(w.grid.size())) w.grid.erase(w.grid.begin() + at);
          break;
        case 1:
          w.grid.insert(w.grid.begin() + at, typename Kind::template vector<int>{1, 2});
          break;
        case 2:
          if (d.one_in(4)) w.grid.clear();
          break;
        case 3:
          if (w.grid.size() >= 2) {
            modify(w.grid, 0, [&](auto& a) {
              modify(w.grid, 1, [&](auto& b) {
                using std::swap;
                swap(a, b);
              });
            });
          }
          break;
        default: modify(w.grid, at, [&](auto& row) { change_numbers(row, d); });
      }
      break;
    }
    case 17:
      switch (d.below(4)) {
        case 0: w.maybe.reset(); break;
        case 1: w.maybe.emplace(); break;
        default:
          if (w.maybe) change_int_map(*w.maybe, d);
      }
      break;
    case 18:
      switch (d.below(4)) {
        case 0: w.either = d.below(100); break;
        case 1: w.either.template emplace<1>(); break;
        default:
          if (auto* list = std::get_if<1>(&w.either)) change_numbers(*list, d);
      }
      break;
    default:
      if (d.one_in(8)) {
        w.boxed = shape<Kind>{};
      } else {
        modify_value(w.boxed, [&](shape<Kind>& s) { change_shape(s, d); });
      }
  }
}

// ---------------------------------------------------------------------------- compiled once

// A state with everything in it takes long to compile, so tests use it through these, which
// test_world_test.cpp defines. They are preferred to the templates above.

void change_world(kept_world& w, dice& d);
void change_shape(shape<kept_kind>& s, dice& d);
void change_item(item<kept_kind>& i, dice& d);
std::string dump(const kept_world& w, bool exact);
std::vector<std::byte> encode_world(const kept_world& w);
std::expected<kept_world, decode_error> decode_world(std::span<const std::byte> bytes);

/// detail::kept_state<kept_world>.
class world_state {
 public:
  world_state();
  explicit world_state(const kept_world& initial);
  ~world_state();
  world_state(const world_state&) = delete;
  world_state& operator=(const world_state&) = delete;

  kept_world& value();
  void begin();
  void prepare();
  bool commit();
  void rollback();
  void record_deltas(bool on);
  std::span<const std::byte> last_delta() const;
  /// Applies a delta in a transaction of its own that is rolled back.
  bool try_delta(std::span<const std::byte> delta);

 private:
  friend std::expected<void, decode_error> apply_delta(world_state& state,
                                                       std::span<const std::byte> delta);
  std::unique_ptr<detail::kept_state<kept_world>> state_;
};
using peeper::apply_delta;
std::expected<void, decode_error> apply_delta(world_state& state, std::span<const std::byte> delta);

}  // namespace peeper::test
