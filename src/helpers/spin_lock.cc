// SPDX-License-Identifier: Apache-2.0
//
// bpf_spin_lock and bpf_spin_unlock: a lock in a map's value, for the few words of the value that
// have to change together.
//
// The lock is the 32-bit word of struct bpf_spin_lock: 0 is open, 1 is taken. Nothing in it tells
// who holds it; the run does (RunContext::held_lock), so that a program that is stopped between the
// two calls leaves no lock behind. The verifier sees to the rest: one lock at a time, no call
// while it is held, opened on every path.
//
// Workers that wait read the word until it looks open and only then try to take it, so that they
// share its cache line; after a while they give their CPU away, because the holder may wait for it.
// The word lies in memory that people write through map updates, and may hold anything. So a run
// does not wait for ever: it is stopped after kYieldsMax turns, which take about a second, where a
// program holds a lock for less than a microsecond.
//
// Threads: any worker. Tested by spin_lock_test.cc and
// tests/differential/helper_programs_test.cc.
// Source: Linux 6.18, kernel/bpf/helpers.c (bpf_spin_lock, __bpf_spin_lock).
#include <sched.h>

#include <atomic>

#include "base/platform.h"
#include "helpers/bodies.h"

namespace lmn {
namespace {

constexpr std::uint32_t kOpen = 0;
constexpr std::uint32_t kTaken = 1;
constexpr int kSpinsPerYield = 128;
constexpr int kYieldsMax = 1 << 18;

bool try_take(std::atomic_ref<std::uint32_t> word) {
  std::uint32_t expected = kOpen;
  return word.compare_exchange_strong(expected, kTaken, std::memory_order_acquire,
                                      std::memory_order_relaxed);
}

// False when it looked taken all the time.
bool wait_until_open(std::atomic_ref<std::uint32_t> word) {
  for (int spins = 0; spins < kSpinsPerYield; ++spins) {
    if (word.load(std::memory_order_relaxed) == kOpen) return true;
    relax_processor();
  }
  return false;
}

// False when the lock stayed taken.
bool take(std::atomic_ref<std::uint32_t> word) {
  for (int yields = 0; yields < kYieldsMax; ++yields) {
    if (try_take(word)) return true;
    if (!wait_until_open(word)) ::sched_yield();
  }
  return false;
}

}  // namespace

LMN_HELPER_BODY(spin_lock) {
  auto* word = helper::as_pointer<std::uint32_t>(r1);
  if (take(std::atomic_ref(*word))) {
    context->held_lock.set(word);
  } else if (context->stop != nullptr) {
    context->stop(context->engine_state);
  }
  return 0;
}

LMN_HELPER_BODY(spin_unlock) {
  context->held_lock.release();
  return 0;
}

}  // namespace lmn
