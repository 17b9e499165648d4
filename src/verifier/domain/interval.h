// SPDX-License-Identifier: Apache-2.0
//
// Interval: what is known of a number's size: an unsigned and a signed range at once.
//
// Both are kept because programs compare both ways, and each sharpens the other: [0, 5] unsigned is
// [0, 5] signed; -1 is the largest unsigned number. deduce() draws those conclusions. An interval
// with an empty range stands for no number: the path that led to it cannot happen (is_empty()).
//
// Each operator is sound: it gives an interval that holds f(x, y) for all x of a and y of b. A
// range whose result wraps around becomes unbounded, unless both ends wrap alike. Threads: values.
// Tested by domain_test.cc: at 6 bits every pair of ranges against all concrete values. Source: the
// rules of Linux 6.18, kernel/bpf/verifier.c (__reg64_deduce_bounds, scalar_min_max_*).
#pragma once

#include <algorithm>
#include <cstdint>

#include "verifier/domain/tnum.h"
#include "verifier/domain/width.h"

namespace lmn {

template <int W>
struct Interval {
  using Bits = Width<W>;

  std::uint64_t umin = 0;
  std::uint64_t umax = Bits::kUnsignedMax;
  std::int64_t smin = Bits::kSignedMin;
  std::int64_t smax = Bits::kSignedMax;

  static constexpr Interval full() { return {}; }
  static constexpr Interval constant(std::uint64_t c) {
    const std::uint64_t u = Bits::truncate(c);
    return {u, u, Bits::to_signed(u), Bits::to_signed(u)};
  }
  static constexpr Interval of_unsigned(std::uint64_t min, std::uint64_t max) {
    Interval out;
    out.umin = min;
    out.umax = max;
    out.deduce();
    return out;
  }
  static constexpr Interval of_signed(std::int64_t min, std::int64_t max) {
    Interval out;
    out.smin = min;
    out.smax = max;
    out.deduce();
    return out;
  }
  static constexpr Interval of_tnum(Tnum<W> bits) {
    Interval out{bits.unsigned_min(), bits.unsigned_max(), bits.signed_min(), bits.signed_max()};
    out.deduce();
    return out;
  }

  constexpr bool operator==(const Interval&) const = default;
  constexpr bool contains(std::uint64_t c) const {
    const std::int64_t s = Bits::to_signed(c);
    return c >= umin && c <= umax && s >= smin && s <= smax;
  }
  constexpr bool is_empty() const { return umin > umax || smin > smax; }
  constexpr bool is_constant() const { return umin == umax && smin == smax; }
  constexpr bool is_full() const { return *this == full(); }
  // Whether every number of `inner` is one of ours.
  constexpr bool holds(const Interval& inner) const {
    return umin <= inner.umin && umax >= inner.umax && smin <= inner.smin && smax >= inner.smax;
  }

  constexpr void meet(const Interval& other) {
    umin = std::max(umin, other.umin);
    umax = std::min(umax, other.umax);
    smin = std::max(smin, other.smin);
    smax = std::min(smax, other.smax);
  }

  // Sharpens each range by the other, as far as one pass goes.
  constexpr void deduce() {
    // The unsigned range does not cross from the largest positive to the smallest negative number.
    if (Bits::to_signed(umin) <= Bits::to_signed(umax)) {
      smin = std::max(smin, Bits::to_signed(umin));
      smax = std::min(smax, Bits::to_signed(umax));
    }
    // The signed range does not cross from -1 to 0.
    if (Bits::to_unsigned(smin) <= Bits::to_unsigned(smax)) {
      umin = std::max(umin, Bits::to_unsigned(smin));
      umax = std::min(umax, Bits::to_unsigned(smax));
      return;
    }
    // It does: as unsigned numbers it is [0, smax] and [smin, max]. An unsigned range that touches
    // only one of them tells the sign.
    if (umax < Bits::to_unsigned(smin)) {
      smin = std::max(smin, std::int64_t{0});
      smin = std::max(smin, static_cast<std::int64_t>(umin));
      umax = std::min(umax, Bits::to_unsigned(smax));
    } else if (umin > Bits::to_unsigned(smax)) {
      smax = std::min(smax, Bits::to_signed(umax));
      umin = std::max(umin, Bits::to_unsigned(smin));
    }
  }

  constexpr void forget_unsigned() {
    umin = 0;
    umax = Bits::kUnsignedMax;
  }
  constexpr void forget_signed() {
    smin = Bits::kSignedMin;
    smax = Bits::kSignedMax;
  }
};

template <int W>
constexpr Interval<W> operator+(const Interval<W>& a, const Interval<W>& b) {
  using Bits = Width<W>;
  Interval<W> out;
  const auto wraps = [](std::uint64_t x, std::uint64_t y) { return Bits::truncate(x + y) < x; };
  if (wraps(a.umin, b.umin) == wraps(a.umax, b.umax)) {
    out.umin = Bits::truncate(a.umin + b.umin);
    out.umax = Bits::truncate(a.umax + b.umax);
  }
  std::int64_t least = 0;
  std::int64_t most = 0;
  const bool least_wraps =
      __builtin_add_overflow(a.smin, b.smin, &least) || !Bits::fits_signed(least);
  const bool most_wraps = __builtin_add_overflow(a.smax, b.smax, &most) || !Bits::fits_signed(most);
  if (!least_wraps && !most_wraps) {
    out.smin = least;
    out.smax = most;
  }
  out.deduce();
  return out;
}

template <int W>
constexpr Interval<W> operator-(const Interval<W>& a, const Interval<W>& b) {
  using Bits = Width<W>;
  Interval<W> out;
  if ((a.umin < b.umax) == (a.umax < b.umin)) {
    out.umin = Bits::truncate(a.umin - b.umax);
    out.umax = Bits::truncate(a.umax - b.umin);
  }
  std::int64_t least = 0;
  std::int64_t most = 0;
  const bool least_wraps =
      __builtin_sub_overflow(a.smin, b.smax, &least) || !Bits::fits_signed(least);
  const bool most_wraps = __builtin_sub_overflow(a.smax, b.smin, &most) || !Bits::fits_signed(most);
  if (!least_wraps && !most_wraps) {
    out.smin = least;
    out.smax = most;
  }
  out.deduce();
  return out;
}

template <int W>
constexpr Interval<W> operator*(const Interval<W>& a, const Interval<W>& b) {
  using Bits = Width<W>;
  Interval<W> out;
  std::uint64_t most = 0;
  if (!__builtin_mul_overflow(a.umax, b.umax, &most) && most <= Bits::kUnsignedMax) {
    out.umin = a.umin * b.umin;
    out.umax = most;
  }
  std::int64_t least_signed = 0;
  std::int64_t most_signed = 0;
  bool wraps = false;
  bool is_first = true;
  for (const std::int64_t x : {a.smin, a.smax}) {
    for (const std::int64_t y : {b.smin, b.smax}) {
      std::int64_t product = 0;
      wraps = wraps || __builtin_mul_overflow(x, y, &product) || !Bits::fits_signed(product);
      least_signed = is_first ? product : std::min(least_signed, product);
      most_signed = is_first ? product : std::max(most_signed, product);
      is_first = false;
    }
  }
  if (!wraps) {
    out.smin = least_signed;
    out.smax = most_signed;
  }
  out.deduce();
  return out;
}

// The bitwise operators know more than a tnum of the result only by the operands' maxima and
// minima.
template <int W>
constexpr Interval<W> bitwise_and(const Interval<W>& a, const Interval<W>& b, Tnum<W> result) {
  Interval<W> out = Interval<W>::of_tnum(result);
  out.umax = std::min({out.umax, a.umax, b.umax});
  out.deduce();
  return out;
}
template <int W>
constexpr Interval<W> bitwise_or(const Interval<W>& a, const Interval<W>& b, Tnum<W> result) {
  Interval<W> out = Interval<W>::of_tnum(result);
  out.umin = std::max({out.umin, a.umin, b.umin});
  out.deduce();
  return out;
}
template <int W>
constexpr Interval<W> bitwise_xor(const Interval<W>&, const Interval<W>&, Tnum<W> result) {
  return Interval<W>::of_tnum(result);
}

// Shifts by a known amount. REQUIRES: by < W.
template <int W>
constexpr Interval<W> shift_left(const Interval<W>& a, unsigned by) {
  using Bits = Width<W>;
  Interval<W> out;
  if (a.umax <= (Bits::kUnsignedMax >> by)) {
    out.umin = a.umin << by;
    out.umax = a.umax << by;
  }
  if (a.smin >= (Bits::kSignedMin >> by) && a.smax <= (Bits::kSignedMax >> by)) {
    out.smin = static_cast<std::int64_t>(static_cast<std::uint64_t>(a.smin) << by);
    out.smax = static_cast<std::int64_t>(static_cast<std::uint64_t>(a.smax) << by);
  }
  out.deduce();
  return out;
}
template <int W>
constexpr Interval<W> shift_right(const Interval<W>& a, unsigned by) {
  return Interval<W>::of_unsigned(a.umin >> by, a.umax >> by);
}
template <int W>
constexpr Interval<W> shift_right_arithmetic(const Interval<W>& a, unsigned by) {
  return Interval<W>::of_signed(a.smin >> by, a.smax >> by);
}

// BPF's unsigned division and remainder: x / 0 is 0, x % 0 is x.
template <int W>
constexpr Interval<W> divide_unsigned(const Interval<W>& a, const Interval<W>& b) {
  const std::uint64_t least = b.umin == 0 ? 0 : a.umin / b.umax;
  return Interval<W>::of_unsigned(least, a.umax / std::max<std::uint64_t>(b.umin, 1));
}
template <int W>
constexpr Interval<W> remainder_unsigned(const Interval<W>& a, const Interval<W>& b) {
  if (a.umax < b.umin) return a;
  if (b.umin == 0) return Interval<W>::of_unsigned(0, a.umax);
  return Interval<W>::of_unsigned(0, std::min(a.umax, b.umax - 1));
}

}  // namespace lmn
