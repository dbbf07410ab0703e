// SPDX-License-Identifier: Apache-2.0
//
// kept_value<T>: one value that rolls back by the log instead of by comparison.
//
// A plain field of a state is compared with its last committed value after each callback that may
// have changed it. That is the cheapest way for a number and too dear for a long string. A
// kept_value costs something only when it is changed. T may be anything copyable, including types
// whose moves may throw, and std::variant or structures of kept containers.
//
// THREADS: as any object; in a state, by that server's callback only.
// CRASH: (an exception in the callback) the value is as of the last commit.
//
//   peeper::kept_value<std::string> page;
//   page = load();
//   page.modify([](std::string& text) { text += "</html>"; });
#pragma once

#include <concepts>
#include <memory>
#include <type_traits>
#include <utility>

#include <peeper/kept/modify.hpp>

namespace peeper {

template <class T>
class kept_value : public detail::kept_base {
  static constexpr bool nested = detail::holds_kept<T>;
  /// Whether an old value can be put back in place. If not, old and new lie in boxes of their own
  /// that are exchanged.
  static constexpr bool in_place = nested || std::is_nothrow_swappable_v<T>;

 public:
  using base_type = kept_value;
  using contents_type = std::unique_ptr<T>;
  using value_type = T;
  using change_key = detail::nothing;
  using change_value = T;

  /// A T{}; takes no memory before it is changed.
  kept_value() noexcept = default;
  kept_value(const T& value) : box_(std::make_unique<T>(value)) {}        // NOLINT
  kept_value(T&& value) : box_(std::make_unique<T>(std::move(value))) {}  // NOLINT
  template <class... Arguments>
    requires std::constructible_from<T, Arguments...>
  explicit kept_value(std::in_place_t /*unused*/, Arguments&&... arguments)
      : box_(std::make_unique<T>(std::forward<Arguments>(arguments)...)) {}

  kept_value(const kept_value& other)
      : kept_base(), box_(other.box_ ? std::make_unique<T>(*other.box_) : nullptr) {}
  /// Takes the value; but copies it from a kept_value that is in a state, since undo needs it
  /// there. That copy may throw.
  kept_value(kept_value&& other)  // NOLINT(performance-noexcept-move-constructor)
      : box_(other.attached() ? other.copy() : std::exchange(other.box_, nullptr)) {}
  kept_value& operator=(const kept_value& other) {
    if (this != &other) replace(other.copy());
    return *this;
  }
  kept_value& operator=(kept_value&& other) {  // NOLINT(performance-noexcept-move-constructor)
    if (this != &other) replace(kept_value{std::move(other)}.box_);
    return *this;
  }
  kept_value& operator=(const T& value) {
    set(value);
    return *this;
  }
  kept_value& operator=(T&& value) {
    set(std::move(value));
    return *this;
  }
  ~kept_value() {
    if (logging()) log_->bury<detail::buried_contents<kept_value>>(this, *this, *log_);
  }

  // Reading.

  [[nodiscard]] const T& get() const {
    if (box_) return *box_;
    if constexpr (std::is_default_constructible_v<T>) {
      static const T nothing_yet{};
      return nothing_yet;
    } else {
      detail::throw_absent("peeper: kept_value: it was made without a value");
    }
  }
  [[nodiscard]] const T& operator*() const { return get(); }
  [[nodiscard]] const T* operator->() const { return &get(); }
  operator const T&() const { return get(); }  // NOLINT(google-explicit-constructor)

  friend bool operator==(const kept_value& a, const kept_value& b) { return a.get() == b.get(); }
  friend bool operator==(const kept_value& a, const T& b) { return a.get() == b; }

  // Changing. Every function has the strong guarantee.

  template <class Value = T>
    requires std::constructible_from<T, Value&&>
  void set(Value&& value) {
    if constexpr (!nested && in_place) {
      if (box_ && logging() && (log_->nothing_open() || !log_->is_open_element(box_.get()))) {
        auto record = log_->stage<set_record>(*this, std::forward<Value>(value));
        if (log_->followed()) [[unlikely]]
          follow_replaced(box_.get(), record->value);
        std::ranges::swap(*box_, record->value);
        record.publish();
        return;
      }
    }
    replace(std::make_unique<T>(std::forward<Value>(value)));
  }

  /// Runs fn(T&). The reference must not outlive fn, and inside fn the whole value cannot be
  /// replaced through this. If fn throws, what it did is undone.
  /// RETURNS: what fn returns.
  template <class F>
    requires detail::modifier<T, F>
  auto modify(F&& fn) {
    detail::check_modifier<T, F>();
    if (!box_) {
      box_ = std::make_unique<T>(get());
      attach_value();
    }
    if (!logging()) return detail::modify_unlogged(log_, *box_, std::forward<F>(fn));
    if constexpr (in_place) {
      detail::open_element element;
      element.container = this;
      element.write_key = [](const detail::open_element& /*self*/, cbor_writer& out) {
        out.null();
      };
      const auto write = [&] { write_assign_of(*box_); };
      detail::element_follower<T, kept_value, detail::nothing, decltype(write)> follower{
          *log_, *this, no_key, write};
      return detail::modify_logged<T>(*log_, element, detail::fixed_place<T>{box_.get()}, follower,
                                      std::forward<F>(fn));
    } else {
      auto fresh = std::make_unique<T>(*box_);
      if constexpr (std::is_void_v<std::invoke_result_t<F, T&>>) {
        std::invoke(std::forward<F>(fn), *fresh);
        replace(std::move(fresh));
      } else {
        auto result = std::invoke(std::forward<F>(fn), *fresh);
        replace(std::move(fresh));
        return result;
      }
    }
  }

  // For the library itself.

  void swap_contents(contents_type& other) noexcept { box_.swap(other); }
  void rejoin(detail::change_log& log) noexcept { log_ = &log; }
  void attach(detail::change_log* log) noexcept {
    log_ = log;
    attach_value();
  }
  void encode_contents(cbor_writer& out) const { detail::encode_value(out, get()); }
  [[nodiscard]] bool decode_contents(cbor_reader& in) {
    auto fresh = std::make_unique<T>();
    if (!detail::decode_value(in, *fresh)) return false;
    replace(std::move(fresh));
    return true;
  }
  void write_assign(detail::change_log& log) const {
    encode_contents(log.write_operation(this, detail::change_operation::assign, 1));
  }
  [[nodiscard]] bool apply_change(cbor_reader& in, std::size_t path, std::size_t arguments) {
    if (path > 0) {
      if constexpr (nested) {
        if (!in.null()) return false;
        bool ok = false;
        modify([&](T& value) { ok = detail::apply_to(in, value, path - 1, arguments); });
        return ok;
      } else {
        return in.fail("this value has no containers in it");
      }
    }
    std::uint64_t operation = 0;
    if (!in.natural(operation)) return false;
    if (operation != static_cast<std::uint64_t>(detail::change_operation::assign) ||
        arguments != 1) {
      return in.fail("a value has no such operation");
    }
    return decode_contents(in);
  }

  template <class... Seen>
  static consteval detail::obstacle element_obstacle() {
    constexpr detail::obstacle found = detail::obstacle_of<T, Seen...>();
    if constexpr (found == detail::obstacle::none && nested) {
      return detail::leaves_restorable<T>() ? found : detail::obstacle::throwing_move;
    } else {
      return found;
    }
  }
  template <class... Seen>
  static consteval bool elements_encodable() {
    return std::is_default_constructible_v<T> && detail::can_encode<T, Seen...>();
  }
  template <class>
  static consteval bool element_can_be_null() {
    return detail::can_be_null<T>();
  }

 private:
  struct set_record : detail::change_record_of<set_record> {
    template <class Value>
    set_record(kept_value& self_in, Value&& value_in)
        : self(&self_in), value(std::forward<Value>(value_in)) {}
    void undo() noexcept { std::ranges::swap(*self->box_, value); }
    kept_value* self;
    T value;
  };

  [[nodiscard]] contents_type copy() const { return box_ ? std::make_unique<T>(*box_) : nullptr; }

  static constexpr detail::nothing no_key{};

  /// `old`: null where it was made without a value.
  void follow_replaced(const T* old, const T& now) {
    write_assign_of(now);
    if constexpr (std::is_default_constructible_v<T>) {
      if (old == nullptr) old = &get();
    }
    if (old == nullptr) {
      detail::note(*log_, *this, [&](auto& op) { op.now.emplace(now); });
      return;
    }
    if constexpr (!nested) {
      if (detail::same(*old, now)) return;
    }
    detail::note_replaced(*log_, *this, no_key, *old, now);
  }
  void write_assign_of(const T& value) {
    if (!log_->redoing()) return;
    if constexpr (elements_encodable<void>()) {
      detail::encode_value(log_->write_operation(this, detail::change_operation::assign, 1), value);
    }
  }

  void replace(contents_type fresh) {
    refuse_if_open();
    if (!fresh) fresh = std::make_unique<T>(kept_value{}.get());
    if (logging()) {
      auto record = log_->stage<detail::contents_record<kept_value>>(*this);
      if (log_->followed()) [[unlikely]]
        follow_replaced(box_.get(), *fresh);
      box_.swap(record->contents);
      box_.swap(fresh);
      record.publish();
    } else {
      box_.swap(fresh);
    }
    attach_value();
  }

  void attach_value() noexcept {
    if constexpr (nested) {
      if (log_ != nullptr && box_) detail::attach_all(*box_, log_);
    }
  }

  contents_type box_;
};

}  // namespace peeper
