// SPDX-License-Identifier: Apache-2.0
//
// kept_set (hashed) and kept_ordered_set: sets that roll back.
//
// As std::unordered_set and std::set. A kept_set iterates in order of insertion.
//
// THREADS: as std containers; in a state, by that server's callback only.
// CRASH: (an exception in the callback) contents, and the order of iteration, are as of the last
// commit.
//
//   peeper::kept_ordered_set<int> primes{2, 3, 5};
//   primes.insert(7);
#pragma once

#include <peeper/kept/associative.hpp>
#include <peeper/kept/hash_core.hpp>
#include <peeper/kept/tree_core.hpp>

namespace peeper {

template <class Key, class Hash = detail::default_hash<Key>,
          class Equal = detail::default_equal<Key>>
class kept_set
    : public detail::associative<detail::hash_core<Key, detail::key_is_value, Hash, Equal>, void> {
  using base = detail::associative<detail::hash_core<Key, detail::key_is_value, Hash, Equal>, void>;

 public:
  using hasher = Hash;
  using base::base;
  using base::operator=;
};

template <class Key, class Less = detail::default_less<Key>>
class kept_ordered_set
    : public detail::associative<detail::tree_core<Key, detail::key_is_value, Less>, void> {
  using base = detail::associative<detail::tree_core<Key, detail::key_is_value, Less>, void>;

 public:
  using base::base;
  using base::operator=;
};

}  // namespace peeper
