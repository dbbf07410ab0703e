// SPDX-License-Identifier: Apache-2.0
#include "core/pid_table.hpp"

#include <array>
#include <memory>
#include <mutex>
#include <new>

#include <fmt/format.h>

#include <peeper/detail/assert.hpp>

namespace peeper::detail {
namespace {

constexpr std::uint32_t chunk_slots = 1U << 12U;
constexpr std::uint32_t chunks_max = 1U << 14U;  // 64 M slots
constexpr std::uint32_t no_slot = ~0U;

struct slot_entry {
  std::atomic<bool> locked{false};
  std::uint32_t generation = 1;  // of the next owner
  std::uint32_t next_free = no_slot;
  process* owner = nullptr;

  void lock() noexcept {
    // ORDER: acquire pairs with unlock()'s release.
    while (locked.exchange(true, std::memory_order_acquire)) {
      while (locked.load(std::memory_order_relaxed)) {
      }
    }
  }
  void unlock() noexcept { locked.store(false, std::memory_order_release); }
};
using chunk = std::array<slot_entry, chunk_slots>;

struct table {
  std::mutex mutex;  // guards free_head, used, live and the making of chunks
  std::uint32_t free_head = no_slot;
  std::uint32_t used = 1;  // slot 0 is never given out: pid{} names nothing
  std::uint64_t live = 0;
  std::array<std::atomic<chunk*>, chunks_max> chunks{};

  slot_entry* find(std::uint32_t slot) noexcept {
    // ORDER: acquire pairs with the release in allocate(): the chunk is constructed.
    chunk* c = chunks[slot / chunk_slots % chunks_max].load(std::memory_order_acquire);
    return c == nullptr ? nullptr : &(*c)[slot % chunk_slots];
  }
};

table& the_table() noexcept {
  static auto* t = new table;  // never destroyed: handles may outlive main()
  return *t;
}

}  // namespace

namespace pid_table {

allocation allocate() {
  table& t = the_table();
  const std::lock_guard lock{t.mutex};
  std::uint32_t slot = t.free_head;
  slot_entry* entry = nullptr;
  if (slot != no_slot) {
    entry = t.find(slot);
    t.free_head = entry->next_free;
  } else {
    slot = t.used;
    if (slot / chunk_slots >= chunks_max) throw std::bad_alloc{};
    entry = t.find(slot);
    if (entry == nullptr) {
      auto fresh = std::make_unique<chunk>();
      entry = &(*fresh)[slot % chunk_slots];
      // ORDER: releases the chunk to find().
      t.chunks[slot / chunk_slots].store(fresh.release(), std::memory_order_release);
    }
    ++t.used;
  }
  ++t.live;
  entry->lock();
  const std::uint32_t generation = entry->generation;
  entry->unlock();
  return {slot, generation};
}

void publish(std::uint32_t slot, process& p) noexcept {
  slot_entry* entry = the_table().find(slot);
  entry->lock();
  entry->owner = &p;
  entry->unlock();
}

void free(std::uint32_t slot, std::uint32_t next_generation) noexcept {
  table& t = the_table();
  slot_entry* entry = t.find(slot);
  entry->lock();
  entry->owner = nullptr;
  entry->generation = next_generation;
  entry->unlock();
  const std::lock_guard lock{t.mutex};
  entry->next_free = t.free_head;
  t.free_head = slot;
  --t.live;
}

std::uint64_t live() noexcept {
  const std::lock_guard lock{the_table().mutex};
  return the_table().live;
}

}  // namespace pid_table

process_ptr<process> find_process(pid id) noexcept {
  if (!id) return {};
  slot_entry* entry = the_table().find(id.slot());
  if (entry == nullptr) return {};
  entry->lock();
  process_ptr<process> found;
  if (entry->owner != nullptr && entry->owner->generation_of(id.role()) == id.generation()) {
    found = process_ptr<process>{entry->owner};
  }
  entry->unlock();
  return found;
}

}  // namespace peeper::detail

namespace peeper {

std::string to_string(pid id) {
  static constexpr std::array<std::string_view, 4> roles{"supervisor", "keeper", "worker",
                                                         "server"};
  if (!id) return "<no process>";
  return fmt::format("<{} {}.{}>", roles[static_cast<std::size_t>(id.role())], id.slot(),
                     id.generation());
}

}  // namespace peeper
