// SPDX-License-Identifier: Apache-2.0
/// Loading a plugin. Its library is opened once and for good: a message in another server's queue,
/// a timer, an exception, a text may come from its code, and nobody can tell when the last is gone.
#include <peeper/detail/plugin.hpp>

#include <map>
#include <mutex>
#include <utility>

#include <dlfcn.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <peeper/implementation.hpp>

namespace peeper::detail {
namespace {

namespace fs = std::filesystem;

/// Which file a path named when it was loaded: dlopen() looks at names only.
struct file_identity {
  dev_t device = 0;
  ino_t number = 0;
  timespec changed{};
  friend bool operator==(const file_identity& a, const file_identity& b) noexcept {
    return a.device == b.device && a.number == b.number && a.changed.tv_sec == b.changed.tv_sec &&
           a.changed.tv_nsec == b.changed.tv_nsec;
  }
};

file_identity identity_of(const fs::path& file) noexcept {
  struct stat s{};
  if (::stat(file.c_str(), &s) != 0) return {};
  return {s.st_dev, s.st_ino, s.st_mtim};
}

/// Where the library that holds `address` begins.
const void* library_of(const void* address) noexcept {
  Dl_info info{};
  return ::dladdr(address, &info) == 0 ? nullptr : info.dli_fbase;
}

std::unexpected<upgrade_error> refuse(upgrade_errc code, const fs::path& file,
                                      std::string_view why) {
  return std::unexpected{
      upgrade_error{code, fmt::format("'{}' cannot be used: {}", file.string(), why)}};
}

std::expected<const void*, upgrade_error> look_into(void* library, const fs::path& file,
                                                    const plugin_key& wanted) {
  void* symbol = ::dlsym(library, "peeper_plugin");
  if (symbol == nullptr) {
    return refuse(upgrade_errc::bad_library, file,
                  "it is no plugin: it has no PEEPER_PLUGIN(protocol, class)");
  }
  const plugin& found = *reinterpret_cast<const plugin* (*)() noexcept>(symbol)();
  if (found.key.layout != wanted.layout) {
    return refuse(upgrade_errc::mismatch, file,
                  "it was built with another version of peeper or of the standard library; build "
                  "it with the program's");
  }
  if (found.key.protocol != wanted.protocol) {
    return refuse(upgrade_errc::mismatch, file,
                  fmt::format("it answers to the protocol {} as it was compiled there, which is "
                              "not this program's {}; build both from the same header",
                              found.key.name(), wanted.name()));
  }
  if (library_of(found.type) != library_of(symbol)) {
    return refuse(upgrade_errc::mismatch, file,
                  "its class has the name of one that is in the program already, and would be that "
                  "one; put each version into a namespace of its own");
  }
  return found.type;
}

}  // namespace

std::expected<const void*, upgrade_error> load_plugin(const fs::path& library,
                                                      const plugin_key& wanted) {
  static std::mutex mutex;
  static std::map<fs::path, file_identity> loaded;
  std::error_code ignored;
  const fs::path file = fs::absolute(library, ignored);
  const file_identity identity = identity_of(file);
  const std::lock_guard lock{mutex};
  if (const auto before = loaded.find(file); before != loaded.end() && before->second != identity) {
    return refuse(
        upgrade_errc::bad_library, library,
        "another file of that name is loaded already; give each version a name of its own");
  }
  void* opened = ::dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (opened == nullptr) {
    const char* why = ::dlerror();
    return refuse(upgrade_errc::bad_library, library, why == nullptr ? "dlopen failed" : why);
  }
  auto type = look_into(opened, library, wanted);
  if (type) {
    loaded.emplace(file, identity);
  } else {
    ::dlclose(opened);
  }
  return type;
}

}  // namespace peeper::detail
