// SPDX-License-Identifier: Apache-2.0
// What compile_bench.cpp compiles: one server of the standard library, five messages.
#include <condition_variable>
#include <deque>
#include <functional>
#include <future>
#include <mutex>
#include <thread>
#include <utility>

class counter {
 public:
  ~counter() {
    post([this] { stop_ = true; });
    thread_.join();
  }
  long get() {
    return ask([this] { return n_; });
  }
  long add(long by) {
    return ask([this, by] { return n_ += by; });
  }
  long exchange(long value) {
    return ask([this, value] { return std::exchange(n_, value); });
  }
  void increase(long by) {
    post([this, by] { n_ += by; });
  }
  void clear() {
    post([this] { n_ = 0; });
  }

 private:
  void post(std::function<void()> f) {
    {
      const std::scoped_lock lock{mutex_};
      queue_.push_back(std::move(f));
    }
    wake_.notify_one();
  }
  template <class F>
  long ask(F f) {
    auto task = std::make_shared<std::packaged_task<long()>>(std::move(f));
    post([task] { (*task)(); });
    return task->get_future().get();
  }
  void run() {
    while (!stop_) {
      std::unique_lock lock{mutex_};
      wake_.wait(lock, [this] { return !queue_.empty(); });
      const auto f = std::move(queue_.front());
      queue_.pop_front();
      lock.unlock();
      f();
    }
  }
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> queue_;
  bool stop_ = false;
  long n_ = 0;
  std::thread thread_{[this] { run(); }};
};

long use() {
  counter c;
  c.increase(2);
  c.clear();
  return c.get() + c.add(2) + c.exchange(3);
}
