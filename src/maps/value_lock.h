// SPDX-License-Identifier: Apache-2.0
//
// The spin lock in a map's value (struct bpf_spin_lock), as programs and BPF_F_LOCK take it.
//
// The lock is a 32-bit word: 0 is open, 1 is taken. Whoever waits reads the word until it looks
// open and only then tries to take it, so that waiters share its cache line; after a while they
// give their CPU away, because the holder may wait for it. A holder keeps it for less than a
// microsecond. So nobody waits for ever: after kYieldsMax turns, about a second, the lock counts as
// broken, and the caller does without.
//
//   if (!take_value_lock(*word)) return -EBUSY;
//   ...
//   open_value_lock(*word);
//
// Threads: any. Tested by spin_lock_test.cc and tests/contract/maps_contract_test.cc.
// Source: Linux 6.18, kernel/bpf/helpers.c (__bpf_spin_lock, copy_map_value_locked).
#pragma once

#include <sched.h>

#include <atomic>
#include <cstdint>

#include "base/platform.h"

namespace lmn {

namespace value_lock {
inline constexpr std::uint32_t kOpen = 0;
inline constexpr std::uint32_t kTaken = 1;
inline constexpr int kSpinsPerYield = 128;
inline constexpr int kYieldsMax = 1 << 18;
}  // namespace value_lock

inline bool try_value_lock(std::uint32_t& word) noexcept {
  std::uint32_t expected = value_lock::kOpen;
  return std::atomic_ref(word).compare_exchange_strong(
      expected, value_lock::kTaken, std::memory_order_acquire, std::memory_order_relaxed);
}

// False when the lock stayed taken.
inline bool take_value_lock(std::uint32_t& word, int yields_max = value_lock::kYieldsMax) noexcept {
  for (int yields = 0; yields < yields_max; ++yields) {
    if (try_value_lock(word)) return true;
    int spins = 0;
    while (std::atomic_ref(word).load(std::memory_order_relaxed) != value_lock::kOpen &&
           spins < value_lock::kSpinsPerYield) {
      relax_processor();
      ++spins;
    }
    if (spins == value_lock::kSpinsPerYield) ::sched_yield();
  }
  return false;
}

inline void open_value_lock(std::uint32_t& word) noexcept {
  std::atomic_ref(word).store(value_lock::kOpen, std::memory_order_release);
}

}  // namespace lmn
