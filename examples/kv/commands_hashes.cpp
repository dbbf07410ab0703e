// SPDX-License-Identifier: Apache-2.0
#include <charconv>

#include "commands.hpp"

namespace kv {
namespace {

void set_fields(store& data, const invocation& call, bool reply_count) {
  if (call.arguments.size() % 2 != 0) {
    return call.reply.error(wrong_arity(lower_case(call.arguments[0])));
  }
  const hash_value* old = nullptr;
  if (!open_value(data, call, old)) return;
  const auto added = change<hash_value>(data, call.arguments[1], [&](hash_value& hash) {
    std::int64_t fresh = 0;
    for (std::size_t i = 2; i < call.arguments.size(); i += 2) {
      if (!hash.contains(call.arguments[i])) ++fresh;
      hash.insert_or_assign(std::string(call.arguments[i]), std::string(call.arguments[i + 1]));
    }
    return fresh;
  });
  if (!reply_count) return call.reply.ok();
  call.reply.integer(added);
}

void hset(store& data, const invocation& call) { set_fields(data, call, true); }
void hmset(store& data, const invocation& call) { set_fields(data, call, false); }

void hsetnx(store& data, const invocation& call) {
  const hash_value* old = nullptr;
  if (!open_value(data, call, old)) return;
  if (old != nullptr && old->contains(call.arguments[2])) return call.reply.integer(0);
  call.reply.integer(change<hash_value>(data, call.arguments[1], [&](hash_value& hash) {
    hash.try_emplace(std::string(call.arguments[2]), std::string(call.arguments[3]));
    return 1;
  }));
}

void hdel(store& data, const invocation& call) {
  const hash_value* old = nullptr;
  if (!open_value(data, call, old)) return;
  if (old == nullptr) return call.reply.integer(0);
  call.reply.integer(change<hash_value>(data, call.arguments[1], [&](hash_value& hash) {
    std::int64_t removed = 0;
    for (std::size_t i = 2; i < call.arguments.size(); ++i) {
      const auto found = hash.find(call.arguments[i]);
      if (found == hash.end()) continue;
      hash.erase(found);
      ++removed;
    }
    return removed;
  }));
}

void hincrby(store& data, const invocation& call) {
  std::int64_t by = 0;
  if (!read_integer(call, 3, by)) return;
  const hash_value* old = nullptr;
  if (!open_value(data, call, old)) return;
  std::int64_t number = 0;
  if (old != nullptr) {
    const auto found = old->find(call.arguments[2]);
    if (found != old->end()) {
      const auto parsed = parse_integer(found->second);
      if (!parsed) return call.reply.error("ERR hash value is not an integer");
      number = *parsed;
    }
  }
  if (__builtin_add_overflow(number, by, &number)) {
    return call.reply.error("ERR increment or decrement would overflow");
  }
  call.reply.integer(change<hash_value>(data, call.arguments[1], [&](hash_value& hash) {
    hash.insert_or_assign(std::string(call.arguments[2]), std::to_string(number));
    return number;
  }));
}

void reply_field(const invocation& call, const hash_value* hash, std::string_view field) {
  if (hash != nullptr) {
    const auto found = hash->find(field);
    if (found != hash->end()) return call.reply.bulk(found->second);
  }
  call.reply.null();
}

void hget(const store& data, const invocation& call) {
  const hash_value* hash = nullptr;
  if (read_value(data, call, hash)) reply_field(call, hash, call.arguments[2]);
}

void hmget(const store& data, const invocation& call) {
  const hash_value* hash = nullptr;
  if (!read_value(data, call, hash)) return;
  call.reply.array(call.arguments.size() - 2);
  for (std::size_t i = 2; i < call.arguments.size(); ++i) {
    reply_field(call, hash, call.arguments[i]);
  }
}

void reply_all(const store& data, const invocation& call, bool fields, bool values) {
  const hash_value* hash = nullptr;
  if (!read_value(data, call, hash)) return;
  if (hash == nullptr) return call.reply.array(0);
  call.reply.array(hash->size() * (fields && values ? 2 : 1));
  for (const auto& [field, value] : *hash) {
    if (fields) call.reply.bulk(field);
    if (values) call.reply.bulk(value);
  }
}

void hgetall(const store& data, const invocation& call) { reply_all(data, call, true, true); }
void hkeys(const store& data, const invocation& call) { reply_all(data, call, true, false); }
void hvals(const store& data, const invocation& call) { reply_all(data, call, false, true); }

void hlen(const store& data, const invocation& call) {
  const hash_value* hash = nullptr;
  if (!read_value(data, call, hash)) return;
  call.reply.integer(hash == nullptr ? 0 : static_cast<std::int64_t>(hash->size()));
}

void hexists(const store& data, const invocation& call) {
  const hash_value* hash = nullptr;
  if (!read_value(data, call, hash)) return;
  call.reply.integer(hash != nullptr && hash->contains(call.arguments[2]) ? 1 : 0);
}

constexpr command commands[] = {
    {"hdel", -3, nullptr, hdel, "hash", "Deletes fields of a hash.", 1, 1, 1},
    {"hexists", 3, hexists, nullptr, "hash", "Tells whether a hash has a field.", 1, 1, 1},
    {"hget", 3, hget, nullptr, "hash", "Returns the value of a field.", 1, 1, 1},
    {"hgetall", 2, hgetall, nullptr, "hash", "Returns all fields and values.", 1, 1, 1},
    {"hincrby", 4, nullptr, hincrby, "hash", "Increments the integer value of a field.", 1, 1, 1},
    {"hkeys", 2, hkeys, nullptr, "hash", "Returns all fields.", 1, 1, 1},
    {"hlen", 2, hlen, nullptr, "hash", "Returns the number of fields.", 1, 1, 1},
    {"hmget", -3, hmget, nullptr, "hash", "Returns the values of fields.", 1, 1, 1},
    {"hmset", -4, nullptr, hmset, "hash", "Sets fields of a hash.", 1, 1, 1},
    {"hset", -4, nullptr, hset, "hash", "Sets fields of a hash.", 1, 1, 1},
    {"hsetnx", 4, nullptr, hsetnx, "hash", "Sets a field, but only if it is new.", 1, 1, 1},
    {"hvals", 2, hvals, nullptr, "hash", "Returns all values of a hash.", 1, 1, 1},
};

}  // namespace

std::span<const command> hash_commands() { return commands; }

}  // namespace kv
