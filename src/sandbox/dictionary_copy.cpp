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
  const bool gone = in.left() == 0;
  taken_.insert_or_assign(std::move(changed),
                          gone ? std::vector<std::byte>{} : std::vector(note.begin(), note.end()));
  return true;
}

void dictionary_copy::commit() noexcept {
  while (!taken_.empty()) {
    auto note = taken_.extract(taken_.begin());
    notes_.erase(note.key());
    if (!note.mapped().empty()) notes_.insert(std::move(note));
  }
}

void dictionary_copy::write(cbor_writer& out) const {
  out.array(notes_.size());
  for (const auto& each : notes_) out.bytes(each.second);
}

}  // namespace peeper::sandbox
