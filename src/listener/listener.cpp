// SPDX-License-Identifier: Apache-2.0
#include <peeper/listener.hpp>

#include <algorithm>
#include <bit>
#include <chrono>
#include <exception>

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "core/log.hpp"
#include "core/pid_table.hpp"
#include "core/runtime_core.hpp"
#include "core/timer_service.hpp"

namespace peeper {

std::string_view to_string(change_kind kind) noexcept {
  switch (kind) {
    case change_kind::inserted: return "inserted";
    case change_kind::erased: return "erased";
    case change_kind::replaced: return "replaced";
    case change_kind::modified: return "modified";
    case change_kind::assigned: break;
  }
  return "assigned";
}

namespace detail {

// --- one listener ------------------------------------------------------------------------------

namespace {

constexpr duration rest_time = std::chrono::milliseconds{1};

constexpr message_type nudge_type{
    .kind = message_kind::system,
    .intact_after_crash = true,
    .name = type_name_of<listener_process>,
    .run = [](process&, message&) {},
    .release = [](message*) noexcept {},  // a part of its listener
    .fail = nullptr,
};

}  // namespace

listener_process::nudge::nudge() noexcept : message{nudge_type} {}

listener_process::listener_process(runtime_core& rt, about_listener about, bool hears_changes,
                                   bool hears_ends)
    : process{rt},
      about_{std::move(about)},
      hears_changes_{hears_changes},
      hears_ends_{hears_ends},
      enough_{std::clamp<std::size_t>(about_.options.max_length / 2, 1, 4096)} {
  rt.listener_came();
}

void listener_process::tell(event_ptr e) noexcept {
  if (!(e->is_end ? hears_ends_ : hears_changes_)) return;
  const std::uint64_t number = told_++;
  event_ptr victim;  // goes without the lock
  bool wake_it = false;
  {
    const std::lock_guard lock{mutex_};
    if (waiting_.size() >= about_.options.max_length) {
      if (about_.options.when_full == drop::newest || waiting_.empty()) return;
      victim = std::move(waiting_.front().event);
      waiting_.pop_front();
    }
    try {
      if (waiting_.full()) waiting_.set_capacity(std::max<std::size_t>(16, 2 * waiting_.size()));
      waiting_.push_back({std::move(e), number});
    } catch (...) {  // no memory: missed, its number will not be seen
      return;
    }
    wake_it = wanted();
  }
  if (wake_it) wake();
}

void listener_process::end(event_ptr e) noexcept {
  {
    const std::lock_guard lock{mutex_};
    ending_ = true;
    last_ = {std::move(e), told_++};
  }
  wake();
}

void listener_process::wake() noexcept {
  // Whoever has the claim looks into the queue after it has gone idle: it sees the event, or we see
  // it idle.
  if (try_claim()) runtime().submit(*this);
}

bool listener_process::take_batch() noexcept {
  const std::lock_guard lock{mutex_};
  batch_.swap(waiting_);
  return !batch_.empty();
}

bool listener_process::rest() noexcept {
  if (!nudge_pending_) {
    timer_service& timers = runtime().timers();
    try {
      timers.start(timers.new_id(), *this, runtime().env().now() + rest_time, &nudge_);
    } catch (const std::bad_alloc&) {
      return false;
    }
    nudge_pending_ = true;
  }
  return true;
}

bool listener_process::go_idle() noexcept {
  const bool rests = handled_ > 1 && rest();
  handled_ = 0;
  {
    const std::lock_guard lock{mutex_};
    resting_ = rests;
    if (wanted()) return false;
  }
  const process_ptr<process> alive{this};  // once idle, another thread may end it
  if (!try_go_idle()) return false;
  const std::lock_guard lock{mutex_};
  return !wanted() || !try_claim();
}

bool listener_process::run(unsigned budget) noexcept {
  for (; budget > 0; --budget) {
    if (take_arrived()) {
      while (queue_pop_front() != nullptr) nudge_pending_ = false;
    }
    if (batch_.empty() && !take_batch()) {
      bool over = false;
      {
        const std::lock_guard lock{mutex_};
        over = ending_ && waiting_.empty();
      }
      if (over) {
        finish();
        return false;
      }
      if (go_idle()) return false;
      continue;
    }
    const entry e = std::move(batch_.front());
    batch_.pop_front();
    ++handled_;
    call(e);
  }
  return true;
}

void listener_process::call(const entry& e) noexcept {
  const std::uint64_t missed = e.number - next_number_;
  next_number_ = e.number + 1;
  // ORDER: relaxed, here and below: counts for people.
  missed_.fetch_add(missed, std::memory_order_relaxed);
  heard_.fetch_add(1, std::memory_order_relaxed);
  try {
    handle(*e.event, {about_.server, missed, about_.options.wants_state});
  } catch (...) {
    const std::uint64_t n = thrown_.fetch_add(1, std::memory_order_relaxed) + 1;
    // A listener that throws at each event must not drown the log.
    if (n <= 5 || std::has_single_bit(n)) {
      log_warning("listener {} of server '{}' threw ({} times so far): {}", about_.id.value,
                  about_.server, n,
                  exit_reason::from_exception(std::current_exception()).to_string());
    }
  }
}

void listener_process::finish() noexcept {
  if (last_.event && hears_ends_) call(last_);
  last_ = {};
  runtime().timers().cancel_all(*this);
  close();
  while (queue_pop_front() != nullptr) {  // a nudge that came meanwhile
  }
  pid_table::free(slot_, first_generation_ + 1);
  runtime_core& rt = runtime();
  rt.add_ref();
  release();
  rt.listener_went();
  rt.release();
}

listener_info listener_process::info() const {
  listener_info i{.id = about_.id,
                  .options = about_.options,
                  .heard = heard_.load(std::memory_order_relaxed),
                  .missed = missed_.load(std::memory_order_relaxed),
                  .thrown = thrown_.load(std::memory_order_relaxed),
                  .waiting = 0};
  const std::lock_guard lock{mutex_};
  i.waiting = waiting_.size();
  return i;
}

std::uint32_t listener_process::generation_of(process_role /*role*/) const noexcept {
  return first_generation_;
}
std::string listener_process::display_name() const {
  return fmt::format("listener {} of {}", about_.id.value, about_.server);
}
bool listener_process::kill(pid /*which*/) noexcept { return false; }

// --- all listeners of one server ---------------------------------------------------------------

listener_hub::~listener_hub() {
  for (const auto& l : listeners_) l->end({});
}

void listener_hub::add(listener_process* p) {
  auto owned = process_ptr<listener_process>{p};
  try {
    listeners_.push_back(std::move(owned));
  } catch (...) {
    p->end({});
    static_cast<void>(p->run(1));  // its claim is ours
    throw;
  }
  count();
  // Its claim, which its maker had, goes to whoever wakes it.
  if (p->run(1)) p->runtime().submit(*p);
}

bool listener_hub::remove(listener_id id) noexcept {
  for (auto it = listeners_.begin(); it != listeners_.end(); ++it) {
    if (!((*it)->id() == id)) continue;
    (*it)->end({});
    listeners_.erase(it);
    count();
    return true;
  }
  return false;
}

std::vector<listener_info> listener_hub::list() const {
  std::vector<listener_info> all;
  all.reserve(listeners_.size());
  for (const auto& l : listeners_) all.push_back(l->info());
  return all;
}

void listener_hub::count() noexcept {
  hearing_changes_ = wanting_state_ = 0;
  for (const auto& l : listeners_) {
    if (l->hears_changes()) ++hearing_changes_;
    if (l->wants_state()) ++wanting_state_;
  }
}

void listener_hub::tell_change(event_ptr e) noexcept {
  for (std::size_t i = 0; i + 1 < listeners_.size(); ++i) listeners_[i]->tell(e);
  if (!listeners_.empty()) listeners_.back()->tell(std::move(e));
}
void listener_hub::miss_change() noexcept {
  for (const auto& l : listeners_) {
    if (l->hears_changes()) l->miss();
  }
}

void listener_hub::tell_end(const exit_reason& reason, bool goes_on) noexcept {
  if (listeners_.empty()) return;
  event_ptr e;
  try {
    e = make_end(reason, goes_on);
  } catch (const std::bad_alloc&) {
    log_error("no memory to tell the listeners of a server of its end");
  }
  for (const auto& l : listeners_) {
    if (!goes_on) {
      l->end(e);
    } else if (e) {
      l->tell(e);
    } else {
      l->miss();
    }
  }
  if (goes_on) return;
  listeners_.clear();
  count();
}

// --- log_listener ------------------------------------------------------------------------------

namespace {

void log_to(spdlog::logger* logger, log_level level, std::string_view text) {
  if (logger == nullptr) {
    log_line(level, text);
    return;
  }
  switch (level) {
    case log_level::error: logger->error("{}", text); return;
    case log_level::warning: logger->warn("{}", text); return;
    default: logger->info("{}", text);
  }
}
std::string told_missed(std::uint64_t missed) {
  return missed == 0 ? std::string{} : fmt::format(" ({} events before it were missed)", missed);
}

}  // namespace

bool logs_changes(spdlog::logger* logger) noexcept {
  return logger == nullptr ? log_enabled(log_level::info) : logger->should_log(spdlog::level::info);
}

void log_change(spdlog::logger* logger, std::string_view server, std::string_view what,
                std::uint64_t missed) {
  log_to(logger, log_level::info,
         fmt::format("server '{}' changed: {}{}", server, what, told_missed(missed)));
}

void log_end(spdlog::logger* logger, std::string_view server, const exit_reason& reason,
             bool goes_on, std::uint64_t missed) {
  const log_level level = goes_on              ? log_level::warning
                          : reason.is_normal() ? log_level::info
                                               : log_level::error;
  log_to(logger, level,
         fmt::format("{} '{}' ended: {}{}", goes_on ? "worker of server" : "server", server,
                     reason.to_string(), told_missed(missed)));
}

}  // namespace detail
}  // namespace peeper
