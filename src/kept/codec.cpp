// SPDX-License-Identifier: Apache-2.0
#include <peeper/codec.hpp>

#include <fmt/format.h>

namespace peeper::detail {

bool decode_versions(cbor_reader& in, std::uint64_t version) {
  std::uint64_t format = 0;
  if (!in.natural(format)) return false;
  if (format != encoding_version) {
    return in.fail(fmt::format("encoding format {} is not known; this program reads format {}",
                               format, encoding_version));
  }
  std::uint64_t found = 0;
  if (!in.natural(found)) return false;
  if (found != version) {
    return in.fail(fmt::format("state has version {}, this program has version {}; migrate it",
                               found, version));
  }
  return true;
}

}  // namespace peeper::detail
