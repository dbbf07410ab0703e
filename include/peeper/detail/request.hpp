// SPDX-License-Identifier: Apache-2.0
/// \file
/// `request`: where the answer to one call is put, shared by who asked and who answers.
///
/// State machine of `state_` (one word):
///
///     pending --attach()--> a waiter* --complete()--> done   (the waiter is notified, once)
///        |                     |
///        |                     +--detach()--> pending        (false: it is done, or will be now)
///        +--complete()--> done
///
/// THREADS: complete() by exactly one answering side; the other functions by the asking side.
#pragma once

#include <atomic>
#include <cstdint>
#include <expected>
#include <optional>
#include <utility>

#include <peeper/detail/assert.hpp>
#include <peeper/detail/message.hpp>
#include <peeper/environment.hpp>
#include <peeper/error.hpp>

namespace peeper::detail {

/// Told once when a request is done. After notify() is entered the request is not touched again.
struct waiter {
  explicit waiter(void (*notify_fn)(waiter*) noexcept) noexcept : notify{notify_fn} {}
  void (*notify)(waiter*) noexcept;
};

class request {
 public:
  request(const request&) = delete;
  request& operator=(const request&) = delete;

  [[nodiscard]] bool done() const noexcept {
    // ORDER: acquires what finish() released: the answer.
    return state_.load(std::memory_order_acquire) == done_tag;
  }

  /// RETURNS: false if it is done already; then `w` is not and will not be notified.
  [[nodiscard]] bool attach(waiter& w) noexcept {
    std::uintptr_t expected = pending_tag;
    // ORDER: release publishes the waiter to finish(); acquire on failure gets the answer.
    return state_.compare_exchange_strong(expected, reinterpret_cast<std::uintptr_t>(&w),
                                          std::memory_order_acq_rel, std::memory_order_acquire);
  }

  /// RETURNS: false if the answer has come: the waiter has been notified or is just being.
  [[nodiscard]] bool detach(waiter& w) noexcept {
    auto expected = reinterpret_cast<std::uintptr_t>(&w);
    // ORDER: acquire on failure: pairs with finish().
    return state_.compare_exchange_strong(expected, pending_tag, std::memory_order_acq_rel,
                                          std::memory_order_acquire);
  }

  void add_ref() noexcept {
    // ORDER: relaxed: the caller holds a reference already.
    refs_.fetch_add(1, std::memory_order_relaxed);
  }
  void release() noexcept {
    // ORDER: acquire pairs with the other side's release in fetch_sub: whoever is last sees all
    // writes. The load spares a locked instruction when this side is the only one left.
    if (refs_.load(std::memory_order_acquire) == 1 ||
        refs_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
      destroy();
    }
  }

  /// Publishes the answer that has been stored in the derived class and tells the waiter.
  void finish() noexcept {
    // ORDER: releases the answer to done()/attach()/detach(); acquires the waiter.
    const std::uintptr_t old = state_.exchange(done_tag, std::memory_order_acq_rel);
    PEEPER_ASSERT(old != done_tag);
    if (old != pending_tag) {
      auto* w = reinterpret_cast<waiter*>(old);  // NOLINT(performance-no-int-to-ptr)
      w->notify(w);
    }
  }

  /// As finish() and release(), where asker and answerer are one thread and nobody else knows of
  /// the request: no locked instruction.
  void finish_here() noexcept {
    // ORDER: relaxed: one thread.
    PEEPER_ASSERT(state_.load(std::memory_order_relaxed) == pending_tag &&
                  refs_.load(std::memory_order_relaxed) == 2);
    state_.store(done_tag, std::memory_order_relaxed);
    refs_.store(1, std::memory_order_relaxed);
  }

  virtual void set_error(call_error error) noexcept = 0;

  /// Fails it: error first, then finish().
  void fail(call_error error) noexcept {
    set_error(std::move(error));
    finish();
  }

  // --- who may answer, where a from<T> is out: `answer_`, one word
  //
  //     handling --callback_committed()--> open --(from dropped: "not answered")--> claimed
  //        |  \--(from dropped)--> dropped --callback_committed(): "not answered"--> claimed
  //        +--claim_answer() by a reply or by the crash, from any of them, once--> claimed
  //
  // So a from that goes down with a crashing handler leaves the answer to the crash.

  /// RETURNS: true to the first only; that one stores the result and finishes.
  [[nodiscard]] bool claim_answer() noexcept {
    // ORDER: acq_rel: one winner; it alone stores the result.
    return answer_.exchange(answer::claimed, std::memory_order_acq_rel) != answer::claimed;
  }
  /// The handler is about to run, perhaps again.
  void callback_begins() noexcept {
    answer expected = answer::dropped;
    // ORDER: relaxed: the new from is handed out after it, by this thread.
    answer_.compare_exchange_strong(expected, answer::handling, std::memory_order_relaxed);
  }
  /// RETURNS: true if its from was dropped meanwhile: the caller is to be told.
  [[nodiscard]] bool callback_committed() noexcept {
    answer expected = answer::handling;
    // ORDER: acq_rel with from_dropped(): one of the two tells.
    if (answer_.compare_exchange_strong(expected, answer::open, std::memory_order_acq_rel)) {
      return false;
    }
    return expected == answer::dropped && claim_answer();
  }
  /// RETURNS: true if the caller is to be told now.
  [[nodiscard]] bool from_dropped() noexcept {
    answer expected = answer::handling;
    // ORDER: acq_rel with callback_committed().
    if (answer_.compare_exchange_strong(expected, answer::dropped, std::memory_order_acq_rel)) {
      return false;
    }
    return expected == answer::open && claim_answer();
  }

 protected:
  explicit request(std::uint32_t refs) noexcept : refs_{refs} {}
  ~request() = default;
  /// Destroys the object that this request is part of.
  virtual void destroy() noexcept = 0;

 private:
  static constexpr std::uintptr_t pending_tag = 0;
  static constexpr std::uintptr_t done_tag = 1;

  std::atomic<std::uintptr_t> state_{pending_tag};
  std::atomic<std::uint32_t> refs_;
  enum class answer : std::uint8_t { handling, open, dropped, claimed };
  std::atomic<answer> answer_{answer::handling};
};

template <class R>
class typed_request : public request {
 public:
  using result_type = std::expected<R, call_error>;
  using request::request;

  template <class... Args>
  void set_value(Args&&... args) {
    result_.emplace(std::in_place, std::forward<Args>(args)...);
  }
  void set_error(call_error error) noexcept override {
    result_.emplace(std::unexpect, std::move(error));
  }
  void drop_result() noexcept { result_.reset(); }
  [[nodiscard]] bool has_result() const noexcept { return result_.has_value(); }
  /// REQUIRES: done().
  [[nodiscard]] result_type& result() noexcept { return *result_; }

 protected:
  ~typed_request() = default;

 private:
  std::optional<result_type> result_;
};

/// Owns one reference to a request.
template <class Request>
class request_ptr {
 public:
  request_ptr() noexcept = default;
  explicit request_ptr(Request* adopted) noexcept : request_{adopted} {}
  request_ptr(request_ptr&& other) noexcept : request_{std::exchange(other.request_, nullptr)} {}
  request_ptr& operator=(request_ptr&& other) noexcept {
    request_ptr moved{std::move(other)};
    std::swap(request_, moved.request_);
    return *this;
  }
  request_ptr(const request_ptr&) = delete;
  request_ptr& operator=(const request_ptr&) = delete;
  ~request_ptr() {
    if (request_ != nullptr) request_->release();
  }
  Request* get() const noexcept { return request_; }
  Request* operator->() const noexcept { return request_; }
  Request& operator*() const noexcept { return *request_; }
  explicit operator bool() const noexcept { return request_ != nullptr; }
  [[nodiscard]] Request* detach() noexcept { return std::exchange(request_, nullptr); }

 private:
  Request* request_ = nullptr;
};

}  // namespace peeper::detail
