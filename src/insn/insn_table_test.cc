// SPDX-License-Identifier: Apache-2.0
//
// Goal: the questions of insn_table.h have the right answers at their edges. Method: examples at 0,
// at 2^32 - 1 and of every class; what is the same for all rows is asserted for all rows.
#include "insn/insn_table.h"

#include <gtest/gtest.h>

#include <set>

namespace lmn {
namespace {

TEST(InsnTable, EveryRowIsAtItsOwnPlaceAndHasItsOwnName) {
  std::set<std::string_view> names;
  for (std::size_t i = 0; i < kOpCount; ++i) {
    const OpInfo& info = op_info(static_cast<Op>(i));
    EXPECT_EQ(static_cast<std::size_t>(info.op), i);
    EXPECT_TRUE(names.insert(info.name).second) << info.name;
    EXPECT_EQ(info.notation.empty(), info.op == Op::kLddwHigh) << info.name;
  }
  EXPECT_EQ(op_name(Op::kAdd64Imm), "Add64Imm");
}

TEST(InsnTable, JumpTargetsDoNotWrap) {
  const Insn back{.op = Op::kJa, .off = -1};
  EXPECT_EQ(jump_target(InsnIndex{0}, back), InsnIndex{0});
  EXPECT_EQ(jump_target(InsnIndex{0}, Insn{.op = Op::kJa, .off = -2}), std::nullopt);
  EXPECT_EQ(jump_target(InsnIndex{7}, Insn{.op = Op::kJeq64Imm, .off = 3}), InsnIndex{11});
  EXPECT_EQ(jump_target(InsnIndex{7}, Insn{.op = Op::kJa32, .imm = -8}), InsnIndex{0});
  EXPECT_EQ(jump_target(InsnIndex{7}, Insn{.op = Op::kJa32, .imm = -9}), std::nullopt);
  EXPECT_EQ(jump_target(InsnIndex{7}, Insn{.op = Op::kMayGoto, .off = -8}), InsnIndex{0});
  EXPECT_EQ(jump_target(InsnIndex{0x8000'0000}, Insn{.op = Op::kJa32, .imm = 0x7fff'fffe}),
            InsnIndex{0xffff'ffff});
  EXPECT_EQ(jump_target(InsnIndex{0x8000'0000}, Insn{.op = Op::kJa32, .imm = 0x7fff'ffff}),
            std::nullopt);
  EXPECT_EQ(jump_target(InsnIndex{0xffff'ffff}, Insn{.op = Op::kJa, .off = 0}), std::nullopt);
  EXPECT_EQ(jump_target(InsnIndex{0xffff'ffff}, Insn{.op = Op::kJa, .off = -1}),
            InsnIndex{0xffff'ffff});
  EXPECT_EQ(jump_target(InsnIndex{0}, Insn{.op = Op::kExit}), std::nullopt);
}

TEST(InsnTable, FunctionTargetsAreThoseOfCallsAndAddresses) {
  EXPECT_EQ(function_target(InsnIndex{2}, Insn{.op = Op::kCall, .src = BPF_PSEUDO_CALL, .imm = 4}),
            InsnIndex{7});
  EXPECT_EQ(function_target(InsnIndex{2}, Insn{.op = Op::kCall, .src = 0, .imm = 4}), std::nullopt);
  EXPECT_EQ(function_target(InsnIndex{2}, Insn{.op = Op::kCall, .src = BPF_PSEUDO_CALL, .imm = -4}),
            std::nullopt);
  // Negative, as decoding gives it (32 bits) and as a sign-extended number.
  EXPECT_EQ(function_target(InsnIndex{9},
                            Insn{.op = Op::kLddw, .src = BPF_PSEUDO_FUNC, .imm = 0xffff'fffd}),
            InsnIndex{7});
  EXPECT_EQ(function_target(InsnIndex{9}, Insn{.op = Op::kLddw, .src = BPF_PSEUDO_FUNC, .imm = -3}),
            InsnIndex{7});
}

TEST(InsnTable, AccessSizes) {
  EXPECT_EQ(access_size(Op::kLdxMem8), 1u);
  EXPECT_EQ(access_size(Op::kLdxMemSx32), 4u);
  EXPECT_EQ(access_size(Op::kStMemImm64), 8u);
  EXPECT_EQ(access_size(Op::kAtomicCmpXchg32), 4u);
  EXPECT_EQ(access_size(Op::kLoadAcquire16), 2u);
  EXPECT_EQ(access_size(Op::kLdInd16), 2u);
  EXPECT_EQ(access_size(Op::kAdd64Imm), 0u);
  EXPECT_EQ(access_size(Op::kLddw), 0u);
}

TEST(InsnTable, WrittenRegisters) {
  const auto written = [](Op op) { return written_register(Insn{.op = op, .dst = 3, .src = 4}); };
  EXPECT_EQ(written(Op::kAdd64Imm), 3);
  EXPECT_EQ(written(Op::kLddw), 3);
  EXPECT_EQ(written(Op::kLdxMem8), 3);
  EXPECT_EQ(written(Op::kLoadAcquire8), 3);
  EXPECT_EQ(written(Op::kAtomicFetchAdd64), 4);
  EXPECT_EQ(written(Op::kAtomicXchg32), 4);
  EXPECT_EQ(written(Op::kAtomicCmpXchg32), 0);
  EXPECT_EQ(written(Op::kCall), 0);
  EXPECT_EQ(written(Op::kLdAbs8), 0);
  EXPECT_EQ(written(Op::kAtomicAdd64), std::nullopt);
  EXPECT_EQ(written(Op::kStMemReg8), std::nullopt);
  EXPECT_EQ(written(Op::kJeq64Reg), std::nullopt);
  EXPECT_EQ(written(Op::kExit), std::nullopt);
}

TEST(InsnTable, JumpsAndFallThrough) {
  EXPECT_TRUE(is_jump(Op::kJa32));
  EXPECT_FALSE(is_conditional_jump(Op::kJa32));
  EXPECT_TRUE(is_conditional_jump(Op::kMayGoto));
  EXPECT_TRUE(is_conditional_jump(Op::kJset32Reg));
  EXPECT_FALSE(is_jump(Op::kCall));
  EXPECT_FALSE(is_jump(Op::kExit));
  EXPECT_FALSE(falls_through(Op::kExit));
  EXPECT_FALSE(falls_through(Op::kJa));
  EXPECT_TRUE(falls_through(Op::kMayGoto));
  EXPECT_TRUE(falls_through(Op::kCall));
  EXPECT_EQ(slot_count(Op::kLddw), 2u);
}

}  // namespace
}  // namespace lmn
