// SPDX-License-Identifier: Apache-2.0
//
// Goal: a difference of verdicts is explained only by what the kernel's log and our tree say.
// Method: values and logs as Linux 6.18 prints them; programs that our verifier accepts, with ways
// that it walked, proved dead, or knows more about.
#include "soundness/kernel_walk.h"

#include <gtest/gtest.h>

#include "insn/assemble.h"
#include "soundness/probe_world.h"

namespace lmn {
namespace {

TEST(KernelValue, AsTheLogPrintsIt) {
  struct Row {
    const char* text;
    Scalar expected;
  };
  Scalar narrow;
  narrow.whole.smin = -128;
  narrow.low.smin = -128;
  narrow.whole.smax = narrow.low.smax = 127;
  Scalar bits;
  bits.bits = {0x4, 0xf0};
  bits.whole.umax = 0xf4;
  const Row rows[] = {
      {"scalar()", Scalar::unknown()},
      {"5", Scalar::constant(5)},
      {"P-3", Scalar::constant(static_cast<std::uint64_t>(-3))},
      {"0xb9e96435", Scalar::constant(0xb9e96435)},
      {"ctx()", Scalar::constant(0)},
      {"map_value(ks=4,vs=256,off=2)", Scalar::constant(0)},
      {"scalar(id=1,smin=smin32=-128,smax=smax32=127)", narrow},
      {"map_value(ks=4,vs=256,smin=smin32=-128,smax=smax32=127)", narrow},
      {"Pscalar(id=3+5,umax=244,var_off=(0x4; 0xf0))", bits},
  };
  for (const Row& row : rows) {
    const auto value = read_kernel_value(row.text);
    ASSERT_TRUE(value.has_value()) << row.text;
    EXPECT_EQ(value->number, row.expected) << row.text;
    EXPECT_FALSE(value->may_be_null) << row.text;
  }
  EXPECT_FALSE(read_kernel_value("fp-8").has_value());
  EXPECT_FALSE(read_kernel_value("scalar(id=3,smin=-5)")->is_tied);
  EXPECT_TRUE(read_kernel_value("scalar(id=3-2147483648,umax=220)")->is_tied);
  EXPECT_TRUE(read_kernel_value("map_value_or_null(id=2,ks=4,vs=16)")->may_be_null);
}

constexpr std::string_view kLog =
    "func#0 @0\n"
    "Live regs before insn:\n"
    "      0: .......... (79) r0 = *(u64 *)(r1 +0)\n"
    "0: R1=ctx() R10=fp0\n"
    "0: (bf) r6 = r1                       ; R1=ctx() R6=ctx()\n"
    "1: (25) if r0 > 0x7 goto pc+1         ; R0=scalar(umax=7)\n"
    "2: (15) if r0 == 0x0 goto pc+1        ; R0=scalar(umin=1,umax=7)\n"
    "3: (95) exit\n"
    "\n"
    "from 2 to 4: R0=0 R6=ctx()\n"
    "4: (95) exit\n"
    "\n"
    "from 1 to 3: R0=scalar(umin=8) R6=ctx()\n"
    "3: (0f) r6 += r0\n"
    "mark_precise: frame0: parent state regs=r0 stack=:  R0=P2\n"
    "math between ctx pointer and register with unbounded min value is not allowed\n";

TEST(KernelWalk, WhatIsLeftWhenBranchesAreTakenUp) {
  const auto walks = read_kernel_walks(kLog);
  ASSERT_EQ(walks.size(), 1u);
  EXPECT_EQ(walks[0].insns, (std::vector<std::uint32_t>{0, 1, 3}));
  ASSERT_TRUE(walks[0].values[0].has_value());
  EXPECT_EQ(walks[0].values[0]->number.whole.umin, 8u);
}

TEST(KernelWalk, EachBranchThatCouldBeMeant) {
  constexpr std::string_view kLoop =
      "0: (15) if r0 == 0x0 goto pc+1\n1: (05) goto pc-2\n0: (15) if r0 == 0x0 goto pc+1\n"
      "1: (95) exit\nfrom 0 to 2: R0=0\n2: (95) exit\n";
  const auto walks = read_kernel_walks(kLoop);
  ASSERT_EQ(walks.size(), 2u);
  EXPECT_EQ(walks[0].insns, (std::vector<std::uint32_t>{0, 2}));
  EXPECT_EQ(walks[1].insns, (std::vector<std::uint32_t>{0, 1, 0, 2}));
}

TEST(KernelWalk, NoneInWhatIsNoLog) {
  EXPECT_TRUE(read_kernel_walks("7: (95) exit\n").empty()) << "the beginning was cut off";
  EXPECT_TRUE(read_kernel_walks("0: (95) exit\nfrom 3 to 4: R0=0\n").empty());
  EXPECT_TRUE(read_kernel_walks("").empty());
}

class WalkComparison : public ::testing::Test {
 protected:
  void SetUp() override {
    auto insns = assemble(R"(
  r7 = map[idx:0]+0
  r1 = *(u8 *)(r7 +0)
  r1 &= 7
  r0 = 0
  if r1 > 0x9 goto dead
  r7 += r1
  exit
dead:
  r7 *= 2
  exit
)");
    ASSERT_TRUE(insns.has_value()) << insns.error().to_string();
    program_.insns = *insns;
    program_.function_starts = {0};
    ASSERT_TRUE(world_.judge(program_, &tree_).is_accepted());
  }
  WalkDifference compare(KernelWalk walk) const {
    return compare_walks({std::move(walk)}, tree_, program_.insns);
  }

  ProbeWorld world_;
  GeneratedProgram program_;
  Exploration tree_;
};

TEST_F(WalkComparison, ABranchThatOursProvedDead) {
  EXPECT_EQ(compare({{0, 2, 3, 4, 5, 8}, {}}), WalkDifference::kDeadBranch);
}

TEST_F(WalkComparison, AWayThatNoBranchTells) {
  EXPECT_EQ(compare({{0, 2, 4, 5, 6}, {}}), WalkDifference::kNone);
  EXPECT_EQ(compare({}), WalkDifference::kNone);
}

TEST_F(WalkComparison, OneWayThatNothingExplainsIsEnough) {
  const KernelWalk dead{{0, 2, 3, 4, 5, 8}, {}};
  const KernelWalk same{{0, 2, 3, 4, 5, 6}, {}};
  EXPECT_EQ(compare_walks({dead, same}, tree_, program_.insns), WalkDifference::kNone);
  EXPECT_EQ(compare_walks({dead, dead}, tree_, program_.insns), WalkDifference::kDeadBranch);
  EXPECT_EQ(compare_walks({}, tree_, program_.insns), WalkDifference::kNone);
}

TEST_F(WalkComparison, NumbersCountWhereTheyAreUsed) {
  KernelWalk walk{{0, 2, 3, 4, 5, 6}, {}};
  EXPECT_EQ(compare(walk), WalkDifference::kNone) << "nothing is said of them";
  const auto given = [](int bits) { return KernelValue{Scalar::of_width(bits)}; };
  walk.values[1] = given(4);
  EXPECT_EQ(compare(walk), WalkDifference::kFewerNumbers);
  walk.values[1] = given(3);
  EXPECT_EQ(compare(walk), WalkDifference::kNone) << "both know the same";
  walk.values[1] = given(2);
  EXPECT_EQ(compare(walk), WalkDifference::kMoreNumbers) << "the kernel knows more";
  Scalar other = Scalar::of_width(3);
  other.whole = Interval<64>::of_unsigned(3, 12);
  walk.values[1] = KernelValue{other};
  EXPECT_EQ(compare(walk), WalkDifference::kNone) << "each knows something";
  walk.values[1] = given(3);
  walk.values[1]->is_tied = true;
  EXPECT_EQ(compare(walk), WalkDifference::kMoreNumbers) << "tied only for the kernel";
  walk.values[1]->is_tied = false;
  walk.values[3] = KernelValue{Scalar::unknown()};
  EXPECT_EQ(compare(walk), WalkDifference::kNone) << "r3 is not used";
  walk.values[7] = KernelValue{Scalar::constant(0), true};
  EXPECT_EQ(compare(walk), WalkDifference::kFewerNumbers) << "r7 is not null";
}

}  // namespace
}  // namespace lmn
