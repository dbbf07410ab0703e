// SPDX-License-Identifier: Apache-2.0
//
// A server made by hand of the standard library: a thread, a queue behind a mutex that is swapped
// for an empty one whenever the thread has handled the last, a condition variable. Each server has
// its thread; where a row says "1 thread" all of them share one core.
#include <atomic>
#include <condition_variable>
#include <exception>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <thread>
#include <vector>

#include <sched.h>

#include "../workload.hpp"

namespace {

using namespace std::chrono_literals;
using bench::report;

constexpr const char* mutex_name = "mutex";

/// A queue and the thread that handles what is in it.
template <class Message>
class mailbox_thread {
 public:
  template <class Handler>
  explicit mailbox_thread(Handler handler)
      : thread_{[this, handler = std::move(handler)]() mutable { run(handler); }} {}
  mailbox_thread(const mailbox_thread&) = delete;
  mailbox_thread& operator=(const mailbox_thread&) = delete;
  ~mailbox_thread() {
    {
      const std::scoped_lock lock{mutex_};
      stop_ = true;
    }
    wake_.notify_one();
    thread_.join();
  }
  void push(Message m) {
    bool first = false;
    {
      const std::scoped_lock lock{mutex_};
      first = queue_.empty();
      queue_.push_back(std::move(m));
    }
    if (first) wake_.notify_one();
  }

 private:
  template <class Handler>
  void run(Handler& handler) {
    std::vector<Message> batch;
    for (;;) {
      {
        std::unique_lock lock{mutex_};
        wake_.wait(lock, [this] { return stop_ || !queue_.empty(); });
        if (queue_.empty()) return;
        batch.swap(queue_);
      }
      for (Message& m : batch) handler(m);
      batch.clear();
    }
  }
  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<Message> queue_;
  bool stop_ = false;
  std::thread thread_;
};

/// Where a caller waits. Shared, because a caller whose time is over goes away before the answer.
class reply_slot {
 public:
  void set(std::int64_t n) { finish(n, nullptr); }
  void fail(std::exception_ptr error) { finish(0, std::move(error)); }
  std::int64_t wait(std::chrono::seconds limit = bench::call_limit) {
    std::unique_lock lock{mutex_};
    bench::require(wake_.wait_for(lock, limit, [this] { return done_; }), "the server answered");
    if (error_) std::rethrow_exception(error_);
    return value_;
  }

 private:
  void finish(std::int64_t n, std::exception_ptr error) {
    {
      const std::scoped_lock lock{mutex_};
      value_ = n;
      error_ = std::move(error);
      done_ = true;
    }
    wake_.notify_one();
  }
  std::mutex mutex_;
  std::condition_variable wake_;
  bool done_ = false;
  std::int64_t value_ = 0;
  std::exception_ptr error_;
};

class counter {
 public:
  explicit counter(std::int64_t first = 0, bench::finish_line* line = nullptr)
      : n_{first}, line_{line}, mailbox_{[this](message& m) { handle(m); }} {}

  std::int64_t add(std::int64_t by) { return ask({.what = kind::add, .by = by, .reply = {}}); }
  std::int64_t get() { return ask({.what = kind::get, .by = 0, .reply = {}}); }
  std::int64_t fail() { return ask({.what = kind::fail, .by = 0, .reply = {}}); }
  void increase(std::int64_t by) { mailbox_.push({.what = kind::increase, .by = by, .reply = {}}); }
  void hold(std::binary_semaphore& gate) {
    gate_ = &gate;
    mailbox_.push({.what = kind::hold, .by = 0, .reply = {}});
  }

 private:
  enum class kind : std::uint8_t { get, add, increase, fail, hold };
  struct message {
    kind what;
    std::int64_t by;
    std::shared_ptr<reply_slot> reply;
  };
  std::int64_t ask(message m) {
    const auto slot = std::make_shared<reply_slot>();
    m.reply = slot;
    mailbox_.push(std::move(m));
    return slot->wait();
  }
  void handle(message& m) {
    switch (m.what) {
      case kind::get: m.reply->set(n_); break;
      case kind::add: m.reply->set(n_ += m.by); break;
      case kind::increase:
        n_ += m.by;
        if (line_ != nullptr) line_->passed(n_);
        break;
      case kind::fail: {
        const std::int64_t before = n_;
        try {
          n_ = -1;
          throw std::runtime_error{"unlucky"};
        } catch (...) {
          n_ = before;
          m.reply->fail(std::current_exception());
        }
        break;
      }
      case kind::hold: gate_->acquire(); break;
    }
  }
  std::int64_t n_;
  bench::finish_line* line_;
  std::binary_semaphore* gate_ = nullptr;
  mailbox_thread<message> mailbox_;  // last: its thread uses the others
};

void foreign_to_idle(report& r) {
  counter c;
  bench::foreign_calls(r, 20'000, [&] { return c.add(1); });
}

void foreign_after_pause(report& r) {
  counter c;
  bench::foreign_calls_after_pause(r, [&] { return c.add(1); });
}

void foreign_to_busy(report& r) {
  counter c;
  bench::foreign_calls_to_busy(r, [&] { return [&] { return c.add(1); }; });
}

/// Threads made meanwhile inherit it.
class on_one_core {
 public:
  explicit on_one_core(bool wanted) : wanted_{wanted} {
    if (!wanted_) return;
    bench::require(sched_getaffinity(0, sizeof before_, &before_) == 0, "the cores are known");
    const int here = sched_getcpu();
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(static_cast<std::size_t>(here < 0 ? 0 : here), &one);
    bench::require(sched_setaffinity(0, sizeof one, &one) == 0, "one core can be chosen");
  }
  on_one_core(const on_one_core&) = delete;
  on_one_core& operator=(const on_one_core&) = delete;
  ~on_one_core() {
    if (wanted_) sched_setaffinity(0, sizeof before_, &before_);
  }

 private:
  bool wanted_;
  cpu_set_t before_{};
};

struct drive {
  std::int64_t calls;
  std::shared_ptr<reply_slot> reply;
};

void server_to_server(report& r, unsigned threads) {
  const on_one_core pinned{threads == 1};
  counter target;
  mailbox_thread<drive> driver{[&](drive& m) {
    std::int64_t handled = 0;
    while (handled < m.calls) bench::require(target.add(1) == ++handled, "calls are handled once");
    m.reply->set(handled);
  }};
  const auto n = static_cast<std::int64_t>(bench::scaled(20'000));
  const auto slot = std::make_shared<reply_slot>();
  const auto begin = bench::clock::now();
  driver.push({n, slot});
  const std::int64_t handled = slot->wait(60s);
  const double ns = bench::ns_since(begin) / static_cast<double>(n);
  bench::require(handled == n && target.get() == n, "calls are handled once");
  r.row("M/s", bench::millions_a_second(ns));
}
void server_to_server_1(report& r) { server_to_server(r, 1); }
void server_to_server_2(report& r) { server_to_server(r, 2); }

double ns_from_threads(std::size_t senders, std::size_t each) {
  bench::finish_line line{.at = static_cast<std::int64_t>(each * senders)};
  counter c{0, &line};
  const double ns = bench::ns_of_casts(line, senders, each, [&] { c.increase(1); });
  bench::require(c.get() == line.at, "casts are handled once");
  return ns;
}
void from_threads(report& r, std::size_t senders) {
  bench::report_casts(r, ns_from_threads(senders, bench::scaled(1'000'000 / senders)));
}
void producers(report& r) { bench::producers_curve(r, ns_from_threads); }
void from_1_thread(report& r) { from_threads(r, 1); }
void from_8_threads(report& r) { from_threads(r, 8); }

void from_servers(report& r, std::size_t senders, unsigned threads) {
  const on_one_core pinned{threads == 1};
  const std::size_t each = bench::scaled(1'000'000 / senders);
  bench::finish_line line{.at = static_cast<std::int64_t>(each * senders)};
  counter c{0, &line};
  struct caster {
    explicit caster(counter& target)
        : mailbox{[this, &target](std::size_t& left) {
            const std::size_t now = std::min<std::size_t>(left, 100);
            for (std::size_t i = 0; i < now; ++i) target.increase(1);
            if (left > now) mailbox.push(left - now);
          }} {}
    mailbox_thread<std::size_t> mailbox;
  };
  std::vector<std::unique_ptr<caster>> casters;
  for (std::size_t s = 0; s < senders; ++s) casters.push_back(std::make_unique<caster>(c));
  const auto begin = bench::clock::now();
  for (const auto& one : casters) one->mailbox.push(each);
  line.wait();
  const double ns = bench::ns_since(begin) / static_cast<double>(each * senders);
  bench::require(c.get() == line.at, "casts are handled once");
  r.row("M/s", bench::millions_a_second(ns));
}
void from_1_server_1(report& r) { from_servers(r, 1, 1); }
void from_1_server_2(report& r) { from_servers(r, 1, 2); }
void from_8_servers_2(report& r) { from_servers(r, 8, 2); }

void exception_to_answer(report& r) {
  counter c{bench::committed};
  bench::crashes(r, 5'000, [&] {
    bool failed = false;
    try {
      std::ignore = c.fail();
    } catch (const std::runtime_error&) {
      failed = true;
    }
    bench::require(failed, "the caller learns of the failure");
    return c.get();
  });
}

void call_then_compute(report& r) {
  std::atomic<std::int64_t> waited{-1};
  struct stamp {
    std::int64_t sent_ns;
    std::shared_ptr<reply_slot> reply;
  };
  mailbox_thread<stamp> asked{[&](stamp& m) {
    waited = bench::ns_now() - m.sent_ns;
    m.reply->set(1);
  }};
  mailbox_thread<std::shared_ptr<reply_slot>> caller{[&](std::shared_ptr<reply_slot>& reply) {
    const auto slot = std::make_shared<reply_slot>();
    asked.push({bench::ns_now(), slot});
    bench::spin_for(bench::computing);
    reply->set(slot->wait());
  }};
  bench::picked_up(r, waited, [&] {
    const auto slot = std::make_shared<reply_slot>();
    caller.push(slot);
    bench::require(slot->wait() == 1, "the call was answered");
  });
}

void quiet_server(report& r) {
  std::atomic<std::int64_t> waited{-1};
  mailbox_thread<std::int64_t> quiet{
      [&](std::int64_t& sent_ns) { waited = bench::ns_now() - sent_ns; }};
  struct worker {
    explicit worker(std::atomic<bool>& enough)
        : mailbox{[this, &enough](int& m) {
            bench::spin_for(bench::busy_callback);
            if (!enough.load(std::memory_order_relaxed)) mailbox.push(m);
          }} {}
    mailbox_thread<int> mailbox;
  };
  std::atomic<bool> enough{false};
  std::vector<std::unique_ptr<worker>> workers;
  for (std::size_t i = 0; i < bench::busy_servers; ++i) {
    workers.push_back(std::make_unique<worker>(enough));
    workers.back()->mailbox.push(1);
  }
  bench::quiet_beside_busy(r, waited, [&] { quiet.push(bench::ns_now()); });
  enough = true;
}

void idle(report& r) {
  std::vector<std::unique_ptr<counter>> servers;
  for (std::size_t i = 0; i < 1000; ++i) {
    servers.push_back(std::make_unique<counter>());
    bench::require(servers.back()->add(1) == 1, "it is at work");
  }
  bench::idle_for_a_second(r);
}

bench::burst_figures burst_of(std::size_t n) {
  bench::finish_line line{.at = static_cast<std::int64_t>(n)};
  std::binary_semaphore gate{0};
  counter c{0, &line};
  return bench::figures_of_burst(
      line, n, [&] { c.hold(gate); }, [&] { c.increase(1); }, [&] { gate.release(); });
}
void burst(report& r) { bench::report_burst(r, burst_of(bench::scaled(1'000'000))); }
void bursts(report& r) { bench::burst_curve(r, burst_of); }

[[maybe_unused]] const bool added[] = {
    bench::describe_peer(
        mutex_name, [] { return std::string{"std::thread, std::mutex, std::condition_variable"}; },
        true),
    bench::add_peer("call/foreign thread to idle server", mutex_name, foreign_to_idle),
    bench::add_peer("call/foreign thread to idle server after 20 ms", mutex_name,
                    foreign_after_pause),
    bench::add_peer("call/foreign thread to busy server", mutex_name, foreign_to_busy),
    bench::add_peer("call/server to server, 1 thread", mutex_name, server_to_server_1),
    bench::add_peer("call/server to server, 2 threads", mutex_name, server_to_server_2),
    bench::add_peer("cast/1 foreign thread to 1 server", mutex_name, from_1_thread),
    bench::add_peer("cast/8 foreign threads to 1 server", mutex_name, from_8_threads),
    bench::add_peer("cast/1 server to 1 server, 1 thread", mutex_name, from_1_server_1),
    bench::add_peer("cast/1 server to 1 server, 2 threads", mutex_name, from_1_server_2),
    bench::add_peer("cast/8 servers to 1 server, 2 threads", mutex_name, from_8_servers_2),
    bench::add_peer("crash/exception to next answer", mutex_name, exception_to_answer),
    bench::add_peer("schedule/call from a server that computes on", mutex_name, call_then_compute),
    bench::add_peer("schedule/quiet server beside 100 busy ones", mutex_name, quiet_server),
    bench::add_peer("schedule/idle runtime with 1,000 servers", mutex_name, idle),
    bench::add_peer("memory/a million messages", mutex_name, burst),
    bench::add_peer("growth/producers", mutex_name, producers),
    bench::add_peer("growth/queued messages", mutex_name, bursts),
};

}  // namespace
