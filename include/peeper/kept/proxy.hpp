// SPDX-License-Identifier: Apache-2.0
//
// What [] of a kept container returns: looks like a reference, but each change goes to the log.
//
// THREADS: as the container it comes from. Use it in the expression that made it.
#pragma once

#include <utility>

namespace peeper::detail {

template <class Container, class Key>
class element_proxy {
  using value_type = typename Container::mapped_type;

 public:
  element_proxy(Container& container, const Key& key) noexcept : container_(container), key_(key) {}
  element_proxy(const element_proxy&) = delete;
  ~element_proxy() = default;

  /// Throws std::out_of_range, as at().
  [[nodiscard]] const value_type& get() const { return container_.at(key_); }
  operator const value_type&() const { return get(); }  // NOLINT(google-explicit-constructor)
  const value_type* operator->() const { return &get(); }

  template <class Value>
    requires std::assignable_from<value_type&, Value&&>
  const element_proxy& operator=(Value&& value) const {  // NOLINT
    container_.insert_or_assign(key_, std::forward<Value>(value));
    return *this;
  }
  const element_proxy& operator=(const element_proxy& other) const {  // NOLINT
    value_type copy = other.get();
    container_.insert_or_assign(key_, std::move(copy));
    return *this;
  }
  template <class Value>
  const element_proxy& operator+=(const Value& value) const {
    return change([&](value_type& v) { v += value; });
  }
  template <class Value>
  const element_proxy& operator-=(const Value& value) const {
    return change([&](value_type& v) { v -= value; });
  }
  template <class Value>
  const element_proxy& operator*=(const Value& value) const {
    return change([&](value_type& v) { v *= value; });
  }
  const element_proxy& operator++() const {
    return change([](value_type& v) { ++v; });
  }
  const element_proxy& operator--() const {
    return change([](value_type& v) { --v; });
  }

  friend bool operator==(const element_proxy& proxy, const value_type& value) {
    return proxy.get() == value;
  }

 private:
  template <class F>
  const element_proxy& change(F&& fn) const {
    container_.modify_or_insert(key_, std::forward<F>(fn));
    return *this;
  }

  Container& container_;
  const Key& key_;
};

}  // namespace peeper::detail
