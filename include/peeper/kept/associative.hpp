// SPDX-License-Identifier: Apache-2.0
//
// What kept_map, kept_ordered_map, kept_set and kept_ordered_set have in common. Users include
// kept.hpp.
//
// Nodes do not move, so undo records point at them. An erased node goes into the log as it is, with
// all that older records know about it, and comes back as it was.
//
// THREADS: as std containers; a container in a state is changed by that server's callback only.
// CRASH: (an exception in the callback) the state's log puts back contents and order exactly.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <initializer_list>
#include <iterator>
#include <memory>
#include <ranges>
#include <tuple>
#include <type_traits>
#include <utility>

#include <peeper/kept/modify.hpp>

namespace peeper::detail {

struct key_of_pair {
  template <class Pair>
  const auto& operator()(const Pair& pair) const noexcept {
    return pair.first;
  }
};
struct key_is_value {
  template <class Key>
  const Key& operator()(const Key& key) const noexcept {
    return key;
  }
};

/// `Mapped` is void for sets.
template <class Core, class Mapped>
class associative : public kept_base {
 protected:
  using node = typename Core::node;
  static constexpr bool is_map = !std::is_void_v<Mapped>;
  static constexpr bool nested = holds_kept<Mapped>;
  template <class Query>
  static constexpr bool can_query =
      Core::transparent && !std::is_same_v<Query, typename Core::key_type>;

 public:
  using base_type = associative;
  using contents_type = Core;
  using key_type = typename Core::key_type;
  using value_type = decltype(node::value);
  using size_type = std::size_t;
  using difference_type = std::ptrdiff_t;
  using reference = const value_type&;
  using const_reference = const value_type&;
  /// What an operation<...> on it has as key and as old and new value.
  using change_key = key_type;
  using change_value = std::conditional_t<is_map, Mapped, nothing>;

  /// Forward where hashed, bidirectional where ordered. Valid as long as its element is there.
  class const_iterator {
   public:
    using value_type = associative::value_type;
    using reference = const value_type&;
    using pointer = const value_type*;
    using difference_type = std::ptrdiff_t;
    using iterator_category = std::conditional_t<Core::ordered, std::bidirectional_iterator_tag,
                                                 std::forward_iterator_tag>;

    const_iterator() = default;
    reference operator*() const noexcept { return at_->value; }
    pointer operator->() const noexcept { return &at_->value; }
    const_iterator& operator++() noexcept {
      at_ = core_->next(at_);
      return *this;
    }
    const_iterator operator++(int) noexcept {
      const_iterator old = *this;
      ++*this;
      return old;
    }
    const_iterator& operator--() noexcept
      requires(Core::ordered)
    {
      at_ = core_->previous(at_);
      return *this;
    }
    const_iterator operator--(int) noexcept
      requires(Core::ordered)
    {
      const_iterator old = *this;
      --*this;
      return old;
    }
    friend bool operator==(const const_iterator& a, const const_iterator& b) noexcept {
      return a.at_ == b.at_;
    }

   private:
    friend associative;
    const_iterator(const Core& core, node* at) noexcept : core_(&core), at_(at) {}

    const Core* core_ = nullptr;
    node* at_ = nullptr;
  };
  using iterator = const_iterator;

  associative() noexcept = default;
  associative(std::initializer_list<value_type> values) { insert_each(values); }
  template <std::input_iterator Iterator, std::sentinel_for<Iterator> End>
  associative(Iterator first, End last) {
    for (; first != last; ++first) insert(value_type(*first));
  }
  template <std::ranges::input_range Range>
    requires(!std::derived_from<std::remove_cvref_t<Range>, associative> &&
             std::constructible_from<value_type, std::ranges::range_reference_t<Range>>)
  explicit associative(Range&& range) {
    insert_each(std::forward<Range>(range));
  }

  associative(const associative& other) : kept_base() {
    core_.reserve(other.size());
    insert_each(other);
  }
  /// Takes the contents; but copies them from a container that is in a state, since undo needs
  /// them there. That copy may throw.
  associative(associative&& other) {  // NOLINT(performance-noexcept-move-constructor)
    if (other.attached()) {
      associative copy{std::as_const(other)};
      core_.swap(copy.core_);
      other.clear();
    } else {
      core_.swap(other.core_);
    }
  }
  associative& operator=(const associative& other) {
    if (this != &other) {
      associative copy{other};
      replace_contents(copy.core_);
    }
    return *this;
  }
  associative& operator=(associative&& other) {  // NOLINT(performance-noexcept-move-constructor)
    if (this != &other) {
      associative taken{std::move(other)};
      replace_contents(taken.core_);
    }
    return *this;
  }
  associative& operator=(std::initializer_list<value_type> values) {
    associative fresh(values);
    replace_contents(fresh.core_);
    return *this;
  }
  ~associative() {
    if (logging()) log_->template bury<buried_contents<associative>>(this, *this, *log_);
  }

  // Reading.

  [[nodiscard]] size_type size() const noexcept { return core_.size(); }
  [[nodiscard]] bool empty() const noexcept { return core_.size() == 0; }
  [[nodiscard]] const_iterator begin() const noexcept { return {core_, core_.first()}; }
  [[nodiscard]] const_iterator end() const noexcept { return {core_, nullptr}; }
  [[nodiscard]] const_iterator cbegin() const noexcept { return begin(); }
  [[nodiscard]] const_iterator cend() const noexcept { return end(); }

  [[nodiscard]] const_iterator find(const key_type& key) const { return {core_, core_.find(key)}; }
  template <class Query>
    requires can_query<Query>
  [[nodiscard]] const_iterator find(const Query& key) const {
    return {core_, core_.find(key)};
  }
  [[nodiscard]] bool contains(const key_type& key) const { return core_.find(key) != nullptr; }
  template <class Query>
    requires can_query<Query>
  [[nodiscard]] bool contains(const Query& key) const {
    return core_.find(key) != nullptr;
  }
  [[nodiscard]] size_type count(const key_type& key) const { return contains(key) ? 1 : 0; }
  template <class Query>
    requires can_query<Query>
  [[nodiscard]] size_type count(const Query& key) const {
    return contains(key) ? 1 : 0;
  }
  [[nodiscard]] const_iterator lower_bound(const key_type& key) const
    requires(Core::ordered)
  {
    return {core_, core_.lower_bound(key)};
  }
  [[nodiscard]] const_iterator upper_bound(const key_type& key) const
    requires(Core::ordered)
  {
    return {core_, core_.upper_bound(key)};
  }
  template <class Query>
    requires(Core::ordered && can_query<Query>)
  [[nodiscard]] const_iterator lower_bound(const Query& key) const {
    return {core_, core_.lower_bound(key)};
  }
  template <class Query>
    requires(Core::ordered && can_query<Query>)
  [[nodiscard]] const_iterator upper_bound(const Query& key) const {
    return {core_, core_.upper_bound(key)};
  }
  [[nodiscard]] auto rbegin() const noexcept
    requires(Core::ordered)
  {
    return std::make_reverse_iterator(end());
  }
  [[nodiscard]] auto rend() const noexcept
    requires(Core::ordered)
  {
    return std::make_reverse_iterator(begin());
  }

  friend bool operator==(const associative& a, const associative& b) { return a.equals(b); }

  // Changing. Every function has the strong guarantee.

  std::pair<const_iterator, bool> insert(const value_type& value) { return insert_value(value); }
  std::pair<const_iterator, bool> insert(value_type&& value) {
    return insert_value(std::move(value));
  }
  /// One by one: an exception keeps those that went before.
  template <std::input_iterator Iterator, std::sentinel_for<Iterator> End>
  void insert(Iterator first, End last) {
    for (; first != last; ++first) insert(value_type(*first));
  }
  void insert(std::initializer_list<value_type> values) { insert_each(values); }

  template <class... Arguments>
  std::pair<const_iterator, bool> emplace(Arguments&&... arguments) {
    auto fresh = std::make_unique<node>(std::in_place, std::forward<Arguments>(arguments)...);
    auto [existing, where] = core_.locate(key_of(*fresh));
    if (existing != nullptr) return {{core_, existing}, false};
    return {{core_, link(std::move(fresh), where)}, true};
  }

  /// RETURNS: how many have gone, 0 or 1.
  size_type erase(const key_type& key) { return erase_node(core_.find(key)); }
  template <class Query>
    requires(can_query<Query> && !std::is_convertible_v<const Query&, const_iterator>)
  size_type erase(const Query& key) {
    return erase_node(core_.find(key));
  }
  /// REQUIRES: `at` is an element of this. RETURNS: the next one.
  const_iterator erase(const_iterator at) {
    node* const next = core_.next(at.at_);
    erase_node(at.at_);
    return {core_, next};
  }
  const_iterator erase(const_iterator first, const_iterator last) {
    while (first != last) first = erase(first);
    return last;
  }
  /// Erases those for which predicate(const value_type&) holds. RETURNS: how many.
  template <class Predicate>
  size_type erase_if(Predicate predicate) {
    size_type erased = 0;
    for (auto it = begin(); it != end();) {
      if (predicate(*it)) {
        it = erase(it);
        ++erased;
      } else {
        ++it;
      }
    }
    return erased;
  }

  /// O(1) now; the elements are destroyed when the callback has committed.
  void clear() {
    if (empty()) return;
    Core none;
    replace_contents(none);
  }

  void swap(associative& other) { swap_with(other); }
  friend void swap(associative& a, associative& b) { a.swap_with(b); }

  /// Room for `count` elements in all. Not a change.
  void reserve(size_type count)
    requires(!Core::ordered)
  {
    core_.reserve(count);
  }

  // For the library itself.

  void swap_contents(Core& other) noexcept { core_.swap(other); }
  void rejoin(change_log& log) noexcept { log_ = &log; }
  void attach(change_log* log) noexcept {
    log_ = log;
    attach_elements();
  }

  void encode_contents(cbor_writer& out) const { encode_core(out, core_); }
  [[nodiscard]] bool decode_contents(cbor_reader& in);
  void write_assign(change_log& log) const {
    encode_contents(log.write_operation(this, change_operation::assign, 1));
  }
  [[nodiscard]] bool apply_change(cbor_reader& in, std::size_t path, std::size_t arguments);

  template <class... Seen>
  static consteval obstacle element_obstacle() {
    constexpr obstacle of_key = obstacle_of<key_type, Seen...>();
    if constexpr (of_key != obstacle::none || !is_map) {
      return of_key;
    } else {
      constexpr obstacle of_mapped = obstacle_of<Mapped, Seen...>();
      if constexpr (of_mapped != obstacle::none) {
        return of_mapped;
      } else {
        return leaves_restorable<Mapped>() ? obstacle::none : obstacle::throwing_move;
      }
    }
  }
  template <class... Seen>
  static consteval bool elements_encodable() {
    if constexpr (!std::is_default_constructible_v<key_type> || !can_encode<key_type, Seen...>()) {
      return false;
    } else if constexpr (is_map) {
      return std::is_default_constructible_v<Mapped> && can_encode<Mapped, Seen...>();
    } else {
      return true;
    }
  }
  template <class>
  static consteval bool element_can_be_null() {
    return false;
  }

 protected:
  struct linked_record : change_record_of<linked_record> {
    linked_record(associative& self_in, node* element_in) noexcept
        : self(&self_in), element(element_in) {}
    void undo() noexcept {
      self->core_.unlink(element);
      delete element;
    }
    associative* self;
    node* element;
  };

  struct unlinked_record : change_record_of<unlinked_record> {
    unlinked_record(associative& self_in, node* element_in) noexcept
        : self(&self_in), element(element_in) {}
    unlinked_record(const unlinked_record&) = delete;
    unlinked_record& operator=(const unlinked_record&) = delete;
    ~unlinked_record() { delete element; }
    void undo() noexcept { self->core_.relink(std::exchange(element, nullptr), position); }
    associative* self;
    node* element;
    typename Core::position position{};
  };

  struct replaced_record : change_record_of<replaced_record> {
    using mapped = std::conditional_t<is_map, Mapped, key_type>;
    template <class Value>
    replaced_record(mapped& element_in, Value&& value_in)
        : element(&element_in), value(std::forward<Value>(value_in)) {}
    void undo() noexcept { std::ranges::swap(*element, value); }
    mapped* element;
    mapped value;
  };

  struct swapped_record : change_record_of<swapped_record> {
    swapped_record(associative& a_in, associative& b_in) noexcept : a(&a_in), b(&b_in) {}
    void undo() noexcept { a->core_.swap(b->core_); }
    associative* a;
    associative* b;
  };

  static const key_type& key_of_value(const value_type& value) noexcept {
    if constexpr (is_map) {
      return value.first;
    } else {
      return value;
    }
  }
  static const key_type& key_of(const node& n) noexcept { return key_of_value(n.value); }
  static decltype(auto) mapped_of(const node& n) noexcept {
    if constexpr (is_map) {
      return (n.value.second);
    } else {
      return nothing{};
    }
  }
  /// Calls with each element.
  static auto elements_of(const Core& core) noexcept {
    return [&core](auto&& each) {
      for (const node* n = core.first(); n != nullptr; n = core.next(n)) each(n->value);
    };
  }

  template <class Range>
  void insert_each(Range&& range) {
    for (auto&& value : range) insert(std::forward<decltype(value)>(value));
  }

  template <class Value>
  std::pair<const_iterator, bool> insert_value(Value&& value) {
    auto [existing, where] = core_.locate(key_of_value(value));
    if (existing != nullptr) return {{core_, existing}, false};
    auto fresh = std::make_unique<node>(std::in_place, std::forward<Value>(value));
    return {{core_, link(std::move(fresh), where)}, true};
  }

  /// Adds a node that belongs at `where`.
  node* link(std::unique_ptr<node> fresh, const typename Core::place& where) {
    core_.prepare_link();
    node* const n = fresh.get();
    if (logging()) {
      auto record = log_->stage<linked_record>(*this, n);
      if (log_->followed()) [[unlikely]] {
        write_put(*n);
        note_inserted(*log_, *this, key_of(*n), mapped_of(*n));
      }
      core_.link(fresh.release(), where);
      record.publish();
    } else {
      core_.link(fresh.release(), where);
    }
    attach_element(*n);
    return n;
  }

  size_type erase_node(node* n) {
    if (n == nullptr) return 0;
    if constexpr (is_map) refuse_if_open_element(&n->value.second);
    if (logging()) {
      // The record owns the node only once it is valid.
      auto record = log_->stage<unlinked_record>(*this, nullptr);
      if (log_->followed()) [[unlikely]] {
        if constexpr (elements_encodable<void>()) {
          if (log_->redoing()) {
            encode_value(log_->write_operation(this, change_operation::erase, 1), key_of(*n));
          }
        }
        note_erased(*log_, *this, key_of(*n), mapped_of(*n));
      }
      record->position = core_.unlink(n);
      record->element = n;
      record.publish();
    } else {
      core_.unlink(n);
      delete n;
    }
    return 1;
  }

  void write_put(const node& n) {
    if constexpr (is_map) {
      write_put(n.value.first, n.value.second);
    } else {
      write_put(n.value, nothing{});
    }
  }
  template <class Value>
  void write_put(const key_type& key, const Value& value) {
    if (!log_->redoing()) return;
    if constexpr (elements_encodable<void>()) {
      cbor_writer& out = log_->write_operation(this, change_operation::put, is_map ? 2U : 1U);
      encode_value(out, key);
      if constexpr (is_map) encode_value(out, value);
    }
  }

  static void encode_core(cbor_writer& out, const Core& core) {
    const cbor_writer::nesting level{out};
    if constexpr (is_map) {
      out.map(core.size());
    } else {
      out.array(core.size());
    }
    for (const node* n = core.first(); n != nullptr; n = core.next(n)) {
      encode_value(out, key_of(*n));
      if constexpr (is_map) encode_value(out, n->value.second);
    }
  }

  /// Takes the contents of `fresh`, which no state has.
  void replace_contents(Core& fresh) {
    refuse_if_open();
    if (logging()) {
      auto record = log_->stage<contents_record<associative>>(*this);
      if (log_->followed()) [[unlikely]] {
        if constexpr (elements_encodable<void>()) {
          if (!log_->redoing()) {
            // Only noted.
          } else if (fresh.size() == 0) {
            log_->write_operation(this, change_operation::clear, 0);
          } else {
            encode_core(log_->write_operation(this, change_operation::assign, 1), fresh);
          }
        }
        note_assigned(*log_, *this, elements_of(core_), elements_of(fresh));
      }
      core_.swap(record->contents);
      core_.swap(fresh);
      record.publish();
    } else {
      core_.swap(fresh);
    }
    attach_elements();
  }

  void swap_with(associative& other) {
    if (this == &other) return;
    if (log_ != other.log_) {
      // One side is in no state: what leaves the state has to stay for undo as well.
      associative mine{std::as_const(*this)};
      *this = std::move(other);
      other = std::move(mine);
      return;
    }
    refuse_if_open();
    other.refuse_if_open();
    if (logging()) {
      auto record = log_->stage<swapped_record>(*this, other);
      if (log_->followed()) [[unlikely]] {
        if constexpr (elements_encodable<void>()) {
          if (log_->redoing()) {
            encode_core(log_->write_operation(this, change_operation::assign, 1), other.core_);
            encode_core(log_->write_operation(&other, change_operation::assign, 1), core_);
          }
        }
        note_assigned(*log_, *this, elements_of(core_), elements_of(other.core_));
        note_assigned(*log_, other, elements_of(other.core_), elements_of(core_));
      }
      core_.swap(other.core_);
      record.publish();
    } else {
      core_.swap(other.core_);
    }
  }

  void attach_element(node& n) noexcept {
    if constexpr (nested) {
      if (log_ != nullptr) attach_all(n.value.second, log_);
    }
  }
  void attach_elements() noexcept {
    if constexpr (nested) {
      if (log_ == nullptr) return;
      for (node* n = core_.first(); n != nullptr; n = core_.next(n)) attach_element(*n);
    }
  }

  [[nodiscard]] bool equals(const associative& other) const {
    if (size() != other.size()) return false;
    if constexpr (Core::ordered) {
      return std::equal(begin(), end(), other.begin());
    } else {
      return std::all_of(begin(), end(), [&](const value_type& value) {
        const node* const found = other.core_.find(key_of_value(value));
        if (found == nullptr) return false;
        if constexpr (is_map) {
          return found->value.second == value.second;
        } else {
          return true;
        }
      });
    }
  }
  static node* node_of(const_iterator it) noexcept { return it.at_; }
  const_iterator iterator_to(node* n) const noexcept { return {core_, n}; }

  /// Gives an existing element another mapped value.
  template <class Value>
  void assign_node(node& n, Value&& value) {
    Mapped& mapped = n.value.second;
    if constexpr (!nested && std::is_nothrow_swappable_v<Mapped> &&
                  std::constructible_from<Mapped, Value&&>) {
      if (logging() && (log_->nothing_open() || !log_->is_open_element(&mapped))) {
        // The new value is built in the record and swapped with the old one: no copy of that.
        auto record = log_->stage<replaced_record>(mapped, std::forward<Value>(value));
        if (log_->followed()) [[unlikely]] {
          write_put(key_of(n), record->value);
          if (!same(mapped, record->value)) {
            note_replaced(*log_, *this, key_of(n), mapped, record->value);
          }
        }
        std::ranges::swap(mapped, record->value);
        record.publish();
        return;
      }
    }
    modify_node(n, [&](Mapped& old) { old = std::forward<Value>(value); });
  }

  /// Runs fn, which works on the element just added; takes that away again if fn throws.
  template <class F>
  auto guard_added(const_iterator added, const change_log::mark& before, F&& fn) {
    try {
      return fn();
    } catch (...) {
      node* const n = added.at_;
      if (!logging()) {
        core_.unlink(n);
        delete n;
      } else if (!log_->doomed()) {
        log_->undo_to(before, [] {});
      }
      throw;
    }
  }

  /// Runs fn on the mapped value of a node.
  template <class F>
  auto modify_node(node& n, F&& fn) {
    Mapped& mapped = n.value.second;
    if (!logging()) return modify_unlogged(log_, mapped, std::forward<F>(fn));
    open_element element;
    element.container = this;
    element.key = &n.value.first;
    if constexpr (elements_encodable<void>()) {
      element.write_key = [](const open_element& self, cbor_writer& out) {
        encode_value(out, *static_cast<const key_type*>(self.key));
      };
    }
    const auto write = [&] { write_put(n); };
    element_follower<Mapped, associative, key_type, decltype(write)> follower{*log_, *this,
                                                                              key_of(n), write};
    return modify_logged<Mapped>(*log_, element, fixed_place<Mapped>{&mapped}, follower,
                                 std::forward<F>(fn));
  }

  Core core_;
};

// ---------------------------------------------------------------------------- decoding

template <class Core, class Mapped>
bool associative<Core, Mapped>::decode_contents(cbor_reader& in) {
  std::size_t count = 0;
  if (!(is_map ? in.map(count) : in.array(count))) return false;
  associative fresh;
  for (; count > 0; --count) {
    key_type key{};
    if (!decode_value(in, key)) return false;
    bool added = false;
    if constexpr (is_map) {
      Mapped mapped{};
      if (!decode_value(in, mapped)) return false;
      added = fresh.emplace(std::move(key), std::move(mapped)).second;
    } else {
      added = fresh.emplace(std::move(key)).second;
    }
    if (!added) return in.fail("a key is there twice");
  }
  replace_contents(fresh.core_);
  return true;
}

template <class Core, class Mapped>
bool associative<Core, Mapped>::apply_change(cbor_reader& in, std::size_t path,
                                             std::size_t arguments) {
  if (path > 0) {
    if constexpr (nested) {
      key_type key{};
      if (!decode_value(in, key)) return false;
      node* const found = core_.find(key);
      if (found == nullptr) return in.fail("there is no element with this key");
      bool ok = false;
      modify_node(*found, [&](Mapped& mapped) { ok = apply_to(in, mapped, path - 1, arguments); });
      return ok;
    } else {
      return in.fail("elements of this container are not containers");
    }
  }
  std::uint64_t operation = 0;
  if (!in.natural(operation)) return false;
  switch (static_cast<change_operation>(operation)) {
    case change_operation::assign:
      if (arguments != 1) break;
      return decode_contents(in);
    case change_operation::clear:
      if (arguments != 0) break;
      clear();
      return true;
    case change_operation::put: {
      if (arguments != (is_map ? 2U : 1U)) break;
      key_type key{};
      if (!decode_value(in, key)) return false;
      if constexpr (is_map) {
        Mapped mapped{};
        if (!decode_value(in, mapped)) return false;
        if (node* const found = core_.find(key)) {
          modify_node(*found, [&](Mapped& old) { old = std::move(mapped); });
        } else {
          emplace(std::move(key), std::move(mapped));
        }
      } else {
        emplace(std::move(key));
      }
      return true;
    }
    case change_operation::erase: {
      if (arguments != 1) break;
      key_type key{};
      if (!decode_value(in, key)) return false;
      return erase(key) == 1 || in.fail("there is no element with this key");
    }
    default: break;
  }
  return in.fail("this container has no such operation");
}

}  // namespace peeper::detail
