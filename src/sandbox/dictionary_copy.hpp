// SPDX-License-Identifier: Apache-2.0
/// \file
/// `dictionary_copy`: the program's copy of an isolated server's dictionary, as bytes: of each key
/// the last change. From it a new worker's OS process is given its dictionary.
///
/// THREADS: one.
#pragma once

#include <cstddef>
#include <map>
#include <span>
#include <typeindex>
#include <utility>
#include <vector>

#include <peeper/codec.hpp>

namespace peeper::sandbox {

class dictionary_copy {
 public:
  /// `note`: the number of a dictionary_change (4 bytes), and what it needs; of the callback whose
  /// record is being read. RETURNS: false if it is none. Throws std::bad_alloc.
  [[nodiscard]] bool take(std::span<const std::byte> note);
  /// The callback is committed, with all notes that have been taken.
  void commit() noexcept;
  /// Forgets those that are not (P2).
  void rollback() noexcept { taken_.clear(); }
  /// An array of all that are committed.
  void write(cbor_writer& out) const;

 private:
  /// Keys of different types live side by side, and may have the same bytes.
  using key = std::pair<std::type_index, std::vector<std::byte>>;
  std::map<key, std::vector<std::byte>> notes_;
  std::map<key, std::vector<std::byte>> taken_;  ///< without bytes: the key is gone
};

}  // namespace peeper::sandbox
