// SPDX-License-Identifier: Apache-2.0
#include <peeper/upgrade.hpp>

#include <exception>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include <peeper/detail/branch.hpp>
#include <peeper/detail/system_call.hpp>

#include "core/log.hpp"
#include "server/branch_extras.hpp"
#include "server/current.hpp"
#include "table/table_shelf.hpp"

namespace peeper {

std::string_view to_string(upgrade_errc code) noexcept {
  switch (code) {
    case upgrade_errc::bad_library: return "bad_library";
    case upgrade_errc::mismatch: return "mismatch";
    case upgrade_errc::newer_state: return "newer_state";
    case upgrade_errc::bad_state: return "bad_state";
    case upgrade_errc::init_failed: return "init_failed";
    case upgrade_errc::interrupted: return "interrupted";
    case upgrade_errc::no_worker: return "no_worker";
    case upgrade_errc::unreachable: return "unreachable";
    case upgrade_errc::timed_out: return "timed_out";
  }
  return "?";
}

namespace detail {
namespace {

/// Ends the attempt; what there is to say has been said.
struct given_up {};

/// One attempt, as a callback of its own.
class attempt {
 public:
  attempt(branch& server, const upgrade_plan& plan) : server_{server}, plan_{plan} {}

  void run(const instance& old, instance& fresh, upgrade_ticket& ticket) {
    if (ticket.decided()) give_up(upgrade_errc::timed_out, "it was not its turn in time");
    if (plan_.new_version < plan_.old_version) {
      give_up(upgrade_errc::newer_state,
              fmt::format("the server's state has version {}, that class has version {}: a state "
                          "cannot go back",
                          plan_.old_version, plan_.new_version));
    }
    std::expected<void, decode_error> decoded;
    step(upgrade_errc::bad_state, "its state could not be handed over",
         [&] { decoded = fresh.decode(old.encode()); });
    if (!decoded) give_up(upgrade_errc::bad_state, decoded.error().text);
    if (table_shelf* tables = server_.more().tables) tables->open_again();
    step(upgrade_errc::init_failed, "the new version's worker or its init failed",
         [&] { fresh.start(false); });
    step(upgrade_errc::bad_state, "the migrated state is not valid", [&] { fresh.check(); });
    if (!ticket.use()) give_up(upgrade_errc::timed_out, "it took too long");
  }

  [[nodiscard]] upgrade_error error(upgrade_errc code, std::string_view why,
                                    const exit_reason& reason = {}) const {
    return {code,
            fmt::format("server '{}' was not upgraded from {} (version {}) to {} (version {}): {}; "
                        "the old version goes on",
                        server_.display_name(), plan_.old_name, plan_.old_version, plan_.new_name,
                        plan_.new_version, why),
            reason};
  }
  [[nodiscard]] std::optional<upgrade_error>& why() noexcept { return why_; }

 private:
  template <class F>
  void step(upgrade_errc code, std::string_view what, F f) {
    try {
      f();
    } catch (...) {
      const auto reason = exit_reason::from_exception(std::current_exception());
      why_ = error(code, fmt::format("{} ({})", what, reason.to_string()), reason);
      throw given_up{};
    }
  }
  [[noreturn]] void give_up(upgrade_errc code, std::string_view why) {
    why_ = error(code, why);
    throw given_up{};
  }

  branch& server_;
  const upgrade_plan& plan_;
  std::optional<upgrade_error> why_;
};

upgrade_error unreachable(const call_error& why) {
  return {upgrade_errc::unreachable, "not upgraded: " + why.what(), why.reason()};
}

upgrade_error timed_out(const branch& server) {
  return {
      upgrade_errc::timed_out,
      fmt::format("server '{}' was not upgraded in time, and will not be", server.display_name())};
}

}  // namespace

upgrade_error names_no_class() {
  return {upgrade_errc::mismatch, "this implementation names no class: make it by of() or load()"};
}

std::logic_error names_no_class_at_start() {
  return std::logic_error{
      "an upgradable server is started with .state = "
      "peeper::implementation<Protocol>::of<Class>()"};
}

std::expected<void, upgrade_error> change_code(branch& server, const upgrade_plan& plan,
                                               const instance& old, instance& fresh,
                                               upgrade_ticket& ticket) {
  attempt one{server, plan};
  if (!server.worker_lives()) {
    return std::unexpected{one.error(upgrade_errc::no_worker, "it waits to be restarted")};
  }
  const auto done = server.system_edit([&] { one.run(old, fresh, ticket); });
  if (!done) {
    if (one.why()) return std::unexpected{std::move(*one.why())};
    return std::unexpected{one.error(upgrade_errc::interrupted,
                                     "its worker came to an end (" + done.error().to_string() + ")",
                                     done.error())};
  }
  log_at(log_level::info, "server '{}' runs {} (version {}) now, it was {} (version {})",
         server.display_name(), plan.new_name, plan.new_version, plan.old_name, plan.old_version);
  return {};
}

void let_go_of(branch& server, std::unique_ptr<instance> over, bool upgraded) noexcept {
  if (upgraded) {
    // As when a worker ends: what its destructor lets go (a scoped_monitor does) is let go.
    std::ignore = server.system_edit([&] { over.reset(); });
    return;
  }
  execution nowhere{server, nullptr, 0};
  const execution_scope scope{nowhere};
  over.reset();
  nowhere.discard();
}

std::expected<void, upgrade_error> ask_upgrade(const process_ptr<branch>& server, upgrade_deed deed,
                                               duration limit) {
  if (!server) return std::unexpected{unreachable(call_error{call_errc::noproc, "<no server>"})};
  const auto ticket = std::make_shared<upgrade_ticket>();
  auto step = [deed = std::move(deed), ticket](branch& b) { return deed(b, *ticket); };
  using asked = system_call<std::expected<void, upgrade_error>, decltype(step)>;
  auto* sent = new asked{message_kind::system, std::move(step)};
  const request_ptr<typename asked::request_type> r{sent};
  sent->deadline = deadline_for(server.get(), limit);
  if (!server->call(*sent, *r, limit >= patience_min)) {
    if (ticket->give_up()) return std::unexpected{timed_out(*server)};
    // It has come to its commit: the answer is under way.
    std::ignore = wait_for_request(server->runtime(), *r, time_point::max());
  }
  if (!r->result()) return std::unexpected{unreachable(r->result().error())};
  return std::move(*r->result());
}

}  // namespace detail
}  // namespace peeper
