// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <random>

#include "commands.hpp"

namespace kv {
namespace {

/// Which member SPOP takes. Not part of the state: any choice is a right one, also a second time.
std::size_t random_below(std::size_t bound) {
  thread_local std::minstd_rand generator{std::random_device{}()};
  return std::uniform_int_distribution<std::size_t>(0, bound - 1)(generator);
}

void sadd(store& data, const invocation& call) {
  const set_value* old = nullptr;
  if (!open_value(data, call, old)) return;
  call.reply.integer(change<set_value>(data, call.arguments[1], [&](set_value& set) {
    std::int64_t added = 0;
    for (std::size_t i = 2; i < call.arguments.size(); ++i) {
      if (set.insert(call.arguments[i])) ++added;
    }
    return added;
  }));
}

void srem(store& data, const invocation& call) {
  const set_value* old = nullptr;
  if (!open_value(data, call, old)) return;
  if (old == nullptr) return call.reply.integer(0);
  call.reply.integer(change<set_value>(data, call.arguments[1], [&](set_value& set) {
    std::int64_t removed = 0;
    for (std::size_t i = 2; i < call.arguments.size(); ++i) {
      if (set.erase(call.arguments[i])) ++removed;
    }
    return removed;
  }));
}

void spop(store& data, const invocation& call) {
  if (call.arguments.size() > 3) return call.reply.error(errors::syntax);
  const bool counted = call.arguments.size() == 3;
  std::int64_t count = 1;
  if (counted && (!read_integer(call, 2, count, errors::must_be_positive))) return;
  if (count < 0) return call.reply.error(errors::must_be_positive);
  const set_value* old = nullptr;
  if (!open_value(data, call, old)) return;
  if (old == nullptr) return counted ? call.reply.array(0) : call.reply.null();
  const std::size_t popped = std::min(static_cast<std::size_t>(count), old->members.size());
  if (counted) call.reply.array(popped);
  if (popped == 0) return;
  change<set_value>(data, call.arguments[1], [&](set_value& set) {
    for (std::size_t i = 0; i < popped; ++i) {
      const std::string member = set.members[random_below(set.members.size())];
      set.erase(member);
      call.reply.bulk(member);
    }
    return popped;
  });
}

void smembers(const store& data, const invocation& call) {
  const set_value* set = nullptr;
  if (!read_value(data, call, set)) return;
  if (set == nullptr) return call.reply.array(0);
  call.reply.array(set->members.size());
  for (const std::string& member : set->members) call.reply.bulk(member);
}

void scard(const store& data, const invocation& call) {
  const set_value* set = nullptr;
  if (!read_value(data, call, set)) return;
  call.reply.integer(set == nullptr ? 0 : static_cast<std::int64_t>(set->members.size()));
}

void sismember(const store& data, const invocation& call) {
  const set_value* set = nullptr;
  if (!read_value(data, call, set)) return;
  call.reply.integer(set != nullptr && set->places.contains(call.arguments[2]) ? 1 : 0);
}

void smismember(const store& data, const invocation& call) {
  const set_value* set = nullptr;
  if (!read_value(data, call, set)) return;
  call.reply.array(call.arguments.size() - 2);
  for (std::size_t i = 2; i < call.arguments.size(); ++i) {
    call.reply.integer(set != nullptr && set->places.contains(call.arguments[i]) ? 1 : 0);
  }
}

constexpr command commands[] = {
    {"sadd", -3, nullptr, sadd, "set", "Adds members to a set.", 1, 1, 1},
    {"scard", 2, scard, nullptr, "set", "Returns the number of members of a set.", 1, 1, 1},
    {"sismember", 3, sismember, nullptr, "set", "Tells whether a set has a member.", 1, 1, 1},
    {"smembers", 2, smembers, nullptr, "set", "Returns all members of a set.", 1, 1, 1},
    {"smismember", -3, smismember, nullptr, "set", "Tells which members a set has.", 1, 1, 1},
    {"spop", -2, nullptr, spop, "set", "Removes and returns random members.", 1, 1, 1},
    {"srem", -3, nullptr, srem, "set", "Removes members from a set.", 1, 1, 1},
};

}  // namespace

std::span<const command> set_commands() { return commands; }

}  // namespace kv
