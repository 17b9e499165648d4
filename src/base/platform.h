// SPDX-License-Identifier: Apache-2.0
//
// What depends on the processor and has no portable name.
//
//   while (word.load(std::memory_order_relaxed) != 0) relax_processor();
//
// Threads: any. Tested by what waits with it: src/helpers/spin_lock_test.cc.
#pragma once

#include <atomic>

namespace lmn {

// One turn of a loop that waits for another thread: leaves a sibling's share of the core to it, and
// keeps the compiler from merging the turns.
inline void relax_processor() noexcept {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#else
  std::atomic_signal_fence(std::memory_order_seq_cst);
#endif
}

}  // namespace lmn
