// SPDX-License-Identifier: Apache-2.0
/// \file
/// CRC-32C (of Castagnoli, as iSCSI, ext4 and Btrfs use it): tells a frame from the bytes that a
/// wild write has left of it. Against somebody who means harm it is no protection.
///
/// By the instruction of SSE 4.2 where the machine has it: 8 bytes in 3 cycles. The libraries that
/// wrap it (Abseil, google/crc32c) dispatch and combine streams for buffers of many kilobytes; a
/// frame has a hundred bytes, for which the plain instruction is the fastest there is, and one
/// table serves all other machines.
///
/// THREADS: any. SIGNAL: may be used in a signal handler.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace peeper::sandbox {

/// RETURNS: the checksum of `bytes` appended to what has the checksum `before`; 0: to nothing.
[[nodiscard]] std::uint32_t crc32c(std::uint32_t before, std::span<const std::byte> bytes) noexcept;

/// RETURNS: the checksum of three words, little-endian, and then of `bytes`. Words that are in
/// registers need not go through memory: reading back as 8 bytes what was written as two halves
/// costs as much as the whole checksum.
[[nodiscard]] std::uint32_t crc32c(std::uint64_t first, std::uint64_t second, std::uint64_t third,
                                   std::span<const std::byte> bytes) noexcept;

/// The same without the instruction. For tests, and for machines that have none.
[[nodiscard]] std::uint32_t crc32c_by_table(std::uint32_t before,
                                            std::span<const std::byte> bytes) noexcept;

}  // namespace peeper::sandbox
