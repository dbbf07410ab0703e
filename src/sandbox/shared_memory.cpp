// SPDX-License-Identifier: Apache-2.0
#include "sandbox/shared_memory.hpp"

#include <cerrno>
#include <tuple>
#include <utility>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

namespace peeper::sandbox {
namespace {

constexpr int size_seals = F_SEAL_SHRINK | F_SEAL_GROW;

/// What errno says; `descriptor` is closed.
std::unexpected<std::error_code> failed(int descriptor) {
  const int why = errno;
  if (descriptor >= 0) ::close(descriptor);
  return std::unexpected{std::error_code{why, std::generic_category()}};
}
std::unexpected<std::error_code> failed(int descriptor, int why) {
  errno = why;
  return failed(descriptor);
}

}  // namespace

std::expected<shared_memory, std::error_code> shared_memory::create(const char* name,
                                                                    std::size_t size) {
  if (size == 0 || !std::in_range<off_t>(size)) return failed(-1, EINVAL);
  const int descriptor = ::memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (descriptor < 0) return failed(-1);
  if (::ftruncate(descriptor, static_cast<off_t>(size)) != 0 ||
      ::fcntl(descriptor, F_ADD_SEALS, size_seals | F_SEAL_SEAL) != 0) {
    return failed(descriptor);
  }
  return attach(descriptor);
}

std::expected<shared_memory, std::error_code> shared_memory::attach(int descriptor) {
  // Unsealed, it could be cut short by another OS process at any time, and reading it would kill
  // us.
  const int seals = ::fcntl(descriptor, F_GET_SEALS);
  if (seals < 0) return failed(descriptor);
  if ((seals & size_seals) != size_seals) return failed(descriptor, EPERM);
  struct stat status{};
  if (::fstat(descriptor, &status) != 0) return failed(descriptor);
  const auto size = static_cast<std::size_t>(status.st_size);
  void* const at = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
  if (at == MAP_FAILED) return failed(descriptor);
  // Core dumps of a worker would be as large as its rings, and would say the same. Where the advice
  // is not taken, they are: no reason to go without the memory.
  if (size >= left_out_of_dumps_from) std::ignore = ::madvise(at, size, MADV_DONTDUMP);
  return shared_memory{descriptor, {static_cast<std::byte*>(at), size}};
}

shared_memory::shared_memory(shared_memory&& other) noexcept
    : descriptor_{std::exchange(other.descriptor_, -1)}, bytes_{std::exchange(other.bytes_, {})} {}

shared_memory& shared_memory::operator=(shared_memory&& other) noexcept {
  std::swap(descriptor_, other.descriptor_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

shared_memory::~shared_memory() {
  if (!bytes_.empty()) ::munmap(bytes_.data(), bytes_.size());
  if (descriptor_ >= 0) ::close(descriptor_);
}

}  // namespace peeper::sandbox
