// SPDX-License-Identifier: Apache-2.0
/// \file
/// What happens to a message whose handling crashed (P3), and the list of those set aside.
///
///     peeper::start<parser>(rt, {.on_crash = peeper::on_crash::retry(2)});
///     for (auto& p : peeper::list_poison(server).value()) log(p.message, p.reason.to_string());
///     peeper::replay_poison(server, id);
#pragma once

#include <cstdint>
#include <string>

#include <peeper/exit_reason.hpp>
#include <peeper/time.hpp>

namespace peeper {

struct crash_policy {
  enum class kind : std::uint8_t { drop, retry, stop };
  kind what = kind::drop;
  unsigned retries = 0;
  friend bool operator==(const crash_policy&, const crash_policy&) = default;
};

namespace on_crash {
/// The message is set aside, its caller told; the next one follows. The default.
inline constexpr crash_policy drop{crash_policy::kind::drop, 0};
/// It is handled again, in its place, up to `times` more; then as drop. Its caller goes on waiting.
/// Needs a handler that takes the message as const& or by copy; else as drop.
[[nodiscard]] constexpr crash_policy retry(unsigned times) noexcept {
  return {crash_policy::kind::retry, times};
}
/// The server ends with the crash's reason.
inline constexpr crash_policy stop{crash_policy::kind::stop, 0};
}  // namespace on_crash

/// One message that was set aside.
struct poison_info {
  std::uint64_t id = 0;        ///< for replay_poison / discard_poison; never re-used by this server
  std::string message;         ///< the name of its type
  exit_reason reason;          ///< of its last crash
  time_point when;             ///< of its last crash
  std::uint32_t attempts = 1;  ///< how often it was handled
  bool replayable = true;      ///< false if its handler had moved from it
};

}  // namespace peeper
