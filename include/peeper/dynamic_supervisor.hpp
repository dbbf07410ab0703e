// SPDX-License-Identifier: Apache-2.0
/// \file
/// `dynamic_supervisor`: children that come and go, of any class, known by their refs (Elixir's
/// DynamicSupervisor; OTP's simple_one_for_one).
///
///     auto rooms = peeper::start_dynamic_supervisor(rt, {.name = "rooms", .max_children = 10'000})
///                      .value();
///     auto lobby = rooms.start_child<room>({.name = "lobby"}).value();       // ref<room>
///     rooms.terminate_child(lobby);
///
/// THREADS: any.  CRASH: as any supervisor's.
/// COMPLEXITY: O(1) for all but which_children() and count_children(); a child costs it less than
/// 100 bytes (docs/performance.md).
#pragma once

#include <cstddef>
#include <limits>
#include <memory>
#include <string>
#include <tuple>
#include <typeinfo>
#include <utility>

#include <peeper/supervisor.hpp>

namespace peeper {

struct dynamic_supervisor_options {
  /// Unique in the runtime (or in `via`). Empty: none.
  std::string name{};
  /// One more is refused with child_errc::max_children. Restarting ones count.
  std::size_t max_children = std::numeric_limits<std::size_t>::max();
  /// As for supervisors; the strategy is one_for_one.
  unsigned max_restarts = 3;
  duration max_seconds = std::chrono::seconds{5};
  std::shared_ptr<registry> via{};
};

namespace detail {

/// Makes the next server in the place of one that has ended.
using successor_function = server_ptr (*)(const branch& ended);

/// The arguments that every child of a dynamic supervisor gets first.
struct extra_arguments {
  std::shared_ptr<const void> values;
  const std::type_info* type = nullptr;
};

/// `fresh` has not been started. `how`: null for the defaults.
[[nodiscard]] std::expected<void, child_error> start_dynamic_child(
    const any_supervisor& s, const server_ptr& fresh, std::shared_ptr<const child_data> how,
    successor_function again);
[[nodiscard]] std::expected<pid, child_error> start_dynamic_child(const any_supervisor& s,
                                                                  const child& spec);
[[nodiscard]] std::expected<void, child_error> terminate_dynamic_child(const any_supervisor& s,
                                                                       pid child);
[[nodiscard]] std::expected<server_ptr, start_error> start_dynamic(
    runtime& rt, dynamic_supervisor_options options, extra_arguments extra);
[[nodiscard]] std::expected<server_ptr, call_error> find_dynamic(runtime& rt,
                                                                 const std::string& name,
                                                                 const std::type_info& extra);
/// RETURNS: the arguments of a cell that find_dynamic() or start_dynamic() gave.
[[nodiscard]] const std::shared_ptr<const void>& extra_of(const server_ptr& cell) noexcept;

}  // namespace detail

/// `Extra`: arguments that each child's init gets before its own.
template <class... Extra>
class dynamic_supervisor : public any_supervisor {
 public:
  using any_supervisor::any_supervisor;

  /// Starts a permanent child. `o`, `args`: as for start(); each restart uses a copy of them.
  /// RETURNS: its ref (a restart by the supervisor makes a new server, found by its name);
  /// max_children, start_failed, noproc.
  template <class S, class... Args>
  [[nodiscard]] std::expected<ref<S>, child_error> start_child(options<S> o = {},
                                                               Args&&... args) const {
    return start<S>(nullptr, std::move(o), std::forward<Args>(args)...);
  }
  /// The same with child options; the id is ignored.
  template <class S, class... Args>
  [[nodiscard]] std::expected<ref<S>, child_error> start_child_as(child_options how,
                                                                  options<S> o = {},
                                                                  Args&&... args) const {
    if (how.restart.significant()) {
      return std::unexpected{child_error{child_errc::bad_spec,
                                         "a child of a dynamic supervisor cannot be significant"}};
    }
    auto data = std::make_shared<const detail::child_data>(
        detail::child_data{std::move(how), child_type::worker, {}, {}});
    return start<S>(std::move(data), std::move(o), std::forward<Args>(args)...);
  }
  /// Any spec: a supervisor, too. `Extra` does not go to it.
  std::expected<peeper::pid, child_error> start_child(const child& spec) const {
    return detail::start_dynamic_child(*this, spec);
  }
  /// Ends it as its options say, and forgets it. RETURNS: not_found, calling_self, noproc.
  std::expected<void, child_error> terminate_child(peeper::pid server) const {
    return detail::terminate_dynamic_child(*this, server);
  }
  template <class S>
  std::expected<void, child_error> terminate_child(const ref<S>& server) const {
    return terminate_child(server.pid());
  }

 private:
  template <class S, class... Args>
  [[nodiscard]] std::expected<ref<S>, child_error> start(
      std::shared_ptr<const detail::child_data> how, options<S> o, Args&&... args) const {
    detail::explain_supervised<S, Args...>();
    using cell = detail::server_cell_with<S, Extra..., std::decay_t<Args>...>;
    if (!this->cell()) return std::unexpected{child_error{child_errc::noproc, "no supervisor"}};
    auto& rt = this->cell()->runtime();
    auto shared = detail::branch_options_of(o);
    const auto make = [&](const Extra&... extra) {
      return new cell{rt, std::move(shared), std::move(o.state), extra...,
                      std::forward<Args>(args)...};
    };
    cell* made = nullptr;
    if constexpr (sizeof...(Extra) == 0) {
      made = make();
    } else {
      made = std::apply(
          make, *static_cast<const std::tuple<Extra...>*>(detail::extra_of(this->cell()).get()));
    }
    const detail::server_ptr fresh{made};
    if (auto ok = detail::start_dynamic_child(*this, fresh, std::move(how), &cell::successor);
        !ok) {
      return std::unexpected{std::move(ok.error())};
    }
    return ref<S>{fresh};
  }
};

/// Starts one without children. `extra`: what each child's init gets first; copied.
template <class... Extra>
[[nodiscard]] std::expected<dynamic_supervisor<std::decay_t<Extra>...>, start_error>
start_dynamic_supervisor(runtime& rt, dynamic_supervisor_options options = {}, Extra&&... extra) {
  using arguments = std::tuple<std::decay_t<Extra>...>;
  auto started = detail::start_dynamic(
      rt, std::move(options),
      {std::make_shared<const arguments>(std::forward<Extra>(extra)...), &typeid(arguments)});
  if (!started) return std::unexpected{std::move(started.error())};
  return dynamic_supervisor<std::decay_t<Extra>...>{std::move(*started)};
}
/// A dynamic supervisor as a child; find it with whereis_dynamic_supervisor().
[[nodiscard]] child dynamic_supervisor_spec(child_options how, dynamic_supervisor_options options);

/// The dynamic supervisor that has this name now. RETURNS: noproc; name_mismatch for another kind
/// of server, or other extra arguments.
template <class... Extra>
[[nodiscard]] std::expected<dynamic_supervisor<Extra...>, call_error> whereis_dynamic_supervisor(
    runtime& rt, const std::string& name) {
  auto found = detail::find_dynamic(rt, name, typeid(std::tuple<Extra...>));
  if (!found) return std::unexpected{std::move(found.error())};
  return dynamic_supervisor<Extra...>{std::move(*found)};
}

}  // namespace peeper
