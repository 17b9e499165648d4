// SPDX-License-Identifier: Apache-2.0
//
// Tnum: known bits: a number of which each bit is known to be 0, known to be 1, or unknown.
//
// `value` holds the known ones, `mask` the unknown bits; never both set for one bit. The set that a
// tnum stands for is { c : (c & ~mask) == value }. With W = 4, value 0100 and mask 0011 is {4, 5,
// 6, 7}; {3, 4} is not a tnum, the smallest that holds it is value 0000, mask 0111.
//
// Each operator gives a tnum that holds f(x, y) for all x of a and y of b (soundness); add, sub and
// the bitwise ones give the smallest such (optimality). Both are tested at 8 bits for every pair.
// Cost: a handful of instructions; multiply one step per bit of the multiplier.
// Threads: values. Tested by domain_test.cc.
// Source: Vishwanathan, Shachnai, Narayana, Nagarakatte, "Sound, Precise, and Fast Abstract
// Interpretation with Tristate Numbers", CGO 2022; for multiplication the join over both values of
// an unknown bit, as in Linux 6.18, kernel/bpf/tnum.c.
#pragma once

#include <bit>
#include <cstdint>

#include "verifier/domain/width.h"

namespace lmn {

template <int W>
struct Tnum {
  using Bits = Width<W>;

  std::uint64_t value = 0;
  std::uint64_t mask = Bits::kMask;

  static constexpr Tnum unknown() { return {0, Bits::kMask}; }
  static constexpr Tnum constant(std::uint64_t c) { return {Bits::truncate(c), 0}; }
  // The smallest tnum that holds every number of [min, max], unsigned. REQUIRES: min <= max.
  static constexpr Tnum range(std::uint64_t min, std::uint64_t max) {
    const auto differing = static_cast<int>(std::bit_width(min ^ max));
    const std::uint64_t low = differing == 64 ? ~0ull : (1ull << differing) - 1;
    return {min & ~low, low};
  }

  constexpr bool operator==(const Tnum&) const = default;
  constexpr bool is_constant() const { return mask == 0; }
  constexpr bool is_unknown() const { return mask == Bits::kMask; }
  constexpr bool contains(std::uint64_t c) const { return (c & ~mask) == value; }
  // Whether every number of `inner` is one of ours.
  constexpr bool holds(const Tnum& inner) const {
    return (inner.mask & ~mask) == 0 && (inner.value & ~mask) == value;
  }
  constexpr std::uint64_t unsigned_min() const { return value; }
  constexpr std::uint64_t unsigned_max() const { return value | mask; }
  // An unknown sign bit counts as set for the minimum and clear for the maximum.
  constexpr std::int64_t signed_min() const {
    return Bits::to_signed(value | (mask & Bits::kSignBit));
  }
  constexpr std::int64_t signed_max() const {
    return Bits::to_signed(value | (mask & ~Bits::kSignBit));
  }
  // Whether all numbers are multiples of `alignment`, a power of two.
  constexpr bool is_aligned(std::uint64_t alignment) const {
    return ((value | mask) & (alignment - 1)) == 0;
  }
};

template <int W>
constexpr Tnum<W> operator+(Tnum<W> a, Tnum<W> b) {
  const std::uint64_t least = a.value + b.value;
  const std::uint64_t most = least + a.mask + b.mask;
  const std::uint64_t unsure = Width<W>::truncate((least ^ most) | a.mask | b.mask);
  return {Width<W>::truncate(least) & ~unsure, unsure};
}

template <int W>
constexpr Tnum<W> operator-(Tnum<W> a, Tnum<W> b) {
  const std::uint64_t difference = a.value - b.value;
  const std::uint64_t unsure =
      Width<W>::truncate(((difference + a.mask) ^ (difference - b.mask)) | a.mask | b.mask);
  return {Width<W>::truncate(difference) & ~unsure, unsure};
}

template <int W>
constexpr Tnum<W> operator&(Tnum<W> a, Tnum<W> b) {
  const std::uint64_t known_ones = a.value & b.value;
  const std::uint64_t possible_ones = (a.value | a.mask) & (b.value | b.mask);
  return {known_ones, possible_ones & ~known_ones};
}

template <int W>
constexpr Tnum<W> operator|(Tnum<W> a, Tnum<W> b) {
  const std::uint64_t known_ones = a.value | b.value;
  return {known_ones, (a.mask | b.mask) & ~known_ones};
}

template <int W>
constexpr Tnum<W> operator^(Tnum<W> a, Tnum<W> b) {
  const std::uint64_t unsure = a.mask | b.mask;
  return {(a.value ^ b.value) & ~unsure, unsure};
}

// The smallest tnum that holds all numbers of both.
template <int W>
constexpr Tnum<W> join(Tnum<W> a, Tnum<W> b) {
  const std::uint64_t unsure = a.mask | b.mask | (a.value ^ b.value);
  return {a.value & ~unsure, unsure};
}

// Whether a number is in both.
template <int W>
constexpr bool overlaps(Tnum<W> a, Tnum<W> b) {
  return ((a.value ^ b.value) & ~a.mask & ~b.mask) == 0;
}

// The numbers in both. REQUIRES: overlaps(a, b).
template <int W>
constexpr Tnum<W> meet(Tnum<W> a, Tnum<W> b) {
  const std::uint64_t unsure = a.mask & b.mask;
  return {(a.value | b.value) & ~unsure, unsure};
}

// Shifts by a known amount. REQUIRES: by < W.
template <int W>
constexpr Tnum<W> shift_left(Tnum<W> a, unsigned by) {
  return {Width<W>::truncate(a.value << by), Width<W>::truncate(a.mask << by)};
}
template <int W>
constexpr Tnum<W> shift_right(Tnum<W> a, unsigned by) {
  return {a.value >> by, a.mask >> by};
}
template <int W>
constexpr Tnum<W> shift_right_arithmetic(Tnum<W> a, unsigned by) {
  return {Width<W>::to_unsigned(Width<W>::to_signed(a.value) >> by),
          Width<W>::to_unsigned(Width<W>::to_signed(a.mask) >> by)};
}

// Long multiplication; where a bit of the multiplier is unknown both sums are possible.
template <int W>
constexpr Tnum<W> operator*(Tnum<W> a, Tnum<W> b) {
  Tnum<W> sum = Tnum<W>::constant(0);
  while ((a.value | a.mask) != 0) {
    if ((a.value & 1) != 0) {
      sum = sum + b;
    } else if ((a.mask & 1) != 0) {
      sum = join(sum, sum + b);
    }
    a = shift_right(a, 1);
    b = shift_left(b, 1);
  }
  return sum;
}

// Keeps the low `Narrow` bits.
template <int Narrow, int W>
constexpr Tnum<Narrow> truncate_to(Tnum<W> a) {
  static_assert(Narrow <= W);
  return {Width<Narrow>::truncate(a.value), Width<Narrow>::truncate(a.mask)};
}
// Zeros above.
template <int Wide, int W>
constexpr Tnum<Wide> zero_extend_to(Tnum<W> a) {
  static_assert(Wide >= W);
  return {a.value, a.mask};
}
// Copies of the sign bit above, unknown if that is unknown.
template <int Wide, int W>
constexpr Tnum<Wide> sign_extend_to(Tnum<W> a) {
  static_assert(Wide >= W);
  return {Width<Wide>::to_unsigned(Width<W>::to_signed(a.value)),
          Width<Wide>::to_unsigned(Width<W>::to_signed(a.mask))};
}
// The lowest `count` bytes in reverse order, zeros above. A byte has eight bits but in tests.
template <int ByteBits = 8, int W>
constexpr Tnum<W> swap_bytes(Tnum<W> a, int count) {
  Tnum<W> out = Tnum<W>::constant(0);
  for (int i = 0; i < count; ++i) {
    const int to = ByteBits * (count - 1 - i);
    out.value |= (a.value >> (ByteBits * i) & Width<ByteBits>::kMask) << to;
    out.mask |= (a.mask >> (ByteBits * i) & Width<ByteBits>::kMask) << to;
  }
  return out;
}
// `a` with its low bits replaced.
template <int W, int Narrow>
constexpr Tnum<W> with_low(Tnum<W> a, Tnum<Narrow> low) {
  const std::uint64_t high = ~Width<Narrow>::kMask;
  return {(a.value & high) | low.value, (a.mask & high) | low.mask};
}

}  // namespace lmn
