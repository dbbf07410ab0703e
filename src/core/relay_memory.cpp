// SPDX-License-Identifier: Apache-2.0
#include <peeper/detail/relay_memory.hpp>

#include <array>
#include <atomic>
#include <cstdint>
#include <new>

namespace peeper::detail {
namespace {

#if defined(__SANITIZE_ADDRESS__)
#define PEEPER_RELAYED 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define PEEPER_RELAYED 0
#endif
#endif
#ifndef PEEPER_RELAYED
#define PEEPER_RELAYED 1
#endif

/// Chunks are aligned to their size, so that a block's address tells its chunk. Small, since one
/// block that stays keeps the whole chunk.
constexpr std::size_t chunk_bytes = 8192;
constexpr std::size_t header_bytes = 64;  // a cache line: it is written by who frees
constexpr std::size_t block_bytes_max = 1024;
constexpr std::size_t granule = alignof(std::max_align_t);

/// While its maker still cuts from it, more than can be cut.
constexpr std::uint32_t open_count = 1U << 30U;

struct chunk {
  /// Blocks that are in use; of an open chunk open_count less those freed.
  std::atomic<std::uint32_t> live{open_count};
};

/// Chunks to be used again; more go back to the heap. Nobody waits for its lock.
class chunk_store {
 public:
  [[nodiscard]] chunk* take() noexcept {
    chunk* c = nullptr;
    if (try_lock()) {
      if (count_ > 0) c = chunks_[--count_];
      unlock();
    }
    return c;
  }
  void put(chunk* c) noexcept {
    if (try_lock()) {
      if (count_ < chunks_.size()) {
        chunks_[count_++] = c;
        c = nullptr;
      }
      unlock();
    }
    if (c != nullptr) ::operator delete(c, std::align_val_t{chunk_bytes});
  }

 private:
  [[nodiscard]] bool try_lock() noexcept {
    // ORDER: acquire pairs with unlock().
    return !locked_.exchange(true, std::memory_order_acquire);
  }
  void unlock() noexcept { locked_.store(false, std::memory_order_release); }

  std::atomic<bool> locked_{false};
  std::size_t count_ = 0;             // guarded by the lock
  std::array<chunk*, 256> chunks_{};  // guarded by the lock: 2 MB at most
};

// Never destroyed: blocks are freed whenever that is.
constinit chunk_store store{};

void drop(chunk* c, std::uint32_t blocks) noexcept {
  // ORDER: acq_rel: who uses the chunk again comes after all who have used its blocks.
  if (c->live.fetch_sub(blocks, std::memory_order_acq_rel) == blocks) store.put(c);
}

/// The chunk that this thread cuts from. Trivial: reaching it costs no check.
struct open_chunk {
  chunk* at = nullptr;
  std::size_t used = chunk_bytes;
  std::uint32_t cut = 0;
};
constinit thread_local open_chunk current{};

void close_chunk() noexcept {
  if (current.at != nullptr) drop(current.at, open_count - current.cut);
  current = {};
}
struct chunk_closer {
  chunk_closer() noexcept = default;
  chunk_closer(const chunk_closer&) = delete;
  chunk_closer& operator=(const chunk_closer&) = delete;
  ~chunk_closer() { close_chunk(); }
};

[[gnu::noinline]] void open_another() {
  thread_local const chunk_closer at_thread_exit;
  static_cast<void>(at_thread_exit);
  close_chunk();
  void* memory = store.take();
  if (memory == nullptr) memory = ::operator new(chunk_bytes, std::align_val_t{chunk_bytes});
  current = {.at = ::new (memory) chunk{}, .used = header_bytes, .cut = 0};
}

}  // namespace

void* relay_allocate(std::size_t bytes) {
  if (PEEPER_RELAYED == 0 || bytes > block_bytes_max) return ::operator new(bytes);
  const std::size_t size = (bytes + granule - 1) / granule * granule;
  if (current.used + size > chunk_bytes) [[unlikely]]
    open_another();
  void* const block = reinterpret_cast<std::byte*>(current.at) + current.used;
  current.used += size;
  ++current.cut;
  return block;
}

void relay_free(void* memory, std::size_t bytes) noexcept {
  if (PEEPER_RELAYED == 0 || bytes > block_bytes_max) {
    ::operator delete(memory);
    return;
  }
  const auto address = reinterpret_cast<std::uintptr_t>(memory);
  drop(reinterpret_cast<chunk*>(address / chunk_bytes * chunk_bytes), 1);
}

}  // namespace peeper::detail
