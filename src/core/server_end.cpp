// SPDX-License-Identifier: Apache-2.0
#include "core/server_end.hpp"

#include <algorithm>
#include <thread>

#include "core/runtime_core.hpp"

namespace peeper::detail {
namespace {

/// After a kill a worker that is not in a callback ends at once; this is for the ones that are.
constexpr duration after_kill = std::chrono::milliseconds{100};

struct shutdown_deed {
  void operator()(branch& self) const { self.system_shutdown(); }
};
/// Answered only by the end that comes before it.
struct no_deed {
  void operator()() const {}
};

template <class Deed>
request_ptr<request> ask(branch& server, Deed deed) {
  auto* call = new system_call<void, Deed>{message_kind::urgent, deed};
  request_ptr<request> answer{call};
  if (!server.push_or_release(call)) return {};
  return answer;
}

}  // namespace

server_end::server_end(const process_ptr<branch>& server, duration limit) : server_{server} {
  const bool brutally = limit == brutal_kill;
  if (server_->try_end_here(brutally)) return;
  environment& env = server_->runtime().env();
  asked_until_ = deadline_after(env.now(), limit);
  if (!brutally) {
    ended_ = ask(*server_, shutdown_deed{});
  } else if (server_->kill(server_->server_pid())) {
    ended_ = ask(*server_, no_deed{});
  }
}

bool server_end::wait_until_gone(time_point give_up) const noexcept {
  environment& env = server_->runtime().env();
  while (!server_->gone()) {
    if (env.now() >= give_up) return false;
    std::this_thread::yield();
  }
  return true;
}

bool server_end::wait(time_point give_up) noexcept {
  if (!ended_) return wait_until_gone(give_up);
  runtime_core& rt = server_->runtime();
  if (wait_for_request(rt, *ended_, std::min(give_up, asked_until_))) {
    return wait_until_gone(give_up);
  }
  std::ignore = server_->kill(server_->server_pid());
  const time_point last = std::min(give_up, deadline_after(rt.env().now(), after_kill));
  return wait_for_request(rt, *ended_, last) && wait_until_gone(give_up);
}

}  // namespace peeper::detail
