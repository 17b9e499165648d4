// SPDX-License-Identifier: Apache-2.0
//
// What a comparison teaches: both sides refined on the branch that was taken, and branches that
// cannot be taken.
//
// refine(cond, a, b) keeps of a and b the numbers for which `a cond b` can be true; an empty result
// means the branch is dead. The branch not taken is refine(negated(cond), a, b). Both sides are
// always refined into copies of their own, never through a register shared by both branches
// (CVE-2024-41003). Threads: pure functions. Tested by domain_test.cc. Source: Linux 6.18,
// kernel/bpf/verifier.c (regs_refine_cond_op, is_scalar_branch_taken).
#pragma once

#include "verifier/domain/scalar.h"

namespace lmn {

enum class Condition : std::uint8_t {
  kEq,
  kNe,
  kGt,
  kGe,
  kLt,
  kLe,
  kSgt,
  kSge,
  kSlt,
  kSle,
  kSet,
  kNotSet
};

constexpr Condition negated(Condition condition) {
  switch (condition) {
    case Condition::kEq:
      return Condition::kNe;
    case Condition::kNe:
      return Condition::kEq;
    case Condition::kGt:
      return Condition::kLe;
    case Condition::kGe:
      return Condition::kLt;
    case Condition::kLt:
      return Condition::kGe;
    case Condition::kLe:
      return Condition::kGt;
    case Condition::kSgt:
      return Condition::kSle;
    case Condition::kSge:
      return Condition::kSlt;
    case Condition::kSlt:
      return Condition::kSge;
    case Condition::kSle:
      return Condition::kSgt;
    case Condition::kSet:
      return Condition::kNotSet;
    case Condition::kNotSet:
      return Condition::kSet;
  }
  return condition;
}

namespace domain {

// The ranges' part, at the width of the comparison. False: the branch is dead.
template <int W>
constexpr bool refine_ranges(Condition condition, Interval<W>& a, Interval<W>& b) {
  switch (condition) {
    case Condition::kEq:
      a.meet(b);
      b = a;
      break;
    case Condition::kNe:
      // Only a constant at the very end of a range cuts it.
      for (auto [constant, other] : {std::pair(&b, &a), std::pair(&a, &b)}) {
        if (!constant->is_constant()) continue;
        if (other->umin == other->umax && other->umin == constant->umin) return false;
        if (other->umin == constant->umin) ++other->umin;
        if (other->umax == constant->umax) --other->umax;
        if (other->smin == constant->smin && other->smin != Width<W>::kSignedMax) ++other->smin;
        if (other->smax == constant->smax && other->smax != Width<W>::kSignedMin) --other->smax;
      }
      break;
    case Condition::kLt:
      if (b.umax == 0 || a.umin == Width<W>::kUnsignedMax) return false;
      a.umax = std::min(a.umax, b.umax - 1);
      b.umin = std::max(b.umin, a.umin + 1);
      break;
    case Condition::kLe:
      a.umax = std::min(a.umax, b.umax);
      b.umin = std::max(b.umin, a.umin);
      break;
    case Condition::kSlt:
      if (b.smax == Width<W>::kSignedMin || a.smin == Width<W>::kSignedMax) return false;
      a.smax = std::min(a.smax, b.smax - 1);
      b.smin = std::max(b.smin, a.smin + 1);
      break;
    case Condition::kSle:
      a.smax = std::min(a.smax, b.smax);
      b.smin = std::max(b.smin, a.smin);
      break;
    case Condition::kGt:
      return refine_ranges(Condition::kLt, b, a);
    case Condition::kGe:
      return refine_ranges(Condition::kLe, b, a);
    case Condition::kSgt:
      return refine_ranges(Condition::kSlt, b, a);
    case Condition::kSge:
      return refine_ranges(Condition::kSle, b, a);
    case Condition::kSet:
    case Condition::kNotSet:
      break;
  }
  return !a.is_empty() && !b.is_empty();
}

// The bits' part. False: the branch is dead.
template <int W>
constexpr bool refine_bits(Condition condition, Tnum<W>& a, Tnum<W>& b) {
  switch (condition) {
    case Condition::kEq:
      if (!overlaps(a, b)) return false;
      a = meet(a, b);
      b = a;
      return true;
    case Condition::kSet:
      if (((a.value | a.mask) & (b.value | b.mask)) == 0) return false;
      // One bit asked for: it is set.
      for (auto [constant, other] : {std::pair(&b, &a), std::pair(&a, &b)}) {
        if (constant->is_constant() && std::has_single_bit(constant->value)) {
          other->value |= constant->value;
          other->mask &= ~constant->value;
        }
      }
      return true;
    case Condition::kNotSet:
      if ((a.value & b.value) != 0) return false;
      // Bits known to be set on one side are clear on the other.
      a.mask &= ~b.value;
      b.mask &= ~a.value;
      return true;
    default:
      return true;
  }
}

}  // namespace domain

// Keeps what can be true of `a cond b`; false when nothing can (then a and b are unspecified).
template <int W>
constexpr bool refine(Condition condition, ScalarOf<W>& a, ScalarOf<W>& b) {
  if (!domain::refine_bits(condition, a.bits, b.bits)) return false;
  if (!domain::refine_ranges(condition, a.whole, b.whole)) return false;
  a.sync();
  b.sync();
  return !a.is_empty() && !b.is_empty();
}

// The same for a comparison of the low halves.
template <int W>
constexpr bool refine_low(Condition condition, ScalarOf<W>& a, ScalarOf<W>& b) {
  constexpr int kHalf = ScalarOf<W>::kHalf;
  Tnum<kHalf> a_bits = truncate_to<kHalf>(a.bits);
  Tnum<kHalf> b_bits = truncate_to<kHalf>(b.bits);
  if (!domain::refine_bits(condition, a_bits, b_bits)) return false;
  if (!domain::refine_ranges(condition, a.low, b.low)) return false;
  a.bits = with_low(a.bits, a_bits);
  b.bits = with_low(b.bits, b_bits);
  a.sync();
  b.sync();
  return !a.is_empty() && !b.is_empty();
}

// Whether `a cond b` is the same for all numbers: 1 always, 0 never, -1 it depends.
template <int W>
constexpr int known_outcome(Condition condition, ScalarOf<W> a, ScalarOf<W> b, bool is_low) {
  ScalarOf<W> a_not = a;
  ScalarOf<W> b_not = b;
  const bool can_be = is_low ? refine_low(condition, a, b) : refine(condition, a, b);
  const bool can_not_be = is_low ? refine_low(negated(condition), a_not, b_not)
                                 : refine(negated(condition), a_not, b_not);
  if (can_be == can_not_be) return -1;
  return can_be ? 1 : 0;
}

}  // namespace lmn
