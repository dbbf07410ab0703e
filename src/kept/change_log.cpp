// SPDX-License-Identifier: Apache-2.0
#include <peeper/kept/change_log.hpp>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>

namespace peeper::detail {

// ---------------------------------------------------------------------------- change_arena

void change_arena::add_chunk(std::size_t bytes_least) {
  std::size_t bytes =
      current_ == nullptr ? first_chunk_bytes : std::min(current_->bytes * 2, chunk_bytes_max);
  bytes = std::max(bytes, bytes_least);
  const std::size_t used = used_bytes();
  auto* const fresh = static_cast<chunk*>(::operator new(sizeof(chunk) + bytes));
  *fresh = {.older = current_, .bytes = bytes, .used = used};
  current_ = fresh;
  cursor_ = reinterpret_cast<std::uintptr_t>(fresh) + sizeof(chunk);
  end_ = cursor_ + bytes;
  held_ += bytes;
}

void* change_arena::take_from_new_chunk(std::size_t bytes, std::size_t alignment) {
  add_chunk(bytes + alignment + promised_);
  const std::uintptr_t at = align(cursor_, alignment);
  cursor_ = at + bytes;
  return reinterpret_cast<void*>(at);
}

void change_arena::promise(std::size_t bytes) {
  if (end_ - cursor_ < promised_ + bytes) add_chunk(promised_ + bytes);
  promised_ += bytes;
}

void* change_arena::take_promised(std::size_t bytes) noexcept {
  const std::uintptr_t at = align(cursor_, promise_unit);
  // Breaking this would be a bug of ours, and there is no way to go on: the contents of a
  // container would be lost to a rollback.
  if (at > end_ || end_ - at < bytes || promised_ < promise_size(bytes)) std::abort();
  cursor_ = at + bytes;
  promised_ -= promise_size(bytes);
  return reinterpret_cast<void*>(at);
}

std::size_t change_arena::used_bytes() const noexcept {
  if (current_ == nullptr) return 0;
  return current_->used + (cursor_ - reinterpret_cast<std::uintptr_t>(current_) - sizeof(chunk));
}

void change_arena::reset() noexcept {
  promised_ = 0;
  if (current_ == nullptr) return;
  // The youngest chunk that is small enough is the one to keep: it is the largest of those, and
  // next time the same work fits into it.
  chunk* keep = nullptr;
  while (current_ != nullptr) {
    chunk* const older = current_->older;
    if (keep == nullptr && current_->bytes <= kept_bytes_max) {
      keep = current_;
    } else {
      held_ -= current_->bytes;
      ::operator delete(current_);
    }
    current_ = older;
  }
  current_ = keep;
  cursor_ = end_ = 0;
  if (keep == nullptr) return;
  keep->older = nullptr;
  keep->used = 0;
  cursor_ = reinterpret_cast<std::uintptr_t>(keep) + sizeof(chunk);
  end_ = cursor_ + keep->bytes;
}

void change_arena::release_all() noexcept {
  while (current_ != nullptr) ::operator delete(std::exchange(current_, current_->older));
  cursor_ = end_ = 0;
  held_ = 0;
}

// ---------------------------------------------------------------------------- change_log

void change_log::begin() noexcept {
  recording_ = true;
  doomed_ = false;
  sealed_ = false;
}

void change_log::finish_until(const change_record* stop, bool undo) noexcept {
  while (last_ != stop) {
    change_record* const record = last_;
    last_ = record->previous;
    record->finish(*record, undo);
  }
}

void change_log::discard_all() noexcept {
  recording_ = false;
  finish_until(nullptr, false);
  end();
}

void change_log::end() noexcept {
  arena_.reset();
  last_buried_ = nullptr;
  doomed_ = false;
  sealed_ = false;
  redo_operations_ = 0;
  if (redo_) {
    redo_->truncate(0);
    redo_->shrink(change_arena::kept_bytes_max);
  }
  if (notes_ != nullptr) notes_->end();
}

bool change_log::retract(change_record& record) noexcept {
  if (last_ != &record) return false;
  last_ = record.previous;
  record.finish(record, false);
  return true;
}

bool change_log::buried_outside(const open_element& self, const mark& since) const noexcept {
  // Records are in order, so the buried ones since the mark are those met before it.
  const buried_record* buried = last_buried_;
  for (const change_record* r = last_; r != since.record && buried != nullptr; r = r->previous) {
    if (r != buried) continue;
    for (const open_element* e = self.outer; e != nullptr; e = e->outer) {
      if (e->covers(buried->container)) return true;
    }
    if (root_.covers(buried->container)) return true;
    buried = buried->previous_buried;
  }
  return false;
}

void change_log::check_reachable(const void* container) const noexcept {
  if (owner_of(container, open_) != nullptr || root_.covers(container)) return;
  // There is no way to go on: a rollback would fill a container that is not there, and this is
  // called by a destructor.
  std::fputs(
      "peeper: a kept container in a std::variant or std::optional was destroyed through a "
      "reference that outlived the modify() it came from; change it inside modify()\n",
      stderr);
  std::abort();
}

void change_log::open(open_element& element) noexcept {
  element.outer = open_;
  open_ = &element;
}

bool change_log::is_open(const void* container) const noexcept {
  for (const open_element* e = open_; e != nullptr; e = e->outer) {
    if (e->container == container) return true;
  }
  return false;
}

bool change_log::is_open_element(const void* element) const noexcept {
  for (const open_element* e = open_; e != nullptr; e = e->outer) {
    if (e->element == element) return true;
  }
  return false;
}

// ---------------------------------------------------------------------------- redo

void change_log::record_redo(bool on) {
  if (on && !redo_) redo_ = std::make_unique<cbor_writer>();
  if (!on) {
    redo_.reset();
    delta_.truncate(0);
  }
  followed_ = redo_ != nullptr || notes_ != nullptr;
}

void change_log::note_in(change_notes* notes, void* root,
                         void* (*list_of)(void*, const void*, const void*)) noexcept {
  notes_ = notes;
  root_.noted = root;
  root_.list_of = list_of;
  followed_ = redo_ != nullptr || notes_ != nullptr;
}

void* change_log::note_list_of(const void* container) {
  const open_element* const owner = owner_of(container, open_);
  const open_element& place = owner != nullptr ? *owner : root_;
  if (!place.covers(container)) {  // reached through a reference that escaped from modify()
    notes_->spoil();
    return nullptr;
  }
  return place.noted == nullptr ? nullptr : place.list_of(place.noted, place.element, container);
}

const open_element* change_log::owner_of(const void* container,
                                         const open_element* from) const noexcept {
  for (const open_element* e = from; e != nullptr; e = e->outer) {
    if (e->covers(container)) return e;
  }
  return nullptr;
}

std::size_t change_log::depth_of(const void* container, const open_element* from) const {
  const open_element* const owner = owner_of(container, from);
  return owner == nullptr ? 1 : 2 + depth_of(owner->container, owner->outer);
}

void change_log::write_path(const void* container, const open_element* from,
                            cbor_writer& out) const {
  const open_element* const owner = owner_of(container, from);
  if (owner != nullptr) {
    write_path(owner->container, owner->outer, out);
    owner->write_key(*owner, out);
  }
  const open_element& place = owner != nullptr ? *owner : root_;
  const std::size_t slot =
      place.covers(container) ? place.slot_of(place.element, container) : no_slot;
  if (slot == no_slot) {
    throw std::logic_error(
        "peeper: a kept container was changed through a reference that outlived the modify() it "
        "came from; change it inside modify()");
  }
  out.natural(slot);
}

void change_log::write_envelope(cbor_writer& out) const {
  out.open_array();
  out.natural(encoding_version);
  out.natural(version_);
}

cbor_writer& change_log::write_operation(const void* container, change_operation operation,
                                         std::size_t arguments) {
  cbor_writer& out = *redo_;
  const mark before = here();
  try {
    if (redo_operations_ == 0) write_envelope(out);
    out.array(2 + arguments);
    out.array(depth_of(container, open_));
    write_path(container, open_, out);
    out.natural(static_cast<std::uint64_t>(operation));
  } catch (...) {
    cut_redo(before);
    throw;
  }
  ++redo_operations_;
  return out;
}

cbor_writer& change_log::write_fields(const open_element* element) {
  cbor_writer& out = *redo_;
  const mark before = here();
  try {
    if (redo_operations_ == 0) write_envelope(out);
    out.array(3);
    if (element == nullptr) {
      out.array(0);
    } else {
      out.array(1 + depth_of(element->container, element->outer));
      write_path(element->container, element->outer, out);
      element->write_key(*element, out);
    }
    out.natural(static_cast<std::uint64_t>(change_operation::fields));
  } catch (...) {
    cut_redo(before);
    throw;
  }
  ++redo_operations_;
  return out;
}

void change_log::cut_redo(const mark& point) noexcept {
  if (!redo_) return;
  redo_->truncate(point.redo_bytes);
  redo_operations_ = point.redo_operations;
}

void change_log::seal_redo() {
  if (!redo_ || redo_operations_ == 0 || sealed_) return;
  redo_->close();
  sealed_ = true;
}

void change_log::keep_redo(bool changed) noexcept {
  if (!redo_) return;
  delta_.truncate(0);
  if (changed && redo_operations_ > 0) {
    delta_.swap(*redo_);
  } else {
    delta_.shrink(change_arena::kept_bytes_max);
  }
}

// ---------------------------------------------------------------------------- kept_base

void kept_base::refuse_if_open() const {
  if (log_ != nullptr && !log_->nothing_open() && log_->is_open(this)) {
    throw std::logic_error(
        "peeper: a kept container cannot be changed this way inside modify() of one of its own "
        "elements: the element in use would move or go");
  }
}

void kept_base::refuse_if_open_element(const void* element) const {
  if (log_ != nullptr && !log_->nothing_open() && log_->is_open_element(element)) {
    throw std::logic_error(
        "peeper: an element of a kept container cannot be erased or replaced inside its own "
        "modify(); erase it after modify() has returned");
  }
}

void throw_absent(const char* what) { throw std::out_of_range(what); }

}  // namespace peeper::detail
