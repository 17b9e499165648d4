// SPDX-License-Identifier: Apache-2.0
//
// Goal: the assembler is the disassembler's inverse, and its errors help. Method: property over
// every row of opcodes.def with random fields (seed fixed), also that no text matches two rows;
// examples for labels, names, comments; every message by example.
#include "insn/assemble.h"

#include <gtest/gtest.h>

#include <random>

#include "insn/codec.h"
#include "insn/disasm.h"
#include "insn/insn_table.h"

namespace lmn {
namespace {

class RandomFields {
 public:
  // Any value the rules allow, edges more often than chance would have it.
  Insn of(const OpInfo& info) {
    Insn insn{.op = info.op};
    insn.dst = reg(info.dst);
    insn.src = reg(info.src);
    if (info.off.use == FieldUse::kMemory || info.off.use == FieldUse::kJump) insn.off = off();
    if (info.off.use == FieldUse::kFixed) insn.off = static_cast<std::int16_t>(info.off.value);
    if (info.imm.use == FieldUse::kValue || info.imm.use == FieldUse::kJump) insn.imm = imm();
    if (info.imm.use == FieldUse::kFixed) insn.imm = info.imm.value;
    if (info.op == Op::kAddrSpaceCast) insn.imm = random_() % 2 == 0 ? 1 : 1 << 16;
    if (info.op == Op::kLddw) make_lddw(insn);
    if (info.op == Op::kCall) make_call(insn);
    return insn;
  }

 private:
  std::uint8_t reg(const FieldRule& rule) {
    const bool is_register = rule.use == FieldUse::kRead || rule.use == FieldUse::kWrite ||
                             rule.use == FieldUse::kReadWrite;
    return is_register ? static_cast<std::uint8_t>(random_() % kRegisterCount) : std::uint8_t{0};
  }
  std::int16_t off() {
    constexpr std::int16_t kEdges[] = {0, 1, -1, 0x7fff, -0x8000};
    const auto number = random_();
    return number % 4 == 0 ? kEdges[number / 4 % 5] : static_cast<std::int16_t>(number >> 16);
  }
  std::int32_t imm() {
    constexpr std::int32_t kEdges[] = {0, 1, -1, 0x7fffffff, -0x7fffffff - 1};
    const auto number = random_();
    return number % 4 == 0 ? kEdges[number / 4 % 5] : static_cast<std::int32_t>(number >> 16);
  }
  void make_lddw(Insn& insn) {
    insn.src = static_cast<std::uint8_t>(random_() % 7);
    insn.imm = static_cast<std::int64_t>(random_());
    if (random_() % 4 == 0) insn.imm = imm();
    if (insn.src == BPF_PSEUDO_MAP_FD || insn.src == BPF_PSEUDO_MAP_IDX) insn.imm &= 0xffffffff;
  }
  void make_call(Insn& insn) {
    insn.src = static_cast<std::uint8_t>(random_() % 3);
    insn.imm = random_() % 2 == 0 ? imm() : static_cast<std::int32_t>(random_() % 230);
    if (insn.src == BPF_PSEUDO_KFUNC_CALL) insn.off = off();
  }

  std::mt19937_64 random_{0x1b7};
};

TEST(Assemble, IsTheInverseOfDisassembleForEveryRow) {
  RandomFields random;
  for (std::size_t row = 0; row < kOpCount; ++row) {
    const OpInfo& info = op_info(static_cast<Op>(row));
    if (info.op == Op::kLddwHigh) continue;
    for (int round = 0; round < 60; ++round) {
      const Insn insn = random.of(info);
      ASSERT_EQ(field_problem(insn), nullptr) << info.name;
      const std::string text = disassemble(insn);
      const auto back = assemble(text);
      ASSERT_TRUE(back) << text << ": " << back.error().message;
      ASSERT_EQ((*back)[0], insn) << info.name << ": " << text;
      const auto decoded = decode_program(encode_program(*back));
      ASSERT_TRUE(decoded) << text << ": " << decoded.error().message;
      ASSERT_EQ(*decoded, *back) << text;
    }
  }
}

TEST(Assemble, ReadsAWholeListing) {
  RandomFields random;
  std::vector<Insn> insns;
  for (std::size_t row = 0; row < kOpCount; ++row) {
    const OpInfo& info = op_info(static_cast<Op>(row));
    if (info.op == Op::kLddwHigh) continue;
    insns.push_back(random.of(info));
    if (info.op == Op::kLddw) insns.push_back({.op = Op::kLddwHigh});
  }
  const auto back = assemble(disassemble_program(insns));
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_EQ(*back, insns);
}

TEST(Assemble, LabelsCommentsAndSpaces) {
  const auto insns = assemble(
      "# a comment\n"
      "  // another\n"
      "; a third\n"
      "start:\n"
      "  r1=map[idx:0]+16   // lddw: two slots\n"
      "  if r1 s> 0x5 goto out ; why\n"
      "  call count\n"
      "  r2 = func count\n"
      "  gotol start\n"
      "out: exit\n"
      "count:\r\n"
      "  may_goto count\n"
      "\n"
      "  exit");
  ASSERT_TRUE(insns) << insns.error().message;
  const std::vector<Insn> expected = {
      {.op = Op::kLddw, .dst = 1, .src = BPF_PSEUDO_MAP_IDX_VALUE, .imm = 16ll << 32},
      {.op = Op::kLddwHigh},
      {.op = Op::kJsgt64Imm, .dst = 1, .off = 4, .imm = 5},
      {.op = Op::kCall, .src = BPF_PSEUDO_CALL, .imm = 4},
      {.op = Op::kLddw, .dst = 2, .src = BPF_PSEUDO_FUNC, .imm = 3},
      {.op = Op::kLddwHigh},
      {.op = Op::kJa32, .imm = -7},
      {.op = Op::kExit},
      {.op = Op::kMayGoto, .off = -1},
      {.op = Op::kExit},
  };
  EXPECT_EQ(*insns, expected);
}

TEST(Assemble, AddressOfAnEarlierFunctionIs32Bits) {
  const auto insns = assemble("f: exit\n r1 = func f\n exit");
  ASSERT_TRUE(insns) << insns.error().message;
  EXPECT_EQ((*insns)[1].imm, 0xfffffffe);
  EXPECT_EQ(disassemble((*insns)[1]), "r1 = subprog[-2]");
}

TEST(Assemble, HexadecimalConstantsAreLddwAndDecimalOnesAreMov) {
  EXPECT_EQ((*assemble("r1 = 5"))[0].op, Op::kMov64Imm);
  EXPECT_EQ((*assemble("r1 = 0x5"))[0].op, Op::kLddw);
  EXPECT_EQ((*assemble("r1 = 5 ll"))[0].op, Op::kLddw);
  EXPECT_EQ((*assemble("r1 = -5 ll"))[0].imm, -5);
  EXPECT_EQ((*assemble("w1 = 0x5"))[0].op, Op::kMov32Imm);
}

class SomeNames final : public AssembleNames {
 public:
  std::optional<std::uint32_t> map(std::string_view name) const override {
    return find(name, "stats", 2);
  }
  std::optional<std::uint32_t> kfunc(std::string_view name) const override {
    return find(name, "bpf_rx_hash", 4);
  }
  std::optional<std::uint32_t> ksym(std::string_view name) const override {
    return find(name, "jiffies", 6);
  }

 private:
  static std::optional<std::uint32_t> find(std::string_view name, std::string_view known,
                                           std::uint32_t number) {
    return name == known ? std::optional(number) : std::nullopt;
  }
};

TEST(Assemble, NamesOfTheCaller) {
  const SomeNames names;
  const auto one = [&](const char* text) {
    const auto insns = assemble(text, &names);
    EXPECT_TRUE(insns) << insns.error().message;
    return insns ? (*insns)[0] : Insn{};
  };
  EXPECT_EQ(one("call bpf_redirect_map"), (Insn{.op = Op::kCall, .imm = 51}));
  EXPECT_EQ(one("call redirect_map"), (Insn{.op = Op::kCall, .imm = 51}));
  EXPECT_EQ(one("call 51"), (Insn{.op = Op::kCall, .imm = 51}));
  EXPECT_EQ(one("call bpf_redirect_map#51"), (Insn{.op = Op::kCall, .imm = 51}));
  EXPECT_EQ(one("call bpf_rx_hash"), (Insn{.op = Op::kCall, .src = 2, .imm = 4}));
  EXPECT_EQ(one("call bpf_rx_hash#4"), (Insn{.op = Op::kCall, .src = 2, .imm = 4}));
  EXPECT_EQ(one("r1 = map[stats]"), (Insn{.op = Op::kLddw, .dst = 1, .src = 5, .imm = 2}));
  EXPECT_EQ(one("r1 = map[stats]+8"),
            (Insn{.op = Op::kLddw, .dst = 1, .src = 6, .imm = 2 | 8ll << 32}));
  EXPECT_EQ(one("r1 = map[fd:3]"), (Insn{.op = Op::kLddw, .dst = 1, .src = 1, .imm = 3}));
  EXPECT_EQ(one("r1 = ksym[jiffies]"), (Insn{.op = Op::kLddw, .dst = 1, .src = 3, .imm = 6}));
}

struct BadText {
  const char* text;
  const char* message;
};

TEST(Assemble, ErrorsNamePlaceAndExpectation) {
  const BadText cases[] = {
      {"r0 = 0\nr11 = 5",
       "line 2, column 1: 'r11' begins no instruction (registers are r0 to r10 and w0 to w10)"},
      {"r1 = *(u32 *)(r2 8)",
       "line 1, column 18: '8' where a signed offset of 16 bits (+0) was expected"},
      {"r1 = *(u32 *)(r2 +40000)",
       "line 1, column 18: '+' where a signed offset of 16 bits (+0) was expected"},
      {"r1 += 4294967295",
       "line 1, column 7: '4294967295' where a number of 32 bits or a register r0 to r10 was "
       "expected"},
      {"if r1 == 5 gogo out", "line 1, column 12: 'gogo' where 'goto' was expected"},
      {"goto", "line 1, column 5: the line ends where pc+1 or a label was expected"},
      {"goto nowhere", "line 1, column 6: no label 'nowhere'"},
      {"exit 5", "line 1, column 6: '5' where the end of the line was expected"},
      {"a:\na: exit", "line 2, column 1: label 'a' is there already"},
      {"r1 = be16 r2", "line 1, column 11: 'r2' where r1 again was expected"},
      {"call nonsense",
       "line 1, column 6: 'nonsense' where the name of a helper, a kfunc or a label of this text "
       "was expected"},
      {"call",
       "line 1, column 5: the line ends where the name or number of a helper, a kfunc, a label or "
       "pc+1 was expected"},
      {"r1 = map[stats]",
       "line 1, column 10: 'stats' where idx:N, id:N or the name of a map was expected"},
      {"r1 = addr_space_cast(r2, 3, 1)",
       "line 1, column 1: imm must cast between address spaces 0 and 1"},
  };
  for (const BadText& bad : cases) {
    const auto insns = assemble(bad.text);
    ASSERT_FALSE(insns) << bad.text;
    EXPECT_EQ(insns.error().message, bad.message);
    EXPECT_EQ(insns.error().code, ErrorCode::kMalformed);
  }
  // Operators are one word.
  EXPECT_TRUE(assemble("if r1 >= 5 goto pc+0"));
  EXPECT_FALSE(assemble("if r1 > = 5 goto pc+0"));
}

TEST(Assemble, AJumpTooFarForItsFieldIsNamed) {
  std::string text = "goto far\n";
  for (int i = 0; i < 32768; ++i) text += "exit\n";
  const auto insns = assemble(text + "far: exit\n");
  ASSERT_FALSE(insns);
  EXPECT_EQ(insns.error().message,
            "line 1, column 6: label 'far' is 32768 slots away, a jump reaches 32767 (gotol "
            "reaches further)");
}

}  // namespace
}  // namespace lmn
