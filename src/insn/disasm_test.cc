// SPDX-License-Identifier: Apache-2.0
//
// Goal: the text is bpftool's. Method: one line of every kind, taken from kernel and bpftool
// output; kernel_test.cc compares all rows with the running kernel. Names of helpers are those of
// the UAPI.
#include "insn/disasm.h"

#include <gtest/gtest.h>

#include "insn/helper_names.h"
#include "insn/insn_table.h"

namespace lmn {
namespace {

struct TextCase {
  Insn insn;
  const char* text;
};

TEST(Disasm, OneOfEveryKind) {
  const TextCase cases[] = {
      {{.op = Op::kAdd64Imm, .dst = 1, .imm = -8}, "r1 += -8"},
      {{.op = Op::kMod32Reg, .dst = 1, .src = 2}, "w1 %= w2"},
      {{.op = Op::kSdiv64Imm, .dst = 3, .off = 1, .imm = 7}, "r3 s/= 7"},
      {{.op = Op::kSmod32Reg, .dst = 3, .src = 4, .off = 1}, "w3 s%= w4"},
      {{.op = Op::kArsh64Imm, .dst = 1, .imm = 32}, "r1 s>>= 32"},
      {{.op = Op::kMov64Imm, .dst = 0, .imm = 2}, "r0 = 2"},
      {{.op = Op::kMov32Reg, .dst = 1, .src = 2}, "w1 = w2"},
      {{.op = Op::kMovSx8To64, .dst = 1, .src = 2, .off = 8}, "r1 = (s8)r2"},
      {{.op = Op::kMovSx16To32, .dst = 1, .src = 2, .off = 16}, "w1 = (s16)w2"},
      {{.op = Op::kNeg32, .dst = 6}, "w6 = -w6"},
      {{.op = Op::kBe16, .dst = 1, .imm = 16}, "r1 = be16 r1"},
      {{.op = Op::kLe64, .dst = 1, .imm = 64}, "r1 = le64 r1"},
      {{.op = Op::kBswap32, .dst = 1, .imm = 32}, "r1 = bswap32 r1"},
      {{.op = Op::kAddrSpaceCast, .dst = 1, .src = 2, .off = 1, .imm = 1},
       "r1 = addr_space_cast(r2, 0, 1)"},
      {{.op = Op::kAddrSpaceCast, .dst = 1, .src = 2, .off = 1, .imm = 0x10000},
       "r1 = addr_space_cast(r2, 1, 0)"},
      {{.op = Op::kLdxMem64, .dst = 1, .src = 6, .off = 0}, "r1 = *(u64 *)(r6 +0)"},
      {{.op = Op::kLdxMemSx8, .dst = 1, .src = 6, .off = -4}, "r1 = *(s8 *)(r6 -4)"},
      {{.op = Op::kStMemImm32, .dst = 10, .off = -4, .imm = -1}, "*(u32 *)(r10 -4) = -1"},
      {{.op = Op::kStMemReg8, .dst = 10, .src = 3, .off = -1}, "*(u8 *)(r10 -1) = r3"},
      {{.op = Op::kAtomicAdd64, .dst = 1, .src = 2, .imm = 0}, "lock *(u64 *)(r1 +0) += r2"},
      {{.op = Op::kAtomicXor32, .dst = 1, .src = 2, .imm = 0xa0}, "lock *(u32 *)(r1 +0) ^= r2"},
      {{.op = Op::kAtomicFetchAdd64, .dst = 1, .src = 0, .imm = 1},
       "r0 = atomic64_fetch_add((u64 *)(r1 +0), r0)"},
      {{.op = Op::kAtomicFetchOr32, .dst = 1, .src = 2, .off = 8, .imm = 0x41},
       "r2 = atomic_fetch_or((u32 *)(r1 +8), r2)"},
      {{.op = Op::kAtomicXchg64, .dst = 1, .src = 2, .imm = 0xe1},
       "r2 = atomic64_xchg((u64 *)(r1 +0), r2)"},
      {{.op = Op::kAtomicCmpXchg32, .dst = 1, .src = 2, .imm = 0xf1},
       "r0 = atomic_cmpxchg((u32 *)(r1 +0), r0, r2)"},
      {{.op = Op::kLoadAcquire64, .dst = 0, .src = 1, .imm = 0x100},
       "r0 = load_acquire((u64 *)(r1 +0))"},
      {{.op = Op::kStoreRelease8, .dst = 1, .src = 0, .off = 2, .imm = 0x110},
       "store_release((u8 *)(r1 +2), r0)"},
      {{.op = Op::kJsgt64Imm, .dst = 1, .off = 3, .imm = 5}, "if r1 s> 0x5 goto pc+3"},
      {{.op = Op::kJset32Imm, .dst = 1, .off = -3, .imm = -1}, "if w1 & 0xffffffff goto pc-3"},
      {{.op = Op::kJeq64Imm, .dst = 0, .off = 0, .imm = 0}, "if r0 == 0x0 goto pc+0"},
      {{.op = Op::kJle32Reg, .dst = 1, .src = 2, .off = 1}, "if w1 <= w2 goto pc+1"},
      {{.op = Op::kJa, .off = 1}, "goto pc+1"},
      {{.op = Op::kJa32, .imm = -70000}, "gotol pc-70000"},
      {{.op = Op::kMayGoto, .off = 2}, "may_goto pc+2"},
      {{.op = Op::kExit}, "exit"},
      {{.op = Op::kCall, .imm = 1}, "call bpf_map_lookup_elem#1"},
      {{.op = Op::kCall, .imm = 4000}, "call unknown#4000"},
      {{.op = Op::kCall, .imm = -5}, "call unknown#-5"},
      {{.op = Op::kCall, .src = 1, .imm = 5}, "call pc+5"},
      {{.op = Op::kCall, .src = 2, .imm = 5}, "call kfunc#5"},
      {{.op = Op::kCall, .src = 2, .off = 3, .imm = 5}, "call kfunc#5@3"},
      {{.op = Op::kLddw, .dst = 1, .imm = 0x100000005}, "r1 = 0x100000005"},
      {{.op = Op::kLddw, .dst = 1, .imm = 0}, "r1 = 0x0"},
      {{.op = Op::kLddw, .dst = 1, .imm = -1}, "r1 = 0xffffffffffffffff"},
      {{.op = Op::kLddw, .dst = 1, .src = 1, .imm = 5}, "r1 = map[id:5]"},
      {{.op = Op::kLddw, .dst = 1, .src = 2, .imm = 5 | 16ll << 32}, "r1 = map[id:5][0]+16"},
      {{.op = Op::kLddw, .dst = 1, .src = 3, .imm = 5}, "r1 = btf_id[5]"},
      {{.op = Op::kLddw, .dst = 1, .src = 4, .imm = 3}, "r1 = subprog[+3]"},
      {{.op = Op::kLddw, .dst = 1, .src = 4, .imm = 0xfffffffd}, "r1 = subprog[-3]"},
      {{.op = Op::kLddw, .dst = 1, .src = 5, .imm = 0}, "r1 = map[idx:0]"},
      {{.op = Op::kLddw, .dst = 1, .src = 6, .imm = 2 | 16ll << 32}, "r1 = map[idx:2]+16"},
      {{.op = Op::kLddwHigh}, ""},
      {{.op = Op::kLdAbs8, .imm = 12}, "r0 = *(u8 *)skb[12]"},
      {{.op = Op::kLdInd16, .src = 7, .imm = -2}, "r0 = *(u16 *)skb[r7 + -2]"},
  };
  for (const TextCase& one : cases) EXPECT_EQ(disassemble(one.insn), one.text);
}

class SomeNames final : public DisasmNames {
 public:
  std::string map(std::uint32_t index) const override { return index == 2 ? "stats" : ""; }
  std::string kfunc(std::uint32_t index) const override {
    return index == 0 ? "bpf_xdp_metadata_rx_hash" : "";
  }
  std::string ksym(std::uint32_t index) const override { return index == 1 ? "jiffies" : ""; }
  std::string subprogram(InsnIndex start) const override {
    return start.value == 9 ? "parse_eth" : "";
  }
};

TEST(Disasm, NamesOfTheOwner) {
  const SomeNames names;
  const auto text = [&](const Insn& insn) { return disassemble(insn, InsnIndex{3}, &names); };
  EXPECT_EQ(text({.op = Op::kCall, .src = 1, .imm = 5}), "call pc+5#parse_eth");
  EXPECT_EQ(text({.op = Op::kCall, .src = 1, .imm = 4}), "call pc+4");
  EXPECT_EQ(text({.op = Op::kCall, .src = 2, .imm = 0}), "call bpf_xdp_metadata_rx_hash#0");
  EXPECT_EQ(text({.op = Op::kLddw, .dst = 1, .src = 4, .imm = 5}), "r1 = subprog[+5]#parse_eth");
  EXPECT_EQ(text({.op = Op::kLddw, .dst = 1, .src = 5, .imm = 2}), "r1 = map[stats]");
  EXPECT_EQ(text({.op = Op::kLddw, .dst = 1, .src = 6, .imm = 2 | 8ll << 32}), "r1 = map[stats]+8");
  EXPECT_EQ(text({.op = Op::kLddw, .dst = 1, .src = 3, .imm = 1}), "r1 = ksym[jiffies]");
  EXPECT_EQ(text({.op = Op::kCall, .imm = 44}), "call bpf_xdp_adjust_head#44");
}

TEST(Disasm, ProgramNumbersSlots) {
  const Insn insns[] = {
      {.op = Op::kLddw, .dst = 1, .imm = 7}, {.op = Op::kLddwHigh}, {.op = Op::kExit}};
  EXPECT_EQ(disassemble_program(insns), "   0: (18) r1 = 0x7\n   2: (95) exit\n");
}

TEST(HelperNames, BothWays) {
  EXPECT_EQ(uapi_helper_name(1), "bpf_map_lookup_elem");
  EXPECT_EQ(uapi_helper_name(211), "bpf_cgrp_storage_delete");
  EXPECT_EQ(uapi_helper_name(212), "");
  EXPECT_EQ(uapi_helper_name(-1), "");
  EXPECT_EQ(uapi_helper_id("bpf_redirect_map"), 51u);
  EXPECT_EQ(uapi_helper_id("redirect_map"), 51u);
  EXPECT_EQ(uapi_helper_id("nonsense"), std::nullopt);
}

}  // namespace
}  // namespace lmn
