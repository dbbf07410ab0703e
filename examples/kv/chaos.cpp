// SPDX-License-Identifier: Apache-2.0
#include "chaos.hpp"

#include <algorithm>
#include <csignal>
#include <fstream>
#include <utility>

#include <fmt/format.h>

#include "deaths.hpp"
#include "tcp_client.hpp"

namespace kv {

namespace {

/// How often each kind is chosen. A hang lasts as long as a callback may, and a leak until 4 GB are
/// full: few of them.
std::array<double, crash_kinds> weights(isolation where) {
  if (where == isolation::in_program) return {1, 1, 1, 1};
  return {80, 100, 40, 40, 200, 150, 100, 3, memory_can_be_limited ? 5.0 : 0.0, 100, 200, 40};
}

/// What follows `name` in an INFO.
pid_t process_id(std::string_view info, std::string_view name) {
  const std::size_t at = info.find(name);
  if (at == std::string_view::npos) throw std::runtime_error("INFO tells no process id");
  const std::string_view rest = info.substr(at + name.size());
  const auto number = parse_integer(rest.substr(0, rest.find('\r')));
  if (!number) throw std::runtime_error("INFO tells of no process id");
  return static_cast<pid_t>(*number);
}

pid_t worker_process_of(tcp_client& client) {
  return process_id(client.command({"INFO", "server"}).text, "\r\nworker_process_id:");
}

/// Its follower is its only child. RETURNS: 0 if there is none now.
pid_t follower_of(pid_t worker) {
  std::ifstream children(fmt::format("/proc/{}/task/{}/children", worker, worker));
  pid_t child = 0;
  children >> child;
  return child;
}

}  // namespace

std::string_view to_string(crash_kind kind) {
  switch (kind) {
    case crash_kind::exception: return "exceptions in mid-update";
    case crash_kind::worker: return "worker killed";
    case crash_kind::keeper: return "keeper killed";
    case crash_kind::both: return "worker and keeper killed";
    case crash_kind::segv: return "SIGSEGV in mid-update";
    case crash_kind::abort: return "SIGABRT in mid-update";
    case crash_kind::kill: return "SIGKILL in mid-update, four times";
    case crash_kind::hang: return "endless loop in mid-update, 2 s";
    case crash_kind::leak: return "leak in mid-update, 4 GB";
    case crash_kind::stack: return "stack overflow in mid-update";
    case crash_kind::worker_process: return "SIGKILL to the worker's OS process";
    case crash_kind::follower_process: return "SIGKILL to the follower's OS process";
  }
  return "?";
}

bool kills_worker_process(crash_kind kind) {
  return kind >= crash_kind::segv && kind <= crash_kind::worker_process;
}

chaos::chaos(peeper::ref<kv_server> target, options wanted)
    : target_(std::move(target)), options_(wanted), random_(wanted.seed) {}

chaos::~chaos() { stop(); }

void chaos::start() {
  thread_ = std::thread([this] { run(); });
}

void chaos::stop() {
  stopping_ = true;
  if (thread_.joinable()) thread_.join();
}

std::array<chaos::tally, crash_kinds> chaos::tallies() const {
  const std::lock_guard lock(mutex_);
  return tallies_;
}

std::uint64_t chaos::crashes() const {
  const std::lock_guard lock(mutex_);
  std::uint64_t sum = 0;
  for (const tally& of_kind : tallies_) sum += of_kind.crashes;
  return sum;
}

std::uint64_t chaos::deaths() const {
  const std::lock_guard lock(mutex_);
  return deaths_;
}

std::vector<std::uint32_t> chaos::recoveries_us() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::uint32_t> all;
  for (const tally& of_kind : tallies_) {
    all.insert(all.end(), of_kind.recoveries_us.begin(), of_kind.recoveries_us.end());
  }
  return all;
}

std::vector<std::uint32_t> chaos::answers_us() const {
  const std::lock_guard lock(mutex_);
  return answers_us_;
}

std::string chaos::failure() const {
  const std::lock_guard lock(mutex_);
  return failure_;
}

void chaos::run() {
  try {
    tcp_client client(options_.port);
    worker_ = worker_process_of(client);
    for (std::uint64_t crashes = 0; !stopping_; ++crashes) {
      crash(next_kind(crashes), client);
      std::this_thread::sleep_for(options_.pause);
    }
  } catch (const std::exception& error) {
    const std::lock_guard lock(mutex_);
    failure_ = error.what();
  }
}

/// Each kind once, then at random.
crash_kind chaos::next_kind(std::uint64_t crashes) {
  const auto all = weights(options_.where);
  if (crashes < crash_kinds && all[crashes] > 0) return static_cast<crash_kind>(crashes);
  return static_cast<crash_kind>(std::discrete_distribution<>(all.begin(), all.end())(random_));
}

void chaos::crash(crash_kind kind, tcp_client& client) {
  const std::uint32_t without_us = ask(client, std::chrono::steady_clock::now());
  const auto before = std::chrono::steady_clock::now();
  cause(kind, client);
  const std::uint32_t after_us = ask(client, before);
  const bool died = count_death(kind, client);
  const std::lock_guard lock(mutex_);
  deaths_ += died ? 1 : 0;
  tally& of_kind = tallies_[static_cast<std::size_t>(kind)];
  ++of_kind.crashes;
  of_kind.recoveries_us.push_back(after_us);
  answers_us_.push_back(without_us);
}

void chaos::cause(crash_kind kind, tcp_client& client) {
  const auto command = [&](std::string_view how) {
    const reply answer = client.command({"CRASH", std::string(how)});
    if (!answer.text.starts_with("CRASH ")) {
      throw std::runtime_error(
          fmt::format("CRASH {} was answered with {}", how, kv::to_string(answer)));
    }
  };
  switch (kind) {
    case crash_kind::exception: return command("chaos");
    case crash_kind::worker: peeper::kill(peeper::worker_of(target_)); return;
    case crash_kind::keeper: peeper::kill(peeper::keeper_of(target_)); return;
    case crash_kind::both:
      peeper::kill(peeper::worker_of(target_));
      peeper::kill(peeper::keeper_of(target_));
      return;
    case crash_kind::segv: return command(to_string(death::segv));
    case crash_kind::abort: return command(to_string(death::abort));
    case crash_kind::kill: return command(to_string(death::kill));
    case crash_kind::hang: return command(to_string(death::hang));
    case crash_kind::leak: return command(to_string(death::leak));
    case crash_kind::stack: return command(to_string(death::stack));
    case crash_kind::worker_process: ::kill(worker_, SIGKILL); return;
    case crash_kind::follower_process:
      follower_ = follower_of(worker_);
      if (follower_ == 0) throw std::runtime_error("the worker's OS process has no follower");
      ::kill(follower_, SIGKILL);
      return;
  }
}

/// Looks who is there now. RETURNS: an OS process is gone.
bool chaos::count_death(crash_kind kind, tcp_client& client) {
  const pid_t before = std::exchange(worker_, worker_process_of(client));
  if (kind == crash_kind::follower_process && worker_ == before) {
    // Until there is another, the death of the worker would be the second at once, and the end.
    const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    for (pid_t now = follower_; now == follower_ || now == 0; now = follower_of(worker_)) {
      if (std::chrono::steady_clock::now() > give_up) throw std::runtime_error("no new follower");
      std::this_thread::sleep_for(options_.pause);
      ask(client, std::chrono::steady_clock::now());
    }
    return true;
  }
  if (worker_ == before && kills_worker_process(kind)) {
    throw std::runtime_error(fmt::format("after \"{}\" OS process {} is still the worker's",
                                         kv::to_string(kind), before));
  }
  return worker_ != before;
}

/// Asks for what CRASH writes before it throws: it must have been rolled back.
/// RETURNS: the microseconds since `since`, when the answer is there.
std::uint32_t chaos::ask(tcp_client& client, std::chrono::steady_clock::time_point since) {
  const reply answer = client.command({"EXISTS", "crash:half-written"});
  const auto now = std::chrono::steady_clock::now();
  if (answer.type != reply::kind::integer || answer.number != 0) {
    throw std::runtime_error("after a crash the server answered " + kv::to_string(answer));
  }
  return static_cast<std::uint32_t>(
      std::chrono::duration_cast<std::chrono::microseconds>(now - since).count());
}

std::uint32_t percentile(std::vector<std::uint32_t> values, double share) {
  if (values.empty()) return 0;
  const auto index = static_cast<std::size_t>(share * static_cast<double>(values.size() - 1));
  const auto at = values.begin() + static_cast<std::ptrdiff_t>(index);
  std::nth_element(values.begin(), at, values.end());
  return *at;
}

}  // namespace kv
