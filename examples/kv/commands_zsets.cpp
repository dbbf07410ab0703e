// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <charconv>
#include <cmath>
#include <iterator>
#include <optional>
#include <string>
#include <vector>

#include "commands.hpp"

namespace kv {
namespace {

std::optional<double> parse_score(std::string_view text) {
  if (text.starts_with('+')) text.remove_prefix(1);
  double value = 0;
  const auto [end, error] = std::from_chars(text.begin(), text.end(), value);
  if (error != std::errc{} || end != text.end() || std::isnan(value)) return std::nullopt;
  return value;
}

struct zadd_options {
  bool only_new = false;
  bool only_old = false;
  bool only_greater = false;
  bool only_less = false;
  bool count_changed = false;
  bool increment = false;
  std::size_t first_pair = 2;
};

std::optional<zadd_options> read_zadd_options(const invocation& call) {
  zadd_options options;
  for (; options.first_pair < call.arguments.size(); ++options.first_pair) {
    const std::string_view word = call.arguments[options.first_pair];
    if (equal_ignoring_case(word, "NX")) {
      options.only_new = true;
    } else if (equal_ignoring_case(word, "XX")) {
      options.only_old = true;
    } else if (equal_ignoring_case(word, "GT")) {
      options.only_greater = true;
    } else if (equal_ignoring_case(word, "LT")) {
      options.only_less = true;
    } else if (equal_ignoring_case(word, "CH")) {
      options.count_changed = true;
    } else if (equal_ignoring_case(word, "INCR")) {
      options.increment = true;
    } else {
      break;
    }
  }
  const std::size_t words = call.arguments.size() - options.first_pair;
  std::string_view complaint;
  if (words == 0 || words % 2 != 0) {
    complaint = errors::syntax;
  } else if (options.only_new && options.only_old) {
    complaint = "ERR XX and NX options at the same time are not compatible";
  } else if ((options.only_greater && (options.only_less || options.only_new)) ||
             (options.only_less && options.only_new)) {
    complaint = "ERR GT, LT, and/or NX options at the same time are not compatible";
  } else if (options.increment && words > 2) {
    complaint = "ERR INCR option supports a single increment-element pair";
  } else {
    return options;
  }
  call.reply.error(complaint);
  return std::nullopt;
}

bool allowed(const zadd_options& options, const double* old_score, double new_score) {
  if (old_score == nullptr) return !options.only_old;
  if (options.only_new) return false;
  if (options.only_greater && new_score <= *old_score) return false;
  return !(options.only_less && new_score >= *old_score);
}

const double* score_of(const zset_value* zset, std::string_view member) {
  if (zset == nullptr) return nullptr;
  const auto found = zset->scores.find(member);
  return found == zset->scores.end() ? nullptr : &found->second;
}

/// ZADD with INCR, and ZINCRBY: one member, and the reply is its new score.
void add_score(store& data, const invocation& call, const zadd_options& options, double by,
               std::string_view member) {
  const zset_value* old = nullptr;
  if (!open_value(data, call, old)) return;
  const double* old_score = score_of(old, member);
  const double score = old_score == nullptr ? by : *old_score + by;
  if (std::isnan(score)) {
    return call.reply.error("ERR resulting score is not a number (NaN)");
  }
  if (!allowed(options, old_score, score)) return call.reply.null();
  change<zset_value>(data, call.arguments[1],
                     [&](zset_value& zset) { return zset.set(member, score); });
  call.reply.bulk(score);
}

void zadd(store& data, const invocation& call) {
  const auto options = read_zadd_options(call);
  if (!options) return;
  std::vector<double> scores;
  for (std::size_t i = options->first_pair; i < call.arguments.size(); i += 2) {
    const auto score = parse_score(call.arguments[i]);
    if (!score) return call.reply.error(errors::not_a_float);
    scores.push_back(*score);
  }
  if (options->increment) {
    return add_score(data, call, *options, scores[0], call.arguments[options->first_pair + 1]);
  }
  const zset_value* old = nullptr;
  if (!open_value(data, call, old)) return;
  if (old == nullptr && options->only_old) return call.reply.integer(0);
  call.reply.integer(change<zset_value>(data, call.arguments[1], [&](zset_value& zset) {
    std::int64_t added = 0;
    std::int64_t changed = 0;
    for (std::size_t i = 0; i < scores.size(); ++i) {
      const std::string_view member = call.arguments[options->first_pair + i * 2 + 1];
      const double* old_score = score_of(&zset, member);
      if (!allowed(*options, old_score, scores[i])) continue;
      if (old_score != nullptr && *old_score != scores[i]) ++changed;
      if (zset.set(member, scores[i])) ++added;
    }
    return options->count_changed ? added + changed : added;
  }));
}

void zincrby(store& data, const invocation& call) {
  const auto by = parse_score(call.arguments[2]);
  if (!by) return call.reply.error(errors::not_a_float);
  add_score(data, call, {}, *by, call.arguments[3]);
}

void zrem(store& data, const invocation& call) {
  const zset_value* old = nullptr;
  if (!open_value(data, call, old)) return;
  if (old == nullptr) return call.reply.integer(0);
  call.reply.integer(change<zset_value>(data, call.arguments[1], [&](zset_value& zset) {
    std::int64_t removed = 0;
    for (std::size_t i = 2; i < call.arguments.size(); ++i) {
      if (zset.erase(call.arguments[i])) ++removed;
    }
    return removed;
  }));
}

void zcard(const store& data, const invocation& call) {
  const zset_value* zset = nullptr;
  if (!read_value(data, call, zset)) return;
  call.reply.integer(zset == nullptr ? 0 : static_cast<std::int64_t>(zset->scores.size()));
}

void zscore(const store& data, const invocation& call) {
  const zset_value* zset = nullptr;
  if (!read_value(data, call, zset)) return;
  const double* score = score_of(zset, call.arguments[2]);
  if (score == nullptr) return call.reply.null();
  call.reply.bulk(*score);
}

void zrank(const store& data, const invocation& call) {
  const zset_value* zset = nullptr;
  if (!read_value(data, call, zset)) return;
  const double* score = score_of(zset, call.arguments[2]);
  if (score == nullptr) return call.reply.null();
  const auto found = zset->order.find(scored_member{*score, std::string(call.arguments[2])});
  call.reply.integer(std::distance(zset->order.begin(), found));
}

void pop(store& data, const invocation& call, bool smallest) {
  if (call.arguments.size() > 3) return call.reply.error(errors::syntax);
  std::int64_t count = 1;
  if (call.arguments.size() == 3 && !read_integer(call, 2, count, errors::must_be_positive)) return;
  if (count < 0) return call.reply.error(errors::must_be_positive);
  const zset_value* old = nullptr;
  if (!open_value(data, call, old)) return;
  const std::size_t size = old == nullptr ? 0 : old->scores.size();
  const std::size_t popped = std::min(static_cast<std::size_t>(count), size);
  call.reply.array(popped * 2);
  if (popped == 0) return;
  change<zset_value>(data, call.arguments[1], [&](zset_value& zset) {
    for (std::size_t i = 0; i < popped; ++i) {
      const scored_member taken = smallest ? *zset.order.begin() : *std::prev(zset.order.end());
      zset.erase(taken.member);
      call.reply.bulk(taken.member);
      call.reply.bulk(taken.score);
    }
    return popped;
  });
}

void zpopmin(store& data, const invocation& call) { pop(data, call, true); }
void zpopmax(store& data, const invocation& call) { pop(data, call, false); }

template <typename Iterator>
void reply_members(const invocation& call, Iterator at, std::size_t members, bool with_scores) {
  call.reply.array(with_scores ? members * 2 : members);
  for (std::size_t i = 0; i < members; ++i, ++at) {
    call.reply.bulk(at->member);
    if (with_scores) call.reply.bulk(at->score);
  }
}

/// Ranges by rank. Reaching the first member costs a step for each one before it.
void range(const store& data, const invocation& call, bool reverse) {
  bool with_scores = false;
  for (std::size_t i = 4; i < call.arguments.size(); ++i) {
    if (equal_ignoring_case(call.arguments[i], "WITHSCORES")) {
      with_scores = true;
    } else if (!reverse && equal_ignoring_case(call.arguments[i], "REV")) {
      reverse = true;
    } else {
      return call.reply.error(errors::syntax);
    }
  }
  std::int64_t start = 0;
  std::int64_t stop = 0;
  if (!read_integer(call, 2, start) || !read_integer(call, 3, stop)) return;
  const zset_value* zset = nullptr;
  if (!read_value(data, call, zset)) return;
  if (zset == nullptr) return call.reply.array(0);
  const auto [begin, end] = clamp_range(start, stop, zset->scores.size());
  const auto skipped = static_cast<std::ptrdiff_t>(begin);
  if (reverse) {
    const auto last = std::make_reverse_iterator(zset->order.end());
    reply_members(call, std::next(last, skipped), end - begin, with_scores);
  } else {
    reply_members(call, std::next(zset->order.begin(), skipped), end - begin, with_scores);
  }
}

void zrange(const store& data, const invocation& call) { range(data, call, false); }
void zrevrange(const store& data, const invocation& call) { range(data, call, true); }

constexpr command commands[] = {
    {"zadd", -4, nullptr, zadd, "sorted-set", "Adds members, or changes their scores.", 1, 1, 1},
    {"zcard", 2, zcard, nullptr, "sorted-set", "Returns the number of members.", 1, 1, 1},
    {"zincrby", 4, nullptr, zincrby, "sorted-set", "Increments the score of a member.", 1, 1, 1},
    {"zpopmax", -2, nullptr, zpopmax, "sorted-set", "Removes the highest-scoring members.", 1, 1,
     1},
    {"zpopmin", -2, nullptr, zpopmin, "sorted-set", "Removes the lowest-scoring members.", 1, 1, 1},
    {"zrange", -4, zrange, nullptr, "sorted-set", "Returns members by their rank.", 1, 1, 1},
    {"zrank", 3, zrank, nullptr, "sorted-set", "Returns the rank of a member.", 1, 1, 1},
    {"zrem", -3, nullptr, zrem, "sorted-set", "Removes members from a sorted set.", 1, 1, 1},
    {"zrevrange", -4, zrevrange, nullptr, "sorted-set", "Returns members, highest first.", 1, 1, 1},
    {"zscore", 3, zscore, nullptr, "sorted-set", "Returns the score of a member.", 1, 1, 1},
};

}  // namespace

std::span<const command> zset_commands() { return commands; }

}  // namespace kv
