// SPDX-License-Identifier: Apache-2.0
//
// What the arithmetic, byte-swap and compare instructions compute: pure functions from numbers to a
// number.
//
// Every corner that C++ leaves undefined has a defined answer here, the kernel's: division by zero
// gives 0, the remainder of it the dividend; the smallest number divided by -1 is itself; shift
// counts are taken modulo the width; every 32-bit result is zero-extended. Nothing here knows
// registers, memory or shadows, so that a table can test it and the compiler's constant folder can
// be compared with it.
//
//   alu<BPF_DIV, 32, 0>(7, 0) == 0;   alu<BPF_MOD, 32, 0>(0x100000007, 0) == 7
//
// Template arguments are the columns of opcodes.def with the kernel's spelling: operation, width in
// bits, and form (the `is(N)` of the off column: 1 signed division, 8/16/32 source width of a
// sign-extending move, 0 otherwise). Tested by alu_test.cc and
// tests/differential/isa_corner_test.cc. Source: RFC 9669 section 4; Linux 6.18, kernel/bpf/core.c,
// ___bpf_prog_run.
#pragma once

#include <linux/bpf.h>

#include <bit>
#include <cstdint>
#include <limits>
#include <type_traits>

namespace lmn::interp {

// The register value after `operation`. `b` is the source register or the sign-extended immediate.
template <int kOperation, int kWidth, int kForm>
constexpr std::uint64_t alu(std::uint64_t a, std::uint64_t b) {
  using Word = std::conditional_t<kWidth == 64, std::uint64_t, std::uint32_t>;
  using Signed = std::make_signed_t<Word>;
  constexpr Word kShiftMask = kWidth - 1;
  constexpr bool kIsSigned = kForm == 1;
  const auto x = static_cast<Word>(a);
  const auto y = static_cast<Word>(b);

  if constexpr (kOperation == BPF_ADD) return static_cast<Word>(x + y);
  if constexpr (kOperation == BPF_SUB) return static_cast<Word>(x - y);
  if constexpr (kOperation == BPF_MUL) return static_cast<Word>(x * y);
  if constexpr (kOperation == BPF_OR) return static_cast<Word>(x | y);
  if constexpr (kOperation == BPF_AND) return static_cast<Word>(x & y);
  if constexpr (kOperation == BPF_XOR) return static_cast<Word>(x ^ y);
  if constexpr (kOperation == BPF_LSH) return static_cast<Word>(x << (y & kShiftMask));
  if constexpr (kOperation == BPF_RSH) return static_cast<Word>(x >> (y & kShiftMask));
  if constexpr (kOperation == BPF_ARSH) {
    return static_cast<Word>(static_cast<Signed>(x) >> (y & kShiftMask));
  }
  if constexpr (kOperation == BPF_NEG) return static_cast<Word>(Word{0} - x);
  if constexpr (kOperation == BPF_DIV) {
    if (y == 0) return 0;
    if constexpr (!kIsSigned) return static_cast<Word>(x / y);
    // The quotient of the smallest number and -1 does not fit; as negation it wraps, as the
    // kernel's does.
    if (y == std::numeric_limits<Word>::max()) return static_cast<Word>(Word{0} - x);
    return static_cast<Word>(static_cast<Signed>(x) / static_cast<Signed>(y));
  }
  if constexpr (kOperation == BPF_MOD) {
    if (y == 0) return x;
    if constexpr (!kIsSigned) return static_cast<Word>(x % y);
    if (y == std::numeric_limits<Word>::max()) return 0;
    return static_cast<Word>(static_cast<Signed>(x) % static_cast<Signed>(y));
  }
  if constexpr (kOperation == BPF_MOV) {
    if constexpr (kForm == 8)
      return static_cast<Word>(static_cast<Signed>(static_cast<std::int8_t>(y)));
    if constexpr (kForm == 16)
      return static_cast<Word>(static_cast<Signed>(static_cast<std::int16_t>(y)));
    if constexpr (kForm == 32)
      return static_cast<Word>(static_cast<Signed>(static_cast<std::int32_t>(y)));
    return y;
  }
  static_assert(kOperation == BPF_ADD || kOperation == BPF_SUB || kOperation == BPF_MUL ||
                    kOperation == BPF_OR || kOperation == BPF_AND || kOperation == BPF_XOR ||
                    kOperation == BPF_LSH || kOperation == BPF_RSH || kOperation == BPF_ARSH ||
                    kOperation == BPF_NEG || kOperation == BPF_DIV || kOperation == BPF_MOD ||
                    kOperation == BPF_MOV,
                "an operation of class ALU that this function does not compute");
}

// le16 ... be64 (class ALU, source TO_LE or TO_BE) and bswap16 ... bswap64 (class ALU64). Bits
// above the width become 0.
template <int kClass, int kSource, int kWidth>
constexpr std::uint64_t byte_swap(std::uint64_t value) {
  constexpr bool kHostIsLittle = std::endian::native == std::endian::little;
  constexpr bool kSwaps = kClass == BPF_ALU64 || (kSource == BPF_TO_BE) == kHostIsLittle;
  if constexpr (kWidth == 16) {
    const auto word = static_cast<std::uint16_t>(value);
    return kSwaps ? __builtin_bswap16(word) : word;
  } else if constexpr (kWidth == 32) {
    const auto word = static_cast<std::uint32_t>(value);
    return kSwaps ? __builtin_bswap32(word) : word;
  } else {
    static_assert(kWidth == 64);
    return kSwaps ? __builtin_bswap64(value) : value;
  }
}

// Whether a conditional jump is taken. `b` is the source register or the sign-extended immediate.
template <int kOperation, int kWidth>
constexpr bool is_taken(std::uint64_t a, std::uint64_t b) {
  using Word = std::conditional_t<kWidth == 64, std::uint64_t, std::uint32_t>;
  using Signed = std::make_signed_t<Word>;
  const auto x = static_cast<Word>(a);
  const auto y = static_cast<Word>(b);
  const auto sx = static_cast<Signed>(x);
  const auto sy = static_cast<Signed>(y);

  if constexpr (kOperation == BPF_JEQ) return x == y;
  if constexpr (kOperation == BPF_JNE) return x != y;
  if constexpr (kOperation == BPF_JSET) return (x & y) != 0;
  if constexpr (kOperation == BPF_JGT) return x > y;
  if constexpr (kOperation == BPF_JGE) return x >= y;
  if constexpr (kOperation == BPF_JLT) return x < y;
  if constexpr (kOperation == BPF_JLE) return x <= y;
  if constexpr (kOperation == BPF_JSGT) return sx > sy;
  if constexpr (kOperation == BPF_JSGE) return sx >= sy;
  if constexpr (kOperation == BPF_JSLT) return sx < sy;
  if constexpr (kOperation == BPF_JSLE) return sx <= sy;
  static_assert(kOperation == BPF_JEQ || kOperation == BPF_JNE || kOperation == BPF_JSET ||
                    kOperation == BPF_JGT || kOperation == BPF_JGE || kOperation == BPF_JLT ||
                    kOperation == BPF_JLE || kOperation == BPF_JSGT || kOperation == BPF_JSGE ||
                    kOperation == BPF_JSLT || kOperation == BPF_JSLE,
                "a conditional jump that this function does not decide");
}

}  // namespace lmn::interp
