// SPDX-License-Identifier: Apache-2.0
#include "chaos.hpp"

#include <algorithm>
#include <random>

#include <fmt/format.h>

#include "tcp_client.hpp"

namespace kv {

std::string_view to_string(crash_kind kind) {
  switch (kind) {
    case crash_kind::exception: return "exceptions in mid-update";
    case crash_kind::worker: return "worker killed";
    case crash_kind::keeper: return "keeper killed";
    case crash_kind::both: return "worker and keeper killed";
  }
  return "?";
}

chaos::chaos(peeper::ref<kv_server> target, options wanted)
    : target_(std::move(target)), options_(wanted) {}

chaos::~chaos() { stop(); }

void chaos::start() {
  thread_ = std::thread([this] { run(); });
}

void chaos::stop() {
  stopping_ = true;
  if (thread_.joinable()) thread_.join();
}

std::array<std::uint64_t, crash_kinds> chaos::crashes() const {
  const std::lock_guard lock(mutex_);
  return crashes_;
}

std::vector<std::uint32_t> chaos::recoveries_us() const {
  const std::lock_guard lock(mutex_);
  return recoveries_us_;
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
  std::mt19937_64 random(options_.seed);
  try {
    tcp_client client(options_.port);
    while (!stopping_) {
      crash(static_cast<crash_kind>(random() % crash_kinds), client);
      std::this_thread::sleep_for(options_.pause);
    }
  } catch (const std::exception& error) {
    const std::lock_guard lock(mutex_);
    failure_ = error.what();
  }
}

void chaos::crash(crash_kind kind, tcp_client& client) {
  const std::uint32_t without_us = ask(client, std::chrono::steady_clock::now());
  const auto before = std::chrono::steady_clock::now();
  switch (kind) {
    case crash_kind::exception: {
      const reply answer = client.command({"CRASH", "chaos"});
      if (!answer.text.starts_with("CRASH ")) {
        throw std::runtime_error("CRASH was answered with " + kv::to_string(answer));
      }
      break;
    }
    case crash_kind::worker: peeper::kill(peeper::worker_of(target_)); break;
    case crash_kind::keeper: peeper::kill(peeper::keeper_of(target_)); break;
    case crash_kind::both:
      peeper::kill(peeper::worker_of(target_));
      peeper::kill(peeper::keeper_of(target_));
      break;
  }
  const std::uint32_t after_us = ask(client, before);
  const std::lock_guard lock(mutex_);
  ++crashes_[static_cast<std::size_t>(kind)];
  recoveries_us_.push_back(after_us);
  answers_us_.push_back(without_us);
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
