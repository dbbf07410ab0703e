// SPDX-License-Identifier: Apache-2.0
//
// kept_vector and kept_deque: sequences that roll back.
//
// As std::vector and std::deque, but read-only through iterators and references: an element changes
// through modify(), set() or the proxy that [] returns, so that the log of the state sees it.
// Elements lie side by side (kept_deque: in a ring that grows), unless they are or have kept
// containers: then each lies by itself and does not move. Neither gives memory back before it is
// cleared or assigned to, so that a rollback never has to ask for any.
// Iterators are indices: they stay valid, and name another element after an insertion before them.
//
// THREADS: as std containers; in a state, by that server's callback only.
// CRASH: (an exception in the callback) contents and order are as of the last commit.
//
//   peeper::kept_deque<std::string> jobs;
//   jobs.push_back("clean");
//   jobs.modify(0, [](std::string& job) { job += " up"; });
//   jobs.pop_front();
#pragma once

#include <algorithm>
#include <compare>
#include <concepts>
#include <cstddef>
#include <initializer_list>
#include <iterator>
#include <memory>
#include <ranges>
#include <type_traits>
#include <utility>

#include <boost/circular_buffer.hpp>
#include <boost/container/vector.hpp>

#include <peeper/kept/modify.hpp>
#include <peeper/kept/proxy.hpp>

namespace peeper::detail {

// ---------------------------------------------------------------------------- storage

/// Side by side. (Not std::vector, which makes bits of bools.)
template <class Cell>
class vector_storage {
 public:
  static constexpr bool both_ends = false;

  [[nodiscard]] std::size_t size() const noexcept { return cells_.size(); }
  [[nodiscard]] Cell& operator[](std::size_t i) noexcept { return cells_.data()[i]; }
  [[nodiscard]] const Cell& operator[](std::size_t i) const noexcept { return cells_.data()[i]; }
  [[nodiscard]] const Cell* data() const noexcept { return cells_.data(); }

  /// Throws std::bad_alloc: nothing changed.
  void make_room(std::size_t more) {
    if (cells_.capacity() - cells_.size() < more) {
      cells_.reserve(std::max(cells_.capacity() * 2, cells_.size() + more));
    }
  }
  /// REQUIRES: make_room().
  void insert(std::size_t at, Cell&& cell) noexcept {
    if (at == cells_.size()) {
      cells_.push_back(std::move(cell));
    } else {
      cells_.insert(cells_.begin() + static_cast<std::ptrdiff_t>(at), std::move(cell));
    }
  }
  /// Moves the last `count` to `at`.
  void rotate_tail(std::size_t at, std::size_t count) noexcept {
    std::rotate(cells_.data() + at, cells_.data() + cells_.size() - count,
                cells_.data() + cells_.size());
  }
  void erase(std::size_t at, std::size_t count) noexcept {
    const auto first = cells_.begin() + static_cast<std::ptrdiff_t>(at);
    cells_.erase(first, first + static_cast<std::ptrdiff_t>(count));
  }
  void swap(vector_storage& other) noexcept { cells_.swap(other.cells_); }

 private:
  boost::container::vector<Cell> cells_;
};

/// A ring: both ends grow and shrink in O(1), and, other than in a std::deque, popping frees
/// nothing that taking the pop back would have to ask for again.
template <class Cell>
class ring_storage {
 public:
  static constexpr bool both_ends = true;

  [[nodiscard]] std::size_t size() const noexcept { return cells_.size(); }
  [[nodiscard]] Cell& operator[](std::size_t i) noexcept { return cells_[i]; }
  [[nodiscard]] const Cell& operator[](std::size_t i) const noexcept { return cells_[i]; }

  void make_room(std::size_t more) {
    if (cells_.reserve() < more) {
      cells_.set_capacity(std::max(cells_.capacity() * 2, cells_.size() + std::max(more, 4UL)));
    }
  }
  void insert(std::size_t at, Cell&& cell) noexcept {
    if (at == 0) {
      cells_.push_front(std::move(cell));
    } else {
      cells_.push_back(std::move(cell));
      if (at + 1 != cells_.size()) rotate_tail(at, 1);
    }
  }
  void rotate_tail(std::size_t at, std::size_t count) noexcept {
    std::rotate(cells_.begin() + static_cast<std::ptrdiff_t>(at),
                cells_.end() - static_cast<std::ptrdiff_t>(count), cells_.end());
  }
  void erase(std::size_t at, std::size_t count) noexcept {
    if (count == 0) return;
    if (at == 0) {
      for (; count > 0; --count) cells_.pop_front();
    } else {
      const auto first = cells_.begin() + static_cast<std::ptrdiff_t>(at);
      cells_.erase(first, first + static_cast<std::ptrdiff_t>(count));
    }
  }
  void swap(ring_storage& other) noexcept { cells_.swap(other.cells_); }

 private:
  boost::circular_buffer<Cell> cells_;
};

// ---------------------------------------------------------------------------- sequence

template <class T, template <class> class Storage>
class sequence : public kept_base {
  static constexpr bool nested = holds_kept<T>;
  using cell = std::conditional_t<nested, std::unique_ptr<T>, T>;
  using storage = Storage<cell>;

 public:
  using base_type = sequence;
  using contents_type = storage;
  using value_type = T;
  using mapped_type = T;
  using size_type = std::size_t;
  using difference_type = std::ptrdiff_t;
  using reference = const T&;
  using const_reference = const T&;
  using change_key = std::size_t;
  using change_value = T;

  class const_iterator {
   public:
    using value_type = T;
    using reference = const T&;
    using pointer = const T*;
    using difference_type = std::ptrdiff_t;
    using iterator_category = std::random_access_iterator_tag;

    const_iterator() = default;
    reference operator*() const noexcept { return self_->element(index()); }
    pointer operator->() const noexcept { return &self_->element(index()); }
    reference operator[](difference_type n) const noexcept { return *(*this + n); }
    const_iterator& operator++() noexcept { return *this += 1; }
    const_iterator operator++(int) noexcept { return std::exchange(*this, *this + 1); }
    const_iterator& operator--() noexcept { return *this -= 1; }
    const_iterator operator--(int) noexcept { return std::exchange(*this, *this - 1); }
    const_iterator& operator+=(difference_type n) noexcept {
      at_ += n;
      return *this;
    }
    const_iterator& operator-=(difference_type n) noexcept { return *this += -n; }
    friend const_iterator operator+(const_iterator it, difference_type n) noexcept {
      return it += n;
    }
    friend const_iterator operator+(difference_type n, const_iterator it) noexcept {
      return it += n;
    }
    friend const_iterator operator-(const_iterator it, difference_type n) noexcept {
      return it -= n;
    }
    friend difference_type operator-(const const_iterator& a, const const_iterator& b) noexcept {
      return a.at_ - b.at_;
    }
    friend bool operator==(const const_iterator& a, const const_iterator& b) noexcept {
      return a.at_ == b.at_;
    }
    friend auto operator<=>(const const_iterator& a, const const_iterator& b) noexcept {
      return a.at_ <=> b.at_;
    }

   private:
    friend sequence;
    const_iterator(const sequence& self, std::size_t at) noexcept
        : self_(&self), at_(static_cast<difference_type>(at)) {}
    [[nodiscard]] std::size_t index() const noexcept { return static_cast<std::size_t>(at_); }

    const sequence* self_ = nullptr;
    difference_type at_ = 0;
  };
  using iterator = const_iterator;

  // Boost does not say so, but making an empty sequence cannot throw.
  sequence() noexcept {}  // NOLINT(modernize-use-equals-default)
  sequence(std::initializer_list<T> values) { fill(values); }
  explicit sequence(size_type count, const T& value = T()) {
    cells_.make_room(count);
    for (; count > 0; --count) cells_.insert(cells_.size(), make_cell(value));
  }
  template <std::input_iterator Iterator, std::sentinel_for<Iterator> End>
  sequence(Iterator first, End last) {
    fill(std::ranges::subrange(std::move(first), std::move(last)));
  }
  template <std::ranges::input_range Range>
    requires(!std::derived_from<std::remove_cvref_t<Range>, sequence> &&
             std::constructible_from<T, std::ranges::range_reference_t<Range>>)
  explicit sequence(Range&& range) {
    fill(std::forward<Range>(range));
  }

  sequence(const sequence& other) : kept_base() { fill(other); }
  /// Takes the contents; but copies them from a container that is in a state, since undo needs
  /// them there. That copy may throw.
  sequence(sequence&& other) {  // NOLINT(performance-noexcept-move-constructor)
    if (other.attached()) {
      sequence copy{std::as_const(other)};
      cells_.swap(copy.cells_);
      other.clear();
    } else {
      cells_.swap(other.cells_);
    }
  }
  sequence& operator=(const sequence& other) {
    if (this != &other) {
      sequence copy{other};
      replace_contents(copy.cells_);
    }
    return *this;
  }
  sequence& operator=(sequence&& other) {  // NOLINT(performance-noexcept-move-constructor)
    if (this != &other) {
      sequence taken{std::move(other)};
      replace_contents(taken.cells_);
    }
    return *this;
  }
  sequence& operator=(std::initializer_list<T> values) {
    assign(values);
    return *this;
  }
  ~sequence() {
    if (logging()) log_->template bury<buried_contents<sequence>>(this, *this, *log_);
  }

  // Reading.

  [[nodiscard]] size_type size() const noexcept { return cells_.size(); }
  [[nodiscard]] bool empty() const noexcept { return cells_.size() == 0; }
  [[nodiscard]] const_iterator begin() const noexcept { return {*this, 0}; }
  [[nodiscard]] const_iterator end() const noexcept { return {*this, size()}; }
  [[nodiscard]] const_iterator cbegin() const noexcept { return begin(); }
  [[nodiscard]] const_iterator cend() const noexcept { return end(); }
  [[nodiscard]] auto rbegin() const noexcept { return std::make_reverse_iterator(end()); }
  [[nodiscard]] auto rend() const noexcept { return std::make_reverse_iterator(begin()); }
  /// Throws std::out_of_range.
  [[nodiscard]] const T& at(size_type index) const {
    check(index);
    return element(index);
  }
  [[nodiscard]] const T& operator[](size_type index) const noexcept { return element(index); }
  /// REQUIRES: not empty().
  [[nodiscard]] const T& front() const noexcept { return element(0); }
  [[nodiscard]] const T& back() const noexcept { return element(size() - 1); }
  [[nodiscard]] const T* data() const noexcept
    requires(!nested && !storage::both_ends)
  {
    return cells_.data();
  }

  friend bool operator==(const sequence& a, const sequence& b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end());
  }
  friend auto operator<=>(const sequence& a, const sequence& b)
    requires std::three_way_comparable<T>
  {
    return std::lexicographical_compare_three_way(a.begin(), a.end(), b.begin(), b.end());
  }

  // Changing. Every function has the strong guarantee.

  /// A proxy: reading it is at(), assigning is set(), += and the like are modify().
  [[nodiscard]] auto operator[](size_type index) noexcept { return proxy{*this, index}; }

  void push_back(const T& value) { emplace_back(value); }
  void push_back(T&& value) { emplace_back(std::move(value)); }
  template <class... Arguments>
  const T& emplace_back(Arguments&&... arguments) {
    insert_cell(size(), make_cell(std::forward<Arguments>(arguments)...));
    return back();
  }
  /// REQUIRES: not empty().
  void pop_back() { erase_at(size() - 1, 1); }

  void push_front(const T& value)
    requires(storage::both_ends)
  {
    emplace_front(value);
  }
  void push_front(T&& value)
    requires(storage::both_ends)
  {
    emplace_front(std::move(value));
  }
  template <class... Arguments>
  const T& emplace_front(Arguments&&... arguments)
    requires(storage::both_ends)
  {
    insert_cell(0, make_cell(std::forward<Arguments>(arguments)...));
    return front();
  }
  /// REQUIRES: not empty().
  void pop_front()
    requires(storage::both_ends)
  {
    erase_at(0, 1);
  }

  const_iterator insert(const_iterator before, const T& value) { return emplace(before, value); }
  const_iterator insert(const_iterator before, T&& value) {
    return emplace(before, std::move(value));
  }
  template <std::input_iterator Iterator, std::sentinel_for<Iterator> End>
  const_iterator insert(const_iterator before, Iterator first, End last) {
    insert_range(before.index(), std::ranges::subrange(std::move(first), std::move(last)));
    return before;
  }
  const_iterator insert(const_iterator before, std::initializer_list<T> values) {
    insert_range(before.index(), values);
    return before;
  }
  template <class... Arguments>
  const_iterator emplace(const_iterator before, Arguments&&... arguments) {
    insert_cell(before.index(), make_cell(std::forward<Arguments>(arguments)...));
    return before;
  }
  /// Adds all at the end, as one change.
  template <std::ranges::input_range Range>
  void append_range(Range&& range) {
    insert_range(size(), std::forward<Range>(range));
  }
  /// REQUIRES: `at` is an element of this. RETURNS: the next one.
  const_iterator erase(const_iterator at) {
    erase_at(at.index(), 1);
    return at;
  }
  const_iterator erase(const_iterator first, const_iterator last) {
    erase_at(first.index(), last.index() - first.index());
    return first;
  }
  /// Erases those for which predicate(const T&) holds. RETURNS: how many.
  template <class Predicate>
  size_type erase_if(Predicate predicate) {
    size_type erased = 0;
    for (size_type i = 0; i < size();) {
      if (predicate(element(i))) {
        erase_at(i, 1);
        ++erased;
      } else {
        ++i;
      }
    }
    return erased;
  }
  void resize(size_type count, const T& value = T()) {
    if (count < size()) {
      erase_at(count, size() - count);
    } else if (count > size()) {
      sequence more(count - size(), value);
      insert_cells(size(), more.cells_);
    }
  }
  /// O(1) now; the elements are destroyed when the callback has committed.
  void clear() {
    if (empty()) return;
    storage none;
    replace_contents(none);
  }
  template <std::ranges::input_range Range>
  void assign(Range&& range) {
    sequence fresh;
    fresh.fill(std::forward<Range>(range));
    replace_contents(fresh.cells_);
  }
  template <std::input_iterator Iterator, std::sentinel_for<Iterator> End>
  void assign(Iterator first, End last) {
    assign(std::ranges::subrange(std::move(first), std::move(last)));
  }
  void assign(size_type count, const T& value) {
    sequence fresh(count, value);
    replace_contents(fresh.cells_);
  }

  /// Throws std::out_of_range.
  template <class Value = T>
  void set(size_type index, Value&& value) {
    check(index);
    if constexpr (!nested) {
      T& old = cells_[index];
      if (logging() && (log_->nothing_open() || !log_->is_open_element(&old))) {
        auto record = log_->stage<set_record>(*this, index, std::forward<Value>(value));
        if (log_->followed()) [[unlikely]] {
          write_set(index, record->value);
          if (!same(old, record->value)) note_replaced(*log_, *this, index, old, record->value);
        }
        std::ranges::swap(old, record->value);
        record.publish();
        return;
      }
    }
    modify_at(index, [&](T& old) { old = std::forward<Value>(value); });
  }

  /// Runs fn(T&) on an element. The reference must not outlive fn, and inside fn this sequence can
  /// be neither inserted into nor erased from. If fn throws, what it did to the element is undone.
  /// Throws std::out_of_range.
  /// RETURNS: what fn returns.
  template <class F>
    requires modifier<T, F>
  auto modify(size_type index, F&& fn) {
    check_modifier<T, F>();
    check(index);
    return modify_at(index, std::forward<F>(fn));
  }
  template <class F>
    requires modifier<T, F>
  auto modify(const_iterator at, F&& fn) {
    return modify(at.index(), std::forward<F>(fn));
  }

  void swap(sequence& other) { swap_with(other); }
  friend void swap(sequence& a, sequence& b) { a.swap_with(b); }

  /// Room for `count` elements in all. Not a change.
  void reserve(size_type count) {
    refuse_if_open();
    if (count > size()) cells_.make_room(count - size());
  }

  // For the library itself.

  void swap_contents(storage& other) noexcept { cells_.swap(other); }
  void rejoin(change_log& log) noexcept { log_ = &log; }
  void attach(change_log* log) noexcept {
    log_ = log;
    attach_elements();
  }
  void encode_contents(cbor_writer& out) const { encode_cells(out, cells_); }
  [[nodiscard]] bool decode_contents(cbor_reader& in) {
    sequence fresh;
    if (!decode_cells(in, fresh.cells_)) return false;
    replace_contents(fresh.cells_);
    return true;
  }
  void write_assign(change_log& log) const {
    encode_contents(log.write_operation(this, change_operation::assign, 1));
  }
  [[nodiscard]] bool apply_change(cbor_reader& in, std::size_t path, std::size_t arguments);

  template <class... Seen>
  static consteval obstacle element_obstacle() {
    constexpr obstacle found = obstacle_of<T, Seen...>();
    if constexpr (found != obstacle::none) {
      return found;
    } else if constexpr (nested) {
      return leaves_restorable<T>() ? obstacle::none : obstacle::throwing_move;
    } else {
      return movable ? obstacle::none : obstacle::throwing_move;
    }
  }
  template <class... Seen>
  static consteval bool elements_encodable() {
    return std::is_default_constructible_v<T> && can_encode<T, Seen...>();
  }
  template <class>
  static consteval bool element_can_be_null() {
    return false;
  }

 private:
  static constexpr bool movable =
      std::is_nothrow_move_constructible_v<T> && std::is_nothrow_move_assignable_v<T>;

  struct inserted_record : change_record_of<inserted_record> {
    inserted_record(sequence& self_in, std::size_t index_in, std::size_t count_in) noexcept
        : self(&self_in), index(index_in), count(count_in) {}
    void undo() noexcept { self->cells_.erase(index, count); }
    sequence* self;
    std::size_t index;
    std::size_t count;
  };

  struct erased_record : change_record_of<erased_record> {
    erased_record(sequence& self_in, std::size_t index_in) noexcept
        : self(&self_in), index(index_in) {}
    void undo() noexcept { self->cells_.insert(index, std::move(*element)); }
    sequence* self;
    std::size_t index;
    std::optional<cell> element;
  };

  struct erased_range_record : change_record_of<erased_range_record> {
    erased_range_record(sequence& self_in, std::size_t index_in) noexcept
        : self(&self_in), index(index_in) {}
    void undo() noexcept {
      // There is room: the capacity never shrinks, and once held all of them.
      storage& cells = self->cells_;
      for (std::size_t i = 0; i < elements.size(); ++i) {
        cells.insert(cells.size(), std::move(elements[i]));
      }
      cells.rotate_tail(index, elements.size());
    }
    sequence* self;
    std::size_t index;
    vector_storage<cell> elements;
  };

  struct set_record : change_record_of<set_record> {
    template <class Value>
    set_record(sequence& self_in, std::size_t index_in, Value&& value_in)
        : self(&self_in), index(index_in), value(std::forward<Value>(value_in)) {}
    void undo() noexcept { std::ranges::swap(self->cells_[index], value); }
    sequence* self;
    std::size_t index;
    cell value;
  };

  struct swapped_record : change_record_of<swapped_record> {
    swapped_record(sequence& a_in, sequence& b_in) noexcept : a(&a_in), b(&b_in) {}
    void undo() noexcept { a->cells_.swap(b->cells_); }
    sequence* a;
    sequence* b;
  };

  /// An element that moves with its neighbours is found by index. When the record is undone, that
  /// is its index again.
  struct indexed_place {
    sequence* self;
    std::size_t index;
    [[nodiscard]] T& get() const noexcept { return self->cells_[index]; }
  };

  class proxy {
   public:
    proxy(sequence& self, std::size_t index) noexcept : self_(self), index_(index) {}
    proxy(const proxy&) = delete;
    ~proxy() = default;

    /// Throws std::out_of_range, as at().
    [[nodiscard]] const T& get() const { return self_.at(index_); }
    operator const T&() const { return get(); }  // NOLINT(google-explicit-constructor)
    const T* operator->() const { return &get(); }

    template <class Value>
      requires std::assignable_from<T&, Value&&>
    const proxy& operator=(Value&& value) const {  // NOLINT
      self_.set(index_, std::forward<Value>(value));
      return *this;
    }
    const proxy& operator=(const proxy& other) const {  // NOLINT
      self_.set(index_, T(other.get()));
      return *this;
    }
    template <class Value>
    const proxy& operator+=(const Value& value) const {
      self_.modify(index_, [&](T& v) { v += value; });
      return *this;
    }
    template <class Value>
    const proxy& operator-=(const Value& value) const {
      self_.modify(index_, [&](T& v) { v -= value; });
      return *this;
    }
    template <class Value>
    const proxy& operator*=(const Value& value) const {
      self_.modify(index_, [&](T& v) { v *= value; });
      return *this;
    }
    const proxy& operator++() const {
      self_.modify(index_, [](T& v) { ++v; });
      return *this;
    }
    const proxy& operator--() const {
      self_.modify(index_, [](T& v) { --v; });
      return *this;
    }
    friend bool operator==(const proxy& p, const T& value) { return p.get() == value; }

   private:
    sequence& self_;
    std::size_t index_;
  };

  template <class... Arguments>
  static cell make_cell(Arguments&&... arguments) {
    static_assert(nested || movable,
                  "peeper: the move construction or assignment of this element may throw, and "
                  "rolling back must not fail. Make it noexcept, or wrap the element in "
                  "peeper::kept_value<T>");
    if constexpr (nested) {
      return std::make_unique<T>(std::forward<Arguments>(arguments)...);
    } else {
      return T(std::forward<Arguments>(arguments)...);
    }
  }
  [[nodiscard]] static const T& in_cell(const cell& c) noexcept {
    if constexpr (nested) {
      return *c;
    } else {
      return c;
    }
  }
  /// Calls with each element.
  static auto elements_of(const storage& cells) noexcept {
    return [&cells](auto&& each) {
      for (std::size_t i = 0; i < cells.size(); ++i) each(in_cell(cells[i]));
    };
  }
  [[nodiscard]] const T& element(std::size_t index) const noexcept {
    return in_cell(cells_[index]);
  }
  [[nodiscard]] T& element(std::size_t index) noexcept {
    return const_cast<T&>(std::as_const(*this).element(index));
  }
  void check(std::size_t index) const {
    if (index >= size()) throw_absent("peeper: kept sequence: there is no element at this index");
  }

  /// REQUIRES: in no state.
  template <class Range>
  void fill(Range&& range) {
    if constexpr (std::ranges::sized_range<Range>) cells_.make_room(std::ranges::size(range));
    for (auto&& value : range) {
      cell c = make_cell(std::forward<decltype(value)>(value));
      cells_.make_room(1);
      cells_.insert(cells_.size(), std::move(c));
    }
  }

  void insert_cell(std::size_t index, cell&& fresh) {
    refuse_if_open();
    cells_.make_room(1);
    if (logging()) {
      auto record = log_->stage<inserted_record>(*this, index, 1UL);
      if (log_->followed()) [[unlikely]] {
        if constexpr (elements_encodable<void>()) {
          if (log_->redoing()) {
            cbor_writer& out = log_->write_operation(this, change_operation::insert, 2);
            out.natural(index);
            out.array(1);
            encode_value(out, in_cell(fresh));
          }
        }
        note_inserted(*log_, *this, index, in_cell(fresh));
      }
      cells_.insert(index, std::move(fresh));
      record.publish();
    } else {
      cells_.insert(index, std::move(fresh));
    }
    attach_element(index);
  }

  template <class Range>
  void insert_range(std::size_t index, Range&& range) {
    sequence more;
    more.fill(std::forward<Range>(range));
    insert_cells(index, more.cells_);
  }

  void insert_cells(std::size_t index, storage& fresh) {
    const std::size_t count = fresh.size();
    if (count == 0) return;
    refuse_if_open();
    cells_.make_room(count);
    const auto move_in = [&]() noexcept {
      if (storage::both_ends && index == 0) {  // moves no neighbour: a delta's push_front is this
        for (std::size_t i = count; i > 0; --i) cells_.insert(0, std::move(fresh[i - 1]));
        return;
      }
      for (std::size_t i = 0; i < count; ++i) cells_.insert(cells_.size(), std::move(fresh[i]));
      if (index + count != cells_.size()) cells_.rotate_tail(index, count);
    };
    if (logging()) {
      auto record = log_->stage<inserted_record>(*this, index, count);
      if (log_->followed()) [[unlikely]] {
        if constexpr (elements_encodable<void>()) {
          if (log_->redoing()) {
            cbor_writer& out = log_->write_operation(this, change_operation::insert, 2);
            out.natural(index);
            encode_cells(out, fresh);
          }
        }
        for (std::size_t i = 0; i < count; ++i) {
          note_inserted(*log_, *this, index + i, in_cell(fresh[i]));
        }
      }
      move_in();
      record.publish();
    } else {
      move_in();
    }
    for (std::size_t i = index; i < index + count; ++i) attach_element(i);
  }

  void erase_at(std::size_t index, std::size_t count) {
    if (count == 0) return;
    refuse_if_open();
    if (!logging()) {
      cells_.erase(index, count);
      return;
    }
    if (count == 1) {
      auto record = log_->stage<erased_record>(*this, index);
      follow_erase(index, count);
      record->element.emplace(std::move(cells_[index]));
      cells_.erase(index, 1);
      record.publish();
    } else {
      auto record = log_->stage<erased_range_record>(*this, index);
      record->elements.make_room(count);
      follow_erase(index, count);
      for (std::size_t i = index; i < index + count; ++i) {
        record->elements.insert(record->elements.size(), std::move(cells_[i]));
      }
      cells_.erase(index, count);
      record.publish();
    }
  }

  void follow_erase(std::size_t index, std::size_t count) {
    if (!log_->followed()) [[likely]]
      return;
    if constexpr (elements_encodable<void>()) {
      if (log_->redoing()) {
        cbor_writer& out = log_->write_operation(this, change_operation::erase, 2);
        out.natural(index);
        out.natural(count);
      }
    }
    for (std::size_t i = index; i < index + count; ++i) {
      note_erased(*log_, *this, index, element(i));
    }
  }
  void write_set(std::size_t index, const T& value) {
    if (!log_->redoing()) return;
    if constexpr (elements_encodable<void>()) {
      cbor_writer& out = log_->write_operation(this, change_operation::set, 2);
      out.natural(index);
      encode_value(out, value);
    }
  }
  static void encode_cells(cbor_writer& out, const storage& cells) {
    const cbor_writer::nesting level{out};
    out.array(cells.size());
    for (std::size_t i = 0; i < cells.size(); ++i) encode_value(out, in_cell(cells[i]));
  }
  /// REQUIRES: `cells` is empty.
  [[nodiscard]] static bool decode_cells(cbor_reader& in, storage& cells) {
    std::size_t count = 0;
    if (!in.array(count)) return false;
    for (; count > 0; --count) {
      T value{};
      if (!decode_value(in, value)) return false;
      cell c = make_cell(std::move(value));
      cells.make_room(1);
      cells.insert(cells.size(), std::move(c));
    }
    return true;
  }

  /// Takes the contents of `fresh`, which no state has.
  void replace_contents(storage& fresh) {
    refuse_if_open();
    if (logging()) {
      auto record = log_->stage<contents_record<sequence>>(*this);
      if (log_->followed()) [[unlikely]] {
        if constexpr (elements_encodable<void>()) {
          if (!log_->redoing()) {
            // Only noted.
          } else if (fresh.size() == 0) {
            log_->write_operation(this, change_operation::clear, 0);
          } else {
            encode_cells(log_->write_operation(this, change_operation::assign, 1), fresh);
          }
        }
        note_assigned(*log_, *this, elements_of(cells_), elements_of(fresh));
      }
      cells_.swap(record->contents);
      cells_.swap(fresh);
      record.publish();
    } else {
      cells_.swap(fresh);
    }
    attach_elements();
  }

  void swap_with(sequence& other) {
    if (this == &other) return;
    if (log_ != other.log_) {
      // One side is in no state: what leaves the state has to stay for undo as well.
      sequence mine{std::as_const(*this)};
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
            encode_cells(log_->write_operation(this, change_operation::assign, 1), other.cells_);
            encode_cells(log_->write_operation(&other, change_operation::assign, 1), cells_);
          }
        }
        note_assigned(*log_, *this, elements_of(cells_), elements_of(other.cells_));
        note_assigned(*log_, other, elements_of(other.cells_), elements_of(cells_));
      }
      cells_.swap(other.cells_);
      record.publish();
    } else {
      cells_.swap(other.cells_);
    }
  }

  template <class F>
  auto modify_at(std::size_t index, F&& fn) {
    T& object = element(index);
    if (!logging()) return modify_unlogged(log_, object, std::forward<F>(fn));
    open_element opened;
    opened.container = this;
    opened.index = index;
    opened.write_key = [](const open_element& self, cbor_writer& out) { out.natural(self.index); };
    const auto write = [&] { write_set(index, element(index)); };
    element_follower<T, sequence, std::size_t, decltype(write)> follower{*log_, *this, index,
                                                                         write};
    if constexpr (nested) {
      return modify_logged<T>(*log_, opened, fixed_place<T>{&object}, follower,
                              std::forward<F>(fn));
    } else {
      return modify_logged<T>(*log_, opened, indexed_place{this, index}, follower,
                              std::forward<F>(fn));
    }
  }

  void attach_element(std::size_t index) noexcept {
    if constexpr (nested) {
      if (log_ != nullptr) attach_all(element(index), log_);
    }
  }
  void attach_elements() noexcept {
    if constexpr (nested) {
      if (log_ == nullptr) return;
      for (std::size_t i = 0; i < size(); ++i) attach_element(i);
    }
  }

  storage cells_;
};

// ---------------------------------------------------------------------------- applying

template <class T, template <class> class Storage>
bool sequence<T, Storage>::apply_change(cbor_reader& in, std::size_t path, std::size_t arguments) {
  std::uint64_t index = 0;
  if (path > 0) {
    if constexpr (nested) {
      if (!in.natural(index)) return false;
      if (index >= size()) return in.fail("there is no element at this index");
      bool ok = false;
      modify_at(static_cast<std::size_t>(index),
                [&](T& object) { ok = apply_to(in, object, path - 1, arguments); });
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
    case change_operation::insert: {
      if (arguments != 2) break;
      if (!in.natural(index)) return false;
      if (index > size()) return in.fail("index is beyond the end");
      sequence fresh;
      if (!decode_cells(in, fresh.cells_)) return false;
      insert_cells(static_cast<std::size_t>(index), fresh.cells_);
      return true;
    }
    case change_operation::erase: {
      if (arguments != 2) break;
      std::uint64_t count = 0;
      if (!in.natural(index) || !in.natural(count)) return false;
      if (index > size() || count > size() - index) return in.fail("index is beyond the end");
      erase_at(static_cast<std::size_t>(index), static_cast<std::size_t>(count));
      return true;
    }
    case change_operation::set: {
      if (arguments != 2) break;
      if (!in.natural(index)) return false;
      if (index >= size()) return in.fail("there is no element at this index");
      T value{};
      if (!decode_value(in, value)) return false;
      set(static_cast<std::size_t>(index), std::move(value));
      return true;
    }
    default: break;
  }
  return in.fail("this container has no such operation");
}

}  // namespace peeper::detail

namespace peeper {

template <class T>
class kept_vector : public detail::sequence<T, detail::vector_storage> {
  using base = detail::sequence<T, detail::vector_storage>;

 public:
  using base::base;
  using base::operator=;
};

template <class T>
class kept_deque : public detail::sequence<T, detail::ring_storage> {
  using base = detail::sequence<T, detail::ring_storage>;

 public:
  using base::base;
  using base::operator=;
};

}  // namespace peeper
