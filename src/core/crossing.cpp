// SPDX-License-Identifier: Apache-2.0
#include <peeper/detail/crossing.hpp>

#include <vector>

#include <fmt/format.h>

namespace peeper::detail {
namespace {

/// In the order of their making, which is that of the program's image: before main(), one thread.
std::vector<const crossing*>& registry() {
  static std::vector<const crossing*> all;
  return all;
}

}  // namespace

crossing_number register_crossing(const crossing& c) noexcept {
  registry().push_back(&c);
  return static_cast<crossing_number>(registry().size() - 1);
}

const crossing* find_crossing(crossing_number number) noexcept {
  return number < registry().size() ? registry()[number] : nullptr;
}

crossing_number crossings_registered() noexcept {
  return static_cast<crossing_number>(registry().size());
}

void write_reason(cbor_writer& out, const exit_reason& reason) {
  out.natural(static_cast<std::uint64_t>(reason.kind()));
  out.text(reason.detail());
}

bool read_reason(cbor_reader& in, exit_reason& reason) {
  std::uint64_t kind = 0;
  std::string_view detail;
  if (!in.natural(kind)) return false;
  if (kind > static_cast<std::uint64_t>(exit_kind::forbidden)) {
    return in.fail("no such kind of an exit");
  }
  if (!in.text(detail)) return false;
  reason = {static_cast<exit_kind>(kind), detail};
  return true;
}

void refuse_crossing(std::string_view type) {
  throw bad_crossing{fmt::format("what came from another OS process is no {}", type)};
}

void refuse_crossing(std::string_view type, const cbor_reader& in) {
  throw bad_crossing{fmt::format("what came from another OS process is no {}: {}", type,
                                 in.failed() ? in.error().text : "too long")};
}

}  // namespace peeper::detail
