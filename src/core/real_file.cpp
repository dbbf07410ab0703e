// SPDX-License-Identifier: Apache-2.0
#include <cerrno>
#include <cstdio>
#include <string>

#include <fcntl.h>
#include <unistd.h>

#include <peeper/environment.hpp>

namespace peeper {
namespace {

std::error_code last_error() noexcept { return {errno, std::system_category()}; }

class real_file final : public environment::file {
 public:
  explicit real_file(int descriptor) noexcept : descriptor_{descriptor} {}
  real_file(const real_file&) = delete;
  real_file& operator=(const real_file&) = delete;
  ~real_file() override { ::close(descriptor_); }

  std::expected<std::size_t, std::error_code> read(std::span<std::byte> into) override {
    std::size_t done = 0;
    while (done < into.size()) {
      const ssize_t n = ::read(descriptor_, into.data() + done, into.size() - done);
      if (n == 0) break;
      if (n > 0) {
        done += static_cast<std::size_t>(n);
      } else if (errno != EINTR) {
        return std::unexpected{last_error()};
      }
    }
    return done;
  }
  std::error_code write(std::span<const std::byte> bytes) override {
    while (!bytes.empty()) {
      const ssize_t n = ::write(descriptor_, bytes.data(), bytes.size());
      if (n >= 0) {
        bytes = bytes.subspan(static_cast<std::size_t>(n));
      } else if (errno != EINTR) {
        return last_error();
      }
    }
    return {};
  }
  std::error_code sync() override {
    return ::fsync(descriptor_) == 0 ? std::error_code{} : last_error();
  }

 private:
  int descriptor_;
};

}  // namespace

std::expected<std::unique_ptr<environment::file>, std::error_code> environment::open_file(
    const std::string& path, file_use use) {
  const int flags = use == file_use::read ? O_RDONLY : O_WRONLY | O_CREAT | O_TRUNC;
  const int descriptor = ::open(path.c_str(), flags | O_CLOEXEC, 0666);
  if (descriptor < 0) return std::unexpected{last_error()};
  return std::make_unique<real_file>(descriptor);
}

std::error_code environment::rename_file(const std::string& from, const std::string& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) return last_error();
  // The folder knows the new name for good.
  const auto slash = to.find_last_of('/');
  const std::string folder = slash == std::string::npos ? "." : to.substr(0, slash + 1);
  const int descriptor = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return last_error();
  const std::error_code result = ::fsync(descriptor) == 0 ? std::error_code{} : last_error();
  ::close(descriptor);
  return result;
}

void environment::remove_file(const std::string& path) noexcept { ::unlink(path.c_str()); }

}  // namespace peeper
