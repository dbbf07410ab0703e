// SPDX-License-Identifier: Apache-2.0
/// \file
/// `isolated_class_of<S, Args...>`: a server class with its start arguments, for the OS process of
/// its worker.
///
/// THREADS: the one that runs the server's callbacks.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include <peeper/codec.hpp>
#include <peeper/detail/branch.hpp>
#include <peeper/detail/crossing.hpp>
#include <peeper/detail/handlers.hpp>
#include <peeper/kept/state.hpp>

namespace peeper::detail {

template <class S>
class server_cell;
template <class S, class... Args>
class server_cell_with;

/// What start() was given: the first state, if any, and the arguments.
/// Throws std::invalid_argument if an argument cannot cross.
template <class S, class... Args>
[[nodiscard]] std::vector<std::byte> write_set_up(const std::optional<state_of<S>>& first,
                                                  const std::tuple<Args...>& args) {
  cbor_writer out;
  if constexpr ((encodable<Args> && ...)) {
    out.array(1 + sizeof...(Args));
    if (first) {
      out.bytes(encode(*first));
    } else {
      out.null();
    }
    std::apply([&](const Args&... each) { (encode_value(out, each), ...); }, args);
  } else {
    static_assert((encodable<Args> && ...),
                  "peeper: the arguments given to start() of an isolatable server class must be "
                  "encodable: they go to the OS process of its worker");
  }
  return out.take();
}

struct isolated_functions {
  template <class S, class... Args>
  static branch* make(runtime_core& rt, branch_options options, std::span<const std::byte> set_up) {
    using state = state_of<S>;
    cbor_reader in{set_up};
    std::optional<state> first;
    std::tuple<Args...> args;
    bool ok = in.array_of(1 + sizeof...(Args));
    if (ok && in.next_is_null()) {
      ok = in.null();
    } else if (ok) {
      std::span<const std::byte> bytes;
      ok = in.bytes(bytes);
      if (ok) first = decode<state>(bytes).value();
    }
    ok = ok && std::apply([&](Args&... each) { return (decode_value(in, each) && ...); }, args);
    if (!ok || !in.end()) throw bad_crossing{in.error().text};
    return std::apply(
        [&](Args&... each) -> branch* {
          return new server_cell_with<S, Args...>{
              rt, std::make_shared<const branch_options>(std::move(options)), std::move(first),
              std::move(each)...};
        },
        args);
  }
  template <class S>
  static server_cell<S>& cell(branch& b) noexcept {
    return static_cast<server_cell<S>&>(b);
  }
  template <class S>
  static void record_deltas(branch& b) {
    cell<S>(b).kept().record_deltas(true);
  }
  template <class S>
  static std::span<const std::byte> last_delta(branch& b) {
    return cell<S>(b).kept().last_delta();
  }
  template <class S>
  static bool apply(branch& b, std::span<const std::byte> delta) {
    return peeper::apply_delta(cell<S>(b).kept(), delta).has_value();
  }
  template <class S>
  static std::vector<std::byte> encode_state(branch& b) {
    return encode(cell<S>(b).committed_state());
  }
  template <class S>
  static bool assign_state(branch& b, std::span<const std::byte> bytes) {
    auto made = decode<state_of<S>>(bytes);
    if (!made) return false;
    cell<S>(b).kept_.emplace(std::move(*made));
    return true;
  }
  template <class S>
  static void replace_state(branch& b, std::span<const std::byte> bytes) {
    auto made = decode<state_of<S>>(bytes);
    if (!made) throw bad_crossing{made.error().text};
    server_cell<S>& c = cell<S>(b);
    c.template with_state<state_access::write>(
        [&](S& /*worker*/, state_of<S>& now) { now = std::move(*made); });
    c.template state_ready<state_access::write>();
  }
  template <class S>
  static bool listened(branch& b) {
    return cell<S>(b).listeners() != nullptr;
  }
  template <class S>
  static bool follow(branch& b, std::span<const std::byte> bytes, bool whole) {
    server_cell<S>& c = cell<S>(b);
    if (whole) {
      // The first: listeners hear of what changes from here on. Else it is a change like others.
      if (!c.kept_) {
        if (!assign_state<S>(b, bytes)) return false;
        c.watch_state();
        return true;
      }
      auto made = decode<state_of<S>>(bytes);
      if (!made) return false;
      branch::lend_state();
      c.kept_->begin();
      c.kept_->value() = std::move(*made);
    } else {
      if (!c.kept_) return true;
      branch::lend_state();
      c.kept_->begin();
      cbor_reader in{bytes};
      if (!apply_operations(in, c.kept_->value())) return false;
    }
    c.kept_->prepare();
    return true;
  }
  template <class S>
  static bool has_state(branch& b) {
    return cell<S>(b).kept_.has_value();
  }
};

template <class S, class... Args>
inline constexpr isolated_class isolated_class_of{
    .make = &isolated_functions::make<S, Args...>,
    .record_deltas = &isolated_functions::record_deltas<S>,
    .last_delta = &isolated_functions::last_delta<S>,
    .apply_delta = &isolated_functions::apply<S>,
    .encode_state = &isolated_functions::encode_state<S>,
    .assign_state = &isolated_functions::assign_state<S>,
    .replace_state = &isolated_functions::replace_state<S>,
    .listened = &isolated_functions::listened<S>,
    .follow = &isolated_functions::follow<S>,
    .has_state = &isolated_functions::has_state<S>};

}  // namespace peeper::detail
