// SPDX-License-Identifier: Apache-2.0
#include "sandbox/dictionary_copy.hpp"

#include <cstdint>

#include <peeper/dictionary.hpp>

#include "sandbox/server_wire.hpp"

namespace peeper::sandbox {

bool dictionary_copy::take(std::span<const std::byte> note) {
  std::uint32_t number = 0;
  auto rest = note;
  if (!read_head(rest, number)) return false;
  const auto* const change = peeper::detail::dictionary_change::find(number);
  cbor_reader in{rest};
  if (change == nullptr || !in.skip()) return false;
  const auto bytes = rest.first(in.offset());
  key changed{change->key(), {bytes.begin(), bytes.end()}};
  if (in.left() == 0) {  // no value follows: it is gone
    notes_.erase(changed);
  } else {
    notes_.insert_or_assign(std::move(changed), std::vector(note.begin(), note.end()));
  }
  return true;
}

void dictionary_copy::write(cbor_writer& out) const {
  out.array(notes_.size());
  for (const auto& each : notes_) out.bytes(each.second);
}

}  // namespace peeper::sandbox
