// SPDX-License-Identifier: Apache-2.0
/// \file
/// A supervision tree as text:
///
///     top <server 3.1> rest_for_one, 2 children
///     ├── store <server 4.1> running, store, permanent, restarts 0, crashes 12, queued 3
///     └── pool <server 5.1> one_for_one, 2 children, permanent, restarts 1
///         ├── w1 <server 6.1> running, ...
///         └── w2 restarting, permanent, restarts 4
#include <string>
#include <string_view>

#include <fmt/format.h>

#include <peeper/detail/system_call.hpp>

#include "supervisor/supervisor_cell.hpp"

namespace peeper::detail {
namespace {

std::string_view word(restart when) noexcept {
  switch (when) {
    case restart::permanent: return "permanent";
    case restart::transient: return "transient";
    case restart::temporary: break;
  }
  return "temporary";
}

std::string_view word(const supervisor_plan& plan) noexcept {
  if (plan.dynamic) return "dynamic";
  switch (plan.options.strategy) {
    case strategy::one_for_one: return "one_for_one";
    case strategy::one_for_all: return "one_for_all";
    case strategy::rest_for_one: break;
  }
  return "rest_for_one";
}

class tree_text {
 public:
  explicit tree_text(duration limit) : limit_{limit} {}

  /// `about`: what the parent knows of it.
  void add_supervisor(const server_ptr& server, std::string_view id, const std::string& about,
                      const std::string& indent) {
    const auto& cell = static_cast<const supervisor_cell&>(*server);
    auto children = ask_system<std::vector<std::pair<child_info, server_ptr>>>(
        server, [](branch& b) { return static_cast<supervisor_cell&>(b).which_children(); }, limit_,
        message_kind::system);
    const std::string head =
        fmt::format("{} {} {}", id, to_string(server->server_pid()), word(cell.plan()));
    if (!children) {
      line(fmt::format("{}, {}{}", head, reason(children.error()), about));
      return;
    }
    line(fmt::format("{}, {} {}{}", head, children->size(),
                     children->size() == 1 ? "child" : "children", about));
    for (const auto& [info, child] : *children) {
      const bool last = &info == &children->back().first;
      text += indent + (last ? "└── " : "├── ");
      add_child(info, child, indent + (last ? "    " : "│   "));
    }
  }

  std::string text;

 private:
  static std::string_view reason(const call_error& e) noexcept {
    return e.code() == call_errc::timed_out ? "busy" : "ended";
  }
  void line(const std::string& content) { text += content + '\n'; }

  void add_child(const child_info& info, const server_ptr& child, const std::string& indent) {
    const std::string about =
        fmt::format(", {}{}, restarts {}", word(info.restart.when()),
                    info.restart.significant() ? " significant" : "", info.restarts);
    if (!child) {
      line(fmt::format("{} {}{}", info.id, to_string(info.status), about));
    } else if (dynamic_cast<const supervisor_cell*>(child.get()) != nullptr) {
      add_supervisor(child, info.id.empty() ? child->display_name() : info.id, about, indent);
    } else {
      add_server(info, child, about);
    }
  }

  void add_server(const child_info& info, const server_ptr& child, const std::string& about) {
    const std::string id = info.id.empty() ? child->options().name : info.id;
    const std::string head =
        fmt::format("{}{}{}", id, id.empty() ? "" : " ", to_string(child->server_pid()));
    const auto status = ask_system<peeper::status>(
        child, [](branch& b) { return b.system_status(); }, limit_, message_kind::urgent);
    if (!status) {
      line(fmt::format("{} {}{}", head, reason(status.error()), about));
      return;
    }
    line(fmt::format("{} {}, {}{}, crashes {}, queued {}", head, status->phase, status->server,
                     about, status->counts.crashes, status->counts.queued));
  }

  const duration limit_;
};

}  // namespace

std::string describe_tree(const any_supervisor& tree, duration limit) {
  if (!tree.cell()) return "<no supervisor>\n";
  tree_text t{limit};
  t.add_supervisor(tree.cell(), tree.name(), "", "");
  return std::move(t.text);
}

}  // namespace peeper::detail
