// SPDX-License-Identifier: Apache-2.0
#include "commands.hpp"

#include <algorithm>
#include <array>
#include <vector>

#include <fmt/format.h>

namespace kv {
namespace {

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

std::vector<command> make_table() {
  std::vector<command> table;
  for (const auto part : {key_commands(), string_commands(), list_commands(), set_commands(),
                          hash_commands(), zset_commands(), server_commands()}) {
    table.insert(table.end(), part.begin(), part.end());
  }
  std::ranges::sort(table, {}, &command::name);
  return table;
}

}  // namespace

std::span<const command> all_commands() {
  static const std::vector<command> table = make_table();
  return table;
}

const command* find_command(std::string_view name) {
  std::array<char, 24> lowered;  // longer than any name in the table
  if (name.size() > lowered.size()) return nullptr;
  const auto end = std::ranges::transform(name, lowered.begin(), lower).out;
  const std::string_view wanted(lowered.begin(), end);
  const auto table = all_commands();
  const auto found = std::ranges::lower_bound(table, wanted, {}, &command::name);
  return found != table.end() && found->name == wanted ? &*found : nullptr;
}

bool arity_fits(const command& found, std::size_t words) {
  return found.arity >= 0 ? std::cmp_equal(words, found.arity)
                          : std::cmp_greater_equal(words, -found.arity);
}

bool reads_only(const command_view& arguments) {
  const command* found = find_command(arguments[0]);
  return found == nullptr || found->read != nullptr;
}

void run_read(const store& data, const invocation& call) {
  const command* found = find_command(call.arguments[0]);
  if (found == nullptr) return call.reply.error(unknown_command(call.arguments));
  if (!arity_fits(*found, call.arguments.size())) {
    return call.reply.error(wrong_arity(found->name));
  }
  found->read(data, call);
}

void run(store& data, const invocation& call) {
  const command* found = find_command(call.arguments[0]);
  if (found == nullptr || found->read != nullptr) return run_read(data, call);
  if (!arity_fits(*found, call.arguments.size())) {
    return call.reply.error(wrong_arity(found->name));
  }
  found->write(data, call);
}

bool equal_ignoring_case(std::string_view a, std::string_view b) {
  return std::ranges::equal(a, b, {}, lower, lower);
}

std::string lower_case(std::string_view text) {
  std::string lowered(text);
  std::ranges::transform(lowered, lowered.begin(), lower);
  return lowered;
}

std::string wrong_arity(std::string_view name) {
  return fmt::format("ERR wrong number of arguments for '{}' command", name);
}

std::string unknown_command(const command_view& arguments) {
  // Redis shows 128 characters of the arguments and no more.
  constexpr std::size_t shown_max = 128;
  std::string shown;
  for (std::size_t i = 1; i < arguments.size() && shown.size() < shown_max; ++i) {
    shown += fmt::format("'{}' ", arguments[i].substr(0, shown_max - shown.size()));
  }
  return fmt::format("ERR unknown command '{}', with args beginning with: {}",
                     arguments[0].substr(0, shown_max), shown);
}

std::string unknown_subcommand(const command_view& arguments) {
  std::string container(arguments[0]);
  std::ranges::transform(container, container.begin(), [](char c) {
    return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
  });
  return fmt::format("ERR unknown subcommand '{}'. Try {} HELP.", arguments[1].substr(0, 128),
                     container);
}

bool read_integer(const invocation& call, std::size_t index, std::int64_t& value,
                  std::string_view complaint) {
  const auto parsed = parse_integer(call.arguments[index]);
  if (!parsed) {
    call.reply.error(complaint);
    return false;
  }
  value = *parsed;
  return true;
}

index_range clamp_range(std::int64_t start, std::int64_t stop, std::size_t size) {
  const auto length = static_cast<std::int64_t>(size);
  if (start < 0) start = std::max<std::int64_t>(0, start + length);
  if (stop < 0) stop += length;
  stop = std::min(stop, length - 1);
  if (start > stop) return {};
  return {static_cast<std::size_t>(start), static_cast<std::size_t>(stop) + 1};
}

}  // namespace kv
