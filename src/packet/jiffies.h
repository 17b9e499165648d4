// SPDX-License-Identifier: Apache-2.0
//
// Jiffies: the kernel's timer ticks, which programs see as bpf_jiffies64 and in time-outs of
// kernel objects.
//
// Their rate is a build option of a kernel and invisible to user space; ours is 250 per second, as
// Debian's kernels are built. They start 300 seconds before a 32-bit overflow, as Linux's do, so
// that programs that mistake them for 32 bits fail early here too.
// Tested by conntrack_table_test.cc and src/kfuncs/table_kfuncs_test.cc.
// Source: Linux 6.18, include/linux/jiffies.h (INITIAL_JIFFIES, msecs_to_jiffies).
#pragma once

#include <cstdint>

#include "base/clock.h"

namespace lmn {

inline constexpr std::uint64_t kJiffiesPerSecond = 250;
inline constexpr std::uint64_t kNsPerJiffy = 1'000'000'000 / kJiffiesPerSecond;
inline constexpr std::uint64_t kInitialJiffies = (1ull << 32) - 300 * kJiffiesPerSecond;

inline std::uint64_t jiffies_of(const Clock& clock) noexcept {
  return kInitialJiffies + clock.monotonic_ns() / kNsPerJiffy;
}

// Rounded up; what a signed number of 32 bits would make negative is the longest time there is.
constexpr std::uint64_t jiffies_from_ms(std::uint32_t ms) noexcept {
  constexpr std::uint64_t kMaxOffset = (~0ull >> 2) - 1;  // MAX_JIFFY_OFFSET
  constexpr std::uint64_t kMsPerJiffy = 1000 / kJiffiesPerSecond;
  if (static_cast<std::int32_t>(ms) < 0) return kMaxOffset;
  return (ms + kMsPerJiffy - 1) / kMsPerJiffy;
}

}  // namespace lmn
