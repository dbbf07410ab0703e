// SPDX-License-Identifier: Apache-2.0
#include <peeper/codec.hpp>

#include <fmt/format.h>

namespace peeper::detail {

bool read_versions(cbor_reader& in, std::uint64_t& version) {
  std::uint64_t format = 0;
  if (!in.natural(format)) return false;
  if (format != encoding_version) {
    return in.fail(fmt::format("encoding format {} is not known; this program reads format {}",
                               format, encoding_version));
  }
  return in.natural(version);
}

bool decode_versions(cbor_reader& in, std::uint64_t version) {
  std::uint64_t found = 0;
  if (!read_versions(in, found)) return false;
  return found == version ||
         in.fail(fmt::format("this is a delta of version {}, this program has version {}: a delta "
                             "cannot be migrated, a whole state can",
                             found, version));
}

bool fail_version(cbor_reader& in, std::uint64_t found, std::uint64_t own, std::uint64_t oldest) {
  if (found > own) {
    return in.fail(fmt::format("version {} was written by a newer program: this one has version {}",
                               found, own));
  }
  return in.fail(
      fmt::format("version {} cannot be read: this program has version {}, and migrates "
                  "from version {} on; see `previous` and `migrate`",
                  found, own, oldest));
}

bool fail_migrate(cbor_reader& in, std::uint64_t from, std::uint64_t to, const char* why) {
  return in.fail(fmt::format("migrate() from version {} to version {} threw: {}", from, to, why));
}

}  // namespace peeper::detail
