// SPDX-License-Identifier: Apache-2.0
/// \file
/// `partition_supervisor`: the same server several times, one partition for each core by default,
/// and every key has its partition (Elixir's PartitionSupervisor). For a server that has become a
/// bottleneck.
///
///     auto caches = peeper::start_partition_supervisor<cache>(rt, {.name = "caches"}).value();
///     caches.at("user 17").call(get{"user 17"});            // always the same one of them
///
/// THREADS: any.  COMPLEXITY: at(): O(1), a shared lock, no message.
/// CRASH: of a partition's worker: as any server's. One that has ended for good is started again by
/// the supervisor; until then at() gives the one that has ended, whose calls answer noproc. When
/// the supervisor has ended, at() gives refs that name nothing.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <peeper/environment.hpp>
#include <peeper/supervisor.hpp>

namespace peeper {

struct partition_supervisor_options {
  /// As for supervisors.
  std::string name{};
  /// How many partitions; 0: one a core.
  std::size_t partitions = 0;
  peeper::strategy strategy = peeper::strategy::one_for_one;
  unsigned max_restarts = 3;
  duration max_seconds = std::chrono::seconds{5};
  /// For each partition; the id is its number.
  child_options child{};
  std::shared_ptr<registry> via{};
};

namespace detail {

/// The servers that run as partitions now.
class partition_slots {
 public:
  explicit partition_slots(std::size_t n) : servers_(n) {}
  void set(std::size_t index, server_ptr server) {
    const std::unique_lock lock{mutex_};
    std::swap(servers_[index], server);
  }
  [[nodiscard]] server_ptr get(std::size_t index) const {
    const std::shared_lock lock{mutex_};
    return servers_[index];
  }
  [[nodiscard]] std::size_t size() const noexcept { return servers_.size(); }

 private:
  mutable std::shared_mutex mutex_;
  std::vector<server_ptr> servers_;  // guarded by mutex_
};

/// `spec`, told to `slots` as partition `index` whenever it has been started.
[[nodiscard]] child partition_spec(const child& spec, std::shared_ptr<partition_slots> slots,
                                   std::size_t index);

/// Numbers are spread in turn (as in Elixir), everything else by its hash; strings of any kind
/// alike.
template <class Key>
[[nodiscard]] std::size_t partition_of(const Key& key, std::size_t partitions) {
  if constexpr (std::integral<Key>) {
    return static_cast<std::uint64_t>(key) % partitions;
  } else if constexpr (std::convertible_to<const Key&, std::string_view>) {
    return std::hash<std::string_view>{}(std::string_view{key}) % partitions;
  } else {
    return std::hash<Key>{}(key) % partitions;
  }
}

}  // namespace detail

template <class S>
class partition_supervisor : public supervisor {
 public:
  /// The partition that `key` belongs to. Look it up for each message rather than keep it: a
  /// restart by the supervisor makes a new server.
  template <class Key>
  [[nodiscard]] ref<S> at(const Key& key) const {
    return ref<S>{slots_->get(detail::partition_of(key, slots_->size()))};
  }
  [[nodiscard]] ref<S> partition(std::size_t index) const { return ref<S>{slots_->get(index)}; }
  [[nodiscard]] std::size_t partitions() const noexcept { return slots_->size(); }

  // --- for the library's own headers
  partition_supervisor(supervisor s, std::shared_ptr<detail::partition_slots> slots)
      : supervisor{std::move(s)}, slots_{std::move(slots)} {}

 private:
  std::shared_ptr<detail::partition_slots> slots_;
};

/// Starts `o.partitions` servers of class S, all with the same options (no name: it would be taken)
/// and arguments. RETURNS: as start_supervisor().
template <class S, class... Args>
[[nodiscard]] std::expected<partition_supervisor<S>, start_error> start_partition_supervisor(
    runtime& rt, partition_supervisor_options o = {}, options<S> each = {}, Args&&... args) {
  if (!each.name.empty()) {
    return std::unexpected{start_error{start_errc::bad_options,
                                       "partitions cannot have a name: all would have the same"}};
  }
  const std::size_t n = o.partitions != 0 ? o.partitions : rt.env().default_threads();
  auto slots = std::make_shared<detail::partition_slots>(n);
  std::vector<child> children;
  children.reserve(n);
  for (std::size_t i = 0; i < n; ++i) {
    child_options how = o.child;
    how.id = std::to_string(i);
    children.push_back(
        detail::partition_spec(child_spec<S>(std::move(how), each, args...), slots, i));
  }
  auto started = start_supervisor(rt,
                                  {.name = std::move(o.name),
                                   .strategy = o.strategy,
                                   .max_restarts = o.max_restarts,
                                   .max_seconds = o.max_seconds,
                                   .via = std::move(o.via)},
                                  std::move(children));
  if (!started) return std::unexpected{std::move(started.error())};
  return partition_supervisor<S>{std::move(*started), std::move(slots)};
}

}  // namespace peeper
