// SPDX-License-Identifier: Apache-2.0
#include "verifier.hpp"

#include <algorithm>
#include <array>
#include <ranges>

#include <fmt/format.h>

namespace kv {
namespace {

constexpr std::size_t examples_max = 10;
/// How many numbers, of all kinds together, go to the same list, set, ...: so that none gets large.
constexpr std::uint64_t numbers_per_key = 4096;
constexpr std::uint64_t counters = 4;

std::vector<std::string> texts_of(const std::vector<reply>& elements, std::size_t step) {
  std::vector<std::string> texts;
  texts.reserve(elements.size() / step + 1);
  for (std::size_t i = 0; i < elements.size(); i += step) texts.push_back(elements[i].text);
  return texts;
}

/// "1,2,3," -> 1 2 3
std::vector<std::string> split(std::string_view text) {
  std::vector<std::string> parts;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(','), text.size());
    parts.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return parts;
}

}  // namespace

void findings::add(const findings& more) {
  requests += more.requests;
  acknowledged += more.acknowledged;
  crashed += more.crashed;
  lost += more.lost;
  duplicated += more.duplicated;
  wrong_replies += more.wrong_replies;
  for (const std::string& example : more.examples) note(example);
}

void findings::note(std::string example) {
  if (examples.size() < examples_max) examples.push_back(std::move(example));
}

verifier::verifier(options wanted) : options_(std::move(wanted)), random_(options_.seed) {}

std::pair<verifier::sent, words> verifier::next_command() {
  constexpr std::array kinds = {kind::set,  kind::incr, kind::append, kind::rpush, kind::lpush,
                                kind::sadd, kind::hset, kind::zadd,   kind::get};
  sent command;
  command.what = kinds[random_() % kinds.size()];
  command.number = ++last_number_;
  const auto key = [&](std::string_view name, std::uint64_t index) {
    return fmt::format("{}{}:{}", options_.prefix, name, index);
  };
  const std::uint64_t group = command.number / numbers_per_key;
  const std::string number = fmt::format("{}", command.number);
  words text;
  switch (command.what) {
    case kind::set:
      command.key = key("set", command.number);
      text = {"SET", command.key, number};
      break;
    case kind::incr:
      command.key = key("incr", random_() % counters);
      text = {"INCR", command.key};
      break;
    case kind::append:
      command.key = key("append", group);
      text = {"APPEND", command.key, number + ","};
      break;
    case kind::rpush:
      command.key = key("push", group);
      text = {"RPUSH", command.key, number};
      break;
    case kind::lpush:
      command.key = key("push", group);
      text = {"LPUSH", command.key, number};
      break;
    case kind::sadd:
      command.key = key("sadd", group);
      text = {"SADD", command.key, number};
      break;
    case kind::hset:
      command.key = key("hset", group);
      text = {"HSET", command.key, number, number};
      break;
    case kind::zadd:
      command.key = key("zadd", group);
      text = {"ZADD", command.key, number, number};
      break;
    case kind::get:
      command.key = key("incr", random_() % counters);
      text = {"GET", command.key};
      break;
  }
  command.told_to_crash = random_() % 10000 < options_.crashes_per_10000;
  if (command.told_to_crash) text.insert(text.begin(), {"CRASH", "half-way"});
  return {std::move(command), std::move(text)};
}

void verifier::write(std::size_t commands, const transport& send) {
  std::vector<sent> batch;
  std::vector<words> texts;
  for (std::size_t i = 0; i < commands; ++i) {
    auto [command, text] = next_command();
    batch.push_back(std::move(command));
    texts.push_back(std::move(text));
  }
  const std::vector<reply> replies = send(texts);
  for (std::size_t i = 0; i < commands; ++i) check(batch[i], replies[i]);
}

void verifier::check(const sent& command, const reply& answer) {
  ++found_.requests;
  if (answer.is_error() && answer.text.starts_with("CRASH ")) {
    ++found_.crashed;
  } else if (command.told_to_crash) {
    wrong_reply(command, answer, "the news of its crash");
  } else if (command.what == kind::get) {
    const auto known = keys_.find(command.key);
    const std::string wanted = known == keys_.end() ? "" : fmt::format("{}", known->second.count);
    if (answer.text != wanted || answer.is_error()) wrong_reply(command, answer, wanted);
  } else {
    acknowledge(command, answer);
  }
}

void verifier::acknowledge(const sent& command, const reply& answer) {
  if (answer.is_error()) return wrong_reply(command, answer, "success");
  ++found_.acknowledged;
  expected& value = keys_[command.key];
  value.what = command.what;
  switch (command.what) {
    case kind::set:
      value.back.push_back(command.number);
      if (answer.text != "OK") wrong_reply(command, answer, "OK");
      break;
    case kind::incr: expect_number(command, answer, ++value.count); break;
    case kind::append:
      value.back.push_back(command.number);
      value.count += static_cast<std::int64_t>(fmt::formatted_size("{},", command.number));
      expect_number(command, answer, value.count);
      break;
    case kind::rpush:
    case kind::lpush:
      (command.what == kind::rpush ? value.back : value.front).push_back(command.number);
      expect_number(command, answer,
                    static_cast<std::int64_t>(value.back.size() + value.front.size()));
      break;
    case kind::sadd:
    case kind::hset:
    case kind::zadd:
      value.back.push_back(command.number);
      expect_number(command, answer, 1);
      break;
    case kind::get: break;
  }
}

void verifier::expect_number(const sent& command, const reply& answer, std::int64_t wanted) {
  if (answer.type != reply::kind::integer || answer.number != wanted) {
    wrong_reply(command, answer, fmt::format("{}", wanted));
  }
}

void verifier::wrong_reply(const sent& command, const reply& answer, std::string_view wanted) {
  ++found_.wrong_replies;
  found_.note(fmt::format("write {} to {}: replied {}, expected {}", command.number, command.key,
                          to_string(answer), wanted));
}

void verifier::read_back(const transport& send) {
  constexpr std::size_t batch_max = 100;
  std::vector<const std::pair<const std::string, expected>*> asked;
  std::vector<words> commands;
  const auto ask = [&] {
    const std::vector<reply> replies = send(commands);
    for (std::size_t i = 0; i < asked.size(); ++i) {
      check_value(asked[i]->first, asked[i]->second, replies[i]);
    }
    found_.requests += commands.size();
    asked.clear();
    commands.clear();
  };
  for (const auto& item : keys_) {
    const std::string& key = item.first;
    asked.push_back(&item);
    switch (item.second.what) {
      case kind::rpush:
      case kind::lpush: commands.push_back({"LRANGE", key, "0", "-1"}); break;
      case kind::sadd: commands.push_back({"SMEMBERS", key}); break;
      case kind::hset: commands.push_back({"HGETALL", key}); break;
      case kind::zadd: commands.push_back({"ZRANGE", key, "0", "-1", "WITHSCORES"}); break;
      default: commands.push_back({"GET", key});
    }
    if (commands.size() == batch_max) ask();
  }
  ask();
  check_no_other_keys(send);
}

void verifier::check_no_other_keys(const transport& send) {
  const words command = {"KEYS", options_.prefix + "*"};
  const std::vector<reply> replies = send(std::span(&command, 1));
  ++found_.requests;
  for (const reply& key : replies[0].elements) {
    if (keys_.contains(key.text)) continue;
    ++found_.duplicated;
    found_.note(fmt::format("{} is there, though no write to it was acknowledged", key.text));
  }
}

void verifier::check_value(const std::string& key, const expected& value, const reply& answer) {
  switch (value.what) {
    case kind::incr: return check_counter(key, value.count, parse_integer(answer.text).value_or(0));
    case kind::append: return check_numbers(key, value, split(answer.text));
    case kind::rpush:
    case kind::lpush:
    case kind::sadd: return check_numbers(key, value, texts_of(answer.elements, 1));
    case kind::hset:
    case kind::zadd:
      for (std::size_t i = 0; i + 1 < answer.elements.size(); i += 2) {
        if (answer.elements[i].text == answer.elements[i + 1].text) continue;
        ++found_.wrong_replies;
        found_.note(fmt::format("{}: {} has the value {}", key, answer.elements[i].text,
                                answer.elements[i + 1].text));
      }
      return check_numbers(key, value, texts_of(answer.elements, 2));
    default:
      return check_numbers(
          key, value,
          answer.type == reply::kind::bulk ? std::vector{answer.text} : std::vector<std::string>{});
  }
}

void verifier::check_counter(const std::string& key, std::int64_t wanted, std::int64_t found) {
  if (found == wanted) return;
  if (found < wanted) {
    found_.lost += static_cast<std::uint64_t>(wanted - found);
  } else {
    found_.duplicated += static_cast<std::uint64_t>(found - wanted);
  }
  found_.note(fmt::format("{}: is {}, and {} increments were acknowledged", key, found, wanted));
}

void verifier::check_numbers(const std::string& key, const expected& value,
                             const std::vector<std::string>& numbers) {
  std::vector<std::string> in_order;
  in_order.reserve(value.front.size() + value.back.size());
  for (const std::uint64_t number : std::views::reverse(value.front)) {
    in_order.push_back(fmt::format("{}", number));
  }
  for (const std::uint64_t number : value.back) in_order.push_back(fmt::format("{}", number));
  if (numbers == in_order) return;

  std::unordered_map<std::string, int> times;
  for (const std::string& number : numbers) ++times[number];
  bool same_numbers = true;
  for (const std::string& number : in_order) {
    const auto found = times.find(number);
    if (found == times.end()) {
      same_numbers = false;
      ++found_.lost;
      found_.note(fmt::format("{}: write {} was acknowledged and is not there", key, number));
    } else {
      --found->second;
    }
  }
  for (const auto& [number, more] : times) {
    if (more == 0) continue;
    same_numbers = false;
    found_.duplicated += static_cast<std::uint64_t>(more);
    found_.note(
        fmt::format("{}: write {} is there {} times more than acknowledged", key, number, more));
  }
  const bool ordered =
      value.what == kind::append || value.what == kind::rpush || value.what == kind::lpush;
  if (same_numbers && ordered) {
    ++found_.wrong_replies;
    found_.note(fmt::format("{}: the order is not that of the writes", key));
  }
}

}  // namespace kv
