// SPDX-License-Identifier: Apache-2.0
//
// Goal: no operator of the number domain ever leaves out a number that can occur. Method: at widths
// where all numbers can be tried, they are: every pair of tnums at 8 bits, every pair of unsigned
// and of signed ranges at 6 bits, for every operator and all concrete operands; combined scalars,
// comparisons and extensions at 8 bits (4-bit halves) for random sets but all their members; the
// same code at 64 bits for random members. Bitwise operators and sums are also shown to be the best
// possible.
#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <functional>
#include <random>
#include <vector>

#include "verifier/domain/refine.h"
#include "verifier/domain/scalar_ops.h"

namespace lmn {
namespace {

constexpr AluOp kAllOps[] = {AluOp::kAdd, AluOp::kSub, AluOp::kMul, AluOp::kDiv,
                             AluOp::kMod, AluOp::kAnd, AluOp::kOr,  AluOp::kXor,
                             AluOp::kShl, AluOp::kShr, AluOp::kSar};
constexpr Condition kAllConditions[] = {Condition::kEq,  Condition::kNe,  Condition::kGt,
                                        Condition::kGe,  Condition::kLt,  Condition::kLe,
                                        Condition::kSgt, Condition::kSge, Condition::kSlt,
                                        Condition::kSle, Condition::kSet, Condition::kNotSet};

// What the machine computes, W bits wide.
template <int W>
std::uint64_t concrete(AluOp op, std::uint64_t x, std::uint64_t y) {
  using Bits = Width<W>;
  const auto by = static_cast<unsigned>(y % W);
  switch (op) {
    case AluOp::kAdd:
      return Bits::truncate(x + y);
    case AluOp::kSub:
      return Bits::truncate(x - y);
    case AluOp::kMul:
      return Bits::truncate(x * y);
    case AluOp::kDiv:
      return y == 0 ? 0 : x / y;
    case AluOp::kMod:
      return y == 0 ? x : x % y;
    case AluOp::kAnd:
      return x & y;
    case AluOp::kOr:
      return x | y;
    case AluOp::kXor:
      return x ^ y;
    case AluOp::kShl:
      return Bits::truncate(x << by);
    case AluOp::kShr:
      return x >> by;
    case AluOp::kSar:
      return Bits::to_unsigned(Bits::to_signed(x) >> by);
  }
  return 0;
}

template <int W>
bool holds_concretely(Condition condition, std::uint64_t x, std::uint64_t y) {
  const std::int64_t sx = Width<W>::to_signed(x);
  const std::int64_t sy = Width<W>::to_signed(y);
  switch (condition) {
    case Condition::kEq:
      return x == y;
    case Condition::kNe:
      return x != y;
    case Condition::kGt:
      return x > y;
    case Condition::kGe:
      return x >= y;
    case Condition::kLt:
      return x < y;
    case Condition::kLe:
      return x <= y;
    case Condition::kSgt:
      return sx > sy;
    case Condition::kSge:
      return sx >= sy;
    case Condition::kSlt:
      return sx < sy;
    case Condition::kSle:
      return sx <= sy;
    case Condition::kSet:
      return (x & y) != 0;
    case Condition::kNotSet:
      return (x & y) == 0;
  }
  return false;
}

template <int W>
std::vector<Tnum<W>> all_tnums() {
  std::vector<Tnum<W>> out;
  for (std::uint64_t mask = 0; mask <= Width<W>::kMask; ++mask) {
    for (std::uint64_t value = 0; value <= Width<W>::kMask; ++value) {
      if ((value & mask) == 0) out.push_back({value, mask});
    }
  }
  return out;
}

// For every pair of 8-bit tnums: `abstract` holds all concrete results, and where `is_best`,
// nothing smaller does.
template <typename Abstract, typename Concrete>
void check_tnum_pairs(Abstract abstract, Concrete concretely, bool is_best) {
  constexpr int W = 8;
  const std::vector<Tnum<W>> tnums = all_tnums<W>();
  std::uint64_t bad = 0;
  for (const Tnum<W>& a : tnums) {
    for (const Tnum<W>& b : tnums) {
      const Tnum<W> result = abstract(a, b);
      std::uint64_t ones = Width<W>::kMask;
      std::uint64_t any = 0;
      // Members of a tnum: its value plus every subset of its mask.
      for (std::uint64_t i = a.mask;; i = (i - 1) & a.mask) {
        for (std::uint64_t j = b.mask;; j = (j - 1) & b.mask) {
          const std::uint64_t c = concretely(a.value | i, b.value | j);
          ones &= c;
          any |= c;
          if (j == 0) break;
        }
        if (i == 0) break;
      }
      const Tnum<W> smallest{ones, ones ^ any};
      if (!result.holds(smallest) || (is_best && result != smallest)) ++bad;
    }
  }
  EXPECT_EQ(bad, 0u);
}

TEST(TnumExhaustive, Add) {
  check_tnum_pairs([](auto a, auto b) { return a + b; },
                   [](auto x, auto y) { return (x + y) & 0xff; }, true);
}
TEST(TnumExhaustive, Subtract) {
  check_tnum_pairs([](auto a, auto b) { return a - b; },
                   [](auto x, auto y) { return (x - y) & 0xff; }, true);
}
TEST(TnumExhaustive, Multiply) {
  check_tnum_pairs([](auto a, auto b) { return a * b; },
                   [](auto x, auto y) { return (x * y) & 0xff; }, false);
}
TEST(TnumExhaustive, Bitwise) {
  check_tnum_pairs([](auto a, auto b) { return a & b; }, [](auto x, auto y) { return x & y; },
                   true);
  check_tnum_pairs([](auto a, auto b) { return a | b; }, [](auto x, auto y) { return x | y; },
                   true);
  check_tnum_pairs([](auto a, auto b) { return a ^ b; }, [](auto x, auto y) { return x ^ y; },
                   true);
}

TEST(TnumExhaustive, ShiftsExtensionsAndRange) {
  constexpr int W = 8;
  for (const Tnum<W>& a : all_tnums<W>()) {
    for (std::uint64_t x = 0; x < 256; ++x) {
      if (!a.contains(x)) continue;
      for (unsigned by = 0; by < W; ++by) {
        ASSERT_TRUE(shift_left(a, by).contains((x << by) & 0xff));
        ASSERT_TRUE(shift_right(a, by).contains(x >> by));
        ASSERT_TRUE(shift_right_arithmetic(a, by).contains(concrete<W>(AluOp::kSar, x, by)));
      }
      ASSERT_TRUE((sign_extend_to<16>(a).contains(Width<16>::to_unsigned(Width<W>::to_signed(x)))));
      ASSERT_TRUE((zero_extend_to<16>(a).contains(x)));
      ASSERT_TRUE((truncate_to<4>(a).contains(x & 15)));
      ASSERT_GE(Width<W>::to_signed(x), a.signed_min());
      ASSERT_LE(Width<W>::to_signed(x), a.signed_max());
    }
  }
  for (std::uint64_t min = 0; min < 256; ++min) {
    for (std::uint64_t max = min; max < 256; ++max) {
      const auto range = Tnum<W>::range(min, max);
      for (std::uint64_t x = min; x <= max; ++x) ASSERT_TRUE(range.contains(x));
    }
  }
}

TEST(TnumExhaustive, MeetJoinInclusion) {
  constexpr int W = 6;
  const std::vector<Tnum<W>> tnums = all_tnums<W>();
  for (const Tnum<W>& a : tnums) {
    for (const Tnum<W>& b : tnums) {
      bool any = false;
      bool all = true;
      for (std::uint64_t x = 0; x <= Width<W>::kMask; ++x) {
        const bool in_both = a.contains(x) && b.contains(x);
        any = any || in_both;
        all = all && (!b.contains(x) || a.contains(x));
        if (overlaps(a, b)) {
          ASSERT_EQ(meet(a, b).contains(x), in_both);
        }
        if (a.contains(x) || b.contains(x)) {
          ASSERT_TRUE(join(a, b).contains(x));
        }
      }
      ASSERT_EQ(overlaps(a, b), any);
      ASSERT_EQ(a.holds(b), all);
    }
  }
}

// All intervals that one range alone makes: unsigned ones or signed ones.
template <int W>
std::vector<Interval<W>> all_intervals(bool is_signed) {
  std::vector<Interval<W>> out;
  const auto count = static_cast<std::int64_t>(Width<W>::kMask) + 1;
  const std::int64_t base = is_signed ? Width<W>::kSignedMin : 0;
  for (std::int64_t min = 0; min < count; ++min) {
    for (std::int64_t max = min; max < count; ++max) {
      out.push_back(is_signed ? Interval<W>::of_signed(base + min, base + max)
                              : Interval<W>::of_unsigned(static_cast<std::uint64_t>(min),
                                                         static_cast<std::uint64_t>(max)));
    }
  }
  return out;
}

template <int W>
std::vector<std::uint64_t> members(const Interval<W>& interval) {
  std::vector<std::uint64_t> out;
  for (std::uint64_t x = 0; x <= Width<W>::kMask; ++x) {
    if (interval.contains(x)) out.push_back(x);
  }
  return out;
}

class IntervalExhaustive : public ::testing::TestWithParam<std::tuple<AluOp, bool>> {};

// The ends of all x op y, unsigned and with the sign bit flipped (which orders signed numbers).
struct Ends {
  std::uint8_t least = 0xff;
  std::uint8_t most = 0;
  std::uint8_t least_flipped = 0xff;
  std::uint8_t most_flipped = 0;
};

// Narrow types and no branch in the inner loop: the compiler makes vectors of it.
Ends ends_of(AluOp op, const std::vector<std::uint8_t>& xs, const std::vector<std::uint8_t>& ys) {
  constexpr int W = 6;
  static const auto table = [] {
    std::vector<std::array<std::array<std::uint8_t, 64>, 64>> results(std::size(kAllOps));
    for (const AluOp each : kAllOps) {
      for (std::uint64_t x = 0; x < 64; ++x) {
        for (std::uint64_t y = 0; y < 64; ++y) {
          results[static_cast<std::size_t>(each)][x][y] =
              static_cast<std::uint8_t>(concrete<W>(each, x, y));
        }
      }
    }
    return results;
  }();
  Ends ends;
  for (const std::uint8_t x : xs) {
    const auto& row = table[static_cast<std::size_t>(op)][x];
    for (const std::uint8_t y : ys) {
      const std::uint8_t c = row[y];
      const auto flipped = static_cast<std::uint8_t>(c ^ Width<W>::kSignBit);
      ends.least = std::min(ends.least, c);
      ends.most = std::max(ends.most, c);
      ends.least_flipped = std::min(ends.least_flipped, flipped);
      ends.most_flipped = std::max(ends.most_flipped, flipped);
    }
  }
  return ends;
}

TEST_P(IntervalExhaustive, EveryPairOfRanges) {
  constexpr int W = 6;
  const auto [op, is_signed] = GetParam();
  const std::vector<Interval<W>> intervals = all_intervals<W>(is_signed);
  std::vector<std::vector<std::uint8_t>> sets;
  for (const Interval<W>& interval : intervals) {
    const std::vector<std::uint64_t> all = members(interval);
    sets.emplace_back(all.begin(), all.end());
  }
  std::uint64_t bad = 0;
  for (std::size_t i = 0; i < intervals.size(); ++i) {
    for (std::size_t j = 0; j < intervals.size(); ++j) {
      // Shifts are by constants only.
      if (domain::is_shift(op) && !(intervals[j].is_constant() && intervals[j].umin < W)) continue;
      const auto by = static_cast<unsigned>(intervals[j].umin);
      const auto bits_a = Tnum<W>::range(intervals[i].umin, intervals[i].umax);
      const auto bits_b = Tnum<W>::range(intervals[j].umin, intervals[j].umax);
      const Interval<W> result = domain::apply_range(
          op, intervals[i], intervals[j], domain::apply_bits(op, bits_a, bits_b, by), by);
      const Ends ends = ends_of(op, sets[i], sets[j]);
      const std::int64_t least = Width<W>::to_signed(ends.least_flipped ^ Width<W>::kSignBit);
      const std::int64_t most = Width<W>::to_signed(ends.most_flipped ^ Width<W>::kSignBit);
      bad += ends.least < result.umin || ends.most > result.umax || least < result.smin ||
             most > result.smax;
    }
  }
  EXPECT_EQ(bad, 0u);
}

INSTANTIATE_TEST_SUITE_P(AllOperators, IntervalExhaustive,
                         ::testing::Combine(::testing::ValuesIn(kAllOps), ::testing::Bool()));

TEST(IntervalExhaustiveDeduce, LosesNoNumber) {
  constexpr int W = 4;
  for (std::uint64_t umin = 0; umin < 16; ++umin) {
    for (std::uint64_t umax = umin; umax < 16; ++umax) {
      for (std::int64_t smin = -8; smin < 8; ++smin) {
        for (std::int64_t smax = smin; smax < 8; ++smax) {
          const Interval<W> before{umin, umax, smin, smax};
          Interval<W> after = before;
          after.deduce();
          for (std::uint64_t x = 0; x < 16; ++x) ASSERT_EQ(before.contains(x), after.contains(x));
        }
      }
    }
  }
}

using Small = ScalarOf<8>;

// A set with random constraints in each view; may be empty.
Small random_small(std::mt19937_64& random) {
  Small out;
  const auto pick = [&] { return random() & 0xff; };
  if (random() % 2 == 0) {
    out.bits.mask = pick();
    out.bits.value = pick() & ~out.bits.mask;
  }
  if (random() % 2 == 0) {
    out.whole.umin = pick() % 64;
    out.whole.umax = std::max(out.whole.umin, pick());
  }
  if (random() % 2 == 0) {
    out.whole.smin = Width<8>::to_signed(pick());
    out.whole.smax = std::max(out.whole.smin, Width<8>::to_signed(pick()));
  }
  if (random() % 2 == 0) {
    out.low.umin = pick() % 8;
    out.low.umax = std::max(out.low.umin, pick() % 16);
  }
  if (random() % 2 == 0) {
    out.low.smin = Width<4>::to_signed(pick() % 16);
    out.low.smax = std::max(out.low.smin, Width<4>::to_signed(pick() % 16));
  }
  return out;
}

std::vector<std::uint64_t> members(const Small& scalar) {
  std::vector<std::uint64_t> out;
  for (std::uint64_t x = 0; x < 256; ++x) {
    if (scalar.contains(x)) out.push_back(x);
  }
  return out;
}

TEST(ScalarSmall, SyncKeepsEveryNumber) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 300'000; ++i) {
    const Small before = random_small(random);
    Small after = before;
    after.sync();
    for (std::uint64_t x = 0; x < 256; ++x) {
      ASSERT_TRUE(!before.contains(x) || (after.contains(x) && !after.is_empty())) << x;
    }
  }
}

// A non-empty synced set and its members.
std::pair<Small, std::vector<std::uint64_t>> random_set(std::mt19937_64& random) {
  while (true) {
    Small scalar = random_small(random);
    scalar.sync();
    if (scalar.is_empty()) continue;
    std::vector<std::uint64_t> all = members(scalar);
    if (!all.empty()) return {scalar, all};
  }
}

TEST(ScalarSmall, OperatorsHoldEveryResult) {
  std::mt19937_64 random(2);
  for (int i = 0; i < 20'000; ++i) {
    const auto [a, a_members] = random_set(random);
    auto [b, b_members] = random_set(random);
    if (random() % 3 == 0) {
      b = Small::constant(random() % 10);
      b_members = members(b);
    }
    for (const AluOp op : kAllOps) {
      const Small wide = apply(op, a, b);
      const Small low = apply_low(op, a, b);
      for (const std::uint64_t x : a_members) {
        for (const std::uint64_t y : b_members) {
          ASSERT_TRUE(wide.contains(concrete<8>(op, x, y)))
              << static_cast<int>(op) << ' ' << x << ' ' << y;
          ASSERT_TRUE(low.contains(concrete<4>(op, x & 15, y & 15)))
              << static_cast<int>(op) << ' ' << x << ' ' << y;
        }
      }
    }
  }
}

TEST(ScalarSmall, ComparisonsKeepWhatCanBe) {
  std::mt19937_64 random(3);
  for (int i = 0; i < 20'000; ++i) {
    const auto [a, a_members] = random_set(random);
    const auto [b, b_members] = random_set(random);
    for (const Condition condition : kAllConditions) {
      for (const bool is_low : {false, true}) {
        Small a_kept = a;
        Small b_kept = b;
        const bool alive =
            is_low ? refine_low(condition, a_kept, b_kept) : refine(condition, a_kept, b_kept);
        const int outcome = known_outcome(condition, a, b, is_low);
        for (const std::uint64_t x : a_members) {
          for (const std::uint64_t y : b_members) {
            const bool is_true = is_low ? holds_concretely<4>(condition, x & 15, y & 15)
                                        : holds_concretely<8>(condition, x, y);
            ASSERT_TRUE(outcome == -1 || outcome == static_cast<int>(is_true));
            if (!is_true) continue;
            ASSERT_TRUE(alive);
            ASSERT_TRUE(a_kept.contains(x)) << static_cast<int>(condition) << ' ' << x << ' ' << y;
            ASSERT_TRUE(b_kept.contains(y)) << static_cast<int>(condition) << ' ' << x << ' ' << y;
          }
        }
      }
    }
  }
}

TEST(ScalarSmall, ExtensionsInclusionAndMeet) {
  std::mt19937_64 random(4);
  for (int i = 0; i < 50'000; ++i) {
    const auto [a, a_members] = random_set(random);
    const auto [b, b_members] = random_set(random);
    const Small from_low = sign_extended<4>(a);
    const Small from_two = sign_extended<2>(a);
    const Small zero = a.zero_extended_low();
    const Small two = zero_extended(a, 2);
    const Small swapped = byte_swapped<2>(a, 4);
    const Small swapped_low = byte_swapped<2>(a, 2);
    for (const std::uint64_t x : a_members) {
      ASSERT_TRUE(from_low.contains(Width<8>::to_unsigned(Width<4>::to_signed(x & 15))));
      ASSERT_TRUE(from_two.contains(Width<8>::to_unsigned(Width<2>::to_signed(x & 3))));
      ASSERT_TRUE(zero.contains(x & 15));
      ASSERT_TRUE(two.contains(x & 3));
      const std::uint64_t low_reversed = (x & 3) << 2 | (x >> 2 & 3);
      const std::uint64_t high_reversed = (x >> 4 & 3) << 2 | (x >> 6 & 3);
      ASSERT_TRUE(swapped.contains(low_reversed << 4 | high_reversed));
      ASSERT_TRUE(swapped_low.contains(low_reversed));
      if (b.contains(x)) {
        ASSERT_TRUE(meet(a, b).contains(x));
      }
      if (b.holds(a)) {
        ASSERT_TRUE(b.contains(x));
      }
    }
  }
}

// The same code at the width programs use: sets made around a random member, so that members are
// known.
std::pair<Scalar, std::uint64_t> random_wide(std::mt19937_64& random) {
  const auto number = [&]() -> std::uint64_t {
    const std::uint64_t bits = random();
    switch (random() % 4) {
      case 0:
        return bits;
      case 1:
        return bits >> (random() % 64);
      case 2:
        return (1ull << (random() % 64)) + random() % 3 - 1;
      default:
        return static_cast<std::uint64_t>(-static_cast<std::int64_t>(bits >> (random() % 64)));
    }
  };
  const std::uint64_t member = number();
  Scalar out;
  if (random() % 2 == 0) out.bits = {member & ~number(), 0};
  out.bits.mask = ~out.bits.value & (number() | (member ^ out.bits.value));
  for (int i = 0; i < 2; ++i) {
    const std::uint64_t other = number();
    if (random() % 2 == 0)
      out.whole.meet(Interval<64>::of_unsigned(std::min(member, other),
                                               i == 0 ? ~0ull : std::max(member, other)));
    const auto s = static_cast<std::int64_t>(member);
    const auto t = static_cast<std::int64_t>(other);
    if (random() % 2 == 0) out.whole.meet(Interval<64>::of_signed(std::min(s, t), std::max(s, t)));
  }
  out.sync();
  return {out, member};
}

TEST(ScalarWide, OperatorsAndComparisonsHoldMembers) {
  std::mt19937_64 random(5);
  for (int i = 0; i < 1'000'000; ++i) {
    const auto [a, x] = random_wide(random);
    auto [b, y] = random_wide(random);
    ASSERT_TRUE(a.contains(x));
    ASSERT_TRUE(b.contains(y));
    const AluOp op = kAllOps[random() % std::size(kAllOps)];
    if (domain::is_shift(op)) {
      y %= 64;
      b = Scalar::constant(y);
    }
    ASSERT_TRUE(apply(op, a, b).contains(concrete<64>(op, x, y))) << static_cast<int>(op);
    ASSERT_TRUE(apply_low(op, a, b).contains(concrete<32>(op, x & 0xffffffff, y & 0xffffffff)))
        << static_cast<int>(op);
    const Condition condition = kAllConditions[random() % std::size(kAllConditions)];
    for (const bool is_low : {false, true}) {
      const bool is_true = is_low ? holds_concretely<32>(condition, x & 0xffffffff, y & 0xffffffff)
                                  : holds_concretely<64>(condition, x, y);
      Scalar a_kept = a;
      Scalar b_kept = b;
      const Condition taken = is_true ? condition : negated(condition);
      ASSERT_TRUE(is_low ? refine_low(taken, a_kept, b_kept) : refine(taken, a_kept, b_kept));
      ASSERT_TRUE(a_kept.contains(x));
      ASSERT_TRUE(b_kept.contains(y));
    }
  }
}

}  // namespace
}  // namespace lmn
