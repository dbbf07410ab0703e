// SPDX-License-Identifier: Apache-2.0
/// \file
/// What goes through the rings of a pair that runs a server: frames between the program and the
/// worker's OS process. docs/isolation.md has the layouts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <type_traits>
#include <vector>

#include <peeper/detail/crossing.hpp>
#include <peeper/detail/elsewhere.hpp>
#include <peeper/time.hpp>

namespace peeper::sandbox {

/// Each begins with a to_worker_head.
enum class to_worker : std::uint16_t {
  start = 1,      ///< CBOR: see start_part
  end_worker,     ///< the worker object goes
  handle,         ///< a message's payload
  terminate,      ///< CBOR: an exit_reason
  hibernate,      //
  state,          ///< answered by to_hub::state
  replace_state,  ///< an encoded state
};

struct to_worker_head {
  /// How many workers' OS processes there have been. What was sent to one that is dead is not run
  /// by its successor: the program sends again what is to be done.
  std::uint32_t epoch = 0;
  peeper::detail::crossing_number crossing = 0;
  time_point::rep deadline = 0;
  std::uint64_t call = 0;  ///< its number, if it may be answered later
};

/// The argument of a worker's replica.
struct replica_argument {
  const peeper::detail::isolated_class* of;
  peeper::detail::crossing_number crossings;  ///< that the program has
};

enum class to_hub : std::uint16_t {
  reply = 1,  ///< of the handled call: its bytes
  send,       ///< a send_head, and the payload
  next,       ///< CBOR: what the handler wants next
  failed,     ///< CBOR: an exit_reason; nothing has happened
  answer,     ///< a call handled earlier: its number (8 bytes), the reply
  dropped,    ///< a call handled earlier will not be answered: its number
  effect,     ///< CBOR: an effect_kind, and what it needs
  state,      ///< encoded
};

struct send_head {
  std::uint64_t target = 0;  ///< a pid
  peeper::detail::crossing_number crossing = 0;
  std::uint32_t unused = 0;
  time_point::rep deadline = 0;
};

/// What is asked in the middle of a callback.
enum class question : std::uint16_t {
  send = 1,  ///< as to_hub::send, before a call to the same server (P6); not answered
  call,      ///< a send_head, and the payload; answered by an answer_kind and what it says
  find,      ///< CBOR: name, class; answered by CBOR: pid or 0, whether it is of that class
  table,     ///< an encoded table_request; answered by an encoded table_answer
};
enum class answer_kind : std::uint8_t {
  value,  ///< the reply's bytes
  error,  ///< CBOR: code, server, path, reason
};

enum class effect_kind : std::uint8_t {
  timer = 1,  ///< id, target, after, period, crossing, payload
  cancel,     ///< id
  monitor,    ///< id, pid
  demonitor,  ///< id
  link,       ///< pid, bool
  trap,       ///< bool
  exit,       ///< pid, reason
};

/// What a delta is, in its first byte.
enum class delta_kind : std::uint8_t {
  set_up = 1,   ///< as the start message: the server is made
  whole_state,  ///< encoded
  change,       ///< what a commit has changed
  dictionary,   ///< the number of a dictionary_change (4 bytes), and what it needs
  table,        ///< an encoded table_request: the server's tables
  rows,         ///< a table's id (8 bytes), CBOR: what a commit has changed in it
};

template <class Head>
  requires std::is_trivially_copyable_v<Head>
[[nodiscard]] bool read_head(std::span<const std::byte>& bytes, Head& head) noexcept {
  if (bytes.size() < sizeof head) return false;
  std::memcpy(&head, bytes.data(), sizeof head);
  bytes = bytes.subspan(sizeof head);
  return true;
}
template <class Head>
  requires std::is_trivially_copyable_v<Head>
void write_with_head(std::vector<std::byte>& out, const Head& head,
                     std::span<const std::byte> payload) {
  out.resize(sizeof head + payload.size());
  std::memcpy(out.data(), &head, sizeof head);
  if (!payload.empty()) std::memcpy(out.data() + sizeof head, payload.data(), payload.size());
}

}  // namespace peeper::sandbox
