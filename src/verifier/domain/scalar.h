// SPDX-License-Identifier: Apache-2.0
//
// Scalar: everything the verifier knows of a number in a register: bits, range, and the range of
// its low half.
//
// The three views describe one set: c is in it when bits.contains(c), whole.contains(c) and
// low.contains(c's low half). Each operator computes every view by its own means and then sync()
// lets them sharpen each other, since each is the best at something: bits at masks and alignment,
// ranges at comparisons, the low half at 32-bit code (`w1 < w2`).
//
// Invariants after every public function: (1) sound: holds f(x, y) for all x of a, y of b; (2)
// sync() was called; (3) an impossible set has is_empty() true, in whichever view it shows.
// Threads: values. Tested by domain_test.cc, at 8 bits with 4-bit halves against all concrete
// values and at 64 bits at random. Source: Linux 6.18, kernel/bpf/verifier.c (reg_bounds_sync and
// its parts, adjust_scalar_min_max_vals).
#pragma once

#include "verifier/domain/interval.h"
#include "verifier/domain/tnum.h"

namespace lmn {

template <int W>
struct ScalarOf {
  static constexpr int kHalf = W / 2;
  using Bits = Width<W>;
  using HalfBits = Width<kHalf>;

  Tnum<W> bits;
  Interval<W> whole;
  Interval<kHalf> low;

  static constexpr ScalarOf unknown() { return {}; }
  static constexpr ScalarOf constant(std::uint64_t c) {
    return {Tnum<W>::constant(c), Interval<W>::constant(c), Interval<kHalf>::constant(c)};
  }
  // Whatever an unsigned load of `size_bits` bits gives.
  static constexpr ScalarOf of_width(int size_bits) {
    ScalarOf out;
    if (size_bits < W) out.bits = {0, (1ull << size_bits) - 1};
    out.sync();
    return out;
  }

  constexpr bool operator==(const ScalarOf&) const = default;
  constexpr bool contains(std::uint64_t c) const {
    return bits.contains(c) && whole.contains(c) && low.contains(HalfBits::truncate(c));
  }
  constexpr bool is_constant() const { return bits.is_constant(); }
  constexpr std::uint64_t constant_value() const { return bits.value; }
  // The low half is one known number.
  constexpr bool is_low_constant() const { return truncate_to<kHalf>(bits).is_constant(); }
  constexpr bool is_unknown() const { return *this == unknown(); }
  constexpr bool is_empty() const {
    return whole.is_empty() || low.is_empty() || (bits.value & bits.mask) != 0;
  }
  // Whether every number of `inner` is one of ours: the test of state inclusion.
  constexpr bool holds(const ScalarOf& inner) const {
    return bits.holds(inner.bits) && whole.holds(inner.whole) && low.holds(inner.low);
  }

  // Lets the three views sharpen each other. Three rounds, as in Linux 6.18: a fact may need to go
  // from the low half to the whole and back.
  constexpr void sync() {
    if (is_empty()) return;
    bits_to_ranges();
    for (int round = 0; round < 3; ++round) {
      whole.deduce();
      low.deduce();
      whole_to_low();
      low_to_whole();
    }
    if (is_empty()) return;
    ranges_to_bits();
    if (!is_empty()) bits_to_ranges();
  }

  // --- parts of sync(), and what 32-bit operations need
  constexpr void bits_to_ranges() {
    whole.meet({bits.unsigned_min(), bits.unsigned_max(), bits.signed_min(), bits.signed_max()});
    const Tnum<kHalf> low_bits = truncate_to<kHalf>(bits);
    low.meet({low_bits.unsigned_min(), low_bits.unsigned_max(), low_bits.signed_min(),
              low_bits.signed_max()});
  }

  constexpr void ranges_to_bits() {
    const Tnum<W> by_whole = Tnum<W>::range(whole.umin, whole.umax);
    if (!overlaps(bits, by_whole)) return mark_empty();
    bits = meet(bits, by_whole);
    const Tnum<kHalf> by_low = Tnum<kHalf>::range(low.umin, low.umax);
    const Tnum<kHalf> low_bits = truncate_to<kHalf>(bits);
    if (!overlaps(low_bits, by_low)) return mark_empty();
    bits = with_low(bits, lmn::meet(low_bits, by_low));
  }

  // Where the high half is the same all over a range, its ends are ends of the low half too.
  constexpr void whole_to_low() {
    if (whole.is_empty()) return;
    if ((whole.umin >> kHalf) == (whole.umax >> kHalf)) {
      low.umin = std::max(low.umin, HalfBits::truncate(whole.umin));
      low.umax = std::min(low.umax, HalfBits::truncate(whole.umax));
      low.deduce();
    }
    if ((whole.smin >> kHalf) == (whole.smax >> kHalf)) {
      const auto least = HalfBits::truncate(static_cast<std::uint64_t>(whole.smin));
      const auto most = HalfBits::truncate(static_cast<std::uint64_t>(whole.smax));
      low.umin = std::max(low.umin, least);
      low.umax = std::min(low.umax, most);
      low.deduce();
    }
    // The ends differ by one in the high half: as signed halves [negative, positive] is one run,
    // through zero.
    meet_low_through_zero(whole.umin, whole.umax);
    meet_low_through_zero(static_cast<std::uint64_t>(whole.smin),
                          static_cast<std::uint64_t>(whole.smax));
  }

  // REQUIRES: the ends of a range that does not wrap, as numbers of W bits or sign-extended.
  constexpr void meet_low_through_zero(std::uint64_t least, std::uint64_t most) {
    const std::uint64_t step = Bits::truncate(most) >> kHalf;
    const std::uint64_t before = Bits::truncate(least) >> kHalf;
    const std::int64_t low_of_least = HalfBits::to_signed(HalfBits::truncate(least));
    const std::int64_t low_of_most = HalfBits::to_signed(HalfBits::truncate(most));
    if (HalfBits::truncate(before + 1) != step || low_of_least >= 0 || low_of_most < 0) return;
    low.smin = std::max(low.smin, low_of_least);
    low.smax = std::min(low.smax, low_of_most);
    low.deduce();
  }

  // The ends of the whole range with their low halves moved into the low range: only numbers that
  // cannot be are cut off.
  constexpr void low_to_whole() {
    if (low.is_empty()) return;
    const std::uint64_t high = ~HalfBits::kMask;
    if (!whole.is_empty()) {
      whole.umin = std::max(whole.umin, (whole.umin & high & Bits::kMask) | low.umin);
      whole.umax = std::min(whole.umax, (whole.umax & high & Bits::kMask) | low.umax);
      const auto with_low_half = [&](std::int64_t end, std::uint64_t half) {
        return static_cast<std::int64_t>((static_cast<std::uint64_t>(end) & high) | half);
      };
      whole.smin = std::max(whole.smin, with_low_half(whole.smin, low.umin));
      whole.smax = std::min(whole.smax, with_low_half(whole.smax, low.umax));
    }
    // A low half known not to be negative, and a whole that fits a signed half: the whole is that
    // half.
    if (low.smin >= 0 && whole.smin >= HalfBits::kSignedMin && whole.smax <= HalfBits::kSignedMax) {
      whole.smin = std::max(whole.smin, low.smin);
      whole.smax = std::min(whole.smax, low.smax);
      whole.deduce();
    }
  }

  constexpr void mark_empty() {
    whole.umin = 1;
    whole.umax = 0;
  }

  // The set with its high half set to zero: what every 32-bit operation leaves.
  constexpr ScalarOf zero_extended_low() const {
    ScalarOf out;
    out.bits = zero_extend_to<W>(truncate_to<kHalf>(bits));
    out.low = low;
    out.whole = Interval<W>::of_unsigned(low.umin, low.umax);
    out.sync();
    return out;
  }
};

using Scalar = ScalarOf<64>;

// Numbers in both sets; check is_empty() of the result.
template <int W>
constexpr ScalarOf<W> meet(const ScalarOf<W>& a, const ScalarOf<W>& b) {
  ScalarOf<W> out = a;
  out.whole.meet(b.whole);
  out.low.meet(b.low);
  if (!overlaps(a.bits, b.bits)) {
    out.mark_empty();
    return out;
  }
  out.bits = meet(a.bits, b.bits);
  out.sync();
  return out;
}

}  // namespace lmn
