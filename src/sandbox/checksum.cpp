// SPDX-License-Identifier: Apache-2.0
#include "sandbox/checksum.hpp"

#include <array>
#include <cstring>

#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

namespace peeper::sandbox {
namespace {

constexpr std::array<std::uint32_t, 256> table = [] {
  std::array<std::uint32_t, 256> made{};
  for (std::uint32_t byte = 0; byte < 256; ++byte) {
    std::uint32_t rest = byte;
    for (int bit = 0; bit < 8; ++bit) rest = (rest >> 1U) ^ ((rest & 1U) != 0 ? 0x82F63B78U : 0U);
    made[byte] = rest;
  }
  return made;
}();

#if defined(__x86_64__)
/// Takes and returns the register of the checksum, not the checksum.
[[gnu::target("sse4.2")]] std::uint32_t by_instruction(std::uint64_t state,
                                                       std::span<const std::byte> bytes) noexcept {
  const std::byte* at = bytes.data();
  std::size_t left = bytes.size();
  for (; left >= 8; at += 8, left -= 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, at, 8);
    state = _mm_crc32_u64(state, word);
  }
  auto rest = static_cast<std::uint32_t>(state);
  for (; left != 0; ++at, --left) rest = _mm_crc32_u8(rest, std::to_integer<std::uint8_t>(*at));
  return rest;
}
[[gnu::target("sse4.2")]] std::uint32_t by_instruction(std::uint64_t first, std::uint64_t second,
                                                       std::uint64_t third,
                                                       std::span<const std::byte> bytes) noexcept {
  const std::uint64_t state =
      _mm_crc32_u64(_mm_crc32_u64(_mm_crc32_u64(0xFFFFFFFFU, first), second), third);
  return by_instruction(state, bytes);
}
const bool has_instruction = __builtin_cpu_supports("sse4.2") != 0;
#endif

}  // namespace

std::uint32_t crc32c_by_table(std::uint32_t before, std::span<const std::byte> bytes) noexcept {
  std::uint32_t rest = ~before;
  for (const std::byte b : bytes) {
    rest = table[(rest ^ std::to_integer<std::uint32_t>(b)) & 0xFFU] ^ (rest >> 8U);
  }
  return ~rest;
}

std::uint32_t crc32c(std::uint32_t before, std::span<const std::byte> bytes) noexcept {
#if defined(__x86_64__)
  if (has_instruction) [[likely]]
    return ~by_instruction(~before, bytes);
#endif
  return crc32c_by_table(before, bytes);
}

std::uint32_t crc32c(std::uint64_t first, std::uint64_t second, std::uint64_t third,
                     std::span<const std::byte> bytes) noexcept {
#if defined(__x86_64__)
  if (has_instruction) [[likely]]
    return ~by_instruction(first, second, third, bytes);
#endif
  const std::array words{first, second, third};
  return crc32c_by_table(crc32c_by_table(0, std::as_bytes(std::span{words})), bytes);
}

}  // namespace peeper::sandbox
