// SPDX-License-Identifier: Apache-2.0
/// \file
/// The OS processes of a pair: the worker, which runs callbacks, and the follower, which keeps a
/// copy of the state up to date and is the next worker.
///
/// The user gives a `replica`: the state and what is done with it. Each OS process has its own: the
/// follower's begins as the worker's, copied by fork(), and stays the same by its deltas.
///
/// CRASH: of the worker, at any instruction: what it had published has happened, nothing else; its
/// follower goes on with the next message. Of the follower: the worker makes another.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>

#include "sandbox/descriptor.hpp"
#include "sandbox/pair_format.hpp"
#include "sandbox/shared_memory.hpp"
#include "sandbox/zygote.hpp"

namespace peeper::sandbox {

class pair_member;

/// What a callback's record is written to.
class record_writer {
 public:
  /// For the hub. `type`: at most frame_type_max. Waits while the ring is full.
  /// Throws std::length_error if the record is larger than ring_options::large_bytes allows.
  void append(std::uint16_t type, std::span<const std::byte> bytes);
  /// For the follower's replica.
  void append_delta(std::span<const std::byte> bytes);
  /// Asks the hub, and waits for what it answers: in the middle of a callback, so before its
  /// record. The hub gets a pair_event::kind::question. Good until the next one.
  [[nodiscard]] std::span<const std::byte> ask(std::uint16_t type,
                                               std::span<const std::byte> bytes);
  /// The same for what is not answered; it comes before the next question.
  void tell(std::uint16_t type, std::span<const std::byte> bytes);
  /// All that was appended is forgotten: a callback that crashed leaves nothing (P2).
  void discard() noexcept;

 private:
  friend class pair_member;
  explicit record_writer(pair_member& of) noexcept : of_{&of} {}
  pair_member* of_;
};

class replica {
 public:
  replica() = default;
  replica(const replica&) = delete;
  replica& operator=(const replica&) = delete;
  virtual ~replica() = default;

  /// In a worker, before its first message: it has just been made, or the worker before it died.
  /// What is recorded belongs to the start.
  virtual void start(record_writer& record) = 0;
  /// In a worker: one callback. Must catch what its user throws.
  virtual void handle(std::uint16_t type, std::span<const std::byte> message,
                      record_writer& record) = 0;
  /// In a follower. Must not fail: a copy that is not the same is worth nothing.
  virtual void apply(std::span<const std::byte> delta) = 0;
};

/// Makes a replica in the first worker's OS process. `argument`: as given to process_pair::start().
using replica_factory = std::unique_ptr<replica> (*)(std::span<const std::byte> argument);

/// The argument of a pair's first worker, in front of that of its factory.
struct pair_member_start {
  replica_factory make;
  pair_options options;
};

/// Where things lie in the memory of a pair.
struct pair_memory {
  [[nodiscard]] static std::size_t bytes_needed(const pair_options& options) noexcept;
  /// REQUIRES: zeroes, which nobody uses yet.
  [[nodiscard]] static pair_memory make(std::span<std::byte> memory, const pair_options& options);
  [[nodiscard]] static pair_memory find(std::span<std::byte> memory, const pair_options& options);

  /// The rings of questions and answers, empty: each worker has its own.
  void renew_questions(const pair_options& options) const;

  detail::pair_control* control;
  ring_memory messages;
  ring_memory records;
  std::span<std::byte> questions;
  std::span<std::byte> answers;
};

/// The entry of the first worker. `start`: a pair_member_start; the memory's descriptor, and, with
/// less power and a follower, that of a socket to its fork_guard.
int run_pair_member(const worker_start& start);

/// How a member ends that nobody killed. Unlike what users take for their own.
enum pair_member_exit : int {
  exit_over = 0,             ///< it was told to, or there is no hub any more
  exit_bad_messages = 0xE2,  ///< the ring of messages is not to be believed
  exit_bad_records = 0xE3,   ///< the same of the records
  exit_no_memory = 0xE4,     ///< its memory could not be mapped
  exit_no_limits = 0xE5,     ///< its limits are above the hub's own
  exit_no_filter = 0xE6,     ///< the system has no filter of system calls
};
/// Empty for a status that is none of these.
[[nodiscard]] std::string_view text_of_exit(int status) noexcept;

}  // namespace peeper::sandbox
