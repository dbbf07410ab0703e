// SPDX-License-Identifier: Apache-2.0
/// \file
/// Waiting for many answers: `request_set` (OTP's request-id collections), `gather` (multi_call)
/// and `broadcast` (abcast).
///
///     peeper::request_set<std::string, int> asked;
///     asked.add("left", left.ask(get{}));
///     asked.add("right", right.ask(get{}));
///     while (auto one = asked.wait_any(1s)) use(one->label, one->result);
#pragma once

#include <algorithm>
#include <memory>
#include <optional>
#include <ranges>
#include <utility>
#include <vector>

#include <peeper/pending.hpp>
#include <peeper/ref.hpp>

namespace peeper {

namespace detail {

/// Wakes one thread when any of several requests is done.
class any_done {
 public:
  explicit any_done(runtime_core& rt) noexcept : runtime_{&rt} {}
  any_done(const any_done&) = delete;
  any_done& operator=(const any_done&) = delete;
  ~any_done();
  /// RETURNS: false if it is done already.
  [[nodiscard]] bool add(request& r);
  [[nodiscard]] bool wait(time_point deadline) noexcept;

 private:
  struct shared;
  struct one;
  runtime_core* runtime_;
  std::shared_ptr<shared> shared_;
  std::vector<std::pair<request*, one*>> waiting_;
};

}  // namespace detail

template <class Label, class R>
struct labelled_result {
  Label label;
  std::expected<R, call_error> result;
};

/// Requests that are waited for together, each with a label of yours. THREADS: one at a time.
template <class Label, class R>
class request_set {
 public:
  /// COMPLEXITY: add() O(1); wait_any() O(size).
  void add(Label label, pending<R> request) {
    requests_.emplace_back(std::move(label), std::move(request));
  }
  [[nodiscard]] std::size_t size() const noexcept { return requests_.size(); }
  [[nodiscard]] bool empty() const noexcept { return requests_.empty(); }

  /// Waits until one of them is answered, takes it out and returns it.
  /// RETURNS: nothing if the set is empty or `limit` has passed (the requests stay: wait again).
  [[nodiscard]] std::optional<labelled_result<Label, R>> wait_any(duration limit = infinity) {
    if (auto found = take_done()) return found;
    if (requests_.empty()) return std::nullopt;
    const detail::branch& any = requests_.front().second.server();
    const time_point deadline = deadline_after(detail::env_of(any).now(), limit);
    for (;;) {
      bool woken = true;
      if (auto in_a_circle = wait_once(deadline, woken)) return in_a_circle;
      if (detail::branch* self = detail::current_branch()) self->end_await();
      auto found = take_done();
      if (found || !woken) return found;
    }
  }

 private:
  using outcome = detail::branch::wait_outcome;
  using container = std::vector<std::pair<Label, pending<R>>>;

  std::optional<labelled_result<Label, R>> take_done() {
    const auto found = std::ranges::find_if(requests_, [](auto& r) { return r.second.done(); });
    if (found == requests_.end()) return std::nullopt;
    return take(found, outcome::done);
  }
  labelled_result<Label, R> take(typename container::iterator at, outcome how) {
    labelled_result<Label, R> result{std::move(at->first), at->second.take(how)};
    requests_.erase(at);
    return result;
  }
  /// RETURNS: one that can never be answered, since its server waits for this one.
  std::optional<labelled_result<Label, R>> wait_once(time_point deadline, bool& woken) {
    detail::any_done waiter{requests_.front().second.server().runtime()};
    for (auto at = requests_.begin(); at != requests_.end(); ++at) {
      pending<R>& request = at->second;
      if (request.server().prepare_await(request.request()) == outcome::cycle) {
        return take(at, outcome::cycle);
      }
      if (!waiter.add(request.request())) return std::nullopt;
      request.server().let_go(request.asked());
    }
    woken = waiter.wait(deadline);
    return std::nullopt;
  }
  container requests_;
};

template <class S, class R>
struct gathered {
  std::vector<std::pair<ref<S>, R>> replies;
  std::vector<std::pair<ref<S>, call_error>> bad;
};

/// Calls all of them at once and waits for all, up to `limit` in all (OTP's multi_call).
/// RETURNS: who replied, and who did not and why, each in the order of `servers`.
template <std::ranges::input_range Refs, class M,
          class S = typename std::ranges::range_value_t<Refs>::server_type>
[[nodiscard]] gathered<S, detail::reply_of<M>> gather(const Refs& servers, const M& message,
                                                      duration limit = default_call_timeout) {
  using reply = detail::reply_of<M>;
  static_assert(!std::is_void_v<reply>, "gather collects replies: the reply type is void");
  std::vector<std::pair<ref<S>, pending<reply>>> asked;
  for (const ref<S>& server : servers) asked.emplace_back(server, server.ask(M{message}, limit));
  gathered<S, reply> all;
  for (auto& [server, request] : asked) {
    if (auto result = request.get()) {
      all.replies.emplace_back(server, std::move(*result));
    } else {
      all.bad.emplace_back(server, std::move(result.error()));
    }
  }
  return all;
}

/// Casts a copy of `message` to each of them (OTP's abcast).
template <std::ranges::input_range Refs, class M>
void broadcast(const Refs& servers, const M& message) {
  for (const auto& server : servers) server.cast(M{message});
}

}  // namespace peeper
