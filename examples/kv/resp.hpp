// SPDX-License-Identifier: Apache-2.0
/// RESP2, the protocol Redis speaks: requests cut from a byte stream, replies written and read.
///
/// request_parser takes the bytes of one connection in any pieces and gives back whole commands,
/// many at a time when a client pipelines. The arguments stay in the buffer they arrived in.
/// reply_writer appends replies to a string. reply_parser reads them, for clients and tests.
///
/// THREADS: one thread at a time for each object; a request_batch, once taken, is read by any.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace kv {

/// How large a request may be. What is larger is a protocol error and ends the connection, as in
/// Redis; nothing is allocated because a client said so, only because it sent so much.
struct resp_limits {
  std::size_t inline_bytes_max = 1 << 16;   ///< 64 KB; one line: inline commands, all lengths
  std::size_t bulk_bytes_max = 1 << 26;     ///< 64 MB; one argument (Redis: 512 MB)
  std::size_t arguments_max = 1 << 20;      ///< of one command
  std::size_t request_bytes_max = 1 << 27;  ///< 128 MB; one command with everything in it
};

/// One command: its name at [0], then its arguments. Views into a request_batch.
class command_view {
 public:
  struct slice {
    std::uint32_t offset = 0;
    std::uint32_t length = 0;
  };

  command_view(const char* bytes, std::span<const slice> arguments)
      : bytes_(bytes), arguments_(arguments) {}

  [[nodiscard]] std::size_t size() const { return arguments_.size(); }
  /// REQUIRES: index < size().
  [[nodiscard]] std::string_view operator[](std::size_t index) const {
    const slice& found = arguments_[index];
    return {bytes_ + found.offset, found.length};
  }
  /// The same without its first `count` words. REQUIRES: count <= size().
  [[nodiscard]] command_view skip(std::size_t count) const {
    return {bytes_, arguments_.subspan(count)};
  }

 private:
  const char* bytes_;
  std::span<const slice> arguments_;
};

/// Whole commands, in the order sent, with the bytes they point into. No command is empty.
class request_batch {
 public:
  [[nodiscard]] std::size_t size() const { return ends_.size(); }
  [[nodiscard]] bool empty() const { return ends_.empty(); }
  /// REQUIRES: index < size(), and the batch outlives the view.
  [[nodiscard]] command_view operator[](std::size_t index) const;
  /// How many bytes the commands took on the wire.
  [[nodiscard]] std::size_t wire_bytes() const { return bytes_.size(); }

  /// RETURNS: the commands first..first+count in one piece, to be read by packed_commands.
  /// REQUIRES: they are there, and count > 0.
  [[nodiscard]] std::vector<std::byte> pack(std::size_t first, std::size_t count) const;

  /// A batch made by hand, for tests and for callers that have no connection.
  [[nodiscard]] static request_batch of(std::span<const std::vector<std::string>> commands);

 private:
  friend class request_parser;

  std::string bytes_;
  std::vector<command_view::slice> arguments_;
  std::vector<std::uint32_t> ends_;  // for each command: the end of its slices in arguments_
};

/// Some commands of a batch as one value that can be moved, copied and sent to another OS process,
/// for one allocation and no work for each byte:
///
///     for each command: the end of its slices  | 32 bits
///     slices: offset in the bytes, length      | 32 + 32 bits
///     the bytes
///
/// A view: the packed bytes must outlive it.
class packed_commands {
 public:
  /// REQUIRES: `packed` is what pack() returned for that `count`.
  packed_commands(std::span<const std::byte> packed, std::size_t count);

  /// REQUIRES: index < count.
  [[nodiscard]] command_view operator[](std::size_t index) const;

 private:
  std::span<const std::uint32_t> ends_;
  std::span<const command_view::slice> arguments_;
  const char* bytes_ = nullptr;
};

/// Cuts commands from the byte stream of one client: arrays of bulk strings, and Redis's inline
/// commands (a line, with its quoting rules).
class request_parser {
 public:
  explicit request_parser(resp_limits limits = {}) : limits_(limits) {}

  void feed(std::string_view bytes) { buffer_.append(bytes); }

  /// RETURNS: the commands that are complete, none if none is. After a protocol error it returns
  /// those before the error, once, and error() is set for good.
  [[nodiscard]] request_batch take();

  /// What to tell the client before closing ("Protocol error: ..."), or empty.
  [[nodiscard]] const std::string& error() const { return error_; }
  /// Bytes held of a command that is not complete yet.
  [[nodiscard]] std::size_t pending_bytes() const { return buffer_.size(); }

 private:
  enum class progress { complete, incomplete, failed };

  progress parse_one();
  progress parse_inline();
  progress parse_multibulk();
  progress parse_bulks();
  progress fail(std::string text);
  /// The line that starts at parsed_, without its end; nothing if it has not arrived yet.
  std::optional<std::string_view> header_line();
  [[nodiscard]] bool line_is_too_long(const std::optional<std::string_view>& line) const;
  void drop_command_state();

  resp_limits limits_;
  std::string buffer_;
  std::string error_;

  // The command being read. All positions count from the first byte of buffer_.
  std::size_t command_start_ = 0;
  std::size_t parsed_ = 0;
  std::size_t scanned_ = 0;  // no line end in [parsed_, scanned_): never look at a byte twice
  std::size_t bulks_left_ = 0;
  std::optional<std::size_t> bulk_length_;
  bool in_multibulk_ = false;
  std::vector<command_view::slice> arguments_;
};

/// Appends replies in RESP2 to a string.
class reply_writer {
 public:
  explicit reply_writer(std::string& out) : out_(out) {}

  void simple(std::string_view text);  ///< REQUIRES: no line end in text
  /// `text` starts with a code such as ERR. Line ends in it become spaces, as Redis does.
  void error(std::string_view text);
  void integer(std::int64_t value);
  void bulk(std::string_view bytes);
  void bulk(double value);
  void null();  ///< "no such value"
  void null_array();
  void array(std::size_t elements);  ///< the elements follow
  void ok() { simple("OK"); }

  [[nodiscard]] std::string& out() { return out_; }

 private:
  void header(char kind, std::int64_t value);

  std::string& out_;
};

/// The shortest text that reads back as the same number ("3", "0.1", "inf").
[[nodiscard]] std::string format_double(double value);

/// One reply as a client sees it.
struct reply {
  enum class kind { simple, error, integer, bulk, null, array };

  kind type = kind::null;
  std::int64_t number = 0;
  std::string text;
  std::vector<reply> elements;

  [[nodiscard]] bool is_error() const { return type == kind::error; }
  bool operator==(const reply&) const = default;
};

/// Readable, on one line: what a failed test or a verifier prints.
[[nodiscard]] std::string to_string(const reply& value);

/// Reads replies from a server's byte stream, in any pieces.
class reply_parser {
 public:
  void feed(std::string_view bytes);
  /// RETURNS: the next whole reply; nothing if it has not arrived, or the stream is broken.
  [[nodiscard]] std::optional<reply> next();
  [[nodiscard]] bool broken() const { return broken_; }

 private:
  std::optional<reply> read_one();

  std::string buffer_;
  std::size_t consumed_ = 0;
  std::vector<reply> open_;  // arrays that are not full yet, each an element of the one before
  bool broken_ = false;
};

/// Strict decimal, as Redis reads integers: no sign but '-', no spaces, no leading zeros.
[[nodiscard]] std::optional<std::int64_t> parse_integer(std::string_view text);

/// One command as a client sends it.
void append_command(std::string& out, std::span<const std::string_view> arguments);
void append_command(std::string& out, std::span<const std::string> arguments);

}  // namespace kv
