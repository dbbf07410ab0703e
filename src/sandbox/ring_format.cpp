// SPDX-License-Identifier: Apache-2.0
#include "sandbox/ring_format.hpp"

#include <cstring>
#include <new>

#include <fmt/format.h>

#include <peeper/detail/assert.hpp>

namespace peeper::sandbox {

std::string_view to_string(ring_errc code) noexcept {
  switch (code) {
    case ring_errc::full: return "full";
    case ring_errc::too_large: return "too large";
    case ring_errc::no_memory: return "no memory";
    case ring_errc::not_a_ring: return "not a ring";
    case ring_errc::corrupt_cursor: return "corrupt cursor";
    case ring_errc::corrupt_length: return "corrupt length";
    case ring_errc::corrupt_kind: return "corrupt kind";
    case ring_errc::corrupt_sequence: return "corrupt sequence";
    case ring_errc::corrupt_checksum: return "corrupt checksum";
    case ring_errc::old_generation: return "old generation";
  }
  return "unknown";
}

std::string ring_error::text() const {
  return fmt::format("ring: {} at {}", to_string(what), position);
}

ring_memory::ring_memory(std::span<std::byte> memory, const ring_options& options)
    : header_{reinterpret_cast<detail::ring_header*>(memory.data())},
      data_{memory.subspan(detail::page, options.capacity)},
      large_{memory.subspan(detail::page + options.capacity, options.large_bytes)} {}

namespace {

bool sane(std::span<std::byte> memory, const ring_options& options) {
  constexpr std::size_t kb = 1024;
  return std::has_single_bit(options.capacity) && options.capacity >= 4 * kb &&
         options.capacity <= kb * kb * kb && options.large_bytes % detail::page == 0 &&
         options.large_bytes <= kb * kb * kb * kb &&
         memory.size() >= ring_memory::bytes_needed(options) &&
         reinterpret_cast<std::uintptr_t>(memory.data()) % detail::page == 0;
}

}  // namespace

ring_memory ring_memory::make(std::span<std::byte> memory, const ring_options& options) {
  PEEPER_ASSERT(sane(memory, options));
  std::memset(memory.data(), 0, detail::page);
  auto* const header = new (memory.data()) detail::ring_header{};
  header->version = detail::ring_version;
  header->header_bytes = detail::page;
  header->capacity = options.capacity;
  header->large_bytes = options.large_bytes;
  header->consumers[1].released.store(detail::no_consumer, std::memory_order_relaxed);
  // ORDER: releases the lines above; pairs with find()'s acquire.
  header->magic.store(detail::ring_magic, std::memory_order_release);
  return {memory, options};
}

std::expected<ring_memory, ring_error> ring_memory::find(std::span<std::byte> memory,
                                                         const ring_options& options) {
  constexpr std::unexpected refused{ring_error{ring_errc::not_a_ring, 0}};
  if (!sane(memory, options)) return refused;
  const auto& header = *reinterpret_cast<const detail::ring_header*>(memory.data());
  // ORDER: acquire pairs with make(): a ring with its magic is whole.
  if (header.magic.load(std::memory_order_acquire) != detail::ring_magic ||
      header.version != detail::ring_version || header.header_bytes != detail::page ||
      header.capacity != options.capacity || header.large_bytes != options.large_bytes) {
    return refused;
  }
  return ring_memory{memory, options};
}

}  // namespace peeper::sandbox
