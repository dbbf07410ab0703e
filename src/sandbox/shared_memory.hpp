// SPDX-License-Identifier: Apache-2.0
/// \file
/// Memory that several OS processes share, and that outlives the one that made it: what a worker
/// has written there can be read after it died.
///
///     auto memory = shared_memory::create("peeper:ring", 1 << 20);
///     if (!memory) return memory.error();
///     std::memcpy(memory->bytes().data(), ...);   // forked children see the same bytes
///
/// CRASH: the memory lives as long as any OS process has it mapped or its descriptor open. It has
/// no name in any file system, so nothing of it is left once the last of them is dead.
/// THREADS: create() and attach() by any; the object is its owner's, the bytes are everybody's.
#pragma once

#include <cstddef>
#include <expected>
#include <span>
#include <system_error>

namespace peeper::sandbox {

class shared_memory {
 public:
  /// From this size on a mapping is left out of core dumps.
  static constexpr std::size_t left_out_of_dumps_from = 256UL * 1024;

  /// Makes `size` bytes of zeroes. A page takes memory once it is first touched. Its size is
  /// sealed: nobody who holds the descriptor can shrink it, so that reading it cannot raise SIGBUS.
  /// `name`: for /proc/<pid>/maps; need not be unique.
  /// RETURNS: the memory; or why there is none, such as EMFILE or ENOMEM (EINVAL for no bytes).
  [[nodiscard]] static std::expected<shared_memory, std::error_code> create(const char* name,
                                                                            std::size_t size);
  /// Maps memory that another has made: `descriptor` was inherited or passed through a socket. Owns
  /// it from here on, also when it fails.
  /// RETURNS: the memory, all of it; EPERM if its size is not sealed, or what mmap() says.
  [[nodiscard]] static std::expected<shared_memory, std::error_code> attach(int descriptor);

  shared_memory(shared_memory&& other) noexcept;
  shared_memory& operator=(shared_memory&& other) noexcept;
  /// Unmaps here; others keep their own mapping.
  ~shared_memory();

  /// Begins on a page.
  [[nodiscard]] std::span<std::byte> bytes() const noexcept { return bytes_; }
  /// Close-on-exec. Belongs to this object.
  [[nodiscard]] int descriptor() const noexcept { return descriptor_; }

 private:
  shared_memory(int descriptor, std::span<std::byte> bytes) noexcept
      : descriptor_{descriptor}, bytes_{bytes} {}

  int descriptor_;
  std::span<std::byte> bytes_;
};

}  // namespace peeper::sandbox
