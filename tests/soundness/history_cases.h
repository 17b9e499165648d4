// SPDX-License-Identifier: Apache-2.0
//
// The programs of history_test.cc: one for each mistake that a BPF verifier is known to have made,
// of values and pointers here, of paths in history_paths.h.
// Map 0 holds one value of 256 bytes, map 3 is an empty program array, map 4 a ring buffer, map 5
// one value of 64 bytes that programs may only read.
// Threads: constants. Tested by history_test.cc.
#pragma once

#include <cstdint>
#include <string_view>

namespace lmn {

enum class Verdict : std::uint8_t { kRefused, kHarmless };

struct Case {
  int pattern;
  std::string_view name;
  Verdict verdict;
  std::string_view text;
};

// r7 is a map value of 256 bytes, r1 to r5 numbers nobody knows where a case says so.
inline constexpr Case kValueCases[] = {
    {1, "a negative 32-bit constant is not extended with its sign", Verdict::kRefused, R"(
  r7 = map[idx:0]+0
  r0 = 0
  w8 = -1
  if r8 == 0xffffffff goto out
  r1 = *(u64 *)(r7 +0)
  r7 += r1
  r0 = *(u8 *)(r7 +0)
out:
  exit
)"},
    {2, "a number is cut to the size it is stored in", Verdict::kRefused, R"(
  r7 = map[idx:0]+0
  r1 = 0xffffffff00000100
  *(u32 *)(r10 -8) = r1
  r2 = *(u32 *)(r10 -8)
  r7 += r2
  r0 = *(u8 *)(r7 +0)
  exit
)"},
    {3, "32-bit additions wrap at 32 bits", Verdict::kRefused, R"(
  r7 = map[idx:0]+0
  w1 = -1
  w1 += 257
  r7 += r1
  r0 = *(u8 *)(r7 +0)
  exit
)"},
    {4, "a logical shift makes negative numbers large", Verdict::kRefused, R"(
  r7 = map[idx:0]+0
  r0 = 0
  r1 = *(s8 *)(r7 +0)
  r1 >>= 1
  if r1 s> 0x7f goto bad
  exit
bad:
  r7 += r1
  r0 = *(u8 *)(r7 +0)
  exit
)"},
    {5, "offsets do not add up to a small one", Verdict::kRefused, R"(
  r7 = map[idx:0]+0
  r7 += 536870911
  r7 += 536870911
  r7 += 536870911
  r7 += 536870911
  r7 += 536870911
  r0 = *(u8 *)(r7 +0)
  exit
)"},
    {6, "a 32-bit shift works on the low half", Verdict::kRefused, R"(
  r7 = map[idx:0]+0
  r1 = 0x180000000
  w1 >>= 31
  r1 *= 256
  r7 += r1
  r0 = *(u8 *)(r7 +0)
  exit
)"},
    {7, "a 32-bit comparison says nothing of the high half", Verdict::kRefused, R"(
  r7 = map[idx:0]+0
  r0 = 0
  r1 = *(u64 *)(r7 +0)
  if w1 != 0x1 goto out
  r7 += r1
  r0 = *(u8 *)(r7 +0)
out:
  exit
)"},
    {7, "a sum of 32 bits says nothing of the high half it came from", Verdict::kRefused, R"(
  r7 = map[idx:0]+0
  r0 = 0
  r1 = *(u64 *)(r7 +0)
  r2 = r1
  w2 += 5
  if r2 > 0xa goto out
  r7 += r1
  r0 = *(u8 *)(r7 +0)
out:
  exit
)"},
    {8, "a 32-bit or has bounds of its own", Verdict::kRefused, R"(
  r7 = map[idx:0]+0
  r0 = 0
  r1 = *(u64 *)(r7 +0)
  r2 = 0x600000002
  if r1 >= r2 goto out
  if r1 s<= 0x0 goto out
  w1 |= 0
  r7 += r1
  r0 = *(u8 *)(r7 +0)
out:
  exit
)"},
    {9, "a 32-bit and with a constant keeps consistent bounds", Verdict::kRefused, R"(
  r7 = map[idx:0]+0
  r1 = *(u64 *)(r7 +0)
  w2 = 1
  w1 &= w2
  r7 += r1
  r0 = *(u8 *)(r7 +255)
  exit
)"},
    {10, "bounds of 64 bits are none of 32 when the high half varies", Verdict::kRefused, R"(
  r7 = map[idx:0]+0
  r0 = 0
  r1 = *(u64 *)(r7 +0)
  r2 = 0x100000001
  if r1 > r2 goto out
  w3 = w1
  r7 += r3
  r0 = *(u8 *)(r7 +0)
out:
  exit
)"},
    {11, "a 32-bit signed sum may wrap", Verdict::kRefused, R"(
  r7 = map[idx:0]+0
  r0 = 0
  r1 = *(u8 *)(r7 +0)
  w1 += 2147483647
  if w1 s< 0x0 goto bad
  exit
bad:
  r7 += r1
  r0 = *(u8 *)(r7 +0)
  exit
)"},
    {12, "a 32-bit move has no signed bounds of 64", Verdict::kRefused, R"(
  r7 = map[idx:0]+0
  r0 = 0
  r1 = *(s8 *)(r7 +0)
  w2 = w1
  if r2 s> 0xff goto bad
  exit
bad:
  r7 += r2
  r0 = *(u8 *)(r7 +0)
  exit
)"},
    {13, "a 32-bit remainder by zero leaves the low half", Verdict::kRefused, R"(
  r7 = map[idx:0]+0
  r1 = 0x100000100
  r2 = *(u64 *)(r7 +0)
  r2 &= 0
  w1 %= w2
  r7 += r1
  r0 = *(u8 *)(r7 +0)
  exit
)"},
    {14, "what one branch learns the other does not", Verdict::kRefused, R"(
  r7 = map[idx:0]+0
  r0 = 0
  r1 = *(u64 *)(r7 +0)
  if r1 > 0x7 goto big
  exit
big:
  r7 += r1
  r0 = *(u8 *)(r7 +0)
  exit
)"},
    {15, "or with 0 or -1 is not and", Verdict::kRefused, R"(
  r7 = map[idx:0]+0
  r0 = 0
  r1 = *(s32 *)(r7 +0)
  r1 s>>= 63
  r1 |= 300
  if r1 s< 0x0 goto out
  r7 += r1
  r0 = *(u8 *)(r7 +0)
out:
  exit
)"},
    {16, "a swapped number is no longer the one it was copied from", Verdict::kRefused, R"(
  r7 = map[idx:0]+0
  r0 = 0
  r1 = *(u16 *)(r7 +0)
  r2 = r1
  r2 = be16 r2
  if r2 > 0xa goto out
  r7 += r1
  r0 = *(u8 *)(r7 +0)
out:
  exit
)"},
    {17, "a constant index behind the last program", Verdict::kHarmless, R"(
  r2 = map[idx:3]
  r3 = 111
  call bpf_tail_call
  r0 = 0
  exit
)"},
    {19, "what only programs may not write is no constant", Verdict::kRefused, R"(
  r7 = map[idx:0]+0
  r6 = map[idx:5]+0
  r1 = *(u64 *)(r6 +0)
  r7 += r1
  r0 = *(u8 *)(r7 +0)
  exit
)"},
    {20, "arithmetic on a pointer that may be null", Verdict::kRefused, R"(
  r1 = map[idx:4]
  r2 = 16
  r3 = 0
  call bpf_ringbuf_reserve
  r1 = r0
  r1 += 8
  if r0 != 0x0 goto out
  *(u64 *)(r1 +0) = r1
out:
  r0 = 0
  exit
)"},
    {21, "a record is given back at its beginning", Verdict::kRefused, R"(
  r1 = map[idx:4]
  r2 = 16
  r3 = 0
  call bpf_ringbuf_reserve
  if r0 == 0x0 goto out
  r1 = r0
  r1 += 8
  r2 = 0
  call bpf_ringbuf_submit
out:
  r0 = 0
  exit
)"},
    {22, "memory to be read is not written", Verdict::kRefused, R"(
  r7 = map[idx:5]+0
  r7 += 8
  *(u64 *)(r7 +0) = r7
  r0 = 0
  exit
)"},
    {22, "nor by an atomic", Verdict::kRefused, R"(
  r7 = map[idx:5]+0
  r1 = 1
  lock *(u64 *)(r7 +0) += r1
  r0 = 0
  exit
)"},
    {22, "but read", Verdict::kHarmless, R"(
  r7 = map[idx:5]+0
  r0 = *(u8 *)(r7 +63)
  exit
)"},
    {23, "a variable offset counts in full", Verdict::kRefused, R"(
  r7 = map[idx:0]+0
  r2 = *(u8 *)(r7 +0)
  r2 &= 4
  r1 += r2
  r0 = *(u32 *)(r1 +0)
  exit
)"},
    {24, "a packet pointer is not loaded with its sign", Verdict::kRefused, R"(
  r2 = *(s32 *)(r1 +0)
  r0 = 0
  exit
)"},
    {24, "a number of the context may be", Verdict::kHarmless, R"(
  r0 = *(s32 *)(r1 +12)
  exit
)"},
    {25, "a function moves the packet", Verdict::kRefused, R"(
  r6 = r1
  r8 = *(u32 *)(r6 +0)
  r2 = *(u32 *)(r6 +4)
  r0 = 0
  r3 = r8
  r3 += 8
  if r3 > r2 goto out
  r1 = r6
  call moves
  r0 = *(u8 *)(r8 +0)
out:
  exit
moves:
  r2 = 4
  call bpf_xdp_adjust_head
  r0 = 0
  exit
)"},
    {26, "a program that a function tail-calls moves the packet", Verdict::kRefused, R"(
  r6 = r1
  r8 = *(u32 *)(r6 +0)
  r2 = *(u32 *)(r6 +4)
  r0 = 0
  r3 = r8
  r3 += 8
  if r3 > r2 goto out
  r1 = r6
  call goes
  r0 = *(u8 *)(r8 +0)
out:
  exit
goes:
  r2 = map[idx:3]
  r3 = 0
  call bpf_tail_call
  r0 = 0
  exit
)"},
    {28, "a helper gets the context as it is", Verdict::kRefused, R"(
  r1 += 4
  r2 = 0
  call bpf_xdp_adjust_head
  r0 = 0
  exit
)"},
    {29, "after the release all copies are gone", Verdict::kRefused, R"(
  r1 = map[idx:4]
  r2 = 16
  r3 = 0
  call bpf_ringbuf_reserve
  r8 = r0
  if r0 == 0x0 goto out
  r1 = r0
  r2 = 0
  call bpf_ringbuf_submit
  r0 = *(u64 *)(r8 +0)
  exit
out:
  r0 = 0
  exit
)"},
    {30, "half a pointer on the stack is none", Verdict::kRefused, R"(
  r7 = map[idx:0]+0
  *(u64 *)(r10 -8) = r7
  *(u8 *)(r10 -8) = 0
  r1 = *(u64 *)(r10 -8)
  r0 = *(u8 *)(r1 +0)
  exit
)"},
    {30, "what an atomic fetches is the pointer that was there", Verdict::kHarmless, R"(
  r7 = map[idx:0]+0
  *(u64 *)(r10 -8) = r7
  r1 = 0
  r1 = atomic64_xchg((u64 *)(r10 -8), r1)
  r0 = *(u8 *)(r1 +0)
  exit
)"},
    {30, "what an atomic leaves there is none", Verdict::kRefused, R"(
  r7 = map[idx:0]+0
  *(u64 *)(r10 -8) = r7
  r1 = 8
  r1 = atomic64_fetch_add((u64 *)(r10 -8), r1)
  r1 = *(u64 *)(r10 -8)
  r0 = *(u8 *)(r1 +0)
  exit
)"},
    {31, "what was never written is read at a variable offset", Verdict::kHarmless, R"(
  r7 = map[idx:0]+0
  r1 = *(u8 *)(r7 +0)
  r1 &= 56
  r2 = r10
  r2 += -64
  r2 += r1
  r0 = *(u64 *)(r2 +0)
  exit
)"},
    {32, "stack slots are used whole", Verdict::kRefused, R"(
  r1 = 0
  *(u64 *)(r10 -12) = r1
  r0 = 0
  exit
)"},
    {33, "a dynptr lies at the start of a slot", Verdict::kRefused, R"(
  r1 = map[idx:4]
  r2 = 8
  r3 = 0
  r4 = r10
  r4 += -20
  call bpf_ringbuf_reserve_dynptr
  r0 = 0
  exit
)"},
    {34, "a helper writes no memory that is to be read", Verdict::kRefused, R"(
  r2 = 0
  r3 = map[idx:5]+0
  r4 = 8
  call bpf_xdp_load_bytes
  r0 = 0
  exit
)"},
    {34, "but reads it", Verdict::kHarmless, R"(
  r2 = 0
  r3 = map[idx:5]+0
  r4 = 8
  call bpf_xdp_store_bytes
  r0 = 0
  exit
)"},
    {34, "what a helper fills lies on the stack", Verdict::kRefused, R"(
  r2 = 0
  r3 = r10
  r3 += -8
  r4 = 16
  call bpf_xdp_load_bytes
  r0 = 0
  exit
)"},
};

}  // namespace lmn
