// SPDX-License-Identifier: Apache-2.0
//
// Goal: code is called dead only when no run gets there, and the guards that portable programs have
// are understood. Method: examples that list the reached slots; each operator by a branch that only
// its right result decides; then random programs without memory accesses are run in a model, and no
// run may get to a slot that is called dead.
#include "verifier/constant_reach.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <random>

#include "insn/insn_table.h"
#include "verifier/structure_for_tests.h"

namespace lmn {
namespace {

using namespace structure_tests;

// One character per slot: x reached, . dead.
std::string reach_of(const ProgramSpec& program) {
  StructureDraft draft{.env = kEnvironment, .program = program, .maps = {}, .facts = {}};
  EXPECT_TRUE(find_subprograms(draft));
  std::string text;
  for (const bool is_reached : constant_reach(draft)) text += is_reached ? 'x' : '.';
  return text;
}
std::string reach_of(std::string_view text) { return reach_of(program_of(text)); }

TEST(ConstantReach, GuardsOfPortablePrograms) {
  EXPECT_EQ(reach_of("r1 = 0\n if r1 == 0 goto out\n call 7\n out: exit"), "xx.x");
  EXPECT_EQ(reach_of("r1 = 1\n if r1 == 0 goto out\n call 7\n out: exit"), "xxxx");
  EXPECT_EQ(reach_of("r1 = 0\n r1 <<= 32\n r1 >>= 32\n if r1 != 0 goto use\n exit\n use: exit"),
            "xxxxx.");
  EXPECT_EQ(reach_of("r1 = 0x0\n if r1 == 0 goto out\n call 7\n out: exit"), "xxx.x");
  EXPECT_EQ(reach_of("w1 = 0\n if w1 == 0 goto out\n call 7\n out: exit"), "xx.x");
}

TEST(ConstantReach, WhereWaysMeetOnlyCommonKnowledgeStays) {
  EXPECT_EQ(reach_of("r1 = 0\n if r2 == 0 goto join\n r1 = 1\n join: if r1 == 0 goto out\n r0 = 1\n"
                     "out: exit"),
            "xxxxxx");
  EXPECT_EQ(reach_of("r1 = 0\n if r2 == 0 goto join\n r1 = 0\n join: if r1 == 0 goto out\n r0 = 1\n"
                     "out: exit"),
            "xxxx.x");
  // A loop: the first way into it knows more than the second.
  EXPECT_EQ(reach_of("r1 = 0\n again: if r1 == 9 goto out\n r1 += 1\n goto again\n out: exit"),
            "xxxxx");
}

TEST(ConstantReach, CallsLoadsAndCallbacksAreNotFollowed) {
  EXPECT_EQ(reach_of("r1 = 0\n call 7\n if r1 == 0 goto out\n r0 = 1\n out: exit"), "xxxxx");
  EXPECT_EQ(reach_of("r6 = 0\n call 7\n if r6 == 0 goto out\n r0 = 1\n out: exit"), "xxx.x");
  EXPECT_EQ(reach_of("r1 = 0\n call f\n exit\n f: if r1 == 0 goto out\n r0 = 1\n out: exit"),
            "xxxxxx");
  EXPECT_EQ(reach_of("r1 = 0\n if r1 == 0 goto out\n call f\n out: exit\n f: r0 = 0\n exit"),
            "xx.x..");
  EXPECT_EQ(reach_of("r2 = func f\n exit\n f: r0 = 0\n exit"), "xxxxx");
  EXPECT_EQ(reach_of("r1 = 0\n r1 = *(u64 *)(r10 -8)\n if r1 == 0 goto out\n r0 = 1\n out: exit"),
            "xxxxx");
  EXPECT_EQ(
      reach_of("r1 = 0\n r1 = atomic64_xchg((u64 *)(r10 -8), r1)\n if r1 == 0 goto out\n r0 = 1\n"
               "out: exit"),
      "xxxxx");
  EXPECT_EQ(reach_of("r0 = 0\n may_goto out\n r0 = 1\n out: exit"), "xxxx");
}

TEST(ConstantReach, AProgramMayEndWithACallThatDoesNotReturn) {
  EXPECT_EQ(reach_of("if r1 == 0 goto pc+1\n exit\n call kfunc#0"), "xxx");
}

TEST(ConstantReach, AWeakVariableIsAt0) {
  ProgramSpec program = program_of("r1 = btf_id[0]\n if r1 == 0 goto out\n r0 = 1\n out: exit");
  EXPECT_EQ(reach_of(program), "xxxxx");
  program.externs[0].is_weak = true;
  EXPECT_EQ(reach_of(program), "xxx.x");
}

struct OperatorCase {
  const char* text;  // leaves a number in r1
  const char* value;
};

TEST(ConstantReach, EveryOperatorComputesWhatItComputes) {
  const OperatorCase cases[] = {
      {"r1 = 5\n r1 += -7", "-2"},
      {"r1 = 5\n r1 -= 7", "-2"},
      {"r1 = 5\n r1 *= -2", "-10"},
      {"r1 = 12\n r1 &= 10", "8"},
      {"r1 = 12\n r1 |= 3", "15"},
      {"r1 = 12\n r1 ^= 10", "6"},
      {"r1 = 5\n r1 = -r1", "-5"},
      {"r1 = 1\n r1 <<= 62\n r1 >>= 61", "2"},
      {"r1 = -8\n r1 s>>= 2", "-2"},
      {"r2 = 7\n r1 = r2", "7"},
      {"r1 = -1\n w1 = w1\n r1 >>= 31", "1"},
      {"r1 = -1\n w1 += 1", "0"},
      {"w1 = -8\n w1 s>>= 2\n r1 >>= 31", "1"},
      {"r1 = 1\n w1 <<= 31\n w1 >>= 30", "2"},
      {"r1 = 1\n r2 = 33\n w1 <<= w2", "2"},
  };
  for (const OperatorCase& one : cases) {
    const std::string text =
        fmt::format("{}\n r3 = {}\n if r1 == r3 goto pc+1\n exit\n exit", one.text, one.value);
    const std::string reach = reach_of(text);
    EXPECT_EQ(reach.substr(reach.size() - 2), ".x") << text;
  }
}

// A run of a program that only computes and jumps; registers start with anything.
void run_and_compare(const ProgramSpec& program, const std::string& reach,
                     std::mt19937_64& random) {
  std::array<std::uint64_t, kRegisterCount> regs{};
  for (auto& reg : regs) reg = random() % 3 == 0 ? random() : random() % 3;
  std::uint32_t at = 0;
  for (int steps = 0; steps < 200; ++steps) {
    const Insn& insn = program.insns[at];
    ASSERT_EQ(reach[at], 'x') << "a run gets to insn " << at;
    if (insn.op == Op::kExit) return;
    const std::uint64_t src =
        reads_src(insn.op) ? regs[insn.src] : static_cast<std::uint64_t>(insn.imm);
    const std::uint64_t dst = regs[insn.dst];
    bool jumps = insn.op == Op::kJa;
    if (insn.op == Op::kMov64Imm || insn.op == Op::kMov64Reg) regs[insn.dst] = src;
    if (insn.op == Op::kMov32Reg) regs[insn.dst] = static_cast<std::uint32_t>(src);
    if (insn.op == Op::kAdd64Imm || insn.op == Op::kAdd64Reg) regs[insn.dst] += src;
    if (insn.op == Op::kXor32Reg) regs[insn.dst] = static_cast<std::uint32_t>(dst ^ src);
    if (insn.op == Op::kJeq64Imm) jumps = dst == src;
    if (insn.op == Op::kJne32Reg)
      jumps = static_cast<std::uint32_t>(dst) != static_cast<std::uint32_t>(src);
    if (insn.op == Op::kJsgt64Imm)
      jumps = static_cast<std::int64_t>(dst) > static_cast<std::int64_t>(src);
    at = jumps ? jump_target(InsnIndex{at}, insn)->value : at + 1;
  }
}

TEST(ConstantReach, NoRunOfARandomProgramGetsToDeadCode) {
  constexpr Op kOps[] = {Op::kMov64Imm, Op::kMov64Reg, Op::kMov32Reg, Op::kAdd64Imm,  Op::kAdd64Reg,
                         Op::kXor32Reg, Op::kJeq64Imm, Op::kJne32Reg, Op::kJsgt64Imm, Op::kJa};
  std::mt19937_64 random(11);
  std::size_t dead = 0;
  for (int round = 0; round < 3000; ++round) {
    ProgramSpec program;
    const auto count = static_cast<std::uint32_t>(4 + random() % 20);
    for (std::uint32_t at = 0; at < count; ++at) {
      Insn insn{.op = kOps[random() % std::size(kOps)]};
      if (op_info(insn.op).dst.use != FieldUse::kNone)
        insn.dst = static_cast<std::uint8_t>(random() % 3);
      if (reads_src(insn.op)) insn.src = static_cast<std::uint8_t>(random() % 3);
      if (op_info(insn.op).imm.use == FieldUse::kValue)
        insn.imm = static_cast<std::int64_t>(random() % 3);
      if (is_jump(insn.op)) insn.off = static_cast<std::int16_t>(random() % (count + 1) - at - 1);
      program.insns.push_back(insn);
    }
    program.insns.push_back({.op = Op::kExit});
    const std::string reach = reach_of(program);
    dead += static_cast<std::size_t>(std::ranges::count(reach, '.'));
    for (int run = 0; run < 10; ++run)
      ASSERT_NO_FATAL_FAILURE(run_and_compare(program, reach, random));
  }
  EXPECT_GT(dead, 3000u);  // else nothing was tested
}

}  // namespace
}  // namespace lmn
