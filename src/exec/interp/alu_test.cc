// SPDX-License-Identifier: Apache-2.0
//
// Goal: the corners of the instruction set are the ones measured on a kernel (Linux 6.18, JIT).
// Method: a table of operations with operands at the edges and the answers as literals; byte swaps
// and comparisons likewise.
#include "exec/interp/alu.h"

#include <gtest/gtest.h>

namespace lmn::interp {
namespace {

constexpr std::uint64_t kMin64 = 0x8000000000000000;
constexpr std::uint64_t kAll = 0xffffffffffffffff;

struct AluCase {
  const char* name;
  std::uint64_t (*compute)(std::uint64_t, std::uint64_t);
  std::uint64_t a;
  std::uint64_t b;
  std::uint64_t result;
};

const AluCase kAluCases[] = {
    {"div64 by zero", alu<BPF_DIV, 64, 0>, 7, 0, 0},
    {"div32 by zero", alu<BPF_DIV, 32, 0>, 0x700000007, 0, 0},
    {"div32 by zero in the low word only", alu<BPF_DIV, 32, 0>, 7, 0x500000000, 0},
    {"mod64 by zero keeps dst", alu<BPF_MOD, 64, 0>, kAll, 0, kAll},
    {"mod32 by zero keeps the low word", alu<BPF_MOD, 32, 0>, 0xdeadbeef00000007, 0, 7},
    {"sdiv64 by zero", alu<BPF_DIV, 64, 1>, kMin64, 0, 0},
    {"sdiv64 overflow", alu<BPF_DIV, 64, 1>, kMin64, kAll, kMin64},
    {"sdiv64 rounds to zero", alu<BPF_DIV, 64, 1>, static_cast<std::uint64_t>(-7), 2,
     static_cast<std::uint64_t>(-3)},
    {"smod64 overflow", alu<BPF_MOD, 64, 1>, kMin64, kAll, 0},
    {"smod64 has the dividend's sign", alu<BPF_MOD, 64, 1>, static_cast<std::uint64_t>(-7), 2,
     kAll},
    {"smod64 by zero keeps dst", alu<BPF_MOD, 64, 1>, kMin64, 0, kMin64},
    {"sdiv32 overflow", alu<BPF_DIV, 32, 1>, 0x80000000, kAll, 0x80000000},
    {"sdiv32 is zero-extended", alu<BPF_DIV, 32, 1>, 0xfffffff9, 2, 0xfffffffd},
    {"smod32 overflow", alu<BPF_MOD, 32, 1>, 0x80000000, 0xffffffff, 0},
    {"lsh64 by 65 is by 1", alu<BPF_LSH, 64, 0>, 3, 65, 6},
    {"lsh32 by 32 is by 0", alu<BPF_LSH, 32, 0>, 0x1'80000001, 32, 0x80000001},
    {"rsh32 by 33 is by 1", alu<BPF_RSH, 32, 0>, 0xffffffff'80000000, 33, 0x40000000},
    {"rsh64 by -1 is by 63", alu<BPF_RSH, 64, 0>, kMin64, kAll, 1},
    {"arsh32 is zero-extended", alu<BPF_ARSH, 32, 0>, 0x80000000, 31, 0xffffffff},
    {"arsh32 looks at bit 31", alu<BPF_ARSH, 32, 0>, 0xffffffff'40000000, 1, 0x20000000},
    {"arsh64", alu<BPF_ARSH, 64, 0>, kMin64, 63, kAll},
    {"add32 wraps", alu<BPF_ADD, 32, 0>, 0xffffffff, 1, 0},
    {"add32 clears the high word", alu<BPF_ADD, 32, 0>, 0x5'00000001, 0x7'00000001, 2},
    {"sub64 wraps", alu<BPF_SUB, 64, 0>, 0, 1, kAll},
    {"mul64 keeps the low half", alu<BPF_MUL, 64, 0>, kAll, kAll, 1},
    {"mul32", alu<BPF_MUL, 32, 0>, 0x10001, 0x10001, 0x20001},
    {"neg32", alu<BPF_NEG, 32, 0>, 1, 0, 0xffffffff},
    {"neg32 of the smallest", alu<BPF_NEG, 32, 0>, 0x80000000, 0, 0x80000000},
    {"neg64 of the smallest", alu<BPF_NEG, 64, 0>, kMin64, 0, kMin64},
    {"mov32 of an immediate is zero-extended", alu<BPF_MOV, 32, 0>, 0, kAll, 0xffffffff},
    {"mov64 of an immediate is sign-extended", alu<BPF_MOV, 64, 0>, 0, kAll, kAll},
    {"movsx32 from 8", alu<BPF_MOV, 32, 8>, 0, 0x80, 0xffffff80},
    {"movsx32 from 16", alu<BPF_MOV, 32, 16>, 0, 0x18000, 0xffff8000},
    {"movsx64 from 8", alu<BPF_MOV, 64, 8>, 0, 0x17f, 0x7f},
    {"movsx64 from 16", alu<BPF_MOV, 64, 16>, 0, 0x8000, 0xffffffffffff8000},
    {"movsx64 from 32", alu<BPF_MOV, 64, 32>, 0, 0x180000000, 0xffffffff80000000},
    {"or32 clears the high word", alu<BPF_OR, 32, 0>, kAll, 0, 0xffffffff},
    {"and64 with a negative immediate", alu<BPF_AND, 64, 0>, kAll, static_cast<std::uint64_t>(-16),
     0xfffffffffffffff0},
    {"xor32", alu<BPF_XOR, 32, 0>, 0xffffffff, kAll, 0},
};

TEST(Alu, ComputesWhatTheKernelComputes) {
  for (const AluCase& test : kAluCases)
    EXPECT_EQ(test.compute(test.a, test.b), test.result) << test.name;
}

TEST(Alu, SwapsBytesAndClearsAbove) {
  constexpr std::uint64_t kValue = 0x0102030405060708;
  static_assert(std::endian::native == std::endian::little,
                "the answers below are a little-endian host's");
  EXPECT_EQ((byte_swap<BPF_ALU, BPF_TO_LE, 16>(kValue)), 0x0708u);
  EXPECT_EQ((byte_swap<BPF_ALU, BPF_TO_LE, 32>(kValue)), 0x05060708u);
  EXPECT_EQ((byte_swap<BPF_ALU, BPF_TO_LE, 64>(kValue)), kValue);
  EXPECT_EQ((byte_swap<BPF_ALU, BPF_TO_BE, 16>(kValue)), 0x0807u);
  EXPECT_EQ((byte_swap<BPF_ALU, BPF_TO_BE, 32>(kValue)), 0x08070605u);
  EXPECT_EQ((byte_swap<BPF_ALU, BPF_TO_BE, 64>(kValue)), 0x0807060504030201u);
  EXPECT_EQ((byte_swap<BPF_ALU64, BPF_TO_LE, 16>(kValue)), 0x0807u);
  EXPECT_EQ((byte_swap<BPF_ALU64, BPF_TO_LE, 32>(kValue)), 0x08070605u);
  EXPECT_EQ((byte_swap<BPF_ALU64, BPF_TO_LE, 64>(kValue)), 0x0807060504030201u);
}

struct BranchCase {
  const char* name;
  bool (*decide)(std::uint64_t, std::uint64_t);
  std::uint64_t a;
  std::uint64_t b;
  bool taken;
};

const BranchCase kBranchCases[] = {
    {"jeq64 sees the high word", is_taken<BPF_JEQ, 64>, 0x100000001, 1, false},
    {"jeq32 does not", is_taken<BPF_JEQ, 32>, 0x100000001, 1, true},
    {"jne32", is_taken<BPF_JNE, 32>, 0x100000001, 1, false},
    {"jset64 with a negative immediate sees the high word", is_taken<BPF_JSET, 64>, 0x100000000,
     kAll, true},
    {"jset32 does not", is_taken<BPF_JSET, 32>, 0x100000000, kAll, false},
    {"jgt64 is unsigned", is_taken<BPF_JGT, 64>, kAll, 1, true},
    {"jsgt64 is signed", is_taken<BPF_JSGT, 64>, kAll, 1, false},
    {"jgt64 of equals", is_taken<BPF_JGT, 64>, 5, 5, false},
    {"jge64 of equals", is_taken<BPF_JGE, 64>, 5, 5, true},
    {"jlt32 is unsigned", is_taken<BPF_JLT, 32>, 1, 0xffffffff, true},
    {"jslt32 looks at bit 31", is_taken<BPF_JSLT, 32>, 0x80000000, 0, true},
    {"jslt64 does not", is_taken<BPF_JSLT, 64>, 0x80000000, 0, false},
    {"jle64", is_taken<BPF_JLE, 64>, 5, 4, false},
    {"jsle64 of equals", is_taken<BPF_JSLE, 64>, kMin64, kMin64, true},
    {"jsge32", is_taken<BPF_JSGE, 32>, 0x7fffffff, 0x80000000, true},
};

TEST(Alu, DecidesBranches) {
  for (const BranchCase& test : kBranchCases)
    EXPECT_EQ(test.decide(test.a, test.b), test.taken) << test.name;
}

}  // namespace
}  // namespace lmn::interp
