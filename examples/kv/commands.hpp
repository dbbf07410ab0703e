// SPDX-License-Identifier: Apache-2.0
/// The commands of the kv server: each a function over the store that writes one reply, with
/// Redis's own error texts. Commands that only read take a const store, and cost no commit.
///
/// THREADS: the table is constant; a command runs in the callback that owns the store.
/// CRASH: a command that throws leaves the undoing to the callback it runs in.
#pragma once

#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>

#include "resp.hpp"
#include "statistics.hpp"
#include "store.hpp"

namespace kv {

/// One run of one command.
struct invocation {
  command_view arguments;            ///< the name at [0]
  std::int64_t now_ms = 0;           ///< since the epoch: expiry follows this clock
  std::size_t value_bytes_max = 0;   ///< of a string that grows
  const server_figures& statistics;  ///< only where command::tells_of_server
  reply_writer& reply;
};

struct command {
  using read_fn = void (*)(const store&, const invocation&);
  using write_fn = void (*)(store&, const invocation&);

  std::string_view name;   ///< in lower case
  int arity = 0;           ///< words with the name; negative: at least so many
  read_fn read = nullptr;  ///< exactly one of read and write is set
  write_fn write = nullptr;
  std::string_view group;
  std::string_view summary;
  int first_key = 0;  ///< where the keys are among the words, as COMMAND tells; 0: there are none
  int last_key = 0;
  int key_step = 0;
  bool of_connection = false;    ///< about the connection and not the store: run by `connection`
  bool tells_of_server = false;  ///< needs invocation::statistics
};

/// What the CRASH command throws.
class crash_requested : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// RETURNS: the command of that name in any case, or null.
[[nodiscard]] const command* find_command(std::string_view name);
[[nodiscard]] std::span<const command> all_commands();

[[nodiscard]] bool arity_fits(const command& found, std::size_t words);

/// RETURNS: whether run_read() may run it. Wrong input may: the answer is an error.
[[nodiscard]] bool reads_only(const command_view& arguments);

/// Runs one command and writes exactly one reply.
void run(store& data, const invocation& call);
/// REQUIRES: reads_only(call.arguments).
void run_read(const store& data, const invocation& call);

// --- the parts the commands are made of --------------------------------------------------------

namespace errors {
inline constexpr std::string_view wrong_type =
    "WRONGTYPE Operation against a key holding the wrong kind of value";
inline constexpr std::string_view syntax = "ERR syntax error";
inline constexpr std::string_view not_an_integer = "ERR value is not an integer or out of range";
inline constexpr std::string_view not_a_float = "ERR value is not a valid float";
inline constexpr std::string_view must_be_positive = "ERR value is out of range, must be positive";
}  // namespace errors

[[nodiscard]] bool equal_ignoring_case(std::string_view a, std::string_view b);
[[nodiscard]] std::string lower_case(std::string_view text);
/// "ERR wrong number of arguments for 'get' command"
[[nodiscard]] std::string wrong_arity(std::string_view name);
/// "ERR unknown command 'foo', with args beginning with: 'a' 'b' "
[[nodiscard]] std::string unknown_command(const command_view& arguments);
/// "ERR unknown subcommand 'foo'. Try CONFIG HELP."
[[nodiscard]] std::string unknown_subcommand(const command_view& arguments);

/// Reads word `index` as an integer; writes `complaint` as the reply if it is none.
[[nodiscard]] bool read_integer(const invocation& call, std::size_t index, std::int64_t& value,
                                std::string_view complaint = errors::not_an_integer);

/// As find_as(), for the key at word 1. RETURNS: false after writing WRONGTYPE.
template <typename Value>
[[nodiscard]] bool read_value(const store& data, const invocation& call, const Value*& value) {
  const auto found = find_as<Value>(data, call.arguments[1], call.now_ms);
  value = found.value;
  if (found.wrong_type) call.reply.error(errors::wrong_type);
  return !found.wrong_type;
}

/// The same for a command that is about to change the value: removes the key first if its time is
/// over.
template <typename Value>
[[nodiscard]] bool open_value(store& data, const invocation& call, const Value*& value) {
  drop_if_expired(data, call.arguments[1], call.now_ms);
  return read_value(data, call, value);
}

/// The part of `size` elements that start..stop mean, negative ones counted from the end.
struct index_range {
  std::size_t begin = 0;
  std::size_t end = 0;  ///< one past the last
};
[[nodiscard]] index_range clamp_range(std::int64_t start, std::int64_t stop, std::size_t size);

std::span<const command> key_commands();
std::span<const command> string_commands();
std::span<const command> list_commands();
std::span<const command> set_commands();
std::span<const command> hash_commands();
std::span<const command> zset_commands();
std::span<const command> server_commands();

}  // namespace kv
