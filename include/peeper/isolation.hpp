// SPDX-License-Identifier: Apache-2.0
/// \file
/// Where a server's callbacks run: in the program (default), or in an OS process of their own.
///
///     struct counter {
///       static constexpr bool isolatable = true;    // its messages can go to another OS process
///       ...
///     };
///     auto c = peeper::start<counter>(rt, {.isolation = peeper::os_process});   // os_process.hpp
///
/// THREADS: values; any.
#pragma once

#include <memory>
#include <utility>

#include <peeper/detail/crossing.hpp>
#include <peeper/detail/elsewhere.hpp>

namespace peeper {

namespace detail {
/// A constructor of the server's options whose use says that S is to run elsewhere.
template <class S>
consteval void explain_isolation() {
  static_assert(isolatable<S>,
                "peeper: isolation = os_process needs a server class that says so: declare `static "
                "constexpr bool isolatable = true;` in it (its state, messages and replies are "
                "then checked: they must be encodable)");
}
}  // namespace detail

/// The option `isolation` of a server of class S. Default: its callbacks run in the program.
template <class S>
class isolation_of {
 public:
  isolation_of() noexcept = default;
  /// `Choice`: peeper::os_process, or os_process({...}). Does not compile if S is not isolatable.
  template <class Choice>
    requires requires(const Choice& c) { c.make_host(); }
  // NOLINTNEXTLINE(google-explicit-constructor): an option is given by its name.
  isolation_of(const Choice& choice) : host_{choice.make_host()} {
    detail::explain_isolation<S>();
  }
  [[nodiscard]] std::shared_ptr<const detail::worker_host> take_host() noexcept {
    return std::move(host_);
  }

 private:
  std::shared_ptr<const detail::worker_host> host_;
};
/// Where the class is not known, there is no choice.
template <>
class isolation_of<void> {
 public:
  [[nodiscard]] static std::shared_ptr<const detail::worker_host> take_host() noexcept {
    return nullptr;
  }
};

}  // namespace peeper
