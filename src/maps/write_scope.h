// SPDX-License-Identifier: Apache-2.0
//
// WriteScope: counts a user-side write for as long as it runs, so that freezing does not overtake
// it.
//
// internal to Map. Threads: any. Tested by maps_test.cc.
#pragma once

#include <atomic>
#include <cstdint>

namespace lmn {

class WriteScope {
 public:
  explicit WriteScope(std::atomic<std::uint32_t>& writers) : writers_(writers) {
    writers_.fetch_add(1, std::memory_order_seq_cst);
  }
  ~WriteScope() { writers_.fetch_sub(1, std::memory_order_seq_cst); }
  WriteScope(const WriteScope&) = delete;
  WriteScope& operator=(const WriteScope&) = delete;

 private:
  std::atomic<std::uint32_t>& writers_;
};

}  // namespace lmn
