// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <utility>

#include <boost/crc.hpp>
#include <fmt/format.h>

#include <peeper/codec/cbor.hpp>
#include <peeper/table/file.hpp>

namespace peeper::detail {
namespace {

constexpr std::string_view magic = "peeptbl1";
constexpr std::size_t block_size = 65'536;  ///< a block is written when it has as many bytes
constexpr std::uint32_t block_size_max = 1U << 30U;  ///< a row may be larger than a block

// The blocks: type, length, checksum of these and of the block's number, checksum of its contents.
constexpr char head = 'H';
constexpr char rows = 'R';
constexpr char tail = 'T';
constexpr std::size_t block_head_size = 13;

/// CRC-32C: of Castagnoli, as iSCSI, ext4 and Btrfs use it.
using crc32c = boost::crc_optimal<32, 0x1EDC6F41, 0xFFFFFFFF, 0xFFFFFFFF, true, true>;

std::uint32_t checksum(std::span<const std::byte> bytes) {
  crc32c crc;
  crc.process_bytes(bytes.data(), bytes.size());
  return crc.checksum();
}
template <class Number>
void append(std::vector<std::byte>& out, Number n) {
  for (std::size_t i = 0; i < sizeof n; ++i) {
    out.push_back(static_cast<std::byte>(n >> (8 * i)));
  }
}
template <class Number>
Number number_at(std::span<const std::byte> bytes, std::size_t at) {
  Number n = 0;
  for (std::size_t i = 0; i < sizeof n; ++i) {
    n |= static_cast<Number>(std::to_integer<Number>(bytes[at + i]) << (8 * i));
  }
  return n;
}
std::uint32_t checksum_of_head(char type, std::uint32_t length, std::uint32_t number) {
  std::vector<std::byte> said;
  append(said, static_cast<std::uint8_t>(type));
  append(said, length);
  append(said, number);
  return checksum(said);
}

}  // namespace

// --- writing -------------------------------------------------------------------------------------

table_file_writer::~table_file_writer() {
  if (!file_) return;
  file_.reset();
  env_->remove_file(path_ + ".new");
}

std::unexpected<table_error> table_file_writer::failed(std::string_view what, std::error_code why) {
  return std::unexpected{table_error{
      table_errc::file,
      fmt::format("{} '{}.new' failed: {}; '{}' is as it was", what, path_, why.message(), path_)}};
}

std::expected<void, table_error> table_file_writer::open(std::string_view kind,
                                                         std::uint64_t version) {
  auto file = env_->open_file(path_ + ".new", environment::file_use::write);
  if (!file) return failed("opening", file.error());
  file_ = std::move(*file);
  if (const auto why = file_->write(std::as_bytes(std::span{magic}))) return failed("writing", why);
  cbor_writer out;
  out.array(2);
  out.text(kind);
  out.natural(version);
  block_ = out.take();
  return write_block(head);
}

std::expected<void, table_error> table_file_writer::write_block(char type) {
  const auto length = static_cast<std::uint32_t>(block_.size());
  std::vector<std::byte> before;
  append(before, static_cast<std::uint8_t>(type));
  append(before, length);
  append(before, checksum_of_head(type, length, number_));
  append(before, checksum(block_));
  if (const auto why = file_->write(before)) return failed("writing", why);
  if (const auto why = file_->write(block_)) return failed("writing", why);
  ++number_;
  block_.clear();
  return {};
}

std::expected<void, table_error> table_file_writer::add(std::span<const std::byte> row) {
  if (row.size() > block_size_max - block_size) {
    return std::unexpected{table_error{
        table_errc::file, fmt::format("a row of {} bytes is too large for a file", row.size())}};
  }
  append(block_, static_cast<std::uint32_t>(row.size()));
  block_.insert(block_.end(), row.begin(), row.end());
  ++rows_;
  if (block_.size() < block_size) return {};
  return write_block(rows);
}

std::expected<std::size_t, table_error> table_file_writer::finish() {
  if (!block_.empty()) {
    if (auto done = write_block(rows); !done) return std::unexpected{std::move(done.error())};
  }
  append(block_, rows_);
  if (auto done = write_block(tail); !done) return std::unexpected{std::move(done.error())};
  if (const auto why = file_->sync()) return failed("writing", why);
  if (const auto why = env_->rename_file(path_ + ".new", path_)) return failed("renaming", why);
  file_.reset();
  return static_cast<std::size_t>(rows_);
}

// --- reading -------------------------------------------------------------------------------------

std::unexpected<table_error> table_file_reader::bad(std::string_view what) const {
  return std::unexpected{table_error{
      table_errc::bad_file,
      fmt::format("'{}' cannot be loaded, block {}: {}; no table was made", path_, number_, what)}};
}

std::unexpected<table_error> table_file_reader::failed(std::error_code why) const {
  return std::unexpected{
      table_error{table_errc::file, fmt::format("reading '{}' failed: {}", path_, why.message())}};
}

table_error table_file_reader::bad_row(std::string_view why) const {
  return bad(fmt::format("row {}: {}", rows_, why)).error();
}

std::expected<void, table_error> table_file_reader::read_all(std::span<std::byte> into) {
  const auto got = file_->read(into);
  if (!got) {
    return std::unexpected{table_error{
        table_errc::file, fmt::format("reading '{}' failed: {}", path_, got.error().message())}};
  }
  if (*got != into.size()) return bad("the file ends too early");
  return {};
}

std::expected<void, table_error> table_file_reader::open(std::string_view kind,
                                                         std::uint64_t version) {
  auto file = env_->open_file(path_, environment::file_use::read);
  if (!file) {
    return std::unexpected{table_error{
        table_errc::file, fmt::format("opening '{}' failed: {}", path_, file.error().message())}};
  }
  file_ = std::move(*file);
  std::array<std::byte, magic.size()> begin{};
  if (auto done = read_all(begin); !done) return done;
  if (!std::ranges::equal(begin, std::as_bytes(std::span{magic}))) {
    return bad("it is no file of a table");
  }
  const auto type = read_block();
  if (!type) return std::unexpected{type.error()};
  cbor_reader in{block_};
  std::string_view of_kind;
  std::uint64_t of_version = 0;
  if (*type != head || !in.array_of(2) || !in.text(of_kind) || !in.natural(of_version)) {
    return bad("it has no head");
  }
  if (of_kind != kind) return bad(fmt::format("it holds a {}, not a {}", of_kind, kind));
  if (of_version > version) {
    return bad(
        fmt::format("its rows have version {}, this program knows them up to {}: load it "
                    "with a newer program",
                    of_version, version));
  }
  at_ = block_.size();
  return {};
}

std::expected<char, table_error> table_file_reader::read_block() {
  std::array<std::byte, block_head_size> before{};
  if (auto done = read_all(before); !done) return std::unexpected{std::move(done.error())};
  const auto type = static_cast<char>(before[0]);
  const auto length = number_at<std::uint32_t>(before, 1);
  // Looked at first: an altered length must not decide how much memory is taken.
  if (number_at<std::uint32_t>(before, 5) != checksum_of_head(type, length, number_) ||
      length > block_size_max) {
    return bad("its checksum does not fit: the file has been altered");
  }
  block_.resize(length);
  if (auto done = read_all(block_); !done) return std::unexpected{std::move(done.error())};
  if (number_at<std::uint32_t>(before, 9) != checksum(block_)) {
    return bad("its checksum does not fit: the file has been altered");
  }
  ++number_;
  at_ = 0;
  return type;
}

std::expected<std::optional<std::span<const std::byte>>, table_error> table_file_reader::next() {
  if (at_ == block_.size()) {
    const auto type = read_block();
    if (!type) return std::unexpected{type.error()};
    if (*type == tail) {
      if (block_.size() != 8 || number_at<std::uint64_t>(block_, 0) != rows_) {
        return bad("rows are missing");
      }
      std::byte more{};
      const auto got = file_->read({&more, 1});
      if (!got) return failed(got.error());
      if (*got != 0) return bad("something follows its end");
      return std::nullopt;
    }
    if (*type != rows || block_.empty()) return bad("its type is unknown");
  }
  const std::size_t left = block_.size() - at_;
  const auto length = left < 4 ? 0 : number_at<std::uint32_t>(block_, at_);
  if (left < 4 || length > left - 4) return bad("a row is cut off");
  const auto row = std::span{block_}.subspan(at_ + 4, length);
  at_ += 4 + length;
  ++rows_;
  return row;
}

}  // namespace peeper::detail
