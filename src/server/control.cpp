// SPDX-License-Identifier: Apache-2.0
#include <peeper/control.hpp>

#include <fmt/format.h>

#include <peeper/detail/process.hpp>

namespace peeper {

bool alive(pid id) noexcept { return static_cast<bool>(detail::find_process(id)); }

bool kill(pid id) noexcept {
  const auto p = detail::find_process(id);
  return p && p->kill(id);
}

std::string status::to_string() const {
  return fmt::format(
      "server {} ({})\n"
      "  phase      {}\n"
      "  processes  {} {} {}\n"
      "  handled {}, crashes {}, restarts {} (keeper {}, supervisor {}), poison {}, queued {}, "
      "expired {}, unexpected {}, dropped {}\n"
      "  state      {}\n",
      name, server, phase, peeper::to_string(supervisor), peeper::to_string(keeper),
      peeper::to_string(worker), counts.handled, counts.crashes, counts.restarts,
      counts.keeper_restarts, counts.supervisor_restarts, counts.poison, counts.queued,
      counts.expired, counts.unexpected, counts.dropped, state);
}

namespace detail {

std::vector<crash_report> branch::crash_history(duration limit) const {
  return elsewhere_ ? elsewhere_->crashes(limit) : std::vector<crash_report>{};
}

std::expected<void, stop_error> to_stop_result(const std::expected<void, call_error>& stopped,
                                               const exit_reason& wanted) {
  if (stopped) return {};
  switch (stopped.error().code()) {
    case call_errc::stopped:
      // Somebody else was faster, with the same reason: it is as wanted (OTP).
      if (stopped.error().reason() == wanted) return {};
      return std::unexpected{stop_error{stop_errc::other_reason, stopped.error().reason()}};
    case call_errc::timed_out:
    case call_errc::expired: return std::unexpected{stop_error{stop_errc::timed_out, {}}};
    case call_errc::calling_self:
    case call_errc::cycle: return std::unexpected{stop_error{stop_errc::calling_self, {}}};
    default: return std::unexpected{stop_error{stop_errc::noproc, {}}};
  }
}

}  // namespace detail
}  // namespace peeper
