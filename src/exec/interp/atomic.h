// SPDX-License-Identifier: Apache-2.0
//
// Atomic instructions on host memory, with the order the kernel's have.
//
// Map values are shared with other workers and with user space, so these are real atomics of the
// host on the bytes themselves. As in the kernel, operations that fetch are full barriers and those
// that do not are relaxed; load-acquire and store-release are named after what they do. A fetched
// 32-bit value is zero-extended. Tested by exec_test.cc and tests/differential/isa_corner_test.cc.
// Source: RFC 9669 section 5.3; Linux 6.18, Documentation/atomic_t.txt and kernel/bpf/core.c.
#pragma once

#include <cstdint>
#include <type_traits>

#include "abi/bpf_newer.h"

namespace lmn::interp {

template <int kWidth>
using AtomicWord = std::conditional_t<
    kWidth == 64, std::uint64_t,
    std::conditional_t<kWidth == 32, std::uint32_t,
                       std::conditional_t<kWidth == 16, std::uint16_t, std::uint8_t>>>;

// Read-modify-write `kOperation` (BPF_ADD, BPF_ADD | BPF_FETCH ..., BPF_XCHG). Returns the old
// value, for forms without BPF_FETCH too; callers of those ignore it. REQUIRES: `host` is a
// multiple of the width.
template <int kOperation, int kWidth>
std::uint64_t atomic_modify(std::uint8_t* host, std::uint64_t operand) {
  using Word = AtomicWord<kWidth>;
  auto* word = reinterpret_cast<Word*>(host);
  const auto value = static_cast<Word>(operand);
  constexpr int kOrder = (kOperation & BPF_FETCH) != 0 ? __ATOMIC_SEQ_CST : __ATOMIC_RELAXED;
  if constexpr (kOperation == BPF_XCHG) return __atomic_exchange_n(word, value, __ATOMIC_SEQ_CST);
  if constexpr ((kOperation & ~BPF_FETCH) == BPF_ADD)
    return __atomic_fetch_add(word, value, kOrder);
  if constexpr ((kOperation & ~BPF_FETCH) == BPF_OR) return __atomic_fetch_or(word, value, kOrder);
  if constexpr ((kOperation & ~BPF_FETCH) == BPF_AND)
    return __atomic_fetch_and(word, value, kOrder);
  if constexpr ((kOperation & ~BPF_FETCH) == BPF_XOR)
    return __atomic_fetch_xor(word, value, kOrder);
}

// Stores `desired` when the memory holds `expected`. Returns what it held.
template <int kWidth>
std::uint64_t atomic_compare_exchange(std::uint8_t* host, std::uint64_t expected,
                                      std::uint64_t desired) {
  using Word = AtomicWord<kWidth>;
  auto old = static_cast<Word>(expected);
  __atomic_compare_exchange_n(reinterpret_cast<Word*>(host), &old, static_cast<Word>(desired),
                              false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
  return old;
}

template <int kWidth>
std::uint64_t atomic_load_acquire(const std::uint8_t* host) {
  return __atomic_load_n(reinterpret_cast<const AtomicWord<kWidth>*>(host), __ATOMIC_ACQUIRE);
}

template <int kWidth>
void atomic_store_release(std::uint8_t* host, std::uint64_t value) {
  __atomic_store_n(reinterpret_cast<AtomicWord<kWidth>*>(host),
                   static_cast<AtomicWord<kWidth>>(value), __ATOMIC_RELEASE);
}

}  // namespace lmn::interp
