// SPDX-License-Identifier: Apache-2.0
/// \file
/// `table_lock`: many readers or one writer, and a writer that waits goes before new readers:
/// std::shared_mutex lets readers that never pause keep a commit waiting for ever.
///
/// THREADS: any. Not recursive: no code that could come back to the table runs under it.
#pragma once

#include <pthread.h>

namespace peeper::detail {

class table_lock {
 public:
  table_lock() noexcept;
  table_lock(const table_lock&) = delete;
  table_lock& operator=(const table_lock&) = delete;
  ~table_lock() { pthread_rwlock_destroy(&lock_); }

  void lock() noexcept { pthread_rwlock_wrlock(&lock_); }
  void unlock() noexcept { pthread_rwlock_unlock(&lock_); }
  void lock_shared() noexcept { pthread_rwlock_rdlock(&lock_); }
  void unlock_shared() noexcept { pthread_rwlock_unlock(&lock_); }

 private:
  pthread_rwlock_t lock_;
};

}  // namespace peeper::detail
