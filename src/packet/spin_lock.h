// SPDX-License-Identifier: Apache-2.0
//
// SpinLock: for the tables that programs change: held for some steps of a list, never while
// anything waits.
//
// A table's owner is one worker today, so the lock costs one uncontended exchange; several workers
// need it to be right. Not for anything that allocates, prints or calls out.
//
//   const std::lock_guard guard(lock_);
//
// Threads: any. Tested by conntrack_table_test.cc.
#pragma once

#include <atomic>
#include <mutex>

namespace lmn {

class SpinLock {
 public:
  void lock() noexcept {
    while (flag_.test_and_set(std::memory_order_acquire)) {
    }
  }
  void unlock() noexcept { flag_.clear(std::memory_order_release); }

 private:
  std::atomic_flag flag_;
};

}  // namespace lmn
