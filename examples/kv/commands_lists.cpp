// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "commands.hpp"

namespace kv {
namespace {

enum class side { front, back };

void push(store& data, const invocation& call, side where, bool create) {
  const list_value* old = nullptr;
  if (!open_value(data, call, old)) return;
  if (old == nullptr && !create) return call.reply.integer(0);
  const std::size_t size = change<list_value>(data, call.arguments[1], [&](list_value& list) {
    for (std::size_t i = 2; i < call.arguments.size(); ++i) {
      if (where == side::front) {
        list.push_front(std::string(call.arguments[i]));
      } else {
        list.push_back(std::string(call.arguments[i]));
      }
    }
    return list.size();
  });
  call.reply.integer(static_cast<std::int64_t>(size));
}

void lpush(store& data, const invocation& call) { push(data, call, side::front, true); }
void rpush(store& data, const invocation& call) { push(data, call, side::back, true); }
void lpushx(store& data, const invocation& call) { push(data, call, side::front, false); }
void rpushx(store& data, const invocation& call) { push(data, call, side::back, false); }

void pop(store& data, const invocation& call, side where) {
  if (call.arguments.size() > 3) {
    return call.reply.error(wrong_arity(lower_case(call.arguments[0])));
  }
  const bool counted = call.arguments.size() == 3;
  std::int64_t count = 1;
  if (counted && (!read_integer(call, 2, count, errors::must_be_positive))) return;
  if (count < 0) return call.reply.error(errors::must_be_positive);
  const list_value* old = nullptr;
  if (!open_value(data, call, old)) return;
  if (old == nullptr) return counted ? call.reply.null_array() : call.reply.null();
  const std::size_t popped = std::min(static_cast<std::size_t>(count), old->size());
  if (counted) call.reply.array(popped);
  if (popped == 0) return;
  change<list_value>(data, call.arguments[1], [&](list_value& list) {
    for (std::size_t i = 0; i < popped; ++i) {
      if (where == side::front) {
        call.reply.bulk(list.front());
        list.pop_front();
      } else {
        call.reply.bulk(list.back());
        list.pop_back();
      }
    }
    return popped;
  });
}

void lpop(store& data, const invocation& call) { pop(data, call, side::front); }
void rpop(store& data, const invocation& call) { pop(data, call, side::back); }

void llen(const store& data, const invocation& call) {
  const list_value* list = nullptr;
  if (!read_value(data, call, list)) return;
  call.reply.integer(list == nullptr ? 0 : static_cast<std::int64_t>(list->size()));
}

void lindex(const store& data, const invocation& call) {
  const list_value* list = nullptr;
  if (!read_value(data, call, list)) return;
  if (list == nullptr) return call.reply.null();
  std::int64_t index = 0;
  if (!read_integer(call, 2, index)) return;
  const auto size = static_cast<std::int64_t>(list->size());
  if (index < 0) index += size;
  if (index < 0 || index >= size) return call.reply.null();
  call.reply.bulk((*list)[static_cast<std::size_t>(index)]);
}

void lrange(const store& data, const invocation& call) {
  std::int64_t start = 0;
  std::int64_t stop = 0;
  if (!read_integer(call, 2, start) || !read_integer(call, 3, stop)) return;
  const list_value* list = nullptr;
  if (!read_value(data, call, list)) return;
  const auto [begin, end] = clamp_range(start, stop, list == nullptr ? 0 : list->size());
  call.reply.array(end - begin);
  for (std::size_t i = begin; i < end; ++i) call.reply.bulk((*list)[i]);
}

constexpr command commands[] = {
    {"lindex", 3, lindex, nullptr, "list", "Returns an element of a list by its index.", 1, 1, 1},
    {"llen", 2, llen, nullptr, "list", "Returns the length of a list.", 1, 1, 1},
    {"lpop", -2, nullptr, lpop, "list", "Removes and returns the first elements.", 1, 1, 1},
    {"lpush", -3, nullptr, lpush, "list", "Puts elements before the first one.", 1, 1, 1},
    {"lpushx", -3, nullptr, lpushx, "list", "As LPUSH, but only if the list exists.", 1, 1, 1},
    {"lrange", 4, lrange, nullptr, "list", "Returns a part of a list.", 1, 1, 1},
    {"rpop", -2, nullptr, rpop, "list", "Removes and returns the last elements.", 1, 1, 1},
    {"rpush", -3, nullptr, rpush, "list", "Puts elements behind the last one.", 1, 1, 1},
    {"rpushx", -3, nullptr, rpushx, "list", "As RPUSH, but only if the list exists.", 1, 1, 1},
};

}  // namespace

std::span<const command> list_commands() { return commands; }

}  // namespace kv
