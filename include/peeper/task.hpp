// SPDX-License-Identifier: Apache-2.0
/// \file
/// `task<T>`: a handler as a coroutine. `co_await ref.ask(m)` suspends the server, not a thread: it
/// takes no other message meanwhile, and commits when the handler ends.
///
///     peeper::task<int> handle_call(total, const state& s) {
///       auto a = co_await s.left.ask(get{});      // std::expected<int, call_error>
///       co_return a.value_or(0);
///     }
///
/// The message, the worker and the state outlive the coroutine; take messages by value or const&.
/// THREADS: it may go on on another thread after each co_await.
/// CRASH: an exception that leaves it is the callback's crash; a kill destroys it where it waits.
#pragma once

#include <coroutine>
#include <exception>
#include <optional>
#include <type_traits>
#include <utility>

namespace peeper {

template <class T>
class [[nodiscard]] task;

namespace detail {

struct task_promise_base {
  std::coroutine_handle<> continuation;
  std::exception_ptr error;

  [[nodiscard]] std::suspend_always initial_suspend() const noexcept { return {}; }
  struct final_awaiter {
    [[nodiscard]] bool await_ready() const noexcept { return false; }
    template <class Promise>
    [[nodiscard]] std::coroutine_handle<> await_suspend(
        std::coroutine_handle<Promise> h) const noexcept {
      const std::coroutine_handle<> next = h.promise().continuation;
      return next ? next : std::noop_coroutine();
    }
    void await_resume() const noexcept {}
  };
  [[nodiscard]] final_awaiter final_suspend() const noexcept { return {}; }
  void unhandled_exception() noexcept { error = std::current_exception(); }
};

template <class T>
struct task_promise final : task_promise_base {
  std::optional<T> value;
  task<T> get_return_object() noexcept;
  template <class U>
    requires std::constructible_from<T, U>
  void return_value(U&& v) {
    value.emplace(std::forward<U>(v));
  }
  T take() {
    if (error) std::rethrow_exception(error);
    return std::move(*value);
  }
};

template <>
struct task_promise<void> final : task_promise_base {
  task<void> get_return_object() noexcept;
  void return_void() const noexcept {}
  void take() const {
    if (error) std::rethrow_exception(error);
  }
};

}  // namespace detail

template <class T>
class [[nodiscard]] task {
 public:
  using promise_type = detail::task_promise<T>;
  using value_type = T;

  explicit task(std::coroutine_handle<promise_type> h) noexcept : handle_{h} {}
  task(task&& other) noexcept : handle_{std::exchange(other.handle_, nullptr)} {}
  task& operator=(task&& other) noexcept {
    task moved{std::move(other)};
    std::swap(handle_, moved.handle_);
    return *this;
  }
  task(const task&) = delete;
  task& operator=(const task&) = delete;
  ~task() {
    if (handle_) handle_.destroy();
  }

  /// A task awaits another: it runs at once, and its awaiter goes on when it ends.
  auto operator co_await() && noexcept {
    struct awaiter {
      std::coroutine_handle<promise_type> inner;
      [[nodiscard]] bool await_ready() const noexcept { return false; }
      [[nodiscard]] std::coroutine_handle<> await_suspend(std::coroutine_handle<> outer) noexcept {
        inner.promise().continuation = outer;
        return inner;
      }
      T await_resume() { return inner.promise().take(); }
    };
    return awaiter{handle_};
  }

  // --- for the callback loop
  [[nodiscard]] std::coroutine_handle<> handle() const noexcept { return handle_; }
  [[nodiscard]] bool done() const noexcept { return handle_.done(); }
  /// REQUIRES: done(). Throws what the coroutine threw.
  T take() { return handle_.promise().take(); }

 private:
  std::coroutine_handle<promise_type> handle_;
};

namespace detail {

template <class T>
task<T> task_promise<T>::get_return_object() noexcept {
  return task<T>{std::coroutine_handle<task_promise>::from_promise(*this)};
}
inline task<void> task_promise<void>::get_return_object() noexcept {
  return task<void>{std::coroutine_handle<task_promise>::from_promise(*this)};
}

template <class T>
inline constexpr bool is_task = false;
template <class T>
inline constexpr bool is_task<task<T>> = true;

}  // namespace detail
}  // namespace peeper
