// SPDX-License-Identifier: Apache-2.0
//
// What depends on the processor and has no portable name.
//
//   while (word.load(std::memory_order_relaxed) != 0) relax_processor();
//
// Threads: any. Tested by what waits with it: src/helpers/spin_lock_test.cc.
#pragma once

#include <atomic>
#include <bit>
#include <cstdint>

// Of the inline functions that run for every packet (the fast paths): they are one piece with
// their caller, also where a compiler would rather call.
#define LMN_FAST [[gnu::always_inline]] inline

// In front of a function that is called only where has_bit_instructions().
#if defined(__x86_64__)
#define LMN_BIT_INSTRUCTIONS __attribute__((target("popcnt,lzcnt,bmi,bmi2")))
#else
#define LMN_BIT_INSTRUCTIONS
#endif

namespace lmn {

// Whether the processor counts bits in one instruction; the x86-64 of 2003, which we compile for,
// did not.
inline bool has_bit_instructions() noexcept {
#if defined(__x86_64__)
  return __builtin_cpu_supports("popcnt") && __builtin_cpu_supports("lzcnt") &&
         __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
#else
  return true;
#endif
}

// A number read from memory whose most significant byte comes first.
LMN_FAST std::uint32_t big_endian(std::uint32_t raw) noexcept {
  return std::endian::native == std::endian::little ? __builtin_bswap32(raw) : raw;
}
LMN_FAST std::uint64_t big_endian(std::uint64_t raw) noexcept {
  return std::endian::native == std::endian::little ? __builtin_bswap64(raw) : raw;
}

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
