// SPDX-License-Identifier: Apache-2.0
//
// The programs of history_test.cc about paths: dead branches, pruning, precision, loops. Maps and
// registers are those of history_cases.h.
// Threads: constants. Tested by history_test.cc.
#pragma once

#include "soundness/history_cases.h"

namespace lmn {

inline constexpr Case kPathCases[] = {
    {38, "code behind a decided branch never runs", Verdict::kHarmless, R"(
  r7 = map[idx:0]+0
  r0 = 0
  r1 = 1
  if r1 == 0x1 goto out
  r2 = *(u64 *)(r7 +0)
  r7 += r2
  r0 = *(u8 *)(r7 +0)
out:
  exit
)"},
    {39, "a number is not a pointer where paths meet", Verdict::kRefused, R"(
  r7 = map[idx:0]+0
  r1 = *(u64 *)(r7 +0)
  r2 = 0
  *(u64 *)(r10 -8) = r2
  r8 = 64
  if r1 > 0x5 goto meet
  r8 = r10
meet:
  r2 = 1
  if r1 == 0x9 goto next
  r2 = 2
next:
  r0 = *(u64 *)(r8 -8)
  exit
)"},
    {40, "both numbers count where paths meet", Verdict::kRefused, R"(
  r7 = map[idx:0]+0
  r1 = *(u64 *)(r7 +0)
  r2 = *(u64 *)(r7 +8)
  r8 = 1000
  if r1 > 0x5 goto meet
  r8 = 0
meet:
  r3 = 1
  if r2 == 0x9 goto next
  r3 = 2
next:
  r9 = r8
  if r2 == 0x5 goto more
  r3 = 4
more:
  r7 += r9
  r0 = *(u8 *)(r7 +0)
  exit
)"},
    {41, "they count through the stack and a copy of the frame pointer", Verdict::kRefused, R"(
  r7 = map[idx:0]+0
  r6 = r10
  r6 += -16
  r1 = *(u64 *)(r7 +0)
  r2 = *(u64 *)(r7 +8)
  r8 = 1000
  if r1 > 0x5 goto meet
  r8 = 0
meet:
  *(u64 *)(r6 +8) = r8
  r8 = 0
  if r2 == 0x9 goto next
  r3 = 2
next:
  if r2 == 0x5 goto more
  r3 = 4
more:
  r9 = *(u64 *)(r6 +8)
  r7 += r9
  r0 = *(u8 *)(r7 +0)
  exit
)"},
    {41, "slots of the caller that a function reads count", Verdict::kRefused, R"(
  r7 = map[idx:0]+0
  r1 = *(u64 *)(r7 +0)
  r2 = *(u64 *)(r7 +8)
  r8 = 1000
  if r1 > 0x5 goto meet
  r8 = 0
meet:
  *(u64 *)(r10 -8) = r8
  r1 = r10
  r1 += -8
  call choose
  r7 += r0
  r0 = *(u8 *)(r7 +0)
  exit
choose:
  r3 = 1
  if r2 == 0x9 goto next
  r3 = 2
next:
  if r2 == 0x5 goto more
  r3 = 4
more:
  r0 = *(u64 *)(r1 +0)
  exit
)"},
    {42, "a dynptr counts where paths meet", Verdict::kRefused, R"(
  r7 = map[idx:0]+0
  r8 = *(u64 *)(r7 +0)
  r1 = 0
  *(u64 *)(r10 -8) = r1
  *(u64 *)(r10 -16) = r1
  if r8 > 0x5 goto meet
  r1 = map[idx:4]
  r2 = 8
  r3 = 0
  r4 = r10
  r4 += -16
  call bpf_ringbuf_reserve_dynptr
meet:
  r1 = r10
  r1 += -16
  r2 = 0
  call bpf_ringbuf_discard_dynptr
  r0 = 0
  exit
)"},
    {43, "they count through a function", Verdict::kRefused, R"(
  r7 = map[idx:0]+0
  r1 = *(u64 *)(r7 +0)
  r2 = *(u64 *)(r7 +8)
  call choose
  r7 += r0
  r0 = *(u8 *)(r7 +0)
  exit
choose:
  r0 = 1000
  if r1 > 0x5 goto meet
  r0 = 0
meet:
  r3 = 1
  if r2 == 0x9 goto next
  r3 = 2
next:
  exit
)"},
    {44, "paths with stacks of different depth meet", Verdict::kHarmless, R"(
  r7 = map[idx:0]+0
  r1 = *(u64 *)(r7 +0)
  r2 = 0
  *(u64 *)(r10 -8) = r2
  if r1 > 0x5 goto meet
  *(u64 *)(r10 -256) = r2
meet:
  r3 = 1
  if r1 == 0x9 goto next
  r3 = 2
next:
  r0 = *(u64 *)(r10 -8)
  exit
)"},
    {45, "a bit test is a jump", Verdict::kRefused, R"(
  r7 = map[idx:0]+0
  r1 = *(u64 *)(r7 +0)
  if r1 & 0x1 goto odd
  r8 = 0
odd:
  r0 = r8
  exit
)"},
    {46, "a loop that does not end", Verdict::kRefused, R"(
  r7 = map[idx:0]+0
  r1 = *(u64 *)(r7 +0)
  r0 = 0
again:
  if r1 != 0x0 goto again
  exit
)"},
    {47, "a long jump back is a loop too", Verdict::kRefused, R"(
  r0 = 0
  r7 = map[idx:0]+0
  r1 = *(u64 *)(r7 +0)
again:
  if r1 == 0x0 goto out
  gotol again
out:
  exit
)"},
    {48, "may_goto backward ends", Verdict::kHarmless, R"(
  r0 = 0
again:
  may_goto out
  r0 += 1
  goto again
out:
  exit
)"},
};

}  // namespace lmn
