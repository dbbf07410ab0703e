// SPDX-License-Identifier: Apache-2.0
#include <charconv>
#include <limits>
#include <optional>

#include <fmt/format.h>

#include "commands.hpp"

namespace kv {
namespace {

constexpr std::string_view too_long =
    "ERR string exceeds maximum allowed size (proto-max-bulk-len)";

std::string invalid_expiry(std::string_view name) {
  return fmt::format("ERR invalid expire time in '{}' command", lower_case(name));
}

/// When a key set now expires, from "EX 10" and its kin.
/// RETURNS: nothing after writing an error.
std::optional<std::int64_t> read_expiry(const invocation& call, std::size_t index, bool seconds,
                                        bool absolute) {
  std::int64_t when = 0;
  if (!read_integer(call, index, when)) return std::nullopt;
  constexpr std::int64_t ms_max = std::numeric_limits<std::int64_t>::max();
  const bool overflows = seconds && when > ms_max / 1000;
  if (when > 0 && !overflows) {
    if (seconds) when *= 1000;
    if (absolute) return when;
    if (when <= ms_max - call.now_ms) return when + call.now_ms;
  }
  call.reply.error(invalid_expiry(call.arguments[0]));
  return std::nullopt;
}

void get(const store& data, const invocation& call) {
  const string_value* value = nullptr;
  if (!read_value(data, call, value)) return;
  if (value == nullptr) return call.reply.null();
  call.reply.bulk(*value);
}

struct set_options {
  bool only_if_absent = false;
  bool only_if_present = false;
  bool get_old = false;
  bool keep_ttl = false;
  std::int64_t expires_at_ms = 0;
};

std::optional<set_options> read_set_options(const invocation& call) {
  set_options options;
  bool has_expiry = false;
  for (std::size_t i = 3; i < call.arguments.size(); ++i) {
    const std::string_view word = call.arguments[i];
    const bool has_value = i + 1 < call.arguments.size();
    const bool ex = equal_ignoring_case(word, "EX");
    const bool exat = equal_ignoring_case(word, "EXAT");
    const bool px = equal_ignoring_case(word, "PX");
    const bool pxat = equal_ignoring_case(word, "PXAT");
    if (equal_ignoring_case(word, "NX") && !options.only_if_present) {
      options.only_if_absent = true;
    } else if (equal_ignoring_case(word, "XX") && !options.only_if_absent) {
      options.only_if_present = true;
    } else if (equal_ignoring_case(word, "GET")) {
      options.get_old = true;
    } else if (equal_ignoring_case(word, "KEEPTTL") && !has_expiry) {
      options.keep_ttl = true;
    } else if ((ex || exat || px || pxat) && has_value && !has_expiry && !options.keep_ttl) {
      has_expiry = true;
      const auto when = read_expiry(call, ++i, ex || exat, exat || pxat);
      if (!when) return std::nullopt;
      options.expires_at_ms = *when;
    } else {
      call.reply.error(errors::syntax);
      return std::nullopt;
    }
  }
  return options;
}

void set(store& data, const invocation& call) {
  const auto options = read_set_options(call);
  if (!options) return;
  const std::string_view key = call.arguments[1];
  drop_if_expired(data, key, call.now_ms);
  const entry* old = find(data, key, call.now_ms);
  if (options->get_old) {
    const string_value* old_string = nullptr;
    if (!read_value(data, call, old_string)) return;
    if (old_string == nullptr) {
      call.reply.null();
    } else {
      call.reply.bulk(*old_string);
    }
  }
  const bool refused =
      (options->only_if_absent && old != nullptr) || (options->only_if_present && old == nullptr);
  if (!refused) {
    put_string(data, key, call.arguments[2], options->keep_ttl);
    if (options->expires_at_ms != 0) {
      set_expiry(data, key, options->expires_at_ms);
      if (options->expires_at_ms <= call.now_ms) erase(data, key);
    }
  }
  if (options->get_old) return;
  if (refused) return call.reply.null();
  call.reply.ok();
}

void setnx(store& data, const invocation& call) {
  const std::string_view key = call.arguments[1];
  drop_if_expired(data, key, call.now_ms);
  if (find(data, key, call.now_ms) != nullptr) return call.reply.integer(0);
  put_string(data, key, call.arguments[2], false);
  call.reply.integer(1);
}

void set_with_expiry(store& data, const invocation& call, bool seconds) {
  const auto when = read_expiry(call, 2, seconds, false);
  if (!when) return;
  put_string(data, call.arguments[1], call.arguments[3], false);
  set_expiry(data, call.arguments[1], *when);
  call.reply.ok();
}

void setex(store& data, const invocation& call) { set_with_expiry(data, call, true); }
void psetex(store& data, const invocation& call) { set_with_expiry(data, call, false); }

/// Replies with the old string. RETURNS: false if the key holds another kind of value.
bool reply_old(store& data, const invocation& call) {
  const string_value* old = nullptr;
  if (!open_value(data, call, old)) return false;
  if (old == nullptr) {
    call.reply.null();
  } else {
    call.reply.bulk(*old);
  }
  return true;
}

void getset(store& data, const invocation& call) {
  if (reply_old(data, call)) put_string(data, call.arguments[1], call.arguments[2], false);
}

void getdel(store& data, const invocation& call) {
  if (reply_old(data, call)) erase(data, call.arguments[1]);
}

void mget(const store& data, const invocation& call) {
  call.reply.array(call.arguments.size() - 1);
  for (std::size_t i = 1; i < call.arguments.size(); ++i) {
    const auto found = find_as<string_value>(data, call.arguments[i], call.now_ms);
    if (found.value == nullptr) {
      call.reply.null();
    } else {
      call.reply.bulk(*found.value);
    }
  }
}

void mset(store& data, const invocation& call) {
  if (call.arguments.size() % 2 == 0) return call.reply.error(wrong_arity("mset"));
  for (std::size_t i = 1; i < call.arguments.size(); i += 2) {
    put_string(data, call.arguments[i], call.arguments[i + 1], false);
  }
  call.reply.ok();
}

void msetnx(store& data, const invocation& call) {
  if (call.arguments.size() % 2 == 0) return call.reply.error(wrong_arity("msetnx"));
  for (std::size_t i = 1; i < call.arguments.size(); i += 2) {
    drop_if_expired(data, call.arguments[i], call.now_ms);
    if (find(data, call.arguments[i], call.now_ms) != nullptr) return call.reply.integer(0);
  }
  for (std::size_t i = 1; i < call.arguments.size(); i += 2) {
    put_string(data, call.arguments[i], call.arguments[i + 1], false);
  }
  call.reply.integer(1);
}

void append(store& data, const invocation& call) {
  const string_value* old = nullptr;
  if (!open_value(data, call, old)) return;
  const std::string_view more = call.arguments[2];
  if (old != nullptr && old->size() + more.size() > call.value_bytes_max) {
    return call.reply.error(too_long);
  }
  const std::size_t size = change<string_value>(data, call.arguments[1], [&](string_value& value) {
    value.append(more);
    return value.size();
  });
  call.reply.integer(static_cast<std::int64_t>(size));
}

void strlen(const store& data, const invocation& call) {
  const string_value* value = nullptr;
  if (!read_value(data, call, value)) return;
  call.reply.integer(value == nullptr ? 0 : static_cast<std::int64_t>(value->size()));
}

void getrange(const store& data, const invocation& call) {
  std::int64_t start = 0;
  std::int64_t stop = 0;
  if (!read_integer(call, 2, start) || !read_integer(call, 3, stop)) return;
  const string_value* value = nullptr;
  if (!read_value(data, call, value)) return;
  if (value == nullptr) return call.reply.bulk("");
  const auto [begin, end] = clamp_range(start, stop, value->size());
  call.reply.bulk(std::string_view(*value).substr(begin, end - begin));
}

void add(store& data, const invocation& call, std::int64_t by) {
  const string_value* old = nullptr;
  if (!open_value(data, call, old)) return;
  std::int64_t number = 0;
  if (old != nullptr) {
    const auto parsed = parse_integer(*old);
    if (!parsed) return call.reply.error(errors::not_an_integer);
    number = *parsed;
  }
  if (__builtin_add_overflow(number, by, &number)) {
    return call.reply.error("ERR increment or decrement would overflow");
  }
  char digits[24];
  const char* end = std::to_chars(digits, digits + sizeof digits, number).ptr;
  put_string(data, call.arguments[1], {digits, end}, true);
  call.reply.integer(number);
}

void incr(store& data, const invocation& call) { add(data, call, 1); }
void decr(store& data, const invocation& call) { add(data, call, -1); }

void incrby(store& data, const invocation& call) {
  std::int64_t by = 0;
  if (read_integer(call, 2, by)) add(data, call, by);
}

void decrby(store& data, const invocation& call) {
  std::int64_t by = 0;
  if (!read_integer(call, 2, by)) return;
  if (by == std::numeric_limits<std::int64_t>::min()) {
    return call.reply.error("ERR decrement would overflow");
  }
  add(data, call, -by);
}

constexpr command commands[] = {
    {"append", 3, nullptr, append, "string", "Appends a string to the value of a key.", 1, 1, 1},
    {"decr", 2, nullptr, decr, "string", "Decrements the integer value of a key by one.", 1, 1, 1},
    {"decrby", 3, nullptr, decrby, "string", "Decrements the integer value of a key.", 1, 1, 1},
    {"get", 2, get, nullptr, "string", "Returns the string value of a key.", 1, 1, 1},
    {"getdel", 2, nullptr, getdel, "string", "Returns the string value of a key, deletes it.", 1, 1,
     1},
    {"getrange", 4, getrange, nullptr, "string", "Returns a part of the string value of a key.", 1,
     1, 1},
    {"getset", 3, nullptr, getset, "string", "Sets the string value of a key, returns the old one.",
     1, 1, 1},
    {"incr", 2, nullptr, incr, "string", "Increments the integer value of a key by one.", 1, 1, 1},
    {"incrby", 3, nullptr, incrby, "string", "Increments the integer value of a key.", 1, 1, 1},
    {"mget", -2, mget, nullptr, "string", "Returns the string values of keys.", 1, -1, 1},
    {"mset", -3, nullptr, mset, "string", "Sets the string values of keys.", 1, -1, 2},
    {"msetnx", -3, nullptr, msetnx, "string", "Sets keys, but only if none of them exists.", 1, -1,
     2},
    {"psetex", 4, nullptr, psetex, "string", "Sets a key with its expiry in milliseconds.", 1, 1,
     1},
    {"set", -3, nullptr, set, "string", "Sets the string value of a key, whatever it was.", 1, 1,
     1},
    {"setex", 4, nullptr, setex, "string", "Sets a key with its expiry in seconds.", 1, 1, 1},
    {"setnx", 3, nullptr, setnx, "string", "Sets a key, but only if it does not exist.", 1, 1, 1},
    {"strlen", 2, strlen, nullptr, "string", "Returns the length of a string value.", 1, 1, 1},
};

}  // namespace

std::span<const command> string_commands() { return commands; }

}  // namespace kv
