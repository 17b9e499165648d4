// SPDX-License-Identifier: Apache-2.0
//
// SleepBell: lets one thread sleep until another has work for it, without a system call while it is
// awake.
//
//   // the sleeper                              // who brings work
//   bell.lie_down();                            queue.push(work);
//   if (there is work) bell.get_up();           bell.ring();
//   else bell.sleep();
//
// A plain flag would lose the work that comes between the last look and the sleep. Here both sides
// exchange the same word, so one of them comes second: the sleeper, who then sees the work, or the
// bringer, who then sees the sleeper.
// Invariant: after ring() the sleeper does not sleep on, nor fall asleep without another look.
// Threads: lie_down, get_up, sleep: the one sleeper; ring: any. Tested by spsc_ring_test.cc.
#pragma once

#include <atomic>
#include <cstdint>

namespace lmn {

class SleepBell {
 public:
  void lie_down() noexcept { is_down_.exchange(1, std::memory_order_acq_rel); }
  void get_up() noexcept { is_down_.store(0, std::memory_order_relaxed); }
  // REQUIRES: lie_down() before, and a look at the work in between.
  void sleep() noexcept {
    while (is_down_.load(std::memory_order_acquire) == 1) is_down_.wait(1);
  }
  void ring() noexcept {
    if (is_down_.exchange(0, std::memory_order_acq_rel) == 1) is_down_.notify_one();
  }

 private:
  std::atomic<std::uint32_t> is_down_{0};
};

}  // namespace lmn
