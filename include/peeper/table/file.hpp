// SPDX-License-Identifier: Apache-2.0
/// \file
/// The file of a table, a stream of encoded rows; docs/encoding.md has the format. Memory: one
/// block.
///
/// THREADS: an object belongs to one thread.  CRASH: while it is written there is the old file, if
/// any, and beside it one that ends in ".new", which the next attempt overwrites.
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <peeper/environment.hpp>
#include <peeper/table/types.hpp>

namespace peeper::detail {

class table_file_writer {
 public:
  table_file_writer(environment& env, std::string path) noexcept
      : env_{&env}, path_{std::move(path)} {}
  table_file_writer(const table_file_writer&) = delete;
  table_file_writer& operator=(const table_file_writer&) = delete;
  ~table_file_writer();

  // After an error nothing more is called.
  [[nodiscard]] std::expected<void, table_error> open(std::string_view kind, std::uint64_t version);
  [[nodiscard]] std::expected<void, table_error> add(std::span<const std::byte> row);
  /// The file takes the place of the one that was there. RETURNS: how many rows it has.
  [[nodiscard]] std::expected<std::size_t, table_error> finish();

 private:
  [[nodiscard]] std::expected<void, table_error> write_block(char type);
  [[nodiscard]] std::unexpected<table_error> failed(std::string_view what, std::error_code why);

  environment* env_;
  std::string path_;
  std::unique_ptr<environment::file> file_;
  std::vector<std::byte> block_;
  std::uint32_t number_ = 0;
  std::uint64_t rows_ = 0;
};

class table_file_reader {
 public:
  table_file_reader(environment& env, std::string path) noexcept
      : env_{&env}, path_{std::move(path)} {}

  [[nodiscard]] std::expected<void, table_error> open(std::string_view kind, std::uint64_t version);
  /// RETURNS: the next row, good until the next call; nothing if all were there and no more.
  [[nodiscard]] std::expected<std::optional<std::span<const std::byte>>, table_error> next();
  [[nodiscard]] table_error bad_row(std::string_view why) const;

 private:
  /// Into `block_`. RETURNS: its type.
  [[nodiscard]] std::expected<char, table_error> read_block();
  [[nodiscard]] std::expected<void, table_error> read_all(std::span<std::byte> into);
  [[nodiscard]] std::unexpected<table_error> failed(std::error_code why) const;
  [[nodiscard]] std::unexpected<table_error> bad(std::string_view what) const;

  environment* env_;
  std::string path_;
  std::unique_ptr<environment::file> file_;
  std::vector<std::byte> block_;
  std::size_t at_ = 0;  ///< in the block
  std::uint32_t number_ = 0;
  std::uint64_t rows_ = 0;
};

}  // namespace peeper::detail
