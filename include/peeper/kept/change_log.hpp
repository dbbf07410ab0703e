// SPDX-License-Identifier: Apache-2.0
//
// The undo log of one kept state, and its redo log where a keeper wants one.
//
// Each change of a kept container pushes a record that can take it back. Records lie in an arena
// that keeps its memory from one callback to the next, so that in steady state nothing is taken
// from the general heap. The order is always the same, and gives each operation the strong
// guarantee: (1) whatever may throw, building the record and the encoding included; (2) the
// change itself, which cannot throw; (3) publish the record, which cannot throw.
//
// THREADS: one at a time, the one that runs the server's callback.
// CRASH: (an exception in the callback) undo_all() runs the records, youngest first.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include <peeper/codec/cbor.hpp>

namespace peeper::detail {

// ---------------------------------------------------------------------------- arena

/// Memory that is handed out in order and given back all at once.
class change_arena {
 public:
  static constexpr std::size_t first_chunk_bytes = 4UL * 1024;
  static constexpr std::size_t chunk_bytes_max = 1024UL * 1024;
  /// What a quiet log may hold on to: a giant transaction gives the rest back when it ends.
  static constexpr std::size_t kept_bytes_max = 64UL * 1024;

  change_arena() = default;
  ~change_arena() { release_all(); }
  change_arena(const change_arena&) = delete;
  change_arena& operator=(const change_arena&) = delete;

  /// Throws std::bad_alloc, and then nothing has changed.
  [[nodiscard]] void* take(std::size_t bytes, std::size_t alignment) {
    const std::size_t at = align(cursor_, alignment);
    if (at <= end_ && end_ - at >= bytes && end_ - at - bytes >= promised_) {
      cursor_ = at + bytes;
      return reinterpret_cast<void*>(at);
    }
    return take_from_new_chunk(bytes, alignment);
  }

  /// Makes sure that take_promised() can be served `bytes` more. Throws std::bad_alloc.
  void promise(std::size_t bytes);
  /// Takes back a promise of which `bytes` may not have been used.
  void unpromise(std::size_t bytes) noexcept { promised_ -= bytes < promised_ ? bytes : promised_; }
  /// REQUIRES: a promise that covers it: sizes rounded up to promise_unit each.
  [[nodiscard]] void* take_promised(std::size_t bytes) noexcept;
  [[nodiscard]] std::size_t promised() const noexcept { return promised_; }

  static constexpr std::size_t promise_unit = alignof(std::max_align_t);
  static constexpr std::size_t promise_size(std::size_t bytes) {
    return (bytes + 2 * promise_unit - 1) / promise_unit * promise_unit;
  }

  /// Gives the youngest piece back. A piece that is not the youngest stays until reset().
  void give_back(void* piece, std::size_t bytes) noexcept {
    const auto at = reinterpret_cast<std::uintptr_t>(piece);
    if (at + bytes == cursor_) cursor_ = at;
  }

  void reset() noexcept;
  [[nodiscard]] std::size_t used_bytes() const noexcept;
  [[nodiscard]] std::size_t held_bytes() const noexcept { return held_; }

 private:
  struct chunk {
    chunk* older;
    std::size_t bytes;  // without this header
    std::size_t used;   // of the older ones, when this became the current one
  };

  static std::uintptr_t align(std::uintptr_t at, std::size_t alignment) noexcept {
    return (at + alignment - 1) & ~(static_cast<std::uintptr_t>(alignment) - 1);
  }
  void* take_from_new_chunk(std::size_t bytes, std::size_t alignment);
  void add_chunk(std::size_t bytes_least);
  void release_all() noexcept;

  std::uintptr_t cursor_ = 0;
  std::uintptr_t end_ = 0;
  chunk* current_ = nullptr;
  std::size_t promised_ = 0;
  std::size_t held_ = 0;
};

// ---------------------------------------------------------------------------- records

/// One change that can be taken back. finish() undoes it or not, and destroys the record.
struct change_record {
  change_record* previous = nullptr;
  void (*finish)(change_record& record, bool undo) noexcept = nullptr;
};

/// Base of records: Derived has `void undo() noexcept`; its destructor ends it either way.
template <class Derived>
struct change_record_of : change_record {
  change_record_of() : change_record{nullptr, &run} {}

 private:
  static void run(change_record& record, bool undo) noexcept {
    auto& self = static_cast<Derived&>(record);
    if (undo) self.undo();
    self.~Derived();
  }
};

/// The contents of a kept container that went away with the alternative of a variant it was in.
struct buried_record : change_record {
  buried_record* previous_buried = nullptr;
  const void* container = nullptr;
};

/// An element that modify() has handed out. Lives on the stack of modify(); tells where in the
/// state the containers inside that element are.
struct open_element {
  const open_element* outer = nullptr;
  const void* container = nullptr;
  const void* element = nullptr;
  std::size_t bytes = 0;
  const void* key = nullptr;
  std::size_t index = 0;
  void (*write_key)(const open_element& self, cbor_writer& out) = nullptr;
  std::size_t (*slot_of)(const void* element, const void* container) = nullptr;
  /// Where what is done to the containers in it is noted; null if nobody listens.
  void* noted = nullptr;
  /// RETURNS: the operations<...> of `container`; null if it is told as a part of something whole.
  void* (*list_of)(void* noted, const void* element, const void* container) = nullptr;

  [[nodiscard]] bool covers(const void* address) const noexcept {
    const auto begin = reinterpret_cast<std::uintptr_t>(element);
    const auto at = reinterpret_cast<std::uintptr_t>(address);
    return at >= begin && at - begin < bytes;
  }
};

/// What slot_of returns for a container that is not there.
inline constexpr std::size_t no_slot = static_cast<std::size_t>(-1);

/// Operations as they stand in deltas. docs/encoding.md lists their arguments.
enum class change_operation : std::uint8_t {
  fields = 0,  // plain fields of an element or of the state
  assign = 1,  // whole contents of a container
  clear = 2,
  put = 3,     // map: key, value; set: key
  erase = 4,   // map, set: key; sequence: index, count
  insert = 5,  // sequence: index, elements
  set = 6,     // sequence: index, element
};

// ---------------------------------------------------------------------------- change_notes

/// What a transaction has done to kept containers, noted as values for those who listen. Whoever
/// listens must not harm: a note that cannot be made spoils the notes of this transaction, and it
/// goes on.
class change_notes {
 public:
  change_notes() = default;
  change_notes(const change_notes&) = delete;
  change_notes& operator=(const change_notes&) = delete;

  /// So that a part of a transaction that is undone takes its notes along: each knows its list.
  struct entry {
    void* list;
    void (*pop)(void* list) noexcept;
  };
  [[nodiscard]] std::size_t size() const noexcept { return order_.size(); }
  void make_room() {
    if (order_.size() == order_.capacity()) order_.reserve(2 * order_.size() + 8);
  }
  /// REQUIRES: make_room().
  void add(const entry& e) noexcept { order_.push_back(e); }
  /// Drops all but the oldest `size`.
  void cut(std::size_t size) noexcept {
    for (; order_.size() > size; order_.pop_back()) order_.back().pop(order_.back().list);
  }
  /// Forgets the note at `index`; the caller takes it out of its list.
  void forget(std::size_t index) noexcept {
    order_.erase(order_.begin() + static_cast<std::ptrdiff_t>(index));
  }
  void spoil() noexcept { spoiled_ = true; }
  [[nodiscard]] bool spoiled() const noexcept { return spoiled_; }

  /// The transaction is over.
  void end() noexcept {
    order_.clear();
    spoiled_ = false;
    clear();
  }

 protected:
  ~change_notes() = default;
  virtual void clear() noexcept = 0;

 private:
  std::vector<entry> order_;
  bool spoiled_ = false;
};

// ---------------------------------------------------------------------------- change_log

template <class Record>
class staged_change;

class change_log {
 public:
  /// What the whole state looks like from here: element, bytes, slot_of are set.
  /// `version` is the state type's own, written into each delta.
  change_log(const open_element& root, std::uint64_t version) noexcept
      : root_(root), version_(version) {}
  /// REQUIRES: no transaction is open.
  ~change_log() = default;
  change_log(const change_log&) = delete;
  change_log& operator=(const change_log&) = delete;

  // The life of a transaction.

  void begin() noexcept;
  /// Whether changes have to be logged. False outside of a transaction, and while undoing.
  [[nodiscard]] bool recording() const noexcept { return recording_; }
  [[nodiscard]] bool empty() const noexcept { return last_ == nullptr; }
  /// Ends the transaction and keeps the changes.
  void discard_all() noexcept;
  /// Ends the transaction and takes the changes back.
  void undo_all() noexcept {
    undo_all_after([] {});
  }
  /// As undo_all(), but runs `first` (noexcept) before, with recording off.
  template <class First>
  void undo_all_after(First&& first) noexcept {
    recording_ = false;
    first();
    finish_until(nullptr, true);
    end();
  }

  /// Set when an exception has left part of a transaction in a shape that only a rollback of all
  /// of it puts right. Such a transaction must not commit.
  [[nodiscard]] bool doomed() const noexcept { return doomed_; }
  void doom() noexcept { doomed_ = true; }

  // Recording changes.

  template <class Record, class... Arguments>
  [[nodiscard]] staged_change<Record> stage(Arguments&&... arguments);
  void publish(change_record& record) noexcept {
    record.previous = last_;
    last_ = &record;
  }

  /// A point to which a part of the transaction can be taken back.
  struct mark {
    change_record* record;
    std::size_t redo_bytes = 0;
    std::size_t redo_operations = 0;
    std::size_t notes = 0;
  };
  [[nodiscard]] mark here() const noexcept {
    if (!followed_) [[likely]]
      return {.record = last_};
    return {last_, redo_ ? redo_->size() : 0, redo_operations_, notes_ ? notes_->size() : 0};
  }
  template <class First>
  void undo_to(const mark& point, First&& first) noexcept {
    recording_ = false;
    first();
    finish_until(point.record, true);
    recording_ = true;
    cut(point);
  }
  /// Drops the youngest record if it is `record`: what it was made for has not happened.
  bool retract(change_record& record) noexcept;

  // Containers inside variants and optionals.

  void promise(std::size_t bytes) { arena_.promise(bytes); }
  [[nodiscard]] std::size_t promised() const noexcept { return arena_.promised(); }
  void unpromise_down_to(std::size_t before) noexcept {
    if (arena_.promised() > before) arena_.unpromise(arena_.promised() - before);
  }
  /// REQUIRES: promised. The destructor of an attached container calls it.
  template <class Record, class... Arguments>
  void bury(const void* container, Arguments&&... arguments) noexcept {
    check_reachable(container);
    auto* record =
        ::new (arena_.take_promised(sizeof(Record))) Record(std::forward<Arguments>(arguments)...);
    record->container = container;
    record->previous_buried = last_buried_;
    last_buried_ = record;
    publish(*record);
    if (is_open(container)) doom();
  }
  void forget_buried(const buried_record& record) noexcept {
    last_buried_ = record.previous_buried;
  }
  /// Whether a container that lies in an element open outside of `self` has been buried since.
  [[nodiscard]] bool buried_outside(const open_element& self, const mark& since) const noexcept;

  // Elements handed out by modify().

  /// Not inline: g++ 12 would warn that the address of a local variable stays in the log. It does
  /// not: close() is called by the destructor of what owns it.
  void open(open_element& element) noexcept;
  void close(const open_element& element) noexcept { open_ = element.outer; }
  [[nodiscard]] bool nothing_open() const noexcept { return open_ == nullptr; }
  /// Whether an element of `container` is handed out.
  [[nodiscard]] bool is_open(const void* container) const noexcept;
  /// Whether exactly this element is handed out.
  [[nodiscard]] bool is_open_element(const void* element) const noexcept;

  // Those who follow: deltas, listeners.

  /// Changes are to be encoded, or noted, or both: the one thing that is asked for each change.
  [[nodiscard]] bool followed() const noexcept { return followed_; }

  /// From now on changes are noted in `notes`; null: no more. `root`: the changes<State> in it.
  /// REQUIRES: no transaction is open.
  void note_in(change_notes* notes, void* root,
               void* (*list_of)(void*, const void*, const void*)) noexcept;
  [[nodiscard]] change_notes* notes() const noexcept { return notes_; }
  /// Where operations on `container` are noted; null if nowhere. REQUIRES: notes().
  /// Throws std::bad_alloc.
  [[nodiscard]] void* note_list_of(const void* container);
  [[nodiscard]] void* noted_root() const noexcept { return root_.noted; }

  [[nodiscard]] bool redoing() const noexcept { return redo_ != nullptr; }
  void record_redo(bool on);
  /// Writes [path of `container`, operation, ...; the caller writes `arguments` more items.
  /// Throws std::bad_alloc, and std::logic_error for a container that is reached through a
  /// reference that escaped from modify().
  cbor_writer& write_operation(const void* container, change_operation operation,
                               std::size_t arguments);
  /// The same for the plain fields of an open element, or of the state if it is null.
  cbor_writer& write_fields(const open_element* element);
  void cut_redo(const mark& point) noexcept;
  /// Forgets what was encoded and noted since.
  void cut(const mark& point) noexcept {
    if (!followed_) [[likely]]
      return;
    cut_redo(point);
    if (notes_ != nullptr) notes_->cut(point.notes);
  }
  /// Makes what was written the delta of this transaction. Throws std::bad_alloc.
  void seal_redo();
  /// REQUIRES: seal_redo() has run. Called at commit.
  void keep_redo(bool changed) noexcept;
  [[nodiscard]] std::span<const std::byte> last_delta() const noexcept { return delta_.view(); }

  [[nodiscard]] std::size_t used_bytes() const noexcept { return arena_.used_bytes(); }
  [[nodiscard]] std::size_t held_bytes() const noexcept { return arena_.held_bytes(); }

 private:
  template <class Record>
  friend class staged_change;

  void finish_until(const change_record* stop, bool undo) noexcept;
  void end() noexcept;
  void check_reachable(const void* container) const noexcept;
  void write_envelope(cbor_writer& out) const;
  const open_element* owner_of(const void* container, const open_element* from) const noexcept;
  std::size_t depth_of(const void* container, const open_element* from) const;
  void write_path(const void* container, const open_element* from, cbor_writer& out) const;

  change_arena arena_;
  change_record* last_ = nullptr;
  buried_record* last_buried_ = nullptr;
  const open_element* open_ = nullptr;
  bool recording_ = false;
  bool doomed_ = false;
  bool sealed_ = false;
  bool followed_ = false;
  change_notes* notes_ = nullptr;
  std::size_t redo_operations_ = 0;
  std::unique_ptr<cbor_writer> redo_;
  cbor_writer delta_;
  open_element root_;
  std::uint64_t version_;
};

/// A record that has been built and is not yet valid: gone again unless publish() is reached,
/// together with what was encoded since.
template <class Record>
class staged_change {
 public:
  staged_change(change_log& log, Record* record) noexcept
      : log_(&log), record_(record), mark_(log.here()) {}
  ~staged_change() {
    if (record_ == nullptr) return;
    record_->~Record();
    log_->arena_.give_back(record_, sizeof(Record));
    log_->cut(mark_);
  }
  staged_change(const staged_change&) = delete;
  staged_change& operator=(const staged_change&) = delete;

  [[nodiscard]] Record* operator->() const noexcept { return record_; }
  [[nodiscard]] Record& operator*() const noexcept { return *record_; }

  /// RETURNS: the record, now owned by the log.
  Record& publish() noexcept {
    Record* const record = std::exchange(record_, nullptr);
    log_->publish(*record);
    return *record;
  }

 private:
  change_log* log_;
  Record* record_;
  change_log::mark mark_;
};

template <class Record, class... Arguments>
staged_change<Record> change_log::stage(Arguments&&... arguments) {
  void* const place = arena_.take(sizeof(Record), alignof(Record));
  if constexpr (std::is_nothrow_constructible_v<Record, Arguments...>) {
    return {*this, ::new (place) Record(std::forward<Arguments>(arguments)...)};
  } else {
    try {
      return {*this, ::new (place) Record(std::forward<Arguments>(arguments)...)};
    } catch (...) {
      arena_.give_back(place, sizeof(Record));
      throw;
    }
  }
}

// ---------------------------------------------------------------------------- kept_base

/// What every kept container has: the log of the state it is in, or null.
/// Being in a state is a matter of place, not of value: copies and moves do not take it along.
class kept_base {
 public:
  using peeper_kept = void;

  [[nodiscard]] bool attached() const noexcept { return log_ != nullptr; }

 protected:
  kept_base() = default;
  kept_base(const kept_base& /*unused*/) noexcept {}
  kept_base& operator=(const kept_base& /*unused*/) noexcept { return *this; }
  ~kept_base() = default;

  [[nodiscard]] bool logging() const noexcept { return log_ != nullptr && log_->recording(); }
  /// Throws std::logic_error if an element of this container is handed out by modify().
  void refuse_if_open() const;
  void refuse_if_open_element(const void* element) const;

  change_log* log_ = nullptr;
};

/// Throws std::out_of_range; here so that headers need no <stdexcept> and no inline throw.
[[noreturn]] void throw_absent(const char* what);

}  // namespace peeper::detail
