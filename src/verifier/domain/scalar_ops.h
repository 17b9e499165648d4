// SPDX-License-Identifier: Apache-2.0
//
// The instructions' operators on Scalars, 64 and 32 bits wide.
//
// apply(op, a, b) computes all three views. A 32-bit operation (apply_low) computes the low view
// and zero-extends: it never looks at the high halves, which is the lesson of CVE-2017-16996,
// -17852, CVE-2018-18445 and CVE-2020-27194. A shift by an amount that is not known, or not below
// the width, gives an unknown number (the machine masks it; Linux forgets as well). Threads: pure
// functions. Tested by domain_test.cc. Source: Linux 6.18, kernel/bpf/verifier.c
// (adjust_scalar_min_max_vals); instruction semantics of RFC 9669 section 4.
#pragma once

#include "verifier/domain/scalar.h"

namespace lmn {

enum class AluOp : std::uint8_t { kAdd, kSub, kMul, kDiv, kMod, kAnd, kOr, kXor, kShl, kShr, kSar };

namespace domain {

template <int W>
constexpr Tnum<W> apply_bits(AluOp op, Tnum<W> a, Tnum<W> b, unsigned by) {
  switch (op) {
    case AluOp::kAdd:
      return a + b;
    case AluOp::kSub:
      return a - b;
    case AluOp::kMul:
      return a * b;
    case AluOp::kAnd:
      return a & b;
    case AluOp::kOr:
      return a | b;
    case AluOp::kXor:
      return a ^ b;
    case AluOp::kShl:
      return shift_left(a, by);
    case AluOp::kShr:
      return shift_right(a, by);
    case AluOp::kSar:
      return shift_right_arithmetic(a, by);
    case AluOp::kDiv:
    case AluOp::kMod:
      return Tnum<W>::unknown();
  }
  return Tnum<W>::unknown();
}

template <int W>
constexpr Interval<W> apply_range(AluOp op, const Interval<W>& a, const Interval<W>& b,
                                  Tnum<W> bits, unsigned by) {
  switch (op) {
    case AluOp::kAdd:
      return a + b;
    case AluOp::kSub:
      return a - b;
    case AluOp::kMul:
      return a * b;
    case AluOp::kDiv:
      return divide_unsigned(a, b);
    case AluOp::kMod:
      return remainder_unsigned(a, b);
    case AluOp::kAnd:
      return bitwise_and(a, b, bits);
    case AluOp::kOr:
      return bitwise_or(a, b, bits);
    case AluOp::kXor:
      return bitwise_xor(a, b, bits);
    case AluOp::kShl:
      return shift_left(a, by);
    case AluOp::kShr:
      return shift_right(a, by);
    case AluOp::kSar:
      return shift_right_arithmetic(a, by);
  }
  return Interval<W>::full();
}

constexpr bool is_shift(AluOp op) {
  return op == AluOp::kShl || op == AluOp::kShr || op == AluOp::kSar;
}

}  // namespace domain

// a op b in W bits.
template <int W>
constexpr ScalarOf<W> apply(AluOp op, const ScalarOf<W>& a, const ScalarOf<W>& b) {
  constexpr int kHalf = ScalarOf<W>::kHalf;
  unsigned by = 0;
  if (domain::is_shift(op)) {
    if (!b.is_constant() || b.constant_value() >= W) return ScalarOf<W>::unknown();
    by = static_cast<unsigned>(b.constant_value());
  }
  ScalarOf<W> out;
  out.bits = domain::apply_bits(op, a.bits, b.bits, by);
  out.whole = domain::apply_range(op, a.whole, b.whole, out.bits, by);
  // The low half of a result is a function of the low halves only for operations that carry
  // upwards.
  switch (op) {
    case AluOp::kAdd:
    case AluOp::kSub:
    case AluOp::kMul:
    case AluOp::kAnd:
    case AluOp::kOr:
    case AluOp::kXor:
      out.low = domain::apply_range<kHalf>(op, a.low, b.low, truncate_to<kHalf>(out.bits), 0);
      break;
    case AluOp::kShl:
      if (by < kHalf) out.low = shift_left(a.low, by);
      break;
    case AluOp::kDiv:
    case AluOp::kMod:
    case AluOp::kShr:
    case AluOp::kSar:
      break;
  }
  out.sync();
  return out;
}

// The 32-bit form: low halves in, zero-extended low half out.
template <int W>
constexpr ScalarOf<W> apply_low(AluOp op, const ScalarOf<W>& a, const ScalarOf<W>& b) {
  constexpr int kHalf = ScalarOf<W>::kHalf;
  unsigned by = 0;
  const Tnum<kHalf> a_bits = truncate_to<kHalf>(a.bits);
  const Tnum<kHalf> b_bits = truncate_to<kHalf>(b.bits);
  ScalarOf<W> out;
  if (domain::is_shift(op)) {
    if (!b_bits.is_constant() || b_bits.value >= kHalf) return out.zero_extended_low();
    by = static_cast<unsigned>(b_bits.value);
  }
  const Tnum<kHalf> bits = domain::apply_bits(op, a_bits, b_bits, by);
  out.bits = zero_extend_to<W>(bits);
  out.low = domain::apply_range(op, a.low, b.low, bits, by);
  return out.zero_extended_low();
}

// The low `size_bits` bits, zeros above.
template <int W>
constexpr ScalarOf<W> zero_extended(const ScalarOf<W>& a, int size_bits) {
  if (size_bits >= W) return a;
  if (size_bits == ScalarOf<W>::kHalf) return a.zero_extended_low();
  const std::uint64_t mask = (1ull << size_bits) - 1;
  ScalarOf<W> out;
  out.bits = {a.bits.value & mask, a.bits.mask & mask};
  // Where what is cut off is the same all over a range, its ends stay ends.
  if ((a.whole.umin & ~mask) == (a.whole.umax & ~mask)) {
    out.whole = Interval<W>::of_unsigned(a.whole.umin & mask, a.whole.umax & mask);
  }
  if (size_bits < ScalarOf<W>::kHalf && (a.low.umin & ~mask) == (a.low.umax & ~mask)) {
    out.whole.meet(Interval<W>::of_unsigned(a.low.umin & mask, a.low.umax & mask));
  }
  out.sync();
  return out;
}

// The lowest `count` bytes in reverse order, zeros above: known bits move along, ranges are gone.
template <int ByteBits = 8, int W>
constexpr ScalarOf<W> byte_swapped(const ScalarOf<W>& a, int count) {
  ScalarOf<W> out;
  out.bits = swap_bytes<ByteBits>(a.bits, count);
  out.sync();
  return out;
}

// Sign extension of the low `From` bits to all W.
template <int From, int W>
constexpr ScalarOf<W> sign_extended(const ScalarOf<W>& a) {
  static_assert(From < W);
  ScalarOf<W> out;
  out.bits = sign_extend_to<W>(truncate_to<From>(a.bits));
  // If the whole range fits From bits signed, nothing changes.
  if (a.whole.smin >= Width<From>::kSignedMin && a.whole.smax <= Width<From>::kSignedMax) {
    out.whole.smin = a.whole.smin;
    out.whole.smax = a.whole.smax;
  } else {
    out.whole.smin = Width<From>::kSignedMin;
    out.whole.smax = Width<From>::kSignedMax;
    if constexpr (From == ScalarOf<W>::kHalf) {
      out.whole.smin = a.low.smin;
      out.whole.smax = a.low.smax;
    }
  }
  if constexpr (From == ScalarOf<W>::kHalf) out.low = a.low;
  out.sync();
  return out;
}

}  // namespace lmn
