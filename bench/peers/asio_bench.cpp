// SPDX-License-Identifier: Apache-2.0
//
// A server made by hand of Boost.Asio, as its documentation serialises handlers: an object with a
// strand on a thread_pool; a caller in another strand gives a completion handler, a thread of one's
// own gives use_future. It has no deadlines but the wait of the future, no names, no supervision.
#include <atomic>
#include <future>
#include <memory>
#include <stdexcept>
#include <thread>
#include <vector>

#include <boost/asio/bind_executor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_future.hpp>
#include <boost/version.hpp>

#include "../workload.hpp"

namespace {

namespace asio = boost::asio;
using bench::report;
using strand = asio::strand<asio::thread_pool::executor_type>;

constexpr const char* asio_name = "Asio strand";

class counter : public std::enable_shared_from_this<counter> {
 public:
  explicit counter(asio::thread_pool& pool, std::int64_t first = 0,
                   bench::finish_line* line = nullptr)
      : strand_{asio::make_strand(pool)}, n_{first}, line_{line} {}

  /// For foreign threads.
  [[nodiscard]] std::future<std::int64_t> add(std::int64_t by) {
    return asio::post(strand_,
                      asio::use_future([self = shared_from_this(), by] { return self->n_ += by; }));
  }
  [[nodiscard]] std::future<std::int64_t> get() {
    return asio::post(strand_, asio::use_future([self = shared_from_this()] { return self->n_; }));
  }
  /// All or nothing is up to the handler here.
  [[nodiscard]] std::future<std::int64_t> fail() {
    return asio::post(strand_, asio::use_future([self = shared_from_this()]() -> std::int64_t {
                        const std::int64_t before = self->n_;
                        try {
                          self->n_ = -1;
                          throw std::runtime_error{"unlucky"};
                        } catch (...) {
                          self->n_ = before;
                          throw;
                        }
                      }));
  }
  void increase(std::int64_t by) {
    asio::post(strand_, [self = shared_from_this(), by] {
      self->n_ += by;
      if (self->line_ != nullptr) self->line_->passed(self->n_);
    });
  }
  void hold(std::binary_semaphore& gate) {
    asio::post(strand_, [self = shared_from_this(), &gate] { gate.acquire(); });
  }
  /// `handler(n)` runs where it is bound to.
  template <class Handler>
  void async_add(std::int64_t by, Handler handler) {
    asio::post(strand_, [self = shared_from_this(), by, handler = std::move(handler)]() mutable {
      const std::int64_t n = self->n_ += by;
      const auto where = asio::get_associated_executor(handler, self->strand_);
      asio::post(where, [handler = std::move(handler), n]() mutable { handler(n); });
    });
  }

 private:
  strand strand_;
  std::int64_t n_;
  bench::finish_line* line_;
};

std::int64_t answer(std::future<std::int64_t> f) {
  bench::require(f.wait_for(bench::call_limit) == std::future_status::ready, "the strand answered");
  return f.get();
}

void foreign_to_idle(report& r) {
  asio::thread_pool pool;
  const auto c = std::make_shared<counter>(pool);
  bench::foreign_calls(r, 20'000, [&] { return answer(c->add(1)); });
}

void foreign_after_pause(report& r) {
  asio::thread_pool pool;
  const auto c = std::make_shared<counter>(pool);
  bench::foreign_calls_after_pause(r, [&] { return answer(c->add(1)); });
}

void foreign_to_busy(report& r) {
  asio::thread_pool pool;
  const auto c = std::make_shared<counter>(pool);
  bench::foreign_calls_to_busy(r, [&] { return [&] { return answer(c->add(1)); }; });
}

/// Asks, one call after the other, from its own strand.
class driver : public std::enable_shared_from_this<driver> {
 public:
  driver(asio::thread_pool& pool, std::shared_ptr<counter> target, std::int64_t calls)
      : strand_{asio::make_strand(pool)}, target_{std::move(target)}, wanted_{calls} {}
  [[nodiscard]] std::future<std::int64_t> start() {
    asio::post(strand_, [self = shared_from_this()] { self->next(); });
    return done_.get_future();
  }

 private:
  void next() {
    target_->async_add(1, asio::bind_executor(strand_, [self = shared_from_this()](std::int64_t n) {
                         bench::require(n == ++self->handled_, "calls are handled once");
                         if (self->handled_ < self->wanted_) {
                           self->next();
                         } else {
                           self->done_.set_value(self->handled_);
                         }
                       }));
  }
  strand strand_;
  std::shared_ptr<counter> target_;
  std::int64_t wanted_;
  std::int64_t handled_ = 0;
  std::promise<std::int64_t> done_;
};

void server_to_server(report& r, unsigned threads) {
  asio::thread_pool pool{threads};
  const auto target = std::make_shared<counter>(pool);
  const auto n = static_cast<std::int64_t>(bench::scaled(200'000));
  const auto driving = std::make_shared<driver>(pool, target, n);
  const auto begin = bench::clock::now();
  const std::int64_t handled = driving->start().get();
  const double ns = bench::ns_since(begin) / static_cast<double>(n);
  bench::require(handled == n && answer(target->get()) == n, "calls are handled once");
  r.row("M/s", bench::millions_a_second(ns));
}
void server_to_server_1(report& r) { server_to_server(r, 1); }
void server_to_server_2(report& r) { server_to_server(r, 2); }

double ns_from_threads(std::size_t senders, std::size_t each) {
  bench::finish_line line{.at = static_cast<std::int64_t>(each * senders)};
  asio::thread_pool pool;
  const auto c = std::make_shared<counter>(pool, 0, &line);
  const double ns = bench::ns_of_casts(line, senders, each, [&] { c->increase(1); });
  bench::require(answer(c->get()) == line.at, "casts are handled once");
  return ns;
}
void from_threads(report& r, std::size_t senders) {
  bench::report_casts(r, ns_from_threads(senders, bench::scaled(500'000 / senders)));
}
void producers(report& r) { bench::producers_curve(r, ns_from_threads); }
void from_1_thread(report& r) { from_threads(r, 1); }
void from_8_threads(report& r) { from_threads(r, 8); }

class caster : public std::enable_shared_from_this<caster> {
 public:
  caster(asio::thread_pool& pool, std::shared_ptr<counter> target)
      : strand_{asio::make_strand(pool)}, target_{std::move(target)} {}
  void drive(std::size_t left) {
    asio::post(strand_, [self = shared_from_this(), left] {
      const std::size_t now = std::min<std::size_t>(left, 100);
      for (std::size_t i = 0; i < now; ++i) self->target_->increase(1);
      if (left > now) self->drive(left - now);
    });
  }

 private:
  strand strand_;
  std::shared_ptr<counter> target_;
};

void from_servers(report& r, std::size_t senders, unsigned threads) {
  const std::size_t each = bench::scaled(500'000 / senders);
  bench::finish_line line{.at = static_cast<std::int64_t>(each * senders)};
  asio::thread_pool pool{threads};
  const auto c = std::make_shared<counter>(pool, 0, &line);
  std::vector<std::shared_ptr<caster>> casters;
  for (std::size_t s = 0; s < senders; ++s) casters.push_back(std::make_shared<caster>(pool, c));
  const auto begin = bench::clock::now();
  for (const auto& one : casters) one->drive(each);
  line.wait();
  const double ns = bench::ns_since(begin) / static_cast<double>(each * senders);
  bench::require(answer(c->get()) == line.at, "casts are handled once");
  r.row("M/s", bench::millions_a_second(ns));
}
void from_1_server_1(report& r) { from_servers(r, 1, 1); }
void from_1_server_2(report& r) { from_servers(r, 1, 2); }
void from_8_servers_2(report& r) { from_servers(r, 8, 2); }

bench::spawn_figures spawned(std::size_t n) {
  asio::thread_pool pool;
  std::vector<std::shared_ptr<counter>> servers(n);
  return bench::figures_of_spawning(
      n,
      [&](std::size_t i) {
        servers[i] = std::make_shared<counter>(pool, static_cast<std::int64_t>(i));
      },
      [&](std::size_t i) { return answer(servers[i]->get()); });
}
void spawn_100k(report& r) { bench::report_spawning(r, spawned(bench::scaled(100'000))); }
void growing(report& r) { bench::spawn_curve(r, 100'000, spawned); }

void exception_to_answer(report& r) {
  asio::thread_pool pool;
  const auto c = std::make_shared<counter>(pool, bench::committed);
  bench::crashes(r, 5'000, [&] {
    bool failed = false;
    try {
      std::ignore = answer(c->fail());
    } catch (const std::runtime_error&) {
      failed = true;
    }
    bench::require(failed, "the caller learns of the failure");
    return answer(c->get());
  });
}

void call_then_compute(report& r) {
  asio::thread_pool pool{2};
  std::atomic<std::int64_t> waited{-1};
  const auto asked = asio::make_strand(pool);
  const auto caller = asio::make_strand(pool);
  bench::picked_up(r, waited, [&] {
    std::promise<bool> done;
    asio::post(caller, [&] {
      asio::post(asked, [&, sent_ns = bench::ns_now()] {
        waited = bench::ns_now() - sent_ns;
        asio::post(caller, [&] { done.set_value(true); });
      });
      bench::spin_for(bench::computing);
    });
    bench::require(done.get_future().get(), "the call was answered");
  });
}

class worker : public std::enable_shared_from_this<worker> {
 public:
  worker(asio::thread_pool& pool, std::atomic<bool>& enough)
      : strand_{asio::make_strand(pool)}, enough_{enough} {}
  void work() {
    asio::post(strand_, [self = shared_from_this()] {
      bench::spin_for(bench::busy_callback);
      if (!self->enough_.load(std::memory_order_relaxed)) self->work();
    });
  }

 private:
  strand strand_;
  std::atomic<bool>& enough_;
};

void quiet_server(report& r) {
  std::atomic<std::int64_t> waited{-1};
  std::atomic<bool> enough{false};
  asio::thread_pool pool{2};
  const auto quiet = asio::make_strand(pool);
  for (std::size_t i = 0; i < bench::busy_servers; ++i) {
    std::make_shared<worker>(pool, enough)->work();
  }
  bench::quiet_beside_busy(r, waited, [&] {
    asio::post(quiet, [&, sent_ns = bench::ns_now()] { waited = bench::ns_now() - sent_ns; });
  });
  enough = true;
  pool.join();
}

void idle(report& r) {
  asio::thread_pool pool;
  std::vector<std::shared_ptr<counter>> servers;
  for (std::size_t i = 0; i < 1000; ++i) {
    servers.push_back(std::make_shared<counter>(pool));
    bench::require(answer(servers.back()->add(1)) == 1, "it is at work");
  }
  bench::idle_for_a_second(r);
}

bench::burst_figures burst_of(std::size_t n) {
  bench::finish_line line{.at = static_cast<std::int64_t>(n)};
  std::binary_semaphore gate{0};
  asio::thread_pool pool;
  const auto c = std::make_shared<counter>(pool, 0, &line);
  return bench::figures_of_burst(
      line, n, [&] { c->hold(gate); }, [&] { c->increase(1); }, [&] { gate.release(); });
}
void burst(report& r) { bench::report_burst(r, burst_of(bench::scaled(1'000'000))); }
void bursts(report& r) { bench::burst_curve(r, burst_of); }

[[maybe_unused]] const bool added[] = {
    bench::describe_peer(
        asio_name, [] { return std::string{"Boost.Asio " BOOST_LIB_VERSION}; }, true),
    bench::add_peer("call/foreign thread to idle server", asio_name, foreign_to_idle),
    bench::add_peer("call/foreign thread to idle server after 20 ms", asio_name,
                    foreign_after_pause),
    bench::add_peer("call/foreign thread to busy server", asio_name, foreign_to_busy),
    bench::add_peer("call/server to server, 1 thread", asio_name, server_to_server_1),
    bench::add_peer("call/server to server, 2 threads", asio_name, server_to_server_2),
    bench::add_peer("cast/1 foreign thread to 1 server", asio_name, from_1_thread),
    bench::add_peer("cast/8 foreign threads to 1 server", asio_name, from_8_threads),
    bench::add_peer("cast/1 server to 1 server, 1 thread", asio_name, from_1_server_1),
    bench::add_peer("cast/1 server to 1 server, 2 threads", asio_name, from_1_server_2),
    bench::add_peer("cast/8 servers to 1 server, 2 threads", asio_name, from_8_servers_2),
    bench::add_peer("spawn/100,000 servers", asio_name, spawn_100k),
    bench::add_peer("crash/exception to next answer", asio_name, exception_to_answer),
    bench::add_peer("schedule/call from a server that computes on", asio_name, call_then_compute),
    bench::add_peer("schedule/quiet server beside 100 busy ones", asio_name, quiet_server),
    bench::add_peer("schedule/idle runtime with 1,000 servers", asio_name, idle),
    bench::add_peer("memory/a million messages", asio_name, burst),
    bench::add_peer("growth/producers", asio_name, producers),
    bench::add_peer("growth/servers", asio_name, growing),
    bench::add_peer("growth/queued messages", asio_name, bursts),
};

}  // namespace
