// SPDX-License-Identifier: Apache-2.0
#include "resp.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <utility>

#include <fmt/compile.h>
#include <fmt/format.h>

namespace kv {
namespace {

constexpr std::string_view line_end = "\r\n";

bool is_space(char c) {
  return c == ' ' || c == '\n' || c == '\r' || c == '\t' || c == '\v' || c == '\f';
}

std::optional<int> hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return std::nullopt;
}

/// Reads one word of an inline command at `from`, unquotes it in place, and moves `from` behind it.
/// Unquoting only shortens, so the result fits where the word was.
/// RETURNS: the word's place, or nothing if its quotes do not balance.
std::optional<command_view::slice> read_word(std::string& line, std::size_t& from,
                                             std::size_t end) {
  const std::size_t start = from;
  std::size_t write = from;
  char quote = 0;
  while (from < end) {
    const char c = line[from];
    if (quote == 0) {
      if (is_space(c)) break;
      if (c == '"' || c == '\'') {
        quote = c;
      } else {
        line[write++] = c;
      }
      ++from;
      continue;
    }
    if (c == quote) {
      // A closing quote ends the word: "a"b is as wrong as a quote that never closes.
      if (from + 1 < end && !is_space(line[from + 1])) return std::nullopt;
      quote = 0;
      ++from;
      break;
    }
    if (quote == '"' && c == '\\' && from + 3 < end && line[from + 1] == 'x' &&
        hex_digit(line[from + 2]) && hex_digit(line[from + 3])) {
      line[write++] =
          static_cast<char>(*hex_digit(line[from + 2]) * 16 + *hex_digit(line[from + 3]));
      from += 4;
    } else if (quote == '"' && c == '\\' && from + 1 < end) {
      const char escaped = line[from + 1];
      switch (escaped) {
        case 'n': line[write++] = '\n'; break;
        case 'r': line[write++] = '\r'; break;
        case 't': line[write++] = '\t'; break;
        case 'b': line[write++] = '\b'; break;
        case 'a': line[write++] = '\a'; break;
        default: line[write++] = escaped;
      }
      from += 2;
    } else if (quote == '\'' && c == '\\' && from + 1 < end && line[from + 1] == '\'') {
      line[write++] = '\'';
      from += 2;
    } else {
      line[write++] = c;
      ++from;
    }
  }
  if (quote != 0) return std::nullopt;
  return command_view::slice{static_cast<std::uint32_t>(start),
                             static_cast<std::uint32_t>(write - start)};
}

template <typename Text>
void append_any(std::string& out, std::span<const Text> arguments) {
  fmt::format_to(std::back_inserter(out), FMT_COMPILE("*{}\r\n"), arguments.size());
  for (const Text& argument : arguments) {
    fmt::format_to(std::back_inserter(out), FMT_COMPILE("${}\r\n"), argument.size());
    out.append(argument).append(line_end);
  }
}

}  // namespace

command_view request_batch::operator[](std::size_t index) const {
  const std::size_t begin = index == 0 ? 0 : ends_[index - 1];
  return {bytes_.data(), std::span(arguments_).subspan(begin, ends_[index] - begin)};
}

std::vector<std::byte> request_batch::pack(std::size_t first, std::size_t count) const {
  using slice = command_view::slice;
  const std::size_t begin = first == 0 ? 0 : ends_[first - 1];
  const auto ends = std::span(ends_).subspan(first, count);
  const auto arguments = std::span(arguments_).subspan(begin, ends.back() - begin);
  std::size_t bytes_begin = bytes_.size();
  std::size_t bytes_end = 0;
  for (const slice& word : arguments) {
    bytes_begin = std::min<std::size_t>(bytes_begin, word.offset);
    bytes_end = std::max<std::size_t>(bytes_end, std::size_t{word.offset} + word.length);
  }
  bytes_begin = std::min(bytes_begin, bytes_end);
  std::vector<std::byte> packed;
  packed.reserve(ends.size_bytes() + arguments.size_bytes() + bytes_end - bytes_begin);
  packed.resize(ends.size_bytes() + arguments.size_bytes());
  std::byte* out = packed.data();
  for (const std::uint32_t end : ends) {
    const auto shifted = static_cast<std::uint32_t>(end - begin);
    std::memcpy(out, &shifted, sizeof shifted);
    out += sizeof shifted;
  }
  for (slice word : arguments) {
    word.offset -= static_cast<std::uint32_t>(bytes_begin);
    std::memcpy(out, &word, sizeof word);
    out += sizeof word;
  }
  const auto bytes = std::as_bytes(std::span(bytes_)).subspan(bytes_begin, bytes_end - bytes_begin);
  packed.insert(packed.end(), bytes.begin(), bytes.end());
  return packed;
}

// A vector of bytes is aligned for any number, and the numbers come first.
packed_commands::packed_commands(std::span<const std::byte> packed, std::size_t count) {
  ends_ = {reinterpret_cast<const std::uint32_t*>(packed.data()), count};
  packed = packed.subspan(ends_.size_bytes());
  arguments_ = {reinterpret_cast<const command_view::slice*>(packed.data()), ends_.back()};
  bytes_ = reinterpret_cast<const char*>(packed.subspan(arguments_.size_bytes()).data());
}

command_view packed_commands::operator[](std::size_t index) const {
  const std::size_t begin = index == 0 ? 0 : ends_[index - 1];
  return {bytes_, arguments_.subspan(begin, ends_[index] - begin)};
}

request_batch request_batch::of(std::span<const std::vector<std::string>> commands) {
  std::string wire;
  for (const auto& command : commands) append_command(wire, std::span(command));
  request_parser parser;
  parser.feed(wire);
  return parser.take();
}

request_batch request_parser::take() {
  request_batch batch;
  std::size_t cut = 0;
  while (error_.empty() && parsed_ < buffer_.size()) {
    if (parse_one() != progress::complete) break;
    if (!arguments_.empty()) {
      batch.arguments_.insert(batch.arguments_.end(), arguments_.begin(), arguments_.end());
      batch.ends_.push_back(static_cast<std::uint32_t>(batch.arguments_.size()));
    }
    cut = parsed_;
    drop_command_state();
  }
  if (!error_.empty()) {
    // Nothing after the error will be read: let the memory go.
    drop_command_state();
    batch.bytes_ = std::exchange(buffer_, {});
    batch.bytes_.resize(cut);
    return batch;
  }
  if (cut == 0) return batch;

  // The batch takes the buffer, so no argument moves; the start of the next command is copied out.
  std::string rest = buffer_.substr(cut);
  buffer_.resize(cut);
  batch.bytes_ = std::exchange(buffer_, std::move(rest));
  command_start_ = 0;
  parsed_ -= cut;
  scanned_ = scanned_ > cut ? scanned_ - cut : 0;
  for (command_view::slice& argument : arguments_) {
    argument.offset -= static_cast<std::uint32_t>(cut);
  }
  return batch;
}

void request_parser::drop_command_state() {
  arguments_.clear();
  bulks_left_ = 0;
  bulk_length_.reset();
  in_multibulk_ = false;
  command_start_ = parsed_;
}

request_parser::progress request_parser::fail(std::string text) {
  error_ = "Protocol error: " + std::move(text);
  return progress::failed;
}

request_parser::progress request_parser::parse_one() {
  const progress made = in_multibulk_             ? parse_bulks()
                        : buffer_[parsed_] == '*' ? parse_multibulk()
                                                  : parse_inline();
  if (made == progress::incomplete && buffer_.size() - command_start_ > limits_.request_bytes_max) {
    return fail("too big request");
  }
  return made;
}

std::optional<std::string_view> request_parser::header_line() {
  const std::size_t found = buffer_.find('\r', std::max(parsed_, scanned_));
  if (found == std::string::npos || found + 1 >= buffer_.size()) {
    scanned_ = found == std::string::npos ? buffer_.size() : found;
    return std::nullopt;
  }
  return std::string_view(buffer_).substr(parsed_, found - parsed_);
}

/// The same whether the end of the line has arrived or not: how TCP cuts the bytes must not matter.
bool request_parser::line_is_too_long(const std::optional<std::string_view>& line) const {
  const std::size_t length = line ? line->size() : buffer_.size() - parsed_;
  return length > limits_.inline_bytes_max + (line ? 0 : 1);
}

request_parser::progress request_parser::parse_inline() {
  const std::size_t found = buffer_.find('\n', std::max(parsed_, scanned_));
  const std::size_t end = found == std::string::npos ? buffer_.size() : found;
  if (end - parsed_ > limits_.inline_bytes_max) return fail("too big inline request");
  if (found == std::string::npos) {
    scanned_ = buffer_.size();
    return progress::incomplete;
  }
  std::size_t from = parsed_;
  while (true) {
    while (from < end && is_space(buffer_[from])) ++from;
    if (from == end) break;
    const auto word = read_word(buffer_, from, end);
    if (!word) return fail("unbalanced quotes in request");
    arguments_.push_back(*word);
  }
  parsed_ = end + 1;
  return progress::complete;
}

request_parser::progress request_parser::parse_multibulk() {
  const auto line = header_line();
  if (line_is_too_long(line)) return fail("too big mbulk count string");
  if (!line) return progress::incomplete;
  const auto count = parse_integer(line->substr(1));
  if (!count || (*count > 0 && std::cmp_greater(*count, limits_.arguments_max))) {
    return fail("invalid multibulk length");
  }
  parsed_ += line->size() + line_end.size();
  if (*count <= 0) return progress::complete;  // as Redis: no command, no reply
  bulks_left_ = static_cast<std::size_t>(*count);
  in_multibulk_ = true;
  return parse_bulks();
}

request_parser::progress request_parser::parse_bulks() {
  while (bulks_left_ > 0) {
    if (!bulk_length_) {
      const auto line = header_line();
      if (line_is_too_long(line)) return fail("too big bulk count string");
      if (!line) return progress::incomplete;
      const char kind = buffer_[parsed_];
      if (kind != '$') return fail(fmt::format("expected '$', got '{}'", kind));
      const auto length = parse_integer(line->substr(1));
      if (!length || *length < 0 || std::cmp_greater(*length, limits_.bulk_bytes_max)) {
        return fail("invalid bulk length");
      }
      parsed_ += line->size() + line_end.size();
      bulk_length_ = static_cast<std::size_t>(*length);
      if (parsed_ - command_start_ + *bulk_length_ > limits_.request_bytes_max) {
        return fail("too big request");
      }
    }
    if (buffer_.size() - parsed_ < *bulk_length_ + line_end.size()) return progress::incomplete;
    arguments_.push_back(
        {static_cast<std::uint32_t>(parsed_), static_cast<std::uint32_t>(*bulk_length_)});
    parsed_ += *bulk_length_ + line_end.size();
    bulk_length_.reset();
    --bulks_left_;
  }
  return progress::complete;
}

void reply_writer::header(char kind, std::int64_t value) {
  char text[24];
  text[0] = kind;
  char* end = std::to_chars(text + 1, text + sizeof text, value).ptr;
  *end++ = '\r';
  *end++ = '\n';
  out_.append(text, end);
}

void reply_writer::simple(std::string_view text) {
  out_.push_back('+');
  out_.append(text).append(line_end);
}

void reply_writer::error(std::string_view text) {
  out_.push_back('-');
  for (const char c : text) out_.push_back(c == '\r' || c == '\n' ? ' ' : c);
  out_.append(line_end);
}

void reply_writer::integer(std::int64_t value) { header(':', value); }

void reply_writer::bulk(std::string_view bytes) {
  header('$', static_cast<std::int64_t>(bytes.size()));
  out_.append(bytes).append(line_end);
}

void reply_writer::bulk(double value) { bulk(format_double(value)); }

void reply_writer::null() { out_.append("$-1\r\n"); }
void reply_writer::null_array() { out_.append("*-1\r\n"); }

void reply_writer::array(std::size_t elements) { header('*', static_cast<std::int64_t>(elements)); }

std::string format_double(double value) {
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  return fmt::format(FMT_COMPILE("{}"), value);
}

std::string to_string(const reply& value) {
  switch (value.type) {
    case reply::kind::simple: return value.text;
    case reply::kind::error: return "(error) " + value.text;
    case reply::kind::integer: return fmt::format("(integer) {}", value.number);
    case reply::kind::bulk: return fmt::format("\"{}\"", value.text);
    case reply::kind::null: return "(nil)";
    case reply::kind::array: break;
  }
  std::string text = "[";
  for (const reply& element : value.elements) {
    if (text.size() > 1) text += ", ";
    text += to_string(element);
  }
  return text + "]";
}

void reply_parser::feed(std::string_view bytes) {
  // Drop what was read only now and then, so that a reply costs no move of what follows it.
  if (consumed_ > 4096 && consumed_ * 2 > buffer_.size()) {
    buffer_.erase(0, consumed_);
    consumed_ = 0;
  }
  buffer_.append(bytes);
}

std::optional<reply> reply_parser::next() {
  while (auto found = read_one()) {
    // An array goes on until it is full; then it is an element of the one around it, if any.
    if (found->type == reply::kind::array && found->number > 0) {
      open_.push_back(std::move(*found));
      continue;
    }
    found->number = found->type == reply::kind::integer ? found->number : 0;
    while (!open_.empty()) {
      reply& around = open_.back();
      around.elements.push_back(std::move(*found));
      if (std::cmp_less(around.elements.size(), around.number)) break;
      around.number = 0;
      found = std::move(around);
      open_.pop_back();
      if (open_.empty()) return found;
    }
    if (open_.empty()) return found;
  }
  return std::nullopt;
}

/// The next value, of an array only its head: how many elements, as its number.
std::optional<reply> reply_parser::read_one() {
  constexpr std::size_t depth_max = 8;
  const std::size_t end = buffer_.find("\r\n", consumed_);
  if (end == std::string::npos || broken_) return std::nullopt;
  const std::string_view line = std::string_view(buffer_).substr(consumed_, end - consumed_);
  const std::size_t after = end + line_end.size();
  const std::string_view rest = line.empty() ? line : line.substr(1);
  const char kind = line.empty() ? '\0' : line[0];
  if (kind == '+' || kind == '-') {
    consumed_ = after;
    return reply{kind == '+' ? reply::kind::simple : reply::kind::error, 0, std::string(rest), {}};
  }
  const auto number = parse_integer(rest);
  if (!number || (kind != ':' && kind != '$' && kind != '*') || open_.size() > depth_max) {
    broken_ = true;
    return std::nullopt;
  }
  if (kind == '$' && *number >= 0) {
    const auto length = static_cast<std::size_t>(*number);
    if (buffer_.size() - after < length + line_end.size()) return std::nullopt;
    consumed_ = after + length + line_end.size();
    return reply{reply::kind::bulk, 0, buffer_.substr(after, length), {}};
  }
  consumed_ = after;
  if (kind == ':') return reply{reply::kind::integer, *number, {}, {}};
  if (*number < 0) return reply{};
  return reply{reply::kind::array, *number, {}, {}};
}

std::optional<std::int64_t> parse_integer(std::string_view text) {
  const std::string_view digits = text.starts_with('-') ? text.substr(1) : text;
  if (digits.empty() || (digits[0] == '0' && text.size() > 1)) return std::nullopt;
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

void append_command(std::string& out, std::span<const std::string_view> arguments) {
  append_any(out, arguments);
}

void append_command(std::string& out, std::span<const std::string> arguments) {
  append_any(out, arguments);
}

}  // namespace kv
