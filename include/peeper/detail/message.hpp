// SPDX-License-Identifier: Apache-2.0
/// \file
/// The node that travels through mailboxes: a link, a type, a target, a deadline. Everything typed
/// derives from it and is reached through `message_type`, one static object a message type.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <string_view>
#include <typeinfo>

#include <peeper/error.hpp>
#include <peeper/time.hpp>

namespace peeper::detail {

class process;
class branch;
struct execution;
struct message;
struct numbered_crossing;

enum class message_kind : std::uint8_t {
  call,
  cast,
  info,
  continuation,  ///< continue_with(m): runs before anything queued
  system,        ///< the library's own, in order: not limited, handled also while suspended
  urgent,        ///< the library's own, out of turn
  effect,        ///< never in a mailbox: applied at commit (timers, monitors, dictionary...)
};

/// One static object for each message type of each server.
struct message_type {
  message_kind kind;
  /// The handler takes the message as const: it is intact after a crash (retry, replay).
  bool intact_after_crash;
  /// The name of the payload's type, for logs and crash reports.
  std::string_view (*name)();
  /// Runs the handler (or, for system messages and effects, the deed). May throw what user code
  /// throws. Not called for an effect that is discarded.
  void (*run)(process& self, message& m);
  /// The handling side lets go: a cast is destroyed, a call lives while its caller holds it.
  void (*release)(message* m) noexcept;
  /// call and system: tells whoever waits that there will be no answer. Null: nobody waits.
  void (*fail)(message& m, call_error error) noexcept;
  /// call, at the commit: the stored answer leaves; a from<T> may answer from now on.
  void (*finish)(message& m) noexcept = nullptr;
  /// call, handled on its caller's own thread: finish() and release() in one, for the two sides are
  /// one. Null: the answer may come from elsewhere.
  void (*finish_here)(message& m) noexcept = nullptr;
  /// A fresh message with the same payload, for replay. Null: cannot be replayed.
  message* (*revive)(message& m) = nullptr;
  /// The handler takes a from<T>: no answer at commit is no mistake.
  bool answers_later = false;
  /// The handler is a coroutine: its execution must outlive the stack.
  bool coroutine = false;
  /// How it goes to a server in another OS process. Null: it cannot.
  const numbered_crossing* cross = nullptr;
};

struct message {
  message* next = nullptr;
  const message_type* type;
  /// While staged in an outbox: where it is to go.
  process* target = nullptr;
  /// When its sender stops waiting; max = never. Expired messages are skipped.
  time_point deadline = time_point::max();
  /// How often a crash has put it back (on_crash::retry).
  std::uint32_t attempts = 0;
  /// It has a place in a limited mailbox, given back when its turn comes.
  bool counted = false;
  /// While staged: it holds a reference to its target of its own.
  bool holds_target = false;

  explicit message(const message_type& t) noexcept : type{&t} {}
  message(const message&) = delete;
  message& operator=(const message&) = delete;

 protected:
  ~message() = default;
};

/// Owns a message that is in nobody's queue.
struct message_deleter {
  void operator()(message* m) const noexcept { m->type->release(m); }
};

/// The unqualified, human-readable name of a type ("get", "kv::execute").
[[nodiscard]] std::string_view type_name(const std::type_info& type);

template <class T>
std::string_view type_name_of() {
  static const std::string_view name = type_name(typeid(T));
  return name;
}

}  // namespace peeper::detail
