// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <charconv>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "commands.hpp"
#include "glob.hpp"

namespace kv {
namespace {

std::string_view kind_name(const entry& value) {
  constexpr std::string_view names[] = {"string", "list", "set", "hash", "zset"};
  return names[value.data.index()];
}

bool expired(const entry& value, std::int64_t now_ms) {
  return value.expires_at_ms != 0 && value.expires_at_ms <= now_ms;
}

void del(store& data, const invocation& call) {
  std::int64_t removed = 0;
  for (std::size_t i = 1; i < call.arguments.size(); ++i) {
    drop_if_expired(data, call.arguments[i], call.now_ms);
    if (erase(data, call.arguments[i])) ++removed;
  }
  call.reply.integer(removed);
}

void exists(const store& data, const invocation& call) {
  std::int64_t found = 0;
  for (std::size_t i = 1; i < call.arguments.size(); ++i) {
    if (find(data, call.arguments[i], call.now_ms) != nullptr) ++found;
  }
  call.reply.integer(found);
}

void type(const store& data, const invocation& call) {
  const entry* found = find(data, call.arguments[1], call.now_ms);
  call.reply.simple(found == nullptr ? "none" : kind_name(*found));
}

struct expire_options {
  bool only_if_none = false;
  bool only_if_some = false;
  bool only_if_later = false;
  bool only_if_sooner = false;
};

std::optional<expire_options> read_expire_options(const invocation& call) {
  expire_options options;
  for (std::size_t i = 3; i < call.arguments.size(); ++i) {
    const std::string_view word = call.arguments[i];
    if (equal_ignoring_case(word, "NX")) {
      options.only_if_none = true;
    } else if (equal_ignoring_case(word, "XX")) {
      options.only_if_some = true;
    } else if (equal_ignoring_case(word, "GT")) {
      options.only_if_later = true;
    } else if (equal_ignoring_case(word, "LT")) {
      options.only_if_sooner = true;
    } else {
      call.reply.error(fmt::format("ERR Unsupported option {}", word));
      return std::nullopt;
    }
  }
  if (options.only_if_none &&
      (options.only_if_some || options.only_if_later || options.only_if_sooner)) {
    call.reply.error("ERR NX and XX, GT or LT options at the same time are not compatible");
    return std::nullopt;
  }
  if (options.only_if_later && options.only_if_sooner) {
    call.reply.error("ERR GT and LT options at the same time are not compatible");
    return std::nullopt;
  }
  return options;
}

void expire_at(store& data, const invocation& call, std::int64_t base_ms, std::int64_t unit_ms) {
  const auto options = read_expire_options(call);
  std::int64_t when = 0;
  if (!options || !read_integer(call, 2, when)) return;
  if (__builtin_mul_overflow(when, unit_ms, &when) ||
      __builtin_add_overflow(when, base_ms, &when)) {
    return call.reply.error(
        fmt::format("ERR invalid expire time in '{}' command", lower_case(call.arguments[0])));
  }
  const std::string_view key = call.arguments[1];
  drop_if_expired(data, key, call.now_ms);
  const entry* found = find(data, key, call.now_ms);
  if (found == nullptr) return call.reply.integer(0);
  const bool expires = found->expires_at_ms != 0;
  // A key that never expires counts as one that expires after any other.
  const bool refused = (options->only_if_none && expires) || (options->only_if_some && !expires) ||
                       (options->only_if_later && (!expires || when <= found->expires_at_ms)) ||
                       (options->only_if_sooner && expires && when >= found->expires_at_ms);
  if (refused) return call.reply.integer(0);
  if (when <= call.now_ms) {
    erase(data, key);
  } else {
    set_expiry(data, key, when);
  }
  call.reply.integer(1);
}

void expire(store& data, const invocation& call) { expire_at(data, call, call.now_ms, 1000); }
void pexpire(store& data, const invocation& call) { expire_at(data, call, call.now_ms, 1); }
void expireat(store& data, const invocation& call) { expire_at(data, call, 0, 1000); }
void pexpireat(store& data, const invocation& call) { expire_at(data, call, 0, 1); }

void persist(store& data, const invocation& call) {
  const std::string_view key = call.arguments[1];
  drop_if_expired(data, key, call.now_ms);
  const entry* found = find(data, key, call.now_ms);
  const bool expires = found != nullptr && found->expires_at_ms != 0;
  if (expires) set_expiry(data, key, 0);
  call.reply.integer(expires ? 1 : 0);
}

/// RETURNS: the milliseconds left; -1 if the key never expires, -2 if there is none.
std::int64_t time_left_ms(const store& data, const invocation& call) {
  const entry* found = find(data, call.arguments[1], call.now_ms);
  if (found == nullptr) return -2;
  return found->expires_at_ms == 0 ? -1 : found->expires_at_ms - call.now_ms;
}

void pttl(const store& data, const invocation& call) {
  call.reply.integer(time_left_ms(data, call));
}

void ttl(const store& data, const invocation& call) {
  const std::int64_t left_ms = time_left_ms(data, call);
  call.reply.integer(left_ms < 0 ? left_ms : (left_ms + 500) / 1000);
}

void reply_keys(const invocation& call, const std::vector<std::string_view>& keys) {
  call.reply.array(keys.size());
  for (const std::string_view key : keys) call.reply.bulk(key);
}

void keys(const store& data, const invocation& call) {
  std::vector<std::string_view> found;
  for (const auto& [key, value] : data.keys) {
    if (!expired(value, call.now_ms) && glob_match(call.arguments[1], key)) found.push_back(key);
  }
  reply_keys(call, found);
}

struct scan_options {
  std::string_view pattern = "*";
  std::string_view kind;
  std::size_t count = 10;
};

std::optional<scan_options> read_scan_options(const invocation& call) {
  scan_options options;
  for (std::size_t i = 2; i < call.arguments.size(); i += 2) {
    const std::string_view word = call.arguments[i];
    if (i + 1 == call.arguments.size()) {
      call.reply.error(errors::syntax);
      return std::nullopt;
    }
    if (equal_ignoring_case(word, "COUNT")) {
      std::int64_t count = 0;
      if (!read_integer(call, i + 1, count)) return std::nullopt;
      if (count < 1) {
        call.reply.error(errors::syntax);
        return std::nullopt;
      }
      options.count = static_cast<std::size_t>(count);
    } else if (equal_ignoring_case(word, "MATCH")) {
      options.pattern = call.arguments[i + 1];
    } else if (equal_ignoring_case(word, "TYPE")) {
      options.kind = call.arguments[i + 1];
    } else {
      call.reply.error(errors::syntax);
      return std::nullopt;
    }
  }
  return options;
}

/// The cursor is the birth number of the last key looked at. Keys iterate in order of birth, so a
/// key that is there all the time is found exactly once, whatever comes and goes meanwhile.
void scan(const store& data, const invocation& call) {
  const std::string_view word = call.arguments[1];
  std::uint64_t cursor = 0;
  const auto [end, error] = std::from_chars(word.begin(), word.end(), cursor);
  if (error != std::errc{} || end != word.end()) return call.reply.error("ERR invalid cursor");
  const auto options = read_scan_options(call);
  if (!options) return;

  // Skipping to the cursor costs a step for each key before it. COUNT is a hint: looking at a part
  // of the keys that is not too small bounds the steps of a whole scan to 64 for each key.
  const std::size_t looked_max = std::max(options->count, data.keys.size() / 64);
  std::vector<std::string_view> found;
  std::size_t looked = 0;
  std::uint64_t next = 0;
  std::uint64_t last = 0;
  for (const auto& [key, value] : data.keys) {
    if (value.born <= cursor) continue;
    if (looked == looked_max) {
      next = last;
      break;
    }
    ++looked;
    last = value.born;
    if (expired(value, call.now_ms) || !glob_match(options->pattern, key)) continue;
    if (!options->kind.empty() && !equal_ignoring_case(options->kind, kind_name(value))) continue;
    found.push_back(key);
  }
  call.reply.array(2);
  call.reply.bulk(fmt::format("{}", next));
  reply_keys(call, found);
}

void dbsize(const store& data, const invocation& call) {
  call.reply.integer(static_cast<std::int64_t>(data.keys.size()));
}

void flushall(store& data, const invocation& call) {
  const bool fits =
      call.arguments.size() == 1 ||
      (call.arguments.size() == 2 && (equal_ignoring_case(call.arguments[1], "SYNC") ||
                                      equal_ignoring_case(call.arguments[1], "ASYNC")));
  if (!fits) return call.reply.error(errors::syntax);
  clear(data);
  call.reply.ok();
}

constexpr command commands[] = {
    {"dbsize", 1, dbsize, nullptr, "server", "Returns the number of keys."},
    {"del", -2, nullptr, del, "generic", "Deletes keys.", 1, -1, 1},
    {"exists", -2, exists, nullptr, "generic", "Counts which of the keys exist.", 1, -1, 1},
    {"expire", -3, nullptr, expire, "generic", "Sets when a key expires, in seconds.", 1, 1, 1},
    {"expireat", -3, nullptr, expireat, "generic", "Sets when a key expires: Unix time.", 1, 1, 1},
    {"flushall", -1, nullptr, flushall, "server", "Removes all keys."},
    {"flushdb", -1, nullptr, flushall, "server", "Removes all keys."},
    {"keys", 2, keys, nullptr, "generic", "Returns all keys that match a pattern."},
    {"persist", 2, nullptr, persist, "generic", "Removes the expiry of a key.", 1, 1, 1},
    {"pexpire", -3, nullptr, pexpire, "generic", "Sets when a key expires, in milliseconds.", 1, 1,
     1},
    {"pexpireat", -3, nullptr, pexpireat, "generic", "Sets when a key expires: Unix time in ms.", 1,
     1, 1},
    {"pttl", 2, pttl, nullptr, "generic", "Returns the milliseconds until a key expires.", 1, 1, 1},
    {"scan", -2, scan, nullptr, "generic", "Iterates over the keys."},
    {"ttl", 2, ttl, nullptr, "generic", "Returns the seconds until a key expires.", 1, 1, 1},
    {"type", 2, type, nullptr, "generic", "Tells the kind of value of a key.", 1, 1, 1},
    {"unlink", -2, nullptr, del, "generic", "Deletes keys.", 1, -1, 1},
};

}  // namespace

std::span<const command> key_commands() { return commands; }

}  // namespace kv
