// SPDX-License-Identifier: Apache-2.0
//
// Goal: refusals carry what a person and a tool need, and a StructuredProgram says what the pass
// learned. Method: examples; the rules themselves are structure_test.cc's.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>

#include "verifier/rules.h"
#include "verifier/structure.h"
#include "verifier/structure_for_tests.h"

namespace lmn {
namespace {

using namespace structure_tests;

// reject kFields: what no assembler text can say.
TEST(Structure, FieldsOfProgramsThatNeverWereBytes) {
  struct Bad {
    std::vector<Insn> insns;
    const char* message;
  };
  const Insn exit{.op = Op::kExit};
  const Bad cases[] = {
      {{{.op = Op::kMov64Imm, .src = 1}, exit}, "insn 0: Mov64Imm: src is reserved and not 0"},
      {{{.op = Op::kMov64Reg, .src = 11}, exit}, "insn 0: Mov64Reg: src is above r10"},
      {{{.op = Op::kLddw}, exit}, "insn 0: lddw without its second slot"},
      {{exit, {.op = Op::kLddw}}, "insn 1: lddw without its second slot"},
      {{exit, {.op = Op::kLddwHigh}}, "insn 1: second slot of lddw without the first"},
      {{{}, exit}, "insn 0: second slot of lddw without the first"},
  };
  for (const Bad& bad : cases) {
    ProgramSpec program;
    program.name = "p";
    program.insns = bad.insns;
    const auto result = check_structure(kEnvironment, program, {});
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().message, fmt::format("prog \"p\": {} [fields]", bad.message));
    EXPECT_EQ(result.error().errno_value, EINVAL);
  }
}

TEST(Structure, RefusalsCarrySourceLineAndRemedy) {
  ProgramSpec program = program_of("r0 = 0\n call 500\n exit");
  program.lines = {
      {.insn = InsnIndex{0}, .line = 31, .column = 1, .file = "fw.c", .text = "int p()"},
      {.insn = InsnIndex{1}, .line = 33, .column = 5, .file = "fw.c", .text = "f();"}};
  const auto result = check_structure(kEnvironment, program, {});
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().location, "fw.c:33");
  EXPECT_EQ(result.error().code, ErrorCode::kRefused);
  EXPECT_NE(result.error().remedy, "");
}

TEST(Structure, WhatLmnLacksIsNotSupportedAndNotRefused) {
  const ProgramSpec program = program_of("call kfunc#3\n r0 = 0\n exit");
  const auto result = check_structure(kEnvironment, program, {});
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::kNotSupported);
}

TEST(Structure, ADefectOfTheSpecIsTheAnswer) {
  ProgramSpec program = program_of("r0 = 0\n exit");
  program.defect.emplace().message = "insn 3: reference to nothing";
  const auto result = check_structure(kEnvironment, program, {});
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().message, "insn 3: reference to nothing");
}

TEST(Structure, TailCallsFromFunctionsAreFineWithBtf) {
  ProgramSpec program = program_of(
      "call f\n exit\n f: r2 = map[idx:0]\n r3 = 0\n"
      "call bpf_tail_call\n r0 = 0\n exit",
      1);
  program.functions[0].btf_type_id = 7;
  const auto result = check_structure(kEnvironment, program, {&kJumpTable, 1});
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_TRUE(result->has_tail_calls());
  EXPECT_FALSE(result->subprograms()[0].has_tail_call);
  EXPECT_TRUE(result->subprograms()[1].has_tail_call);
}

TEST(Structure, DeadOperationsAreReplacedAndWeakVariablesAre0) {
  ProgramSpec program = program_of(
      "r1 = btf_id[0]\n if r1 == 0 goto out\n call kfunc#0\n r2 = btf_id[1]\n r0 = 1\n"
      "out: r0 = 0\n exit");
  program.externs[0].is_weak = true;
  program.externs.emplace_back().name = "jiffies";
  const auto result = check_structure(kEnvironment, program, {});
  ASSERT_TRUE(result) << result.error().message;
  const auto expected = assemble(
      "r1 = 0x0\n if r1 == 0 goto out\n goto pc-1\n goto pc-1\n goto pc-1\n r0 = 1\n"
      "out: r0 = 0\n exit");
  EXPECT_EQ(result->spec().insns, *expected);
  EXPECT_TRUE(result->has_backward_jumps());
}

TEST(Structure, FactsOfAProgram) {
  ProgramSpec program = program_of(
      "r6 = r1\n"              // 0
      "r2 = func cb\n"         // 1, 2
      "call f\n"               // 3
      "call g\n"               // 4
      "exit\n"                 // 5
      "f: call g\n"            // 6
      "exit\n"                 // 7
      "g: r0 = 0\n"            // 8
      "if r0 > 5 goto pc-2\n"  // 9
      "exit\n"                 // 10
      "cb: r0 = 0\n"           // 11
      "exit");
  const auto result = check_structure(kEnvironment, program, {});
  ASSERT_TRUE(result) << result.error().message;
  const auto at = [](std::uint32_t slot) { return InsnIndex{slot}; };
  const std::vector<Subprogram> functions = {
      {at(0), at(6)}, {at(6), at(8)}, {at(8), at(11)}, {at(11), at(13)}};
  EXPECT_TRUE(std::ranges::equal(result->subprograms(), functions));
  const std::vector<CallSite> calls = {
      {at(1), 3, true}, {at(3), 1, false}, {at(4), 2, false}, {at(6), 2, false}};
  EXPECT_TRUE(std::ranges::equal(result->calls(), calls));
  EXPECT_EQ(result->callee_of(at(6)), 2u);
  EXPECT_EQ(result->callee_of(at(1)), 3u);
  EXPECT_EQ(result->callee_of(at(5)), std::nullopt);
  EXPECT_EQ(result->subprogram_of(at(0)), 0u);
  EXPECT_EQ(result->subprogram_of(at(7)), 1u);
  EXPECT_EQ(result->subprogram_of(at(12)), 3u);
  EXPECT_EQ(result->max_call_depth(), 3u);
  EXPECT_TRUE(result->has_backward_jumps());
  EXPECT_FALSE(result->has_tail_calls());
  EXPECT_EQ(result->spec().insns, program.insns);
}

}  // namespace
}  // namespace lmn
