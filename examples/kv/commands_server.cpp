// SPDX-License-Identifier: Apache-2.0
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <unistd.h>

#include "commands.hpp"
#include "deaths.hpp"
#include "glob.hpp"

namespace kv {
namespace {

void ping(const store&, const invocation& call) {
  if (call.arguments.size() > 2) return call.reply.error(wrong_arity("ping"));
  if (call.arguments.size() == 2) return call.reply.bulk(call.arguments[1]);
  call.reply.simple("PONG");
}

void echo(const store&, const invocation& call) { call.reply.bulk(call.arguments[1]); }

void time(const store&, const invocation& call) {
  call.reply.array(2);
  call.reply.bulk(fmt::format("{}", call.now_ms / 1000));
  call.reply.bulk(fmt::format("{}", call.now_ms % 1000 * 1000));
}

std::string server_section(const server_figures& statistics) {
  return fmt::format(
      "# Server\r\nserver_name:peeper-kv\r\nredis_version:7.0.0\r\nredis_mode:standalone\r\n"
      "process_id:{}\r\nworker_process_id:{}\r\ntcp_port:{}\r\nuptime_in_seconds:{}\r\n",
      statistics.process_id, getpid(), statistics.port, statistics.uptime_s);
}

std::string clients_section(const server_figures& statistics) {
  return fmt::format("# Clients\r\nconnected_clients:{}\r\nmaxclients:{}\r\n",
                     statistics.connections_now, statistics.clients_max);
}

std::string stats_section(const store& data, const server_figures& statistics) {
  return fmt::format(
      "# Stats\r\ntotal_connections_received:{}\r\ntotal_commands_processed:{}\r\n"
      "total_net_input_bytes:{}\r\ntotal_net_output_bytes:{}\r\nrejected_connections:{}\r\n"
      "protocol_errors:{}\r\nexpired_keys:{}\r\ncrashes_answered:{}\r\nbatches_retried:{}\r\n",
      statistics.connections_total, statistics.commands, statistics.bytes_in, statistics.bytes_out,
      statistics.connections_rejected, statistics.protocol_errors, data.expired_keys,
      statistics.crashes_answered, statistics.batches_retried);
}

std::string keyspace_section(const store& data) {
  if (data.keys.empty()) return "# Keyspace\r\n";
  return fmt::format("# Keyspace\r\ndb0:keys={},expires={},avg_ttl=0\r\n", data.keys.size(),
                     data.deadlines.size());
}

void info(const store& data, const invocation& call) {
  const std::pair<std::string_view, std::string> sections[] = {
      {"server", server_section(call.statistics)},
      {"clients", clients_section(call.statistics)},
      {"stats", stats_section(data, call.statistics)},
      {"keyspace", keyspace_section(data)},
  };
  std::string text;
  for (const auto& [name, section] : sections) {
    bool wanted = call.arguments.size() == 1;
    for (std::size_t i = 1; i < call.arguments.size(); ++i) {
      const std::string_view word = call.arguments[i];
      wanted = wanted || equal_ignoring_case(word, name) || equal_ignoring_case(word, "all") ||
               equal_ignoring_case(word, "default") || equal_ignoring_case(word, "everything");
    }
    if (!wanted) continue;
    if (!text.empty()) text += "\r\n";
    text += section;
  }
  call.reply.bulk(text);
}

void config(const store&, const invocation& call) {
  const std::string_view verb = call.arguments[1];
  if (equal_ignoring_case(verb, "SET") && call.arguments.size() >= 4) {
    return call.reply.error(fmt::format(
        "ERR Unknown option or number of arguments for CONFIG SET - '{}'", call.arguments[2]));
  }
  if (!equal_ignoring_case(verb, "GET"))
    return call.reply.error(unknown_subcommand(call.arguments));
  if (call.arguments.size() < 3) return call.reply.error(wrong_arity("config|get"));
  const server_figures& statistics = call.statistics;
  const std::pair<std::string_view, std::string> settings[] = {
      {"appendonly", "no"},
      {"bind", statistics.bind},
      {"databases", "1"},
      {"maxclients", fmt::format("{}", statistics.clients_max)},
      {"maxmemory", "0"},
      {"port", fmt::format("{}", statistics.port)},
      {"proto-max-bulk-len", fmt::format("{}", statistics.bulk_bytes_max)},
      {"save", ""},
      {"timeout", "0"},
  };
  std::vector<const std::pair<std::string_view, std::string>*> found;
  for (const auto& setting : settings) {
    bool wanted = false;
    for (std::size_t i = 2; i < call.arguments.size(); ++i) {
      wanted = wanted || glob_match(lower_case(call.arguments[i]), setting.first);
    }
    if (wanted) found.push_back(&setting);
  }
  call.reply.array(found.size() * 2);
  for (const auto* setting : found) {
    call.reply.bulk(setting->first);
    call.reply.bulk(setting->second);
  }
}

void reply_command_info(reply_writer& reply, const command& entry) {
  reply.array(10);
  reply.bulk(entry.name);
  reply.integer(entry.arity);
  reply.array(1);
  reply.simple(entry.read != nullptr ? "readonly" : "write");
  reply.integer(entry.first_key);
  reply.integer(entry.last_key);
  reply.integer(entry.key_step);
  for (int i = 0; i < 4; ++i) reply.array(0);  // ACL categories, tips, key specs, subcommands
}

void reply_command_docs(reply_writer& reply, const command& entry) {
  reply.bulk(entry.name);
  reply.array(4);
  reply.bulk("summary");
  reply.bulk(entry.summary);
  reply.bulk("group");
  reply.bulk(entry.group);
}

void command_table(const store&, const invocation& call) {
  const auto table = all_commands();
  const std::size_t words = call.arguments.size();
  const std::string_view verb = words > 1 ? call.arguments[1] : std::string_view("INFO");
  if (equal_ignoring_case(verb, "COUNT")) {
    if (words > 2) return call.reply.error(wrong_arity("command|count"));
    return call.reply.integer(static_cast<std::int64_t>(table.size()));
  }
  if (equal_ignoring_case(verb, "LIST")) {
    if (words > 2) return call.reply.error(errors::syntax);
    call.reply.array(table.size());
    for (const command& entry : table) call.reply.bulk(entry.name);
    return;
  }
  const bool docs = equal_ignoring_case(verb, "DOCS");
  if (!docs && !equal_ignoring_case(verb, "INFO")) {
    return call.reply.error(unknown_subcommand(call.arguments));
  }
  std::vector<const command*> found;
  for (std::size_t i = 2; i < words; ++i) {
    const command* entry = find_command(call.arguments[i]);
    // COMMAND DOCS leaves out what it does not know, COMMAND INFO says null.
    if (entry != nullptr || !docs) found.push_back(entry);
  }
  if (words <= 2) {
    for (const command& entry : table) found.push_back(&entry);
  }
  call.reply.array(docs ? found.size() * 2 : found.size());
  for (const command* entry : found) {
    if (entry == nullptr) {
      call.reply.null_array();
    } else if (docs) {
      reply_command_docs(call.reply, *entry);
    } else {
      reply_command_info(call.reply, *entry);
    }
  }
}

/// CRASH <message> [command...]: what a handler with a bug does. It changes the state, or runs the
/// command given, and throws in the middle of it, or dies if the message is a way to do so. Nothing
/// of it must ever be seen by anyone.
void crash(store& data, const invocation& call) {
  const std::optional<death> way = death_of(call.arguments[1]);
  if (way && in_the_program()) {
    return call.reply.error(
        fmt::format("ERR CRASH {} would end the program and lose all data: start it with "
                    "--isolation=os-process",
                    to_string(*way)));
  }
  if (way == death::leak && !memory_can_be_limited) {
    return call.reply.error("ERR CRASH leak would not end: this build has no limit of memory");
  }
  std::string lost;
  reply_writer nobody_reads(lost);
  // A crash inside a crash is no deeper a crash, and a client must not choose how deep we recurse.
  const bool nested = call.arguments.size() > 2 && equal_ignoring_case(call.arguments[2], "CRASH");
  if (call.arguments.size() > 2 && !nested) {
    run(data,
        {call.arguments.skip(2), call.now_ms, call.value_bytes_max, call.statistics, nobody_reads});
  } else {
    constexpr int keys_harmed_max = 8;
    for (int i = 0; i < keys_harmed_max && !data.keys.empty(); ++i) {
      erase(data, std::string(data.keys.begin()->first));
    }
    put_string(data, "crash:half-written", call.arguments[1], false);
  }
  if (way) die(*way);
  throw crash_requested(std::string(call.arguments[1]));
}

/// Commands about the connection are answered where the connection is; from anywhere else there is
/// none they could be about.
void no_connection(const store&, const invocation& call) {
  call.reply.error(fmt::format("ERR '{}' needs a connection", lower_case(call.arguments[0])));
}

constexpr command commands[] = {
    {"auth", -2, no_connection, nullptr, "connection", "There are no users: an error.", 0, 0, 0,
     true},
    {"client", -2, no_connection, nullptr, "connection", "Names and lists connections.", 0, 0, 0,
     true},
    {"command", -1, command_table, nullptr, "server", "Tells of the commands there are."},
    {"config", -2, config, nullptr, "server", "Returns settings of the server.", 0, 0, 0, false,
     true},
    {"crash", -2, nullptr, crash, "server",
     "Changes the state, then throws or dies: all is rolled back."},
    {"echo", 2, echo, nullptr, "connection", "Returns its argument."},
    {"hello", -1, no_connection, nullptr, "connection", "Tells of the server and the protocol.", 0,
     0, 0, true},
    {"info", -1, info, nullptr, "server", "Returns what the server tells of itself.", 0, 0, 0,
     false, true},
    {"ping", -1, ping, nullptr, "connection", "Tells that the server answers."},
    {"quit", -1, no_connection, nullptr, "connection", "Closes the connection.", 0, 0, 0, true},
    {"reset", 1, no_connection, nullptr, "connection", "Forgets what CLIENT set.", 0, 0, 0, true},
    {"select", 2, no_connection, nullptr, "connection", "Selects the database: there is only 0.", 0,
     0, 0, true},
    {"time", 1, time, nullptr, "server", "Returns the server's time."},
};

}  // namespace

std::span<const command> server_commands() { return commands; }

}  // namespace kv
